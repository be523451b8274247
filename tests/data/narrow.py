"""Writes narrow_*.onnx and narrow_*.npz: products whose weights are narrow whole numbers, and what onnxruntime 1.32.0 makes of them.

`onnxc verify tests/data/narrow_lstm.onnx --reference tests/data/narrow_lstm.npz` compares.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent
RNG = np.random.default_rng(4)
F32 = TensorProto.FLOAT


def scales(*shape):
    return RNG.uniform(0.002, 0.02, shape).astype(np.float32)


def floats(*shape):
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def write(name, nodes, consts, ins, outs, opset=21):
    """`ins`: name -> shape; `consts`: name -> array or tensor."""
    inits = [numpy_helper.from_array(v, k) if isinstance(v, np.ndarray) else v for k, v in consts.items()]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(k, F32, s) for k, s in ins.items()],
        [helper.make_tensor_value_info(k, F32, s) for k, s in outs.items()],
        inits,
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(model, HERE / f"narrow_{name}.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    cases = {}
    for c in range(2):
        data = {k: floats(*s) for k, s in ins.items()}
        cases |= {f"c{c}_in{i}": v for i, v in enumerate(data.values())}
        cases |= {f"c{c}_out{i}": v for i, v in enumerate(session.run(None, data))}
    np.savez(HERE / f"narrow_{name}.npz", **cases)


def dequantize(x, out, zero=True, **attrs):
    ins = [x, f"{x}_scale"] + ([f"{x}_zero"] if zero else [])
    return helper.make_node("DequantizeLinear", ins, [out], **attrs)


def nibbles(name, values, dtype):
    flat = values.reshape(-1).astype(np.int64) & 15
    if len(flat) % 2:
        flat = np.append(flat, 0)
    packed = (flat[::2] | flat[1::2] << 4).astype(np.uint8)
    return helper.make_tensor(name, dtype, values.shape, packed.tobytes(), raw=True)


# Bytes: signed with a scale for each column; unsigned, transposed, with zero points that differ; one scale, full range.
write(
    "int8",
    [
        dequantize("w", "w_real", zero=False, axis=1),
        helper.make_node("MatMul", ["x", "w_real"], ["y0"]),
        helper.make_node("Add", ["y0", "bias"], ["y1"]),
        helper.make_node("Relu", ["y1"], ["y2"]),
        dequantize("v", "v_real", axis=0),
        helper.make_node("Gemm", ["y2", "v_real", "bias2"], ["y3"], transB=1),
        helper.make_node("Tanh", ["y3"], ["y4"]),
        dequantize("u", "u_real"),
        helper.make_node("MatMul", ["y4", "u_real"], ["y"]),
    ],
    {
        "w": RNG.integers(-127, 128, (75, 131)).astype(np.int8),
        "w_scale": scales(131),
        "bias": floats(131),
        "v": RNG.integers(0, 256, (103, 131)).astype(np.uint8),
        "v_scale": scales(103) / 4,
        "v_zero": RNG.integers(90, 160, 103).astype(np.uint8),
        "bias2": floats(103),
        "u": RNG.integers(0, 256, (103, 96)).astype(np.uint8),
        "u_scale": scales(),
        "u_zero": np.array(117, np.uint8),
    },
    {"x": [1, 75]},
    {"y": [1, 96]},
)

# Four bits: MatMulNBits with and without zero points, the last block not whole.
k, n, block = 150, 97, 32
blocks = -(-k // block)
write(
    "nbits",
    [
        helper.make_node("MatMulNBits", ["x", "b", "s", "z"], ["y0"], domain="com.microsoft", K=k, N=n, bits=4, block_size=block),
        helper.make_node("Sigmoid", ["y0"], ["y1"]),
        helper.make_node("MatMulNBits", ["y1", "b2", "s2"], ["y"], domain="com.microsoft", K=n, N=160, bits=4, block_size=16),
    ],
    {
        "b": RNG.integers(0, 256, (n, blocks, block // 2)).astype(np.uint8),
        "s": scales(n * blocks) * 8,
        "z": RNG.integers(0, 256, n * -(-blocks // 2)).astype(np.uint8),
        "b2": RNG.integers(0, 256, (160, 7, 8)).astype(np.uint8),
        "s2": scales(160 * 7) * 8,
    },
    {"x": [1, k]},
    {"y": [1, 160]},
)

# Four bits behind DequantizeLinear: blocks along K, signed; for columns, unsigned with zero points.
write(
    "int4",
    [
        dequantize("w", "w_real", zero=False, axis=0, block_size=48),
        helper.make_node("MatMul", ["x", "w_real"], ["y0"]),
        helper.make_node("Relu", ["y0"], ["y1"]),
        dequantize("v", "v_real", axis=1),
        helper.make_node("MatMul", ["y1", "v_real"], ["y"]),
    ],
    {
        "w": nibbles("w", RNG.integers(-8, 8, (144, 121)), TensorProto.INT4),
        "w_scale": scales(3, 121) * 8,
        "v": nibbles("v", RNG.integers(0, 16, (121, 110)), TensorProto.UINT4),
        "v_scale": scales(110) * 8,
        "v_zero": nibbles("v_zero", RNG.integers(0, 16, 110), TensorProto.UINT4),
    },
    {"x": [1, 144]},
    {"y": [1, 110]},
)

# Recurrent cells: weights of bytes, a step at a time; both directions of the second share their scales.
write(
    "lstm",
    [
        dequantize("w", "w_real", zero=False, axis=1),
        dequantize("r", "r_real", zero=False, axis=1),
        helper.make_node("LSTM", ["x", "w_real", "r_real", "b"], ["", "h"], hidden_size=72),
        helper.make_node("Transpose", ["h"], ["h1"], perm=[0, 1, 2]),
        dequantize("gw", "gw_real", axis=1),
        dequantize("gr", "gr_real", axis=1),
        helper.make_node("GRU", ["h1", "gw_real", "gr_real"], ["", "y"], hidden_size=70, direction="bidirectional", linear_before_reset=1),
    ],
    {
        "w": RNG.integers(-127, 128, (1, 288, 40)).astype(np.int8),
        "w_scale": scales(288),
        "r": RNG.integers(-127, 128, (1, 288, 72)).astype(np.int8),
        "r_scale": scales(288) / 4,
        "b": floats(1, 576) / 4,
        "gw": RNG.integers(0, 256, (2, 210, 72)).astype(np.uint8),
        "gw_scale": scales(210),
        "gw_zero": np.full(210, 128, np.uint8),
        "gr": RNG.integers(0, 256, (2, 210, 70)).astype(np.uint8),
        "gr_scale": scales(210) / 4,
        "gr_zero": RNG.integers(100, 150, 210).astype(np.uint8),
    },
    {"x": [1, 1, 40]},
    {"y": [2, 1, 70]},
)
