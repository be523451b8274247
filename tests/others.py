"""What tools besides PyTorch's exporter write: attention of language models with caches, quantized BERT and LSTM, machines of support vectors,
loops that make lists, windows whose padding depends on a free size.

others.py FOLDER: writes models NAME.onnx with answers, NAME.npz, and words of `onnxc verify`, NAME.words. The answers are onnxruntime's but where
a comment says otherwise.
"""
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(5)
FLOAT, INT64, INT32, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL
MICROSOFT, LEARNED = "com.microsoft", "ai.onnx.ml"


def floats(*shape):
    """Floats around 0."""
    return rng.standard_normal(shape).astype(np.float32)


def whole(*v):
    """A list of whole numbers."""
    return np.array(v, dtype=np.int64)


def scalar(v, dtype=np.float32):
    """One number."""
    return np.array(v, dtype=dtype)


def node(op, ins, outs, domain="", **attrs):
    """An operator; `-` are inputs and outputs left out."""
    names = [[n if n != "-" else "" for n in s.split()] for s in (ins, outs)]
    return helper.make_node(op, *names, domain=domain, **attrs)


def declared(name, value, free=None):
    """An input like a value; `free`: names of axes."""
    sizes = [(free or {}).get(axis, size) for axis, size in enumerate(value.shape)]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), sizes)


def body(nodes, ins, outs):
    """A body; `ins` and `outs`: types and shapes by name, the type `list` for lists of floats."""

    def values(d):
        return [
            helper.make_tensor_sequence_value_info(n, FLOAT, None) if t is list else helper.make_tensor_value_info(n, t, shape)
            for n, (t, shape) in d.items()
        ]

    return helper.make_graph(nodes, "body", values(ins), values(outs))


def model(name, nodes, cases, outputs, constants=None, free=None, words="", opset=17):
    """`outputs`: types by name. `free`: names of free axes by input."""
    graph = helper.make_graph(
        nodes,
        name,
        [declared(n, v, (free or {}).get(n)) for n, v in cases[0].items()],
        [helper.make_tensor_value_info(n, t, None) for n, t in outputs.items()],
        [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1), helper.make_opsetid(LEARNED, 3)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 21 else 10)
    store(name, made, cases, answers(made, cases), words)


def answers(made, cases):
    """What onnxruntime answers."""
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, case) for case in cases]


def store(name, made, cases, outs, words=""):
    """Writes a model with cases."""
    path = f"{sys.argv[1]}/{name}"
    onnx.save(made, path + ".onnx")
    arrays = {}
    for c, (case, out) in enumerate(zip(cases, outs)):
        arrays.update({f"c{c}_in{i}": v for i, v in enumerate(case.values())})
        arrays.update({f"c{c}_out{i}": v for i, v in enumerate(out)})
    np.savez(path + ".npz", **arrays)
    with open(path + ".words", "w") as file:
        file.write(words)


