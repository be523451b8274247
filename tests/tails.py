"""Convolutions and products with long tails: many tensors of the result's size, and of its channels, meet a sum before it is stored.

tails.py FOLDER: writes so many models NAME.onnx with what onnxruntime answers, NAME.npz.
"""
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(7)


def sums(shape):
    """Floats around 0."""
    return rng.standard_normal(shape).astype(np.float32)


def model(name, kind, wide, narrow, single, bytes_too):
    """`kind`: the operator in front; then so many tensors of full size, of channels, and numbers, by turns added and multiplied."""
    channels, size = {"product": (40, None)}.get(kind, (20, 9))
    if kind == "product":
        shape, x = [14, channels], [14, 24]
        node = helper.make_node("MatMul", ["x", "w"], ["v0"])
        w = sums([24, channels])
        along = [channels]
    else:
        shape, x = [1, channels, size, size], [1, channels, size, size]
        group, k = {"depthwise": (channels, 3), "point": (1, 1), "winograd": (1, 3), "grouped": (4, 3), "dilated": (1, 3), "wide": (channels, 5)}[kind]
        apart = 2 if kind == "dilated" else 1
        node = helper.make_node("Conv", ["x", "w"], ["v0"], group=group, pads=[k // 2 * apart] * 4, dilations=[apart] * 2)
        w = sums([channels, channels // group, k, k])
        along = [channels, 1, 1]
    inputs, constants, at = {"x": sums(x)}, {"w": w}, 0
    # What inside a network lies as the results do: tensors of full size come first.
    nodes = []
    if kind != "product":
        for i in range(wide):
            constants[f"w{i}"] = sums([channels, 1, 1, 1])
            nodes.append(helper.make_node("Conv", ["x", f"w{i}"], [f"t{i}"], group=channels))
    nodes.append(node)

    def step(op, other):
        nonlocal at
        nodes.append(helper.make_node(op, [f"v{at}", other], [f"v{at + 1}"]))
        at += 1

    for i in range(max(wide, narrow, single)):
        if i < wide:
            name_of = f"t{i}"
            if kind != "product":
                pass
            elif bytes_too and i % 2:
                inputs[name_of] = rng.integers(0, 255, shape).astype(np.uint8)
                nodes.append(helper.make_node("Cast", [name_of], [name_of + "_float"], to=TensorProto.FLOAT))
                name_of += "_float"
            else:
                inputs[name_of] = sums(shape)
            step("Add" if i % 3 else "Max", name_of)
        if i < narrow:
            constants[f"c{i}"] = sums(along) * 0.5
            step("Mul" if i % 2 else "Add", f"c{i}")
        if i < single:
            inputs[f"s{i}"] = sums([1])
            step("Add", f"s{i}")
    types = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(n, types[v.dtype], v.shape) for n, v in inputs.items()],
        [helper.make_tensor_value_info(f"v{at}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    path = f"{sys.argv[1]}/{name}"
    onnx.save(made, path + ".onnx")
    session = ort.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
    answer = session.run(None, inputs)[0]
    arrays = {f"c0_in{i}": v for i, v in enumerate(inputs.values())}
    np.savez(path + ".npz", c0_out0=answer, **arrays)


for kind in ["depthwise", "wide", "point", "winograd", "grouped", "dilated", "product"]:
    for wide, narrow, single in [(3, 0, 0), (4, 3, 1), (6, 5, 4), (2, 8, 0), (1, 2, 7)]:
        for bytes_too in [False, True] if kind == "product" else [False]:
            model(f"{kind}_{wide}_{narrow}_{single}_{int(bytes_too)}", kind, wide, narrow, single, bytes_too)
