"""What exporters and optimizers write: sizes that are free until the model runs, operators with several outputs, fused attention.

exported.py FOLDER: writes models NAME.onnx with what onnxruntime answers, NAME.npz: for those with free sizes, several cases, and
NAME.words, which keep the sizes free.
"""
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(11)
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64, np.dtype(np.int32): TensorProto.INT32}
MICROSOFT = "com.microsoft"


def floats(*shape):
    """Floats around 0."""
    return rng.standard_normal(shape).astype(np.float32)


def node(op, ins, outs, **attrs):
    """An operator; empty names are inputs left out."""
    return helper.make_node(op, ins.split(" "), outs.split(" "), **attrs)


def model(name, nodes, cases, outputs, constants=None, free=None):
    """`cases`: inputs by name. `outputs`: types by name. `free`: names of free dimensions by input and axis."""
    first = cases[0]

    def shape(n):
        sizes = list(first[n].shape)
        for axis, symbol in (free or {}).get(n, {}).items():
            sizes[axis] = symbol
        return sizes

    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(n, TYPES[v.dtype], shape(n)) for n, v in first.items()],
        [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()],
        [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    path = f"{sys.argv[1]}/{name}"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path + ".onnx")
    session = ort.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
    arrays = {}
    for c, case in enumerate(cases):
        arrays.update({f"c{c}_in{i}": v for i, v in enumerate(case.values())})
        arrays.update({f"c{c}_out{i}": v for i, v in enumerate(session.run(None, case))})
    np.savez(path + ".npz", **arrays)
    symbols = sorted({s for axes in (free or {}).values() for s in axes.values()})
    if symbols:
        with open(path + ".words", "w") as file:
            file.write(" ".join(f"--dim {s}=1..16" for s in symbols))


def whole(*v):
    """A list of whole numbers."""
    return np.array(v, dtype=np.int64)


FLOAT, INT64, INT32 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32

# An output beside the first one meets pointwise work.
model(
    "positions_meet_a_difference",
    [
        node("MaxPool", "x", "y i", kernel_shape=[2, 2], strides=[2, 2]),
        node("MaxPool", "x", "y1 i1", kernel_shape=[1, 1]),
        node("Slice", "i1 from to axes", "first"),
        node("Sub", "i first", "o"),
    ],
    [{"x": floats(1, 2, 14, 15)}],
    {"o": INT64},
    {"from": whole(0, 0), "to": whole(1, 1), "axes": whole(2, 3)},
)
for also in [False, True]:
    model(
        f"sum_of_a_normalization_{int(also)}",
        [
            helper.make_node("SkipLayerNormalization", ["x", "skip", "g", "b"], ["y", "", "", "sum"], domain=MICROSOFT),
            node("Mul", "sum half", "scaled"),
            node("Add", "scaled y" if also else "scaled x", "o"),
        ],
        [{"x": floats(2, 5, 16), "skip": floats(2, 5, 16)}],
        {"o": FLOAT},
        {"g": floats(16), "b": floats(16), "half": np.array(0.5, dtype=np.float32)},
    )