# Attention of language models: heads that share keys, positions that turn pairs of features, caches.
HEADS, SHARED, SIZE, PLACES = 4, 2, 16, 32
angles = np.arange(PLACES)[:, None] / (10000 ** (np.arange(SIZE // 2) / (SIZE / 2)))
TURNS = {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}


def shared_heads(name, runs, samples=1, packed=False, room=None, rotary=True, extra=None, constants=None, free=False, **attrs):
    """`runs`: new words and words before them. `room`: length of a cache that does not grow. `extra`: names of inputs from the 9th on."""
    cases = []
    for words, past in runs:
        case = {"q": floats(samples, words, (HEADS + 2 * SHARED) * SIZE)}
        if not packed:
            case = {"q": floats(samples, words, HEADS * SIZE), **{n: floats(samples, words, SHARED * SIZE) for n in "kv"}}
        for n in ["old_k", "old_v"]:
            case[n] = floats(samples, SHARED, room or past, SIZE)
            case[n][:, :, past:] = 0
        case["last"] = np.full(samples, past + words - 1, np.int32)
        case["total"] = scalar(past + words, np.int32)
        if extra and "bias" in extra:
            case["bias"] = floats(1, HEADS, words, past + words)
        if extra and "at" in extra:
            case["at"] = (np.arange(words)[None] + past + 1).astype(np.int64)
        cases.append(case)
    ins = "q - - " if packed else "q k v "
    ins += "old_k old_v last total " + ("cos sin" if rotary else "- -") + " " + (extra or "")
    attention = node("GroupQueryAttention", ins.rstrip(" -"), "y new_k new_v", MICROSOFT, num_heads=HEADS, kv_num_heads=SHARED, do_rotary=int(rotary), **attrs)
    axes = {n: {1: "words"} for n in "qkv"} | {n: {2: "past"} for n in ["old_k", "old_v"]}
    bounds = "--dim words=1..8 --dim past=0..16"
    constants = {**(TURNS if rotary else {}), **(constants or {})}
    outs = {n: FLOAT for n in ["y", "new_k", "new_v"]}
    model(name, [attention], cases, outs, constants, axes if free else None, bounds if free else "")


shared_heads("shared_first", [(5, 0)])
shared_heads("shared_next", [(1, 6)], packed=True)
shared_heads("shared_free", [(5, 0), (1, 5), (3, 6)], free=True)
shared_heads("shared_samples", [(1, 6)], samples=3, rotary=False)
shared_heads("shared_room", [(1, 6)], room=12)
shared_heads("shared_window", [(4, 6)], local_window_size=3, softcap=2.0)
shared_heads("shared_pairs", [(2, 6)], rotary_interleaved=1, scale=0.3)
shared_heads("shared_bias", [(3, 4)], extra="- bias")
shared_heads("shared_bias_room", [(1, 5)], room=12, extra="- bias")
shared_heads("shared_places", [(3, 4)], extra="at")
shared_heads("shared_sinks", [(3, 4)], extra="- - sinks", constants={"sinks": floats(HEADS)})
shared_heads("shared_smooth", [(3, 4)], smooth_softmax=1)

# Norms of queries and keys: the answers are those for inputs that are normalized before.
case = {"q": floats(1, 3, HEADS * SIZE), "k": floats(1, 3, SHARED * SIZE), "v": floats(1, 3, SHARED * SIZE)}
case |= {"old_k": floats(1, SHARED, 4, SIZE), "old_v": floats(1, SHARED, 4, SIZE), "last": np.array([6], np.int32), "total": scalar(7, np.int32)}
norms = {"norm_q": floats(SIZE), "norm_k": floats(SIZE)}
heads_of = {**case}
for n in "qk":
    h = case[n].reshape(1, 3, -1, SIZE)
    heads_of[n] = (h / np.sqrt((h**2).mean(-1, keepdims=True) + 1e-5) * norms["norm_" + n]).reshape(case[n].shape).astype(np.float32)
made = []
for ins, weights, how in [("", {}, {}), ("- - - - - norm_q norm_k", norms, {"qk_norm_epsilon": 1e-5})]:
    attention = node(
        "GroupQueryAttention", "q k v old_k old_v last total cos sin " + ins, "y new_k new_v", MICROSOFT, num_heads=HEADS, kv_num_heads=SHARED,
        do_rotary=1, **how,
    )
    graph = helper.make_graph(
        [attention], "norms", [declared(n, v) for n, v in case.items()],
        [helper.make_tensor_value_info(n, FLOAT, None) for n in ["y", "new_k", "new_v"]],
        [numpy_helper.from_array(v, n) for n, v in {**TURNS, **weights}.items()],
    )
    made.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)], ir_version=8))
store("shared_norms", made[1], [case], answers(made[0], [heads_of]))

