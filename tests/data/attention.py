#!/usr/bin/env python3
"""Writes attention.onnx: softmax(Q K / 2) V as exporters take it apart. `pip install onnx`."""
import os

from onnx import TensorProto, checker, helper, save

value = helper.make_tensor_value_info
graph = helper.make_graph(
    [
        helper.make_node("Transpose", ["k"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "turned"], ["scores"], "scores"),
        helper.make_node("Div", ["scores", "two"], ["scaled"], "scale"),
        helper.make_node("Softmax", ["scaled"], ["weights"], "softmax", axis=-1),
        helper.make_node("MatMul", ["weights", "v"], ["y"], "values"),
    ],
    "attention",
    [value(name, TensorProto.FLOAT, [2, 6, 4]) for name in "qkv"],
    [value("y", TensorProto.FLOAT, [2, 6, 4])],
    [helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
checker.check_model(model, full_check=True)
save(model, os.path.join(os.path.dirname(os.path.abspath(__file__)), "attention.onnx"))
