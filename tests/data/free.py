#!/usr/bin/env python3
"""Writes free.onnx: a free size, outputs whose sizes follow from it, and one whose size follows from data. `pip install onnx`."""
import os

from onnx import TensorProto, checker, helper, save

value = helper.make_tensor_value_info
graph = helper.make_graph(
    [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Concat", ["x", "r"], ["doubled"], "concat", axis=1),
        helper.make_node("NonZero", ["r"], ["found"], "nonzero"),
        helper.make_node("Gather", ["x", "index"], ["picked"], "gather", axis=1),
    ],
    "free",
    [value("x", TensorProto.FLOAT, [1, "N"]), value("index", TensorProto.INT64, [2])],
    [
        value("doubled", TensorProto.FLOAT, [1, None]),
        value("found", TensorProto.INT64, [2, None]),
        value("picked", TensorProto.FLOAT, [1, 2]),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model, full_check=True)
save(model, os.path.join(os.path.dirname(os.path.abspath(__file__)), "free.onnx"))