# A layer of a language model: what the mask says of lengths, weights of 4 bits.
DEPTH = HEADS * SIZE
whole_model = [
    node("Gather", "table ids", "x0"), node("SimplifiedLayerNormalization", "x0 g", "x1", axis=-1, epsilon=1e-5),
    node("MatMulNBits", "x1 w_in s_in", "qkv", MICROSOFT, K=DEPTH, N=DEPTH + 2 * SHARED * SIZE, bits=4, block_size=32),
    node("ReduceSum", "mask one", "lengths", keepdims=1), node("Sub", "lengths one", "last_long"), node("Cast", "last_long", "last", to=INT32),
    node("Shape", "mask", "sizes"), node("Gather", "sizes second", "total_long", axis=0), node("Cast", "total_long", "total", to=INT32),
    node("GroupQueryAttention", "qkv - - old_k old_v last total cos sin", "heads new_k new_v", MICROSOFT, num_heads=HEADS, kv_num_heads=SHARED, do_rotary=1),
    node("MatMulNBits", "heads w_out s_out", "x2", MICROSOFT, K=DEPTH, N=DEPTH, bits=4, block_size=32),
    node("SkipSimplifiedLayerNormalization", "x0 x2 g", "y - - x3", MICROSOFT, epsilon=1e-5),
]
weights = {"table": floats(20, DEPTH), "g": floats(DEPTH), "one": whole(1), "second": scalar(1, np.int64), **TURNS}
for n, columns in [("in", DEPTH + 2 * SHARED * SIZE), ("out", DEPTH)]:
    weights["w_" + n] = rng.integers(0, 256, (columns, DEPTH // 32, 16)).astype(np.uint8)
    weights["s_" + n] = rng.uniform(0.01, 0.02, (columns, DEPTH // 32)).astype(np.float32)
axes = {"ids": {1: "s"}, "mask": {1: "total"}, "old_k": {2: "past"}, "old_v": {2: "past"}}
bounds = "--dim s=1..8 --dim total=1..16"
for name, room, runs in [("language_layer", None, [(5, 0), (1, 5), (1, 6), (3, 7)]), ("language_layer_room", 16, [(1, 5), (1, 6), (1, 15)])]:
    cases = []
    for new, past in runs:
        caches = {n: floats(1, SHARED, room or past, SIZE) for n in ["old_k", "old_v"]}
        for cache in caches.values():
            cache[:, :, past:] = 0
        cases.append({"ids": rng.integers(0, 20, (1, new)).astype(np.int64), "mask": np.ones((1, new + past), np.int64), **caches})
    outs = {n: FLOAT for n in ["y", "x3", "new_k", "new_v"]}
    model(name, whole_model, cases, outs, weights, axes, bounds + (" --dim past=16" if room else " --dim past=0..8"))

# Quantized BERT.
FEATURES, WORDS = 12, 7
kept = np.ones((2, WORDS), dtype=np.int32)
kept[0, 4:] = 0


def byte_attention(name, mask=None, past=False, columns=False, **attrs):
    """`columns`: scales of columns of the weights."""
    case = {"x": rng.integers(0, 256, (2, WORDS, FEATURES)).astype(np.uint8)}
    shape = (3 * FEATURES,) if columns else ()
    constants = {
        "w": rng.integers(-127, 128, (FEATURES, 3 * FEATURES)).astype(np.int8), "b": floats(3 * FEATURES), "sx": scalar(0.02),
        "sw": rng.uniform(0.005, 0.01, shape).astype(np.float32), "zx": scalar(120, np.uint8), "zw": np.zeros(shape, np.int8),
    }
    if mask is not None:
        case["mask"] = mask
    if past:
        case["past"] = floats(2, 2, 2, 3, FEATURES // 2)
    ins = f"x w b sx sw {'mask' if mask is not None else '-'} zx zw {'past' if past else ''}"
    outs = ["y", "present"] if past else ["y"]
    model(name, [node("QAttention", ins, " ".join(outs), MICROSOFT, num_heads=2, **attrs)], [case], {o: FLOAT for o in outs}, constants)


byte_attention("byte_attention")
byte_attention("byte_attention_kept", kept, columns=True)
byte_attention("byte_attention_past", past=True, unidirectional=1)
tables = {n: rng.integers(0, 256, (rows, FEATURES)).astype(np.uint8) for n, rows in [("words", 20), ("places", 16), ("kinds", 2)]}
tables |= {n: rng.integers(0, 256, FEATURES).astype(np.uint8) for n in ["g", "beta"]}
for n in list(tables):
    tables["s_" + n] = scalar(rng.uniform(0.01, 0.03))
    tables["z_" + n] = scalar(rng.integers(100, 140), np.uint8)
ids = rng.integers(0, 20, (2, WORDS)).astype(np.int32)
order = "words places kinds g beta".split()
ins = "ids segments words places kinds g beta kept " + " ".join(f"{k}_{n}" for k in "sz" for n in order)
summed = node("QEmbedLayerNormalization", ins, "y count", MICROSOFT)
model("byte_embedding", [summed], [{"ids": ids, "segments": ids % 2, "kept": kept}], {"y": FLOAT, "count": INT32}, tables)

# An LSTM with weights of bytes: the answers are those of the float LSTM with the same weights.
INPUTS, HIDDEN, ROUNDS = 5, 4, 6
for directions in [1, 2]:
    for columns in [False, True]:
        shape = (directions, 4 * HIDDEN) if columns else (directions,)
        bytes_of = {n: rng.integers(-127, 128, (directions, k, 4 * HIDDEN)).astype(np.int8) for n, k in [("w", INPUTS), ("r", HIDDEN)]}
        scales = {n: rng.uniform(0.002, 0.006, shape).astype(np.float32) for n in "wr"}
        real = {n: (bytes_of[n] * scales[n].reshape(directions, 1, -1)).transpose(0, 2, 1).copy() for n in "wr"}
        bias = {"b": floats(directions, 8 * HIDDEN)}
        case = {"x": floats(ROUNDS, 2, INPUTS), "h": floats(directions, 2, HIDDEN), "c": floats(directions, 2, HIDDEN)}
        how = {"hidden_size": HIDDEN, "direction": "bidirectional" if directions == 2 else "forward"}
        made = []
        for op, ins, domain, weights in [
            ("LSTM", "x w r b - h c", "", real),
            ("DynamicQuantizeLSTM", "x w r b - h c - sw zw sr zr", MICROSOFT,
             {**bytes_of, **{"s" + n: s for n, s in scales.items()}, **{"z" + n: np.zeros(shape, np.int8) for n in "wr"}}),
        ]:
            graph = helper.make_graph(
                [node(op, ins, "y yh yc", domain, **how)], op, [declared(n, v) for n, v in case.items()],
                [helper.make_tensor_value_info(n, FLOAT, None) for n in ["y", "yh", "yc"]],
                [numpy_helper.from_array(v, n) for n, v in {**weights, **bias}.items()],
            )
            opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
            made.append(helper.make_model(graph, opset_imports=opsets, ir_version=8))
        store(f"byte_lstm_{directions}_{int(columns)}", made[1], [case], answers(made[0], [case]))

# Recurrent operators over samples in blocks, even and uneven, and of lengths of their own; directions with activations of their own.
OWN = {
    "LSTM": (4, ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "Relu"]),
    "GRU": (3, ["Sigmoid", "Tanh", "HardSigmoid", "Softsign"]),
    "RNN": (1, ["Tanh", "Softsign"]),
}
for op, (gates, activations) in OWN.items():
    for samples in [2, 5, 33]:
        for directions in [1, 2]:
            width, features, own = 20, 12, len(activations) // 2 * directions
            weights = {"w": floats(directions, gates * width, features), "r": floats(directions, gates * width, width) / 4}
            weights["b"] = floats(directions, 2 * gates * width)
            case = {"x": floats(7, samples, features), "h": floats(directions, samples, width)}
            ins, outs = "x w r b - h", {"y": FLOAT, "yh": FLOAT}
            how = {"hidden_size": width, "direction": "bidirectional" if directions == 2 else "reverse", "activations": activations[-own:]}
            if op == "GRU":
                how["linear_before_reset"] = samples % 2
            if samples == 5:
                case["n"] = np.array([7, 3, 1, 5, 2], np.int32)
                ins = ins.replace("-", "n")
            model(f"{op.lower()}_{samples}_{directions}", [node(op, ins, " ".join(outs), **how)], [case], outs, weights)

# Support vectors: a free number of samples.
def machine(name, counts, kernel="RBF", probable=False, features=3, **attrs):
    """`counts`: support vectors of each class; none: a linear model of 3 classes."""
    classes, total = len(counts) or 3, sum(counts)
    pairs = classes * (classes - 1) // 2
    own = {
        "kernel_type": kernel, "kernel_params": [0.5, 0.25, 2.0], "classlabels_ints": list(range(3, 3 + classes)), "rho": floats(pairs).tolist(),
        "coefficients": floats((classes - 1) * total if counts else classes * features).tolist(), **attrs,
    }
    if counts:
        own |= {"vectors_per_class": counts, "support_vectors": floats(total * features).tolist()}
    if probable:
        own |= {"prob_a": rng.uniform(-2, -1, pairs).tolist(), "prob_b": rng.uniform(-0.3, 0.3, pairs).tolist()}
    tell = node("SVMClassifier", "x", "label scores", LEARNED, **own)
    cases = [{"x": floats(n, features)} for n in [5, 1, 9]]
    model(name, [tell], cases, {"label": INT64, "scores": FLOAT}, free={"x": {0: "n"}}, words="--dim n=1..16")


for kernel in ["LINEAR", "POLY", "RBF", "SIGMOID"]:
    machine(f"machine_{kernel.lower()}", [2, 3, 1], kernel)
machine("machine_of_two", [3, 4])
machine("machine_likely", [2, 3, 1, 2], probable=True)
machine("machine_likely_two", [3, 4], probable=True)
machine("machine_linear_model", [], "LINEAR")
machine("machine_softmax", [2, 2, 2], post_transform="SOFTMAX")

# Classifiers that name their classes: onnxc gives places of labels and the matrix of what the maps hold. Opset 1 is what is written where
# Identity is all that a model has of ai.onnx.
NAMES = ["cat", "dog", "owl"]
told = {"classlabels_strings": NAMES, "coefficients": floats(9).tolist(), "intercepts": floats(3).tolist(), "post_transform": "SOFTMAX"}
for texts in [True, False]:
    if not texts:
        told["classlabels_ints"] = [4, 2, 9]
        del told["classlabels_strings"]
    naming = {"classlabels_strings": NAMES} if texts else {"classlabels_int64s": told["classlabels_ints"]}
    labels = NAMES if texts else told["classlabels_ints"]
    graph = helper.make_graph(
        [
            node("LinearClassifier", "x", "found p", LEARNED, **told), node("Identity", "found", "label"),
            node("ZipMap", "p", "maps", LEARNED, **naming),
        ],
        "classes",
        [helper.make_tensor_value_info("x", FLOAT, ["n", 3])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING if texts else INT64, ["n"]),
            helper.make_value_info("maps", helper.make_sequence_type_proto(
                helper.make_map_type_proto(TensorProto.STRING if texts else INT64, helper.make_tensor_type_proto(FLOAT, [])))),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 1), helper.make_opsetid(LEARNED, 1)], ir_version=8)
    cases = [{"x": floats(n, 3)} for n in [4, 1]]
    outs = [
        [np.array([labels.index(v) for v in label] if texts else label), np.array([[m[n] for n in labels] for m in maps], np.float32)]
        for label, maps in answers(made, cases)
    ]
    store(f"named_classes_{int(texts)}", made, cases, outs, "--dim n=1..8")

# Tables and weights of few bits.
ROWS, WIDTH, BLOCK = 10, 64, 32
indices = {"at": rng.integers(0, ROWS, (2, 3)).astype(np.int64)}
scales = {"s": rng.uniform(0.1, 0.2, (ROWS, WIDTH // BLOCK)).astype(np.float32)}
for bits, zeros in [(4, False), (4, True), (8, True), (2, False)]:
    few = {"t": rng.integers(0, 256, (ROWS, WIDTH * bits // 8)).astype(np.uint8), **scales}
    if zeros:
        few["z"] = rng.integers(0, 256, (ROWS, WIDTH // BLOCK * bits // 8)).astype(np.uint8)
    how = {"bits": bits, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1}
    take = node("GatherBlockQuantized", "t at s z" if zeros else "t at s", "y", MICROSOFT, **how)
    model(f"rows_of_{bits}_bits_{int(zeros)}", [take], [indices], {"y": FLOAT}, few, opset=21)
for kind in [0, 1]:
    few = {"b": rng.integers(0, 256, 48 * WIDTH // 2).astype(np.uint8), "m": rng.uniform(0.5, 1, 48 * WIDTH // BLOCK).astype(np.float32)}
    product = node("MatMulBnb4", "a b m", "y", MICROSOFT, K=WIDTH, N=48, block_size=BLOCK, quant_type=kind)
    model(f"product_of_few_bits_{kind}", [product], [{"a": floats(3, WIDTH)}], {"y": FLOAT}, few)

# Lists: what a loop appends, what is cut along a free axis, an element whose place only the run knows.
carried = {"i": (INT64, []), "go": (BOOL, []), "list": (list, None)}
given = {"go_on": (BOOL, []), "longer": (list, None)}
again = node("Identity", "go", "go_on")
squares = body([node("Gather", "x i", "row", axis=0), node("Mul", "row row", "square"), node("SequenceInsert", "list square", "longer"), again], carried, given)
start = [node("Shape", "x", "sizes"), node("Gather", "sizes zero", "n", axis=0), node("SequenceEmpty", "", "none")]
rows = [{"x": floats(n, 3, 2)} for n in [4, 1, 7]]
numbers = {"zero": scalar(0, np.int64), "true": scalar(True, bool)}
for axis, new in [(0, 0), (1, 0), (0, 1), (1, 1), (-1, 1)]:
    joined = node("ConcatFromSequence", "rows", "y", axis=axis, new_axis=new)
    nodes = [*start, node("Loop", "n true none", "rows", body=squares), joined]
    model(f"list_of_rounds_{axis}_{new}", nodes, rows, {"y": FLOAT}, numbers, {"x": {0: "n"}}, "--dim n=1..8")
state = {"i": (INT64, []), "go": (BOOL, []), "h": (FLOAT, None), "list": (list, None)}
step = body(
    [
        node("SequenceAt", "parts i", "part"), node("MatMul", "h w", "turned"), node("Add", "turned part", "sum"), node("Tanh", "sum", "h_next"),
        node("SequenceInsert", "list h_next", "longer"), again,
    ],
    state,
    {"go_on": (BOOL, []), "h_next": (FLOAT, None), "longer": (list, None)},
)
numbers |= {"w": floats(2, 2), "first": floats(3, 2), "back": scalar(-1, np.int64)}
for keep in [0, 1]:
    h = "first" if not keep else "first_row"
    nodes = [
        node("SplitToSequence", "x", "parts", axis=0, keepdims=keep), node("SequenceLength", "parts", "n"), node("SequenceEmpty", "", "none"),
        node("Unsqueeze", "first at", "first_row"), node("Loop", f"n true {h} none", "h_last rows", body=step),
        node("ConcatFromSequence", "rows", "y", axis=0, new_axis=1 - keep), node("SequenceAt", "rows back", "z"), node("SequenceLength", "rows", "count"),
    ]
    outs = {"y": FLOAT, "z": FLOAT, "count": INT64, "h_last": FLOAT}
    model(f"list_of_a_cell_{keep}", nodes, rows, outs, {**numbers, "at": whole(0)}, {"x": {0: "n"}}, "--dim n=1..8")
pick = [node("SplitToSequence", "x", "parts", axis=0, keepdims=0), node("SequenceAt", "parts i", "y")]
model("list_at_a_place", pick, [{"x": floats(4, 3), "i": scalar(i, np.int64)} for i in [0, 3, -2]], {"y": FLOAT})

# The number of the round, declared as a list of one, says where a slice starts.
one = body(
    [node("Add", "i one", "next"), node("Gather", "x i", "row", axis=0), node("Add", "sum row", "more"), again],
    {"i": (INT64, [1]), "go": (BOOL, []), "sum": (FLOAT, None)},
    {"go_on": (BOOL, []), "more": (FLOAT, None)},
)
model("round_as_a_list", [node("Loop", "four true x0", "y", body=one)], [{"x": floats(4, 3), "x0": floats(1, 3)}], {"y": FLOAT},
      {"four": scalar(4, np.int64), "true": scalar(True, bool), "one": whole(1)})

# Windows with a stride over free axes.
PICTURES = [{"x": floats(1, 2, h, w)} for h, w in [(8, 9), (7, 12), (1, 2), (13, 5)]]
for auto in ["SAME_UPPER", "SAME_LOWER"]:
    for op, kernel, how in [
        ("Conv", 3, {}), ("Conv", 4, {}), ("Conv", 5, {}), ("MaxPool", 3, {}), ("AveragePool", 3, {}),
        ("AveragePool", 4, {"count_include_pad": 1}),
    ]:
        attrs = {"kernel_shape": [kernel, kernel], "strides": [2, 3], "auto_pad": auto, **how}
        constants = {"w": floats(3, 2, kernel, kernel)} if op == "Conv" else {}
        window = node(op, "x w" if constants else "x", "y", **attrs)
        name = f"{auto.lower()}_{op.lower()}_{kernel}"
        model(name, [window], PICTURES, {"y": FLOAT}, constants, {"x": {2: "h", 3: "w"}}, "--dim h=1..16 --dim w=1..16")