# Resize of free axes: to the size of another input, and by numbers that are not whole.
PLACES = [(7, 9, 12, 5), (4, 4, 8, 8), (5, 3, 5, 7), (6, 8, 3, 1), (1, 1, 3, 4)]
for mode in ["nearest", "linear", "cubic"]:
    for coordinates in ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]:
        for nearest in ["round_prefer_floor", "floor", "ceil", "round_prefer_ceil"] if mode == "nearest" else ["floor"]:
            how = {"mode": mode, "coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
            model(
                f"resize_{mode}_{coordinates}_{nearest}",
                [node("Shape", "like", "sizes"), node("Resize", "x   sizes", "y", **how)],
                [{"x": floats(1, 3, h, w), "like": floats(1, 3, p, q)} for h, w, p, q in PLACES],
                {"y": FLOAT},
                free={"x": {2: "h", 3: "w"}, "like": {2: "p", 3: "q"}},
            )
            if nearest == "floor" and coordinates != "align_corners":
                model(
                    f"scale_{mode}_{coordinates}",
                    [node("Resize", "x  scales", "y", **how)],
                    [{"x": floats(1, 3, h, w)} for h, w, _, _ in PLACES],
                    {"y": FLOAT},
                    {"scales": np.array([1, 1, 1.5, 0.75], dtype=np.float32)} if mode != "cubic" else {"scales": np.array([1, 1, 2, 1.25], dtype=np.float32)},
                    free={"x": {2: "h", 3: "w"}},
                )

# Heads apart, the number of rows left to be found: sums of products are divided by sums.
model(
    "heads_of_patches",
    [
        node("Conv", "x w", "patches", kernel_shape=[4, 4], strides=[4, 4]),
        node("Reshape", "patches flat", "rows"),
        node("Transpose", "rows", "words", perm=[0, 2, 1]),
        node("Concat", "class words", "all", axis=1),
        node("Shape", "all", "shape"),
        node("Gather", "shape one", "count"),
        node("Concat", "single count rest", "to", axis=0),
        node("Reshape", "all to", "apart"),
        node("Transpose", "apart", "y", perm=[0, 2, 1, 3]),
    ],
    [{"x": floats(1, 3, h, w)} for h, w in [(8, 8), (16, 9), (4, 12)]],
    {"y": FLOAT},
    {"w": floats(12, 3, 4, 4), "flat": whole(1, 12, -1), "class": floats(1, 1, 12), "one": whole(1), "single": whole(1), "rest": whole(-1, 6)},
    free={"x": {2: "h", 3: "w"}},
)

def padded(name, missing, **numbers):
    """Pads of a free axis, turned as exporters turn them: pairs from the last axis on, then first all ends before, then all behind."""
    model(
        name,
        [node("Shape", "x", "shape"), node("Gather", "shape last", "width")]
        + missing
        + [
            node("Concat", "none missing none none none none none none", "pairs", axis=0),
            node("Reshape", "pairs two", "table"),
            node("Slice", "table from to zeroth back", "turned"),
            node("Transpose", "turned", "columns", perm=[1, 0]),
            node("Reshape", "columns line", "pads"),
            node("Pad", "x pads", "y"),
        ],
        [{"x": floats(1, 2, 3, w)} for w in [5, 4, 7]],
        {"y": FLOAT},
        {
            "last": whole(3), "none": whole(0), "two": whole(-1, 2), "line": whole(-1), "from": whole(-1),
            "to": whole(-(2**63) + 1), "zeroth": whole(0), "back": whole(-1), **numbers,
        },
        free={"x": {3: "w"}},
    )


padded("pads_to_a_size", [node("Sub", "most width", "missing")], most=whole(12))
padded(
    "pads_to_a_multiple",
    [node("Mod", "width four", "over"), node("Sub", "four over", "wanted"), node("Mod", "wanted four", "missing")],
    four=whole(4),
)

# Frames of a signal without an axis for what is real.
model(
    "frames_of_a_line",
    [node("STFT", "x step window", "y")],
    [{"x": floats(2, 50)}],
    {"y": FLOAT},
    {"step": np.array(4, dtype=np.int64), "window": np.hanning(16).astype(np.float32)},
)

# What optimizers make of BERT.
HEADS, FEATURES, WORDS = 2, 12, 7


def attention(name, masks, past=False, biased=False, **attrs):
    """`masks`: masks by name in front of what they mean."""
    weights = {"w": floats(FEATURES, 3 * FEATURES) * 0.5, "b": floats(3 * FEATURES)}
    case = {"x": floats(2, WORDS, FEATURES)}
    ins = ["x", "w", "b", "", "", ""]
    if masks is not None:
        case["mask"], ins[3] = masks, "mask"
    if past:
        case["past"], ins[4] = floats(2, 2, HEADS, 3, FEATURES // HEADS), "past"
    if biased:
        case["bias"], ins[5] = floats(2, HEADS, WORDS, WORDS + 3 * past), "bias"
    outs = ["y", "present"] if past else ["y"]
    fused = helper.make_node("Attention", ins, outs, domain=MICROSOFT, num_heads=HEADS, **attrs)
    model(name, [fused], [case], {o: FLOAT for o in outs}, weights)


kept = np.ones((2, WORDS), dtype=np.int32)
kept[0, 4:] = 0
attention("attention_plain", None)
attention("attention_lengths", np.array([4, 7], dtype=np.int32))
attention("attention_kept", kept)
attention("attention_causal", kept, unidirectional=1)
attention("attention_past", None, past=True, unidirectional=1)
attention("attention_bias", None, biased=True, scale=0.3)
attention("attention_each_query", np.tril(np.ones((2, WORDS, WORDS), dtype=np.int32)))
many = helper.make_node("MultiHeadAttention", ["q", "k", "v", "b", "mask"], ["y"], domain=MICROSOFT, num_heads=HEADS)
qkv = {n: floats(2, WORDS, FEATURES) for n in "qkv"}
model("heads_with_padding", [many], [{**qkv, "mask": kept}], {"y": FLOAT}, {"b": floats(3 * FEATURES)})
for given in [False, True]:
    tables = {"words": floats(20, FEATURES), "places": floats(16, FEATURES), "g": floats(FEATURES), "beta": floats(FEATURES)}
    case = {"ids": rng.integers(0, 20, (2, WORDS)).astype(np.int32)}
    ins = ["ids", "", "words", "places", "", "g", "beta"]
    if given:
        tables["kinds"] = floats(2, FEATURES)
        case.update(segments=(case["ids"] % 2).astype(np.int32), kept=kept)
        ins[1], ins[4] = "segments", "kinds"
        ins.append("kept")
    summed = helper.make_node("EmbedLayerNormalization", ins, ["y", "count"], domain=MICROSOFT, epsilon=1e-5)
    model(f"embedding_{int(given)}", [summed], [case], {"y": FLOAT, "count": INT32}, tables, free={n: {0: "n", 1: "s"} for n in case})
