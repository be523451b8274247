#!/usr/bin/env python3
"""Writes onset.onnx, a model with state: it hears where a sound begins.

    pip install numpy onnx onnxruntime
    python3 make.py

Its weights are not trained but chosen: two GRU cells follow the loudness, one slowly (the background) and one fast, and a sound
begins where the fast one leaves the slow one behind. Prints the onsets that onnxruntime finds in the signal of main.c, which the
README quotes.
"""

import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
FRAME, RATE = 160, 16000


def model():
    f = np.float32
    # Gates z, r, h of two cells. z is constant: 0.98 keeps the slow cell, 0.5 the fast one; h is tanh(0.15 loudness + 1).
    w = np.array([[[0], [0], [0], [0], [0.15], [0.15]]], f)
    r = np.zeros((1, 6, 2), f)
    b = np.array([[4, 0, 0, 0, 1, 1] + [0] * 6], f)
    constants = {
        "floor": np.array(1e-6, f),
        "sequence": np.array([1, 1, 1], np.int64),
        "w": w,
        "r": r,
        "b": b,
        "difference": np.array([[-20], [20]], f),
        "threshold": np.array([-5], f),
        "cells": np.array([1, 2], np.int64),
    }
    nodes = [
        helper.make_node("Mul", ["frame", "frame"], ["square"], "square"),
        helper.make_node("ReduceMean", ["square"], ["energy"], "energy", axes=[1], keepdims=1),
        helper.make_node("Add", ["energy", "floor"], ["above"], "floor"),
        helper.make_node("Log", ["above"], ["loudness"], "loudness"),
        helper.make_node("Reshape", ["loudness", "sequence"], ["step"], "step"),
        helper.make_node("GRU", ["step", "w", "r", "b", "", "state"], ["", "state_out"], "followers", hidden_size=2),
        helper.make_node("Reshape", ["state_out", "cells"], ["levels"], "levels"),
        helper.make_node("Gemm", ["levels", "difference", "threshold"], ["excess"], "excess"),
        helper.make_node("Sigmoid", ["excess"], ["onset"], "onset"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "onset",
        [value("frame", TensorProto.FLOAT, [1, FRAME]), value("state", TensorProto.FLOAT, [1, 1, 2])],
        [value("onset", TensorProto.FLOAT, [1, 1]), value("state_out", TensorProto.FLOAT, [1, 1, 2])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made


def signal():
    """The two seconds that main.c makes: quiet noise with three tones in it."""
    seed, out = 1, np.zeros(2 * RATE, np.float32)
    for n in range(len(out)):
        seed = (seed * 1103515245 + 12345) % 2**32
        out[n] = ((seed >> 16) % 1024 - 512) / np.float32(262144)
        tone = 8000 <= n < 10400 or 16000 <= n < 17600 or 25600 <= n < 27200
        if tone:
            out[n] += np.float32(0.125 if n // 18 % 2 else -0.125)
    return out


def main():
    path = os.path.join(HERE, "onset.onnx")
    onnx.save(model(), path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state, before = np.full((1, 1, 2), -0.5, np.float32), False
    for n, frame in enumerate(signal().reshape(-1, 1, FRAME)):
        onset, state = session.run(None, {"frame": frame, "state": state})
        if onset[0, 0] > 0.5 and not before:
            print(f"{n * FRAME / RATE:.2f}")
        before = onset[0, 0] > 0.5


main()
