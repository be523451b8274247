"""What onnx and onnxruntime say of a pruned file: that it is sound, how many multiply-accumulates it has beside the whole one, and what it computes.

usage: prune_oracle.py WHOLE.onnx PRUNED.onnx IO.npz [CASES.npz]

Writes IO.npz for `onnxc verify`: inputs (those of the first case of CASES.npz, or random ones) and onnxruntime's outputs of the pruned file. Prints both
counts of multiply-accumulates as JSON. Counts are made here from shapes that onnxruntime has computed, not by onnxc's rules.
"""

import json
import sys

import numpy as np
import onnx
import onnxruntime as ort

TYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8, "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}
COUNTED = {"Conv", "FusedConv", "ConvTranspose", "MatMul", "Gemm"}


def session(model):
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options)


def run(model, data):
    return session(model).run(None, data)


def inputs(model, cases):
    feed, rng = {}, np.random.default_rng(7)
    for k, i in enumerate(session(model).get_inputs()):
        key = f"c0_in{k}"
        if cases is not None and key in cases:
            feed[i.name] = cases[key]
            continue
        shape = [d if isinstance(d, int) and d > 0 else (1 if a == 0 else 64) for a, d in enumerate(i.shape)]
        dtype = TYPES[i.type]
        if np.issubdtype(dtype, np.integer):
            feed[i.name] = rng.integers(0, 60, shape).astype(dtype)
        else:
            feed[i.name] = rng.standard_normal(shape).astype(dtype)
    return feed


def macs(model, data):
    """Multiply-accumulates of a run, counted in computed shapes."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    known = {o.name for o in more.graph.output}
    weights = {i.name: list(i.dims) for i in more.graph.initializer}
    wanted = []
    for n in more.graph.node:
        if n.op_type in COUNTED:
            wanted += [v for v in (n.input[0], n.input[1], n.output[0]) if v and v not in weights]
    given = set(data)
    wanted = [v for v in dict.fromkeys(wanted) if v not in known and v not in given]
    for v in wanted:
        more.graph.output.append(onnx.ValueInfoProto(name=v))
    names = [o.name for o in more.graph.output]
    shapes = {n: np.shape(v) for n, v in zip(names, run(more, data))}
    shapes.update({n: np.shape(v) for n, v in data.items()})
    shapes.update(weights)
    total = 0
    for n in more.graph.node:
        if n.op_type not in COUNTED:
            continue
        x, w, y = (shapes[v] for v in (n.input[0], n.input[1], n.output[0]))
        turned = any(a.name == "transB" and a.i for a in n.attribute)
        if n.op_type in ("Conv", "FusedConv"):
            total += int(np.prod(y)) * int(np.prod(w[1:]))
        elif n.op_type == "ConvTranspose":
            total += int(np.prod(x)) * int(np.prod(w[1:]))
        else:
            total += int(np.prod(y)) * (w[-1] if turned else w[-2])
    return total


def main():
    whole, pruned = onnx.load(sys.argv[1]), onnx.load(sys.argv[2])
    cases = np.load(sys.argv[4]) if len(sys.argv) > 4 else None
    onnx.checker.check_model(pruned, full_check=True)
    data = inputs(pruned, cases)
    outputs = run(pruned, data)
    first = [i.name for i in session(pruned).get_inputs()]
    io = {f"c0_in{k}": data[n] for k, n in enumerate(first)}
    io.update({f"c0_out{k}": v for k, v in enumerate(outputs)})
    np.savez(sys.argv[3], **io)
    print(json.dumps({"whole": macs(whole, data), "pruned": macs(pruned, data)}))


main()
