#!/usr/bin/env python3
"""Trains the small CNN of the examples and writes everything in this folder that is not written by hand.

    pip install numpy scikit-learn onnx onnxruntime pillow
    python3 train.py

The data are scikit-learn's digits: 1,797 pictures of 8x8 grey values. Three quarters train, the last quarter tests. Training is
plain numpy with a fixed seed; another version of numpy or another CPU may round differently and give other weights of the
same quality. Writes digits.onnx, test.npz (pictures, labels and onnxruntime's answers) and
pictures/*.png, pictures/*.pgm.
"""

import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits

HERE = os.path.dirname(os.path.abspath(__file__))
RNG = np.random.default_rng(1)
C1, C2 = 16, 32


def columns(x):
    """Patches of a 3x3 convolution with a border of zeros: [n, c, 8, 8] -> [n, 64, 9c]."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = [padded[:, :, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return np.stack(patches, axis=2).reshape(n, c * 9, h * w).transpose(0, 2, 1)


def image_of(cols, c):
    """The transpose of `columns`: adds patches up again."""
    n = cols.shape[0]
    patches = cols.transpose(0, 2, 1).reshape(n, c, 9, 8, 8)
    padded = np.zeros((n, c, 10, 10), np.float32)
    for k in range(9):
        i, j = divmod(k, 3)
        padded[:, :, i : i + 8, j : j + 8] += patches[:, :, k]
    return padded[:, :, 1:-1, 1:-1]


def forward(p, x):
    a1 = columns(x)
    h1 = np.maximum(a1 @ p["w1"] + p["b1"], 0)  # [n, 64, C1]
    a2 = columns(h1.transpose(0, 2, 1).reshape(-1, C1, 8, 8))
    h2 = np.maximum(a2 @ p["w2"] + p["b2"], 0)  # [n, 64, C2]
    grid = h2.transpose(0, 2, 1).reshape(-1, C2, 4, 2, 4, 2)
    pooled = grid.max(axis=(3, 5))  # [n, C2, 4, 4]
    flat = pooled.reshape(-1, C2 * 16)
    return flat @ p["w3"] + p["b3"], (a1, h1, a2, h2, grid, pooled, flat)


def backward(p, saved, d_logits):
    a1, h1, a2, h2, grid, pooled, flat = saved
    g = {"w3": flat.T @ d_logits, "b3": d_logits.sum(0)}
    d_pooled = (d_logits @ p["w3"].T).reshape(pooled.shape)
    winners = grid == pooled[:, :, :, None, :, None]
    d_grid = winners * d_pooled[:, :, :, None, :, None] / winners.sum(axis=(3, 5), keepdims=True)
    d2 = d_grid.reshape(-1, C2, 64).transpose(0, 2, 1) * (h2 > 0)
    g["w2"], g["b2"] = np.einsum("nik,nio->ko", a2, d2), d2.sum((0, 1))
    d1 = image_of(d2 @ p["w2"].T, C1).reshape(-1, C1, 64).transpose(0, 2, 1) * (h1 > 0)
    g["w1"], g["b1"] = np.einsum("nik,nio->ko", a1, d1), d1.sum((0, 1))
    return g


def shifted(x):
    """Each picture moved by up to a pixel: the training set is small."""
    out = np.zeros_like(x)
    for n, (dy, dx) in enumerate(RNG.integers(-1, 2, (len(x), 2))):
        out[n, 0] = np.roll(x[n, 0], (dy, dx), (0, 1))
    return out


def train(x, y):
    def init(rows, cols):
        return (RNG.standard_normal((rows, cols)) * np.sqrt(2 / rows)).astype(np.float32)

    p = {"w1": init(9, C1), "w2": init(9 * C1, C2), "w3": init(16 * C2, 10)}
    p |= {"b1": np.zeros(C1, np.float32), "b2": np.zeros(C2, np.float32), "b3": np.zeros(10, np.float32)}
    m, v = ({k: np.zeros_like(w) for k, w in p.items()} for _ in range(2))
    step, epochs, batch = 0, 40, 48
    for epoch in range(epochs):
        order = RNG.permutation(len(x))
        for at in range(0, len(x), batch):
            some = order[at : at + batch]
            images = shifted(x[some]) if epoch % 2 else x[some]
            logits, saved = forward(p, images)
            e = np.exp(logits - logits.max(1, keepdims=True))
            d = e / e.sum(1, keepdims=True)
            d[np.arange(len(some)), y[some]] -= 1
            step += 1
            rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * epoch / epochs))
            for k, g in backward(p, saved, d / len(some)).items():  # Adam, with weight decay
                g = g + 1e-4 * p[k]
                m[k] = 0.9 * m[k] + 0.1 * g
                v[k] = 0.999 * v[k] + 0.001 * g * g
                update = m[k] / (1 - 0.9**step) / (np.sqrt(v[k] / (1 - 0.999**step)) + 1e-8)
                p[k] = (p[k] - rate * update).astype(np.float32)
    return p


def model(p):
    weights = {
        "conv1.weight": p["w1"].T.reshape(C1, 1, 3, 3),
        "conv1.bias": p["b1"],
        "conv2.weight": p["w2"].T.reshape(C2, C1, 3, 3),
        "conv2.bias": p["b2"],
        "fc.weight": p["w3"].T,
        "fc.bias": p["b3"],
    }
    same = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight", "conv1.bias"], ["c1"], "conv1", **same),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", **same),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("MaxPool", ["r2"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
        helper.make_node("Softmax", ["logits"], ["scores"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 10])],
        [numpy_helper.from_array(np.ascontiguousarray(w), k) for k, w in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def main():
    digits = load_digits()
    grey, labels = digits.images.astype(np.uint8), digits.target
    x = (grey[:, None] / 16).astype(np.float32)
    cut = len(x) * 3 // 4
    p = train(x[:cut], labels[:cut])
    logits, _ = forward(p, x[cut:])
    print(f"{np.mean(logits.argmax(1) == labels[cut:]):.4f} of {len(x) - cut} test pictures right")

    path = os.path.join(HERE, "digits.onnx")
    onnx.save(model(p), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    scores = np.concatenate([session.run(None, {"image": x[i : i + 1]})[0] for i in range(cut, len(x))])
    np.savez_compressed(
        os.path.join(HERE, "test.npz"), images=grey[cut:], labels=labels[cut:].astype(np.uint8), scores=scores
    )
    os.makedirs(os.path.join(HERE, "pictures"), exist_ok=True)
    for digit in range(10):
        first = cut + int(np.argmax(labels[cut:] == digit))
        picture = Image.fromarray(np.rint(grey[first] * (255 / 16)).astype(np.uint8))
        picture.save(os.path.join(HERE, "pictures", f"{digit}.png"))
        with open(os.path.join(HERE, "pictures", f"{digit}.pgm"), "w") as text:
            rows = "\n".join(" ".join(f"{v:2}" for v in row) for row in grey[first])
            text.write(f"P2\n8 8\n16\n{rows}\n")


main()
