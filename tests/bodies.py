"""Makes a network with layers in bodies: an If with a convolution in each branch, one of which gives on what it captures, too; a Loop whose body multiplies its
state, with an If inside; a Scan over rows. Around them two convolutions and a product.

usage: bodies.py FOLDER

Writes model.onnx, and yes.npz and no.npz: inputs (`c0_in0`) that take either branch. The oracle of tests/pruning.rs runs them.
"""

import os
import sys

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

rng = np.random.default_rng(5)
F = T.FLOAT


def weight(name, *shape):
    scale = 1 / np.sqrt(np.prod(shape[1:]))
    return nh.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)


def value(name, *shape, dtype=F):
    return h.make_tensor_value_info(name, dtype, list(shape))


def number(name, v, dtype):
    return nh.from_array(np.array(v, dtype), name)


def branch(name, shape, more):
    nodes = [h.make_node("Conv", ["b", name + "_w"], [name + "_y"], pads=[shape[2] // 2] * 4), *more]
    outs = [value(name + "_y", 1, 8, 6, 6), value(name + "_z", 1, 8, 6, 6)]
    return h.make_graph(nodes, name, [], outs, [weight(name + "_w", *shape)])


def main(folder):
    yes = branch("yes", (8, 8, 1, 1), [h.make_node("Identity", ["b"], ["yes_z"])])
    no = branch("no", (8, 8, 3, 3), [h.make_node("Add", ["b", "no_y"], ["no_z"])])
    inner_yes = h.make_graph([h.make_node("Relu", ["l_m"], ["iy"])], "inner_yes", [], [value("iy", 1, 16)])
    inner_no = h.make_graph(
        [h.make_node("MatMul", ["l_m", "inner_w"], ["in_"])], "inner_no", [], [value("in_", 1, 16)], [weight("inner_w", 16, 16)]
    )
    loop = h.make_graph(
        [
            h.make_node("MatMul", ["l_s", "loop_w"], ["l_m"]),
            h.make_node("If", ["cond"], ["l_i"], then_branch=inner_yes, else_branch=inner_no),
            # What it captures is a constant of the graph around.
            h.make_node("MatMul", ["l_i", "shared_w"], ["l_o"]),
            h.make_node("Identity", ["l_c"], ["l_c2"]),
        ],
        "loop",
        [value("l_k", dtype=T.INT64), value("l_c", dtype=T.BOOL), value("l_s", 1, 16)],
        [value("l_c2", dtype=T.BOOL), value("l_o", 1, 16), value("l_m", 1, 16)],
        [weight("loop_w", 16, 16)],
    )
    scan = h.make_graph(
        [
            h.make_node("Gemm", ["s_x", "scan_w"], ["s_y"], transB=1),
            h.make_node("Add", ["s_s", "s_y"], ["s_o"]),
            h.make_node("Identity", ["s_o"], ["s_r"]),
        ],
        "scan",
        [value("s_s", 1, 16), value("s_x", 1, 16)],
        [value("s_o", 1, 16), value("s_r", 1, 16)],
        [weight("scan_w", 16, 16)],
    )
    nodes = [
        h.make_node("Conv", ["x", "a_w"], ["a0"], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["a0"], ["a"]),
        h.make_node("Conv", ["a", "b_w"], ["b"], pads=[1, 1, 1, 1]),
        h.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        h.make_node("Greater", ["sum", "zero"], ["cond"]),
        h.make_node("If", ["cond"], ["y", "z"], then_branch=yes, else_branch=no),
        h.make_node("Add", ["y", "z"], ["yz"]),
        h.make_node("GlobalAveragePool", ["yz"], ["p"]),
        h.make_node("Flatten", ["p"], ["f"]),
        h.make_node("MatMul", ["f", "f_w"], ["g"]),
        h.make_node("MatMul", ["g", "shared_w"], ["s0"]),
        h.make_node("Loop", ["three", "", "s0"], ["s1", "all"], body=loop),
        h.make_node("Scan", ["s1", "all"], ["s2", "rows"], body=scan, num_scan_inputs=1),
        h.make_node("Add", ["s2", "s0"], ["out"]),
    ]
    weights = [weight("a_w", 16, 4, 3, 3), weight("b_w", 8, 16, 3, 3), weight("f_w", 8, 16), weight("shared_w", 16, 16)]
    weights += [number("zero", 0, np.float32), number("three", 3, np.int64)]
    outs = [value("out", 1, 16), value("rows", 3, 1, 16)]
    graph = h.make_graph(nodes, "bodies", [value("x", 1, 4, 6, 6)], outs, weights)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, os.path.join(folder, "model.onnx"))
    x = np.abs(rng.standard_normal((1, 4, 6, 6))).astype(np.float32)
    np.savez(os.path.join(folder, "yes.npz"), c0_in0=x)
    np.savez(os.path.join(folder, "no.npz"), c0_in0=-x)
    np.savez(os.path.join(folder, "calib.npz"), x=np.stack([x[0], -x[0], x[0] * 0.5, -x[0] * 0.7]))


main(sys.argv[1])
