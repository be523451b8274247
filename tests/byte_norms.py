"""Normalizations, softmaxes, reductions and quotients between quantized numbers, with answers from their definitions over real numbers, rounded once.

byte_norms.py FOLDER: writes models NAME.onnx and NAME.npz; those of layer normalizations begin with `layer`.
"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(11)
TYPES = {"u8": (np.uint8, TensorProto.UINT8, 0, 255), "i8": (np.int8, TensorProto.INT8, -128, 127)}


def batch_norm(x, p):
    shape = [1, -1] + [1] * (x.ndim - 2)
    by = p["scale"].astype(float) / np.sqrt(p["var"].astype(float) + 1e-5)
    return x * by.reshape(shape) + (p["bias"] - p["mean"].astype(float) * by).reshape(shape)


def layer_norm(axes):
    def of(x, p):
        axis = tuple(range(x.ndim - axes, x.ndim))
        mean = x.mean(axis=axis, keepdims=True)
        var = ((x - mean) ** 2).mean(axis=axis, keepdims=True)
        return (x - mean) / np.sqrt(var + float(np.float32(1e-5))) * p["scale"] + p.get("bias", 0)

    return of


def instance_norm(x, p):
    axis, along = tuple(range(2, x.ndim)), [-1] + [1] * (x.ndim - 2)
    mean = x.mean(axis=axis, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(var + float(np.float32(1e-5))) * p["scale"].reshape(along) + p["bias"].reshape(along)


def divided(a, b):
    """0 divided by anything is 0; all else divided by 0 goes beyond any bound."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a == 0, 0, a / b)


def softmax(axis):
    def of(x, p):
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    return of


def model(name, op, attrs, shape, params, real, types, y_scale, relu=False, other=None, out=None):
    """`other`: shape of a second quantized operand. `out`: that of the result, where it is another."""
    (xt, xo, lo, hi), (yt, yo, ylo, yhi) = TYPES[types[0]], TYPES[types[1]]
    scale, zero = np.float32(0.037), int(rng.integers(lo, hi))
    y_zero = int(rng.integers(ylo + 60, yhi - 60)) if op != "Softmax" else ylo
    params = {k: v.astype(np.float32) if v.dtype != np.int64 else v for k, v in params.items()}
    constants = {"xs": scale, "xz": np.array(zero, xt), "ys": np.float32(y_scale), "yz": np.array(y_zero, yt), **params}
    nodes, inputs = [], [helper.make_tensor_value_info("q", xo, shape)]
    if other:
        constants |= {"os": np.float32(0.029), "oz": np.array(rng.integers(lo, hi), xt)}
        nodes.append(helper.make_node("DequantizeLinear", ["r", "os", "oz"], ["o"]))
        inputs.append(helper.make_tensor_value_info("r", xo, other))
    nodes += [
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["x"]),
        helper.make_node(op, ["x", *(["o"] if other else []), *params], ["y"], **attrs),
    ]
    if relu:
        nodes.append(helper.make_node("Relu", ["y"], ["z"]))
    nodes.append(helper.make_node("QuantizeLinear", ["z" if relu else "y", "ys", "yz"], ["out"]))
    graph = helper.make_graph(
        nodes,
        name,
        inputs,
        [helper.make_tensor_value_info("out", yo, shape if out is None else out)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    path = f"{sys.argv[1]}/{name}"
    onnx.save(made, path + ".onnx")
    q = rng.integers(lo, hi + 1, shape).astype(xt)
    x = (q.astype(float) - zero) * float(scale)
    arrays = {"c0_in0": q}
    if other:
        r = arrays["c0_in1"] = rng.integers(lo, hi + 1, other).astype(xt)
        y = real(x, (r.astype(float) - float(constants["oz"])) * float(constants["os"]))
    else:
        y = real(x, params)
    if relu:
        y = np.maximum(y, 0)
    y = np.clip(np.rint(y / float(np.float32(y_scale))) + y_zero, ylo, yhi).astype(yt)
    np.savez(path + ".npz", c0_out0=y, **arrays)


def floats(n):
    return rng.standard_normal(n) * 0.7 + 0.2


for types in [("u8", "u8"), ("i8", "i8"), ("u8", "i8"), ("i8", "u8")]:
    end = "_".join(types)
    for c, rest in [(1, [5, 7]), (19, [3, 5]), (70, []), (33, [9])]:
        p = {"scale": floats(c), "bias": floats(c), "mean": floats(c), "var": rng.uniform(0.3, 2, c)}
        for relu in [False, True]:
            name = f"batch_{c}_{len(rest)}_{int(relu)}_{end}"
            model(name, "BatchNormalization", {}, [2, c, *rest], p, batch_norm, types, 0.041, relu)
    for shape, axes in [([5, 96], 1), ([3, 7, 20], 1), ([4, 9, 13], 2), ([2, 1500], 1), ([2, 3, 40, 41], 2)]:
        own = shape[len(shape) - axes :]
        p = {"scale": floats(own)}
        if axes == 1:
            p["bias"] = floats(own)
        model(f"layer_{len(shape)}_{axes}_{shape[-1]}_{end}", "LayerNormalization", {"axis": -axes}, shape, p, layer_norm(axes), types, 0.021)
    for shape, axis in [([6, 64], -1), ([3, 5, 257], 2), ([40, 10], -1), ([2, 70, 3], 1), ([4, 1000], 1)]:
        model(f"soft_{len(shape)}_{axis}_{shape[-1]}_{end}", "Softmax", {"axis": axis}, shape, {}, softmax(axis), types, 1 / 256)
    for shape in [[2, 7, 5, 9], [1, 32, 50], [1, 4, 40, 41]]:
        p = {"scale": floats(shape[1]), "bias": floats(shape[1])}
        model(f"instance_{len(shape)}_{shape[-1]}_{end}", "InstanceNormalization", {}, shape, p, instance_norm, types, 0.021, relu=shape[1] == 32)
    for shape, other in [([3, 9, 20], [3, 9, 20]), ([2, 5, 6, 7], [2, 5, 1, 1]), ([1, 40], [30, 40])]:
        model(f"quotient_{len(shape)}_{end}", "Div", {}, shape, {}, divided, types, 0.043, other=other, out=np.broadcast_shapes(shape, other))
    for op, shape, axes, keep in [("ReduceL2", [2, 19, 6, 5], (2, 3), 1), ("ReduceL2", [7, 80], (1,), 0), ("ReduceSum", [3, 6, 40], (2,), 1)]:
        of = {"ReduceL2": lambda x, axes: np.sqrt((x**2).sum(axes)), "ReduceSum": lambda x, axes: x.sum(axes)}[op]
        out = list(np.zeros(shape).sum(axes, keepdims=bool(keep)).shape)
        # The axes of ReduceSum are an input, those of ReduceL2 were an attribute up to opset 17.
        how, p = ({}, {"axes": np.array(axes)}) if op == "ReduceSum" else ({"axes": axes}, {})
        model(f"{op.lower()}_{len(shape)}_{end}", op, {"keepdims": keep, **how}, shape, p, lambda x, p: of(x, axes).reshape(out), types, 0.4, out=out)
