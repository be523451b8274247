"""Transposed convolutions, average pools with uneven windows, choices between quantized numbers, and planes that grow, with answers from their
definitions over real numbers, rounded once.

byte_windows.py FOLDER: writes models NAME.onnx and NAME.npz.
"""
import itertools
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(23)
TYPES = {"u8": (np.uint8, TensorProto.UINT8, 0, 255), "i8": (np.int8, TensorProto.INT8, -128, 127)}


class Model:
    """Quantized inputs, nodes between them, and what comes out quantized."""

    def __init__(self):
        self.nodes, self.constants, self.inputs, self.arrays = [], {}, [], {}

    def constant(self, name, value):
        self.constants[name] = np.asarray(value)
        return name

    def node(self, op, ins, out, **attrs):
        self.nodes.append(helper.make_node(op, ins, [out], **attrs))
        return out

    def dequantized(self, name, q, scale, zero, axis=None):
        ins = [q, self.constant(name + "_s", np.float32(scale)), self.constant(name + "_z", zero)]
        return self.node("DequantizeLinear", ins, name, **({} if axis is None else {"axis": axis}))

    def input(self, name, kind, shape, scale):
        """A quantized input. Gives its real numbers too."""
        numpy_type, onnx_type, lo, hi = TYPES[kind]
        zero = int(rng.integers(lo + 30, hi - 30))
        q = rng.integers(lo, hi + 1, shape).astype(numpy_type)
        self.inputs.append(helper.make_tensor_value_info("q" + name, onnx_type, shape))
        self.arrays[f"c0_in{len(self.inputs) - 1}"] = q
        self.dequantized(name, "q" + name, scale, np.array(zero, numpy_type))
        return name, (q.astype(float) - zero) * float(np.float32(scale))

    def store(self, name, value, real, kind, scale, opset=17):
        numpy_type, onnx_type, lo, hi = TYPES[kind]
        zero = int(rng.integers(lo + 60, hi - 60))
        self.node("QuantizeLinear", [value, self.constant("ys", np.float32(scale)), self.constant("yz", np.array(zero, numpy_type))], "out")
        out = np.clip(np.rint(real / float(np.float32(scale))) + zero, lo, hi).astype(numpy_type)
        graph = helper.make_graph(
            self.nodes,
            name,
            self.inputs,
            [helper.make_tensor_value_info("out", onnx_type, out.shape)],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        onnx.checker.check_model(made, full_check=True)
        path = f"{sys.argv[1]}/{name}"
        onnx.save(made, path + ".onnx")
        np.savez(path + ".npz", c0_out0=out, **self.arrays)


def transposed(x, w, bias, strides, pads, dilations, extra, group):
    """Every input adds its window to the output; the padding is cut off."""
    n, cin, *sizes = x.shape
    per, kernel = w.shape[1], w.shape[2:]
    axes = range(len(sizes))
    whole = [(sizes[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 + extra[i] for i in axes]
    y = np.zeros([n, per * group, *whole])
    for k in itertools.product(*map(range, kernel)):
        at = tuple(slice(k[i] * dilations[i], k[i] * dilations[i] + (sizes[i] - 1) * strides[i] + 1, strides[i]) for i in axes)
        for g in range(group):
            own = slice(g * cin // group, (g + 1) * cin // group)
            y[(slice(None), slice(g * per, (g + 1) * per), *at)] += np.einsum("nc...,cm->nm...", x[:, own], w[(own, slice(None), *k)])
    cut = tuple(slice(pads[i], whole[i] - pads[len(sizes) + i]) for i in axes)
    return y[(slice(None), slice(None), *cut)] + bias.reshape(-1, *[1] * len(sizes))


def conv_transpose(name, kinds, shape, cout, kernel, strides, pads, group=1, dilations=None, extra=None, channels=True, tail=None, floats=False):
    m, n = Model(), len(kernel)
    dilations, extra = dilations or [1] * n, extra or [0] * n
    x, xr = m.input("x", kinds[0], shape, 0.03)
    per = cout // group
    numpy_type, _, lo, hi = TYPES[kinds[1]]
    q = rng.integers(lo, hi + 1, [shape[1], per, *kernel]).astype(numpy_type)
    scale = rng.uniform(0.002, 0.02, per if channels else ()).astype(np.float32)
    zero = rng.integers(lo, hi + 1, per if channels else ()).astype(numpy_type) if kinds[1] == "u8" else np.zeros(per if channels else (), numpy_type)
    along = (1, -1) + (1,) * n if channels else ()
    wr = (q.astype(float) - zero.astype(float).reshape(along)) * scale.astype(float).reshape(along)
    along = 1 if channels else None
    # Some files keep the floats, and quantize them.
    stored = m.constant("wq", wr.astype(np.float32) if floats else q)
    if floats:
        ins = [stored, m.constant("w_s", scale), m.constant("w_z", zero)]
        stored = m.node("QuantizeLinear", ins, "w_stored", **({} if along is None else {"axis": along}))
    w = m.dequantized("w", stored, scale, zero, along)
    bias = rng.standard_normal(cout).astype(np.float32)
    attrs = dict(strides=strides, pads=pads, group=group, dilations=dilations, output_padding=extra, kernel_shape=kernel)
    y = m.node("ConvTranspose", [x, w, m.constant("b", bias)], "y", **attrs)
    real = transposed(xr, wr, bias.astype(float), strides, pads, dilations, extra, group)
    if tail == "Relu":
        y, real = m.node("Relu", [y], "z"), np.maximum(real, 0)
    if tail == "PRelu":
        slopes = rng.uniform(0.05, 0.9, [cout] + [1] * n).astype(np.float32)
        y, real = m.node("PRelu", [y, m.constant("slopes", slopes)], "z"), np.where(real < 0, real * slopes.astype(float), real)
    m.store(name, y, real, kinds[2], float(real.std()) / 40)


def moved(name, kind, op, attrs, how, ins=(), columns=10):
    """A sum, limited, and moved before it is quantized."""
    m = Model()
    a, ar = m.input("a", kind, [1, 6, 8, columns], 0.03)
    b, br = m.input("b", kind, [1, 6, 8, columns], 0.05)
    y = m.node("Relu", [m.node("Add", [a, b], "sum")], "limited")
    ins = [m.constant(f"i{k}", v) for k, v in enumerate(ins)]
    m.store(name, m.node(op, [y, *ins], "moved", **attrs), how(np.maximum(ar + br, 0)), kind, 0.06)


for kind in ["u8", "i8"]:
    pads = np.array([0, 0, 1, 2, 0, 0, 1, 2])
    around = [(0, 0), (0, 0), (1, 1), (2, 2)]
    moved(f"moved_reflect_{kind}", kind, "Pad", {"mode": "reflect"}, lambda x: np.pad(x, around, "reflect"), [pads])
    moved(f"moved_pad_{kind}", kind, "Pad", {}, lambda x: np.pad(x, around), [pads])
    moved(f"moved_largest_{kind}", kind, "MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}, lambda x: x.reshape(1, 6, 4, 2, 5, 2).max((3, 5)))
    moved(f"moved_slice_{kind}", kind, "Slice", {}, lambda x: x[:, :, 1:7:2], [np.array([1]), np.array([7]), np.array([2]), np.array([2])])
    for step in [2, 3, 4]:
        ends = [np.array(v) for v in ([1, step - 1], [6, 75], [2, 3], [2, step])]
        moved(f"moved_columns_{step}_{kind}", kind, "Slice", {}, lambda x: x[:, :, 1:6:2, step - 1 : 75 : step], ends, columns=77)
    moved(f"moved_gather_{kind}", kind, "Gather", {"axis": 1}, lambda x: x[:, [5, 0, 0]], [np.array([5, 0, 0])])

for kinds in [("u8", "i8", "u8"), ("i8", "i8", "i8"), ("u8", "u8", "i8")]:
    end = "_".join(kinds)
    conv_transpose(f"transposed_2x2_{end}", kinds, [1, 24, 7, 9], 20, [2, 2], [2, 2], [0] * 4)
    conv_transpose(f"transposed_4x4_{end}", kinds, [2, 16, 6, 6], 8, [4, 4], [2, 2], [1] * 4, tail="Relu")
    conv_transpose(f"transposed_3x3_{end}", kinds, [1, 32, 5, 8], 32, [3, 3], [2, 2], [1] * 4, extra=[1, 1], tail="PRelu")
    conv_transpose(f"transposed_few_{end}", kinds, [1, 16, 8, 8], 3, [3, 3], [2, 2], [1] * 4, extra=[1, 0], channels=False)
    conv_transpose(f"transposed_groups_{end}", kinds, [1, 16, 6, 6], 24, [3, 2], [2, 2], [1, 0, 1, 0], group=4)
    conv_transpose(f"transposed_depthwise_{end}", kinds, [1, 16, 6, 7], 16, [4, 4], [2, 2], [1] * 4, group=16)
    conv_transpose(f"transposed_floats_{end}", kinds, [1, 16, 6, 6], 24, [3, 2], [2, 2], [1, 0, 1, 0], floats=True)
    conv_transpose(f"transposed_line_{end}", kinds, [1, 16, 33], 12, [8], [4], [2, 2])
    conv_transpose(f"transposed_volume_{end}", kinds, [1, 8, 3, 4, 5], 8, [2, 2, 2], [2, 2, 2], [0] * 6)
    conv_transpose(f"transposed_dense_{end}", kinds, [1, 12, 6, 6], 10, [3, 3], [1, 1], [1] * 4, dilations=[2, 2])


def pool(name, kinds, shape, kernel, strides, pads, counts, ceil):
    """Each window's mean: `counts`, of padding too, but never of what `ceil` adds beyond it."""
    m, (h, w) = Model(), shape[2:]
    x, xr = m.input("x", kinds[0], shape, 0.03)
    attrs = dict(kernel_shape=kernel, strides=strides, pads=pads, count_include_pad=counts, ceil_mode=ceil)
    y = m.node("AveragePool", [x], "y", **attrs)

    def windows(size, i):
        span = size + pads[i] + pads[2 + i] - kernel[i]
        n = (-(-span // strides[i]) if ceil else span // strides[i]) + 1
        # A window that would begin in the padding behind is none.
        n -= ceil and (n - 1) * strides[i] >= size + pads[i]
        for o in range(n):
            first = o * strides[i] - pads[i]
            inside = [p for p in range(first, first + kernel[i]) if 0 <= p < size]
            counted = min(first + kernel[i], size + pads[2 + i]) - first
            yield inside, counted if counts else len(inside)

    rows, columns = list(windows(h, 0)), list(windows(w, 1))
    real = np.stack([np.stack([xr[:, :, r][:, :, :, c].sum((2, 3)) / (m1 * m2) for c, m2 in columns], -1) for r, m1 in rows], -2)
    m.store(name, y, real, kinds[1], 0.02, opset=19)


for kinds in [("u8", "u8"), ("i8", "i8")]:
    end = "_".join(kinds)
    pool(f"pool_padded_{end}", kinds, [1, 19, 9, 11], [3, 3], [1, 1], [1] * 4, 0, 0)
    pool(f"pool_counted_{end}", kinds, [1, 19, 9, 11], [3, 3], [2, 2], [1] * 4, 1, 0)
    pool(f"pool_ceil_even_{end}", kinds, [1, 16, 8, 8], [2, 2], [2, 2], [0] * 4, 0, 1)
    pool(f"pool_ceil_odd_{end}", kinds, [2, 16, 7, 9], [2, 2], [2, 2], [0] * 4, 0, 1)
    pool(f"pool_ceil_padded_{end}", kinds, [1, 8, 8, 10], [3, 3], [2, 2], [1] * 4, 1, 1)
    pool(f"pool_one_side_{end}", kinds, [1, 8, 9, 9], [5, 4], [1, 2], [2, 0, 2, 3], 0, 0)


def chosen(name, op, kinds, how, known=None):
    """Max and Min of two quantized values or of one and a constant, and Where."""
    m = Model()
    a, ar = m.input("a", kinds[0], [2, 13, 5], 0.03)
    b, br = m.input("b", kinds[1], [1, 13, 1], 0.045)
    ins, reals = [a, b], [ar, br]
    if known is not None:
        ins.append(m.constant("c", known.astype(np.float32)))
        reals.append(known.astype(np.float32).astype(float))
    if op == "Where":
        choice = rng.integers(0, 2, [2, 13, 5]).astype(bool)
        ins.insert(0, m.constant("choice", choice))
        real = np.where(choice, ar, br)
    else:
        real = how(how(reals[0], reals[1]), reals[-1])
    m.store(name, m.node(op, ins, "y"), real, kinds[2], 0.037)


for kinds in itertools.product(["u8", "i8"], repeat=3):
    end = "_".join(kinds)
    for op, how in [("Max", np.maximum), ("Min", np.minimum)]:
        chosen(f"{op.lower()}_{end}", op, kinds, how)
        chosen(f"{op.lower()}_three_{end}", op, kinds, how, rng.standard_normal([13, 5]))
    chosen(f"where_{end}", "Where", kinds, None)

# A power whose exponent is quantized, as onnxruntime's quantizer leaves it.
for kind in ["u8", "i8"]:
    m = Model()
    x, xr = m.input("x", kind, [3, 40], 0.02)
    two = m.dequantized("two", m.constant("two_q", np.array(127, np.int8)), 2 / 127, np.array(0, np.int8))
    power = 127 * float(np.float32(2 / 127))
    shifted = m.node("Abs", [x], "abs")
    m.store(f"power_{kind}", m.node("Pow", [shifted, two], "y"), np.abs(xr) ** power, kind, 0.03)


def along(x, axis, times, mode):
    """An axis grown by whole times: each element repeated, or lines between the middles of elements (half_pixel)."""
    if mode == "nearest":
        return np.repeat(x, times, axis)
    n = x.shape[axis]
    at = np.clip((np.arange(n * times) + 0.5) / times - 0.5, 0, n - 1)
    low = np.floor(at).astype(int)
    part = (at - low).reshape([-1] + [1] * (x.ndim - 1 - axis))
    return np.take(x, low, axis) * (1 - part) + np.take(x, np.minimum(low + 1, n - 1), axis) * part


def resized(name, kind, sizes, times, mode):
    """Planes of bytes that grow; weights are powers of two, so that numbers in the middle between two bytes are such."""
    numpy_type, onnx_type, lo, hi = TYPES[kind]
    x = rng.integers(lo, hi + 1, [2, 3, *sizes]).astype(numpy_type)
    real = x.astype(float)
    for axis, grown in enumerate(times):
        real = along(real, axis + 2, grown, mode)
    out = np.rint(real).astype(numpy_type)
    how = dict(nearest_mode="floor", coordinate_transformation_mode="asymmetric") if mode == "nearest" else {}
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode, **how)
    info = [helper.make_tensor_value_info(n, onnx_type, v.shape) for n, v in [("x", x), ("y", out)]]
    scales = numpy_helper.from_array(np.array([1, 1, *times], np.float32), "scales")
    made = helper.make_model(
        helper.make_graph([node], name, info[:1], info[1:], [scales]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    onnx.save(made, f"{sys.argv[1]}/{name}.onnx")
    np.savez(f"{sys.argv[1]}/{name}.npz", c0_in0=x, c0_out0=out)


for kind in ["u8", "i8"]:
    for sizes, times in [([5, 3], (2, 2)), ([9, 17], (2, 4)), ([4, 40], (1, 2)), ([7, 16], (4, 1))]:
        for mode in ["nearest", "linear"]:
            resized(f"resized_{mode}_{sizes[1]}_{kind}", kind, sizes, times, mode)
    resized(f"resized_lines_{kind}", kind, [3, 31], (5, 3), "nearest")
