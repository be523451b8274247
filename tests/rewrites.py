"""Operators that become others before kernels are chosen: transposed convolutions, parallel convolutions, Resize by many elements; and those that
have ways of their own by size: TopK, activations behind products.

rewrites.py FOLDER: writes models NAME.onnx with what onnxruntime answers, NAME.npz.
"""
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(5)


def floats(*shape):
    """Floats around 0."""
    return rng.standard_normal(shape).astype(np.float32)


def write(name, nodes, x, constants=None, outputs=(("y", TensorProto.FLOAT),), opset=20):
    """The model, and its answer to x."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info(n, t, None) for n, t in outputs],
        [numpy_helper.from_array(v, n) for n, v in (constants or {}).items()],
    )
    path = f"{sys.argv[1]}/{name}"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9), path + ".onnx")
    session = ort.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
    answers = session.run(None, {"x": x})
    np.savez(path + ".npz", c0_in0=x, **{f"c0_out{i}": a for i, a in enumerate(answers)})


def transposed(name, sizes, kernel, cin, cout, **attrs):
    """A ConvTranspose with a bias behind a Relu."""
    group = attrs.get("group", 1)
    constants = {"w": floats(cin, cout, *kernel), "b": floats(cout * group)}
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("ConvTranspose", ["r", "w", "b"], ["y"], **attrs)]
    write("transposed_" + name, nodes, floats(1, cin, *sizes), constants)


transposed("cube", [3, 4, 5], [3, 3, 3], 8, 16, strides=[2, 2, 2], pads=[1] * 6)
transposed("cube_plain", [3, 4, 5], [2, 2, 2], 8, 4, strides=[2, 2, 2])
transposed("cube_odd", [2, 3, 4], [3, 2, 4], 4, 16, strides=[1, 2, 3], pads=[1, 0, 2, 0, 1, 1])
transposed("cube_depthwise", [3, 3, 3], [2, 3, 2], 6, 1, strides=[2, 2, 2], group=6)
transposed("odd", [5, 6], [3, 3], 8, 16, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])
transposed("narrow", [5, 6], [3, 3], 8, 3, strides=[2, 2], pads=[1] * 4, output_padding=[0, 1])
transposed("depthwise", [7, 7], [4, 4], 12, 1, strides=[2, 2], pads=[1] * 4, group=12)
transposed("groups", [5, 5], [4, 4], 12, 2, strides=[2, 2], pads=[1] * 4, group=3)
transposed("groups_odd", [5, 5], [3, 3], 12, 20, strides=[2, 2], pads=[1] * 4, group=3)
transposed("groups_narrow", [5, 5], [3, 3], 12, 2, strides=[2, 2], pads=[1] * 4, group=3)
transposed("same", [6, 5], [3, 3], 4, 4, strides=[2, 2], auto_pad="SAME_UPPER")
transposed("shape", [6, 5], [4, 3], 4, 16, strides=[2, 2], output_shape=[13, 11])
transposed("dilated", [6, 5], [3, 3], 4, 16, dilations=[2, 3], pads=[2, 1, 1, 3])
transposed("dilated_strided", [6, 5], [3, 3], 4, 16, dilations=[3, 1], strides=[2, 2])
transposed("gaps", [6, 5], [1, 2], 4, 16, strides=[3, 3], output_padding=[2, 1])
transposed("beyond", [4, 4], [2, 2], 4, 4, strides=[2, 2], output_padding=[1, 1])
transposed("line", [30], [10], 8, 16, strides=[4], pads=[3, 3])
transposed("line_cut", [9], [3], 4, 4, strides=[1], pads=[5, 2])
transposed("pixel", [1, 1], [4, 4], 32, 16)


def line(name, size, kernel, **attrs):
    """A depthwise Conv over one axis with a long window."""
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], group=20, **attrs), helper.make_node("HardSwish", ["c"], ["y"])]
    write("line_" + name, nodes, floats(2, 20, size), {"w": floats(20, 1, kernel), "b": floats(20)})


line("same", 100, 31, pads=[15, 15])
line("causal", 90, 15, pads=[14, 0])
line("strided", 101, 25, pads=[12, 12], strides=[2])
line("dilated", 101, 10, pads=[18, 9], dilations=[3])


def volume(name, sizes, kernel, batch=1, **attrs):
    """A depthwise Conv over three axes, a bias and an activation."""
    constants = {"w": floats(20, 1, *kernel), "b": floats(20)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], group=20, **attrs), helper.make_node("HardSwish", ["c"], ["y"])]
    write("volume_" + name, nodes, floats(batch, 20, *sizes), constants)


volume("same", [4, 9, 8], [3, 3, 3], pads=[1] * 6)
volume("batch", [4, 9, 8], [3, 3, 3], batch=2, pads=[1] * 6)
volume("strided", [7, 9, 8], [3, 3, 3], pads=[1] * 6, strides=[2, 2, 2])
volume("dilated", [7, 9, 8], [3, 1, 2], pads=[2, 0, 0, 0, 0, 1], dilations=[2, 1, 1])
volume("plane", [4, 9, 8], [1, 5, 5], pads=[0, 2, 2, 0, 2, 2], batch=2)
volume("column", [9, 4, 5], [5, 1, 1], pads=[2, 0, 0, 2, 0, 0], strides=[2, 1, 1], batch=2)
volume("thin", [1, 9, 8], [3, 3, 3], pads=[1] * 6)


def norm(constants, i, channels, source, out):
    """A BatchNormalization with numbers of its own."""
    for n in ["scale", "bias", "mean"]:
        constants[f"{n}{i}"] = floats(channels)
    constants[f"var{i}"] = rng.uniform(0.5, 1.5, channels).astype(np.float32)
    return helper.make_node("BatchNormalization", [source] + [f"{n}{i}" for n in ["scale", "bias", "mean", "var"]], [out])


def parallel(name, group, stride, channels=24, kernels=((3, 3), (1, 1), (3, 1), (1, 3))):
    """A block as it is trained: convolutions of several windows and, where it fits, the input itself, each behind a norm of its own."""
    constants, nodes, terms = {}, [], []
    for i, (h, w) in enumerate(kernels):
        constants[f"w{i}"] = floats(channels, channels // group, h, w) / 4
        pads = [h // 2, w // 2, h // 2, w // 2]
        nodes.append(helper.make_node("Conv", ["x", f"w{i}"], [f"c{i}"], group=group, strides=[stride] * 2, pads=pads))
        nodes.append(norm(constants, i, channels, f"c{i}", f"n{i}"))
        terms.append(f"n{i}")
    if stride == 1:
        nodes.append(norm(constants, "x", channels, "x", "nx"))
        terms.insert(0, "nx")
    while len(terms) > 1:
        total = f"sum{len(terms)}"
        nodes.append(helper.make_node("Add", terms[:2], [total]))
        terms = [total] + terms[2:]
    nodes.append(helper.make_node("Relu", terms, ["y"]))
    write("parallel_" + name, nodes, floats(1, channels, 10, 9), constants)


parallel("dense", 1, 1)
parallel("strided", 1, 2)
parallel("groups", 4, 1)
parallel("depthwise", 24, 1)
parallel("repeated", 24, 1, kernels=((3, 3), (3, 3), (3, 3), (1, 1)))


def resized(name, sizes, to, **attrs):
    """A Resize to sizes, behind nothing and behind a convolution (channels last)."""
    full = np.array([1, 8, *to], np.int64)
    resize = helper.make_node("Resize", ["r", "", "", "sizes"], ["y"], **attrs)
    conv = helper.make_node("Conv", ["x", "w"], ["r"])
    write(f"resized_{name}_inside", [conv, resize], floats(1, 4, *sizes), {"sizes": full, "w": floats(8, 4, 1, 1)})
    edge = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attrs)
    write(f"resized_{name}", [edge], floats(1, 8, *sizes), {"sizes": full})


resized("antialias", [40, 61], [13, 17], mode="linear", antialias=1)
resized("antialias_wide", [12, 600], [30, 21], mode="linear", antialias=1)
resized("antialias_cubic", [40, 31], [16, 9], mode="cubic", antialias=1)
resized("cubic", [9, 10], [21, 17], mode="cubic", cubic_coeff_a=-0.5)
resized("cubic_corners", [9, 10], [21, 7], mode="cubic", coordinate_transformation_mode="align_corners")
resized("cubic_outside", [9, 10], [21, 27], mode="cubic", exclude_outside=1)


def best(name, shape, k, axis=-1, largest=1, equal=False):
    """A TopK; onnxruntime gives the first of equals too where it sorts."""
    x = np.round(floats(*shape) * 4) if equal else floats(*shape)
    node = helper.make_node("TopK", ["x", "k"], ["y", "i"], axis=axis, largest=largest)
    write("best_" + name, [node], x, {"k": np.array([k], np.int64)}, (("y", TensorProto.FLOAT), ("i", TensorProto.INT64)))


best("few", [3, 500], 20)
best("one", [3, 70], 1, largest=0)
best("all_few", [3, 20], 20)
best("middle", [5, 300, 2], 9, axis=1)
best("equal", [3, 500], 12, equal=True)
best("gathered", [2, 2000], 100)
best("gathered_least", [2, 2000], 40, largest=0, equal=True)
best("sorted", [2, 300], 100)

for act, attrs in [("Elu", {"alpha": 0.7}), ("Selu", {}), ("Celu", {"alpha": 0.6}), ("Softplus", {}), ("Mish", {}), ("Gelu", {}), ("Softsign", {})]:
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4), helper.make_node(act, ["c"], ["y"], **attrs)]
    write("behind_" + act.lower(), nodes, floats(1, 6, 9, 9), {"w": floats(10, 6, 3, 3)})
    write("alone_" + act.lower(), [helper.make_node(act, ["x"], ["y"], **attrs)], floats(37, 11) * 8)


def alone(name, op, x, constants=None, **attrs):
    """One operator with constants behind x."""
    write("alone_" + name, [helper.make_node(op, ["x", *(constants or {})], ["y"], **attrs)], x, constants)


# Some lanes need the long reduction, others do not; one row has none that does.
angles = floats(37, 11) * 20
angles[1::3, ::4] *= (10.0 ** rng.uniform(3, 30, angles[1::3, ::4].shape)).astype(np.float32)
for op in ["Sin", "Cos", "Tan"]:
    alone(op.lower(), op, angles)
    write("behind_" + op.lower(), [helper.make_node("Mul", ["x", "w"], ["c"]), helper.make_node(op, ["c"], ["d"]), helper.make_node("Add", ["d", "x"], ["y"])],
          floats(7, 5, 3, 19), {"w": floats(5, 1, 1) * 9000})
for op in ["Atan", "Asinh", "Sinh", "Cosh"]:
    alone(op.lower(), op, floats(37, 11) * 10)
for op in ["Asin", "Acos", "Atanh"]:
    alone(op.lower(), op, rng.uniform(-1, 1, (37, 11)).astype(np.float32))
alone("acosh", "Acosh", rng.uniform(1, 100, (37, 11)).astype(np.float32))
alone("pow", "Pow", np.abs(floats(37, 11)), {"z": floats(37, 11) * 5})
alone("pow_whole", "Pow", floats(37, 11), {"z": rng.integers(-5, 6, (37, 11)).astype(np.float32)})

for name, equation, x, w in [
    ("scores", "bhid,bhjd->bhij", [2, 3, 17, 8], [2, 3, 9, 8]),
    ("mixed", "bhij,bjhd->bihd", [2, 3, 17, 8], [2, 8, 3, 5]),
    ("relative", "bhwc,hkc->bhwk", [2, 5, 6, 8], [5, 7, 8]),
    ("several", "abcd,cde->eab", [3, 4, 5, 6], [5, 6, 7]),
    ("ellipsis", "...ij,...jk->...ik", [2, 3, 4, 5], [2, 3, 5, 6]),
    ("vector", "bij,bj->bi", [3, 7, 40], [3, 40]),
]:
    alone("einsum_" + name, "Einsum", floats(*x), {"w": floats(*w)}, equation=equation)
for axis in (0, 1, 2):
    alone(f"cumsum{axis}", "CumSum", floats(5, 9, 33), {"axis": np.array(axis)}, reverse=axis % 2, exclusive=int(axis == 1))
for mode in ("linear", "nearest", "cubic"):
    for padding in ("zeros", "border", "reflection"):
        grid = {"grid": rng.uniform(-1.3, 1.3, (2, 5, 7, 2)).astype(np.float32)}
        alone(f"grid_{mode}_{padding}", "GridSample", floats(2, 3, 6, 9), grid, mode=mode, padding_mode=padding, align_corners=int(padding == "border"))
grid = {"grid": rng.uniform(-1.3, 1.3, (1, 3, 5, 4, 3)).astype(np.float32)}
alone("grid_volume", "GridSample", floats(1, 4, 5, 6, 7), grid)
alone("global_average", "GlobalAveragePool", floats(2, 3, 9, 40))
alone("global_max", "GlobalMaxPool", floats(2, 3, 9, 40))
alone("lrn", "LRN", floats(2, 9, 5, 6), size=5)
alone("lrn_odd_exponent", "LRN", floats(2, 9, 5, 6), size=3, beta=0.6)
regions = np.sort(rng.uniform(-2, 40, (3, 2, 2)), 1).reshape(3, 4).astype(np.float32)
for ratio in (0, 1, 2, 3):
    for mode in ("avg", "max")[: 1 if ratio in (0, 3) else 2]:
        alone(f"roi{ratio}_{mode}", "RoiAlign", floats(2, 5, 20, 30), {"rois": regions, "batch": np.array([0, 1, 1])}, sampling_ratio=ratio, mode=mode,
              output_height=3, output_width=4, spatial_scale=0.7)


# Short rows are turned, one to each lane; behind them something else follows, or rows are few.
for n in (3, 7, 21, 49, 64):
    for op in ["Softmax", "LogSoftmax", "Hardmax"]:
        alone(f"rows_{op.lower()}{n}", op, floats(3, 47, n), axis=-1)
    for op in ["ReduceSum", "ReduceMax", "ReduceL2", "ReduceLogSum", "ReduceMean"]:
        alone(f"rows_{op.lower()}{n}", op, np.abs(floats(3, 47, n)), {"axes": np.array([-1])}, keepdims=0)
several = floats(150, 4, 3)
for op in ["ReduceMax", "ReduceMin", "ReduceProd"]:
    alone(f"rows_{op.lower()}_axes", op, several, {"axes": np.array([1, 2])})
ties = np.round(floats(70, 9) * 2)
ties[ties == 0] *= -1
alone("rows_hardmax_ties", "Hardmax", ties)
write("rows_softmax_tail", [helper.make_node("Softmax", ["x"], ["s"]), helper.make_node("Mul", ["s", "w"], ["y"])], floats(90, 11), {"w": floats(11)})

for size in (2, 3):
    for mode in ("DCR", "CRD"):
        alone(f"depth_to_space{size}{mode}", "DepthToSpace", floats(2, 5 * size * size, 4, 9), blocksize=size, mode=mode)
    alone(f"space_to_depth{size}", "SpaceToDepth", floats(2, 5, 4 * size, 9 * size), blocksize=size)

# Windows that look where they are told, across the border too.
for name, cin, cout, how in [("plain", 6, 9, {}), ("groups", 8, 10, {"group": 2, "offset_group": 4}), ("strided", 4, 5, {"strides": [2, 1], "dilations": [1, 2]})]:
    out = [5, 9] if name == "strided" else [9, 11]
    groups, taps = how.get("offset_group", 1), 9
    inputs = {"w": floats(cout, cin // how.get("group", 1), 3, 3), "offsets": floats(2, groups * taps * 2, *out) * 2}
    alone(f"deformed_{name}", "DeformConv", floats(2, cin, 9, 11), inputs, pads=[1] * 4, **how)
    inputs |= {"b": floats(cout), "mask": floats(2, groups * taps, *out)}
    nodes = [helper.make_node("DeformConv", ["x", *inputs], ["c"], pads=[1] * 4, **how), helper.make_node("Relu", ["c"], ["y"])]
    write(f"deformed_{name}_tail", nodes, floats(2, cin, 9, 11), inputs)

# To few channels, by vectors of columns.
transposed("few", [9, 33], [3, 3], 12, 3, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])
transposed("few_wide", [5, 40], [4, 4], 8, 3, strides=[2, 2], pads=[1] * 4)
transposed("few_large", [6, 35], [9, 9], 9, 1, strides=[3, 3], pads=[4] * 4, output_padding=[2, 2])
transposed("few_plain", [6, 32], [2, 2], 16, 2, strides=[2, 2])
transposed("few_odd", [6, 37], [5, 3], 8, 2, strides=[3, 2], pads=[0, 2, 1, 0])

# In 64 bits.
for t, name in [(TensorProto.INT64, "long"), (TensorProto.DOUBLE, "double"), (TensorProto.UINT32, "unsigned")]:
    nodes = [helper.make_node("Abs", ["x"], ["p"]), helper.make_node("Mul", ["p", "scale"], ["s"]), helper.make_node("Cast", ["s"], ["c"], to=t)]
    nodes += [helper.make_node("Mul", ["c", "c"], ["m"]), helper.make_node("Add", ["m", "k"], ["a"]), helper.make_node("Max", ["a", "k"], ["b"])]
    nodes += [helper.make_node("Greater", ["b", "c"], ["g"]), helper.make_node("Where", ["g", "b", "c"], ["z"]), helper.make_node("Cast", ["z"], ["y"], to=TensorProto.FLOAT)]
    k = np.array([9, 4, 100], helper.tensor_dtype_to_np_dtype(t)).reshape(3, 1)
    write(f"{name}_chain", nodes, floats(2, 3, 29), {"scale": np.array(20, np.float32), "k": k})
best_long = [helper.make_node("Cast", ["x"], ["l"], to=TensorProto.INT64), helper.make_node("TopK", ["l", "k"], ["v", "y"])]
write("best_long", best_long, np.round(floats(3, 400) * 20), {"k": np.array([7], np.int64)}, (("v", TensorProto.INT64), ("y", TensorProto.INT64)))

# Boxes in the order of their scores.
corners = np.sort(rng.uniform(0, 60, (2, 300, 2, 2)), 2).reshape(2, 300, 4).astype(np.float32)
for name, most, least in [("few", 20, 0.2), ("all", 300, None)]:
    numbers = {"boxes": corners, "most": np.array([most]), "overlap": np.array([0.3], np.float32)}
    if least is not None:
        numbers["least"] = np.array([least], np.float32)
    ins = ["boxes", "x", *list(numbers)[1:]]
    scores = np.round(rng.uniform(0, 1, (2, 3, 300)), 2).astype(np.float32)
    write(f"boxes_{name}", [helper.make_node("NonMaxSuppression", ins, ["y"])], scores, numbers, (("y", TensorProto.INT64),))

# Along an axis behind which others lie.
for op in ("Softmax", "LogSoftmax"):
    for name, shape, axis in [("map", (2, 5, 9, 7), 1), ("line", (3, 19, 130), 1), ("middle", (2, 6, 3, 20), 2), ("deep", (1, 70, 8), 1)]:
        alone(f"planes_{op.lower()}_{name}", op, floats(*shape) * 4, axis=axis)
write("planes_softmax_tail", [helper.make_node("Softmax", ["x"], ["s"], axis=1), helper.make_node("Mul", ["s", "w"], ["y"])], floats(2, 5, 30), {"w": floats(5, 1)})

# Gates of channels, whose means are made in shares: so many of a small map and of large ones, whose rows and channels do not come out even.
for channels, squeezed, sizes in [(20, 6, (6, 6)), (40, 12, (28, 29)), (24, 7, (33, 32)), (72, 18, (14, 14))]:
    constants = {"w": floats(channels, 3, 3, 3), "b": floats(channels), "w1": floats(squeezed, channels, 1, 1) / 4, "b1": floats(squeezed)}
    constants |= {"w2": floats(channels, squeezed, 1, 1), "b2": floats(channels)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4), helper.make_node("GlobalAveragePool", ["c"], ["m"])]
    nodes += [helper.make_node("Conv", ["m", "w1", "b1"], ["s"]), helper.make_node("Relu", ["s"], ["r"]), helper.make_node("Conv", ["r", "w2", "b2"], ["e"])]
    nodes += [helper.make_node("HardSigmoid", ["e"], ["g"], alpha=1 / 6, beta=0.5), helper.make_node("Mul", ["c", "g"], ["y"])]
    write(f"gates{channels}", nodes, floats(2, 3, *sizes), constants)

# Positions in short rows, as of deformable attention.
for padding in ("zeros", "border"):
    grid = {"grid": rng.uniform(-1.2, 1.2, (2, 30, 3, 2)).astype(np.float32)}
    alone(f"grid_short_{padding}", "GridSample", floats(2, 5, 6, 9), grid, padding_mode=padding)
grid = {"grid": rng.uniform(-1.2, 1.2, (1, 9, 5, 2, 3)).astype(np.float32)}
alone("grid_short_volume", "GridSample", floats(1, 4, 5, 6, 7), grid)
