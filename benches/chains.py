"""Compile time over the number of nodes: chains and ladders of 500, 2000, 8000 nodes.

    python3 benches/chains.py --onnxc target/release/onnxc [--nodes 500,2000,8000]

Needs the Python package `onnx`. `chain`: Conv, Relu in turn; `ladder`: the same with a residual Add over every second pair;
`skips`: every fourth value is kept for a Concat at the end of each run of 100.
"""
import argparse
import pathlib
import resource
import subprocess
import tempfile
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper


def model(kind, count):
    """A model of `count` nodes."""
    nodes, weights, kept = [], [], []
    shape = [1, 8, 8, 8]
    last, before = "x", "x"
    for k in range(count):
        out = f"v{k}"
        if kind == "skips" and k % 100 == 99:
            parts = kept[-25:] + [last]
            nodes.append(helper.make_node("Concat", parts, [out + "c"], axis=1, name=f"concat{k}"))
            w = np.full((8, 8 * len(parts), 1, 1), 0.01, np.float32)
            weights.append(numpy_helper.from_array(w, f"w{k}"))
            nodes.append(helper.make_node("Conv", [out + "c", f"w{k}"], [out], name=f"conv{k}"))
            kept.clear()
        elif kind == "ladder" and k % 4 == 3:
            nodes.append(helper.make_node("Add", [last, before], [out], name=f"add{k}"))
            before = out
        elif k % 2 == 0:
            w = np.full((8, 8, 1, 1), 0.1 + k / 1e6, np.float32)
            weights.append(numpy_helper.from_array(w, f"w{k}"))
            nodes.append(helper.make_node("Conv", [last, f"w{k}"], [out], name=f"conv{k}"))
        else:
            nodes.append(helper.make_node("Relu", [last], [out], name=f"relu{k}"))
        last = out
        if k % 4 == 1:
            kept.append(out)
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, kind, [port("x")], [port(last)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--onnxc", default="target/release/onnxc")
    p.add_argument("--nodes", default="500,2000,8000")
    p.add_argument("--kinds", default="chain,ladder,skips")
    a = p.parse_args()
    print(f"{'graph':<8} {'nodes':>6} {'seconds':>8} {'ms/node':>8} {'cpu s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for kind in a.kinds.split(","):
            for count in map(int, a.nodes.split(",")):
                path = pathlib.Path(folder) / "m.onnx"
                path.write_bytes(model(kind, count).SerializeToString())
                begin, cpu = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
                run = [a.onnxc, path, "-q", "-j", "1", "-o", path.with_suffix(".o")]
                subprocess.run(run, check=True)
                took, now = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
                user = now.ru_utime + now.ru_stime - cpu.ru_utime - cpu.ru_stime
                print(f"{kind:<8} {count:>6} {took:>8.2f} {1000 * took / count:>8.2f} {user:>8.2f}", flush=True)


main()
