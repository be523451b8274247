"""Convolutions some of whose taps only ever meet padding: dilated windows over small maps, windows over one row, odd strides and pads.

taps.py FOLDER: writes models NAME.onnx with what onnxruntime answers, NAME.npz.
"""
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(3)
TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}


def write(name, nodes, x, constants, out_type):
    """The model, and its answer to x."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TYPES[x.dtype], x.shape)],
        [helper.make_tensor_value_info("y", out_type, None)],
        [numpy_helper.from_array(v, n) for n, v in constants.items()],
    )
    path = f"{sys.argv[1]}/{name}"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path + ".onnx")
    session = ort.InferenceSession(path + ".onnx", providers=["CPUExecutionProvider"])
    np.savez(path + ".npz", c0_in0=x, c0_out0=session.run(None, {"x": x})[0])


def conv(name, sizes, kernel, dilations, pads, strides, group=1, channels=16):
    """The same window over floats and, for one group of two axes, over bytes with zero points."""
    shape, window = [1, channels, *sizes], [24, channels // group, *kernel]
    attrs = dict(dilations=dilations, pads=pads, strides=strides, group=group)
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal(window).astype(np.float32)
    b = rng.standard_normal(24).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["s"], **attrs), helper.make_node("Relu", ["s"], ["y"])]
    write(name, nodes, x, {"w": w, "b": b}, TensorProto.FLOAT)
    if group > 1 or len(sizes) != 2:
        return
    x, w = rng.integers(0, 255, shape).astype(np.uint8), rng.integers(0, 255, window).astype(np.uint8)
    points = {"zx": np.array(101, np.uint8), "zw": np.array(77, np.uint8)}
    node = helper.make_node("ConvInteger", ["x", "w", "zx", "zw"], ["y"], **attrs)
    write(name + "_bytes", [node], x, {"w": w, **points}, TensorProto.INT32)


for dilation in [3, 6, 8, 9, 12, 36]:
    conv(f"pyramid_{dilation}", [9, 8], [3, 3], [dilation] * 2, [dilation] * 4, [1, 1])
conv("row", [1, 20], [5, 3], [1, 1], [2, 1, 2, 1], [1, 1])
conv("pixel", [1, 1], [3, 3], [1, 1], [1, 1, 1, 1], [1, 1])
conv("strided", [7, 7], [3, 3], [6, 7], [6, 7, 6, 7], [2, 2])
conv("gaps", [2, 3], [6, 1], [1, 1], [5, 0, 4, 0], [4, 1])
conv("crop", [3, 6], [2, 2], [4, 6], [3, 5, 0, 0], [1, 1])
conv("groups", [6, 6], [3, 3], [6, 6], [6, 6, 6, 6], [1, 1], group=8)
conv("line", [10], [5], [5], [10, 10], [1])
conv("line_crop", [3], [2], [4], [3, 0], [1])
conv("cube", [2, 4, 4], [3, 3, 3], [2, 3, 4], [2, 3, 4, 2, 3, 4], [1, 1, 1])
conv("nothing", [3, 3], [2, 2], [9, 9], [5, 5, 2, 2], [1, 1])
