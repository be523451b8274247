"""Convolutions some of whose taps only ever meet padding: dilated windows over small maps, windows over one row, odd strides and pads; and such of larger
maps, whose windows leave them at the edges alone.

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


def conv(name, sizes, kernel, dilations, pads, strides, group=1, channels=16, out=24, n=1, added=False):
    """The same window over floats and, for one group of two axes, over bytes with zero points; `added`: a map is added to that of floats."""
    shape, window = [n, channels, *sizes], [out, channels // group, *kernel]
    attrs = dict(dilations=dilations, pads=pads, strides=strides, group=group)
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal(window).astype(np.float32)
    b = rng.standard_normal(out).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["s"], **attrs)]
    constants = {"w": w, "b": b}
    if added:
        constants["v"] = rng.standard_normal(window).astype(np.float32)
        nodes += [helper.make_node("Conv", ["x", "v"], ["t"], **attrs), helper.make_node("Abs", ["t"], ["u"])]
        nodes += [helper.make_node("Add", ["s", "u"], ["a"])]
    nodes += [helper.make_node("Relu", ["a" if added else "s"], ["y"])]
    write(name, nodes, x, constants, TensorProto.FLOAT)
    if group > 1 or len(sizes) != 2:
        return
    x, w = rng.integers(0, 255, shape).astype(np.uint8), rng.integers(0, 255, window).astype(np.uint8)
    points = {"zx": np.array(101, np.uint8), "zw": np.array(77, np.uint8)}
    node = helper.make_node("ConvInteger", ["x", "w", "zx", "zw"], ["y"], **attrs)
    write(name + "_bytes", [node], x, {"w": w, **points}, TensorProto.INT32)
    if channels % 8 == 0:
        # Less their zero point they fit signed bytes, which machines multiply as they are.
        narrow = {"w": (w // 2).astype(np.uint8), "zx": points["zx"], "zw": np.array(64, np.uint8)}
        write(name + "_narrow", [node], x, narrow, TensorProto.INT32)


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
conv("edge_first", [32, 32], [3, 3], [1, 1], [1, 1, 1, 1], [2, 2], channels=3, out=32, n=2)
conv("edge_odd", [31, 33], [3, 3], [1, 1], [1, 1, 1, 1], [2, 2], channels=3, out=16, added=True)
conv("edge_same", [24, 30], [3, 3], [1, 1], [0, 0, 1, 1], [2, 2], channels=3)
conv("edge_ahead", [21, 26], [3, 3], [1, 1], [1, 1, 0, 0], [2, 2], channels=8, added=True)
conv("edge_wide", [40, 45], [5, 4], [1, 1], [3, 2, 4, 1], [1, 1], channels=4, out=20, n=2)
conv("edge_seven", [84, 76], [7, 7], [1, 1], [3, 3, 3, 3], [2, 2], channels=3, out=8)
conv("edge_rows", [40, 23], [3, 1], [1, 1], [2, 0, 1, 0], [1, 1], channels=8, out=7)
conv("edge_columns", [19, 40], [1, 3], [1, 1], [0, 1, 0, 2], [1, 2], channels=4)
conv("edge_steps", [33, 50], [2, 2], [1, 1], [1, 1, 1, 1], [3, 4], channels=8)
conv("edge_gaps", [60, 60], [3, 3], [2, 2], [2, 2, 2, 2], [1, 1], channels=8, out=5)
conv("edge_groups", [45, 44], [3, 4], [1, 1], [2, 2, 1, 1], [2, 1], group=2, added=True)
conv("edge_beyond", [30, 31], [2, 3], [1, 1], [3, 4, 3, 5], [1, 2], channels=4, n=2)
