#!/usr/bin/env python3
"""Trains small networks on scikit-learn's digits and writes them with their data, for accuracy.py.

    pip install numpy scikit-learn torch onnx onnxscript
    python3 digits.py FOLDER [--seeds 0 1 2]

1,797 pictures of 8x8 grey values, 540 of them held out. The network is a depthwise separable CNN of some four thousand parameters: small
enough that every lost bit shows. For each seed the folder gets `digits{seed}.onnx`, and `skewed{seed}.onnx`: the same function, whose
channels between two layers are scaled by powers of two up to 2^5 either way. `test.npz` holds `image` and `labels`, `calib.npz` 200
training pictures.
"""

import argparse
import copy
import os

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn


def separable(c_in, c_out):
    return [
        nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in, bias=False),
        nn.BatchNorm2d(c_in),
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, 1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    ]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        *separable(16, 32),
        nn.MaxPool2d(2),
        *separable(32, 48),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 10),
    )


def train(net, x, y, epochs):
    opt = torch.optim.AdamW(net.parameters(), lr=8e-3, weight_decay=1e-3)
    batches = (len(x) + 63) // 64
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, 8e-3, epochs * batches)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(64):
            opt.zero_grad()
            nn.functional.cross_entropy(net(x[part]), y[part]).backward()
            opt.step()
            plan.step()
    net.eval()


def skew(net, rng):
    """Scales what a BatchNorm makes and divides it out of the layer that reads it: a Relu between them lets that pass."""
    layers = list(net)
    for i, layer in enumerate(layers):
        reader = next((l for l in layers[i + 1 :] if isinstance(l, (nn.Conv2d, nn.Linear))), None)
        between = layers[i + 1 : layers.index(reader)] if reader is not None else []
        if not isinstance(layer, nn.BatchNorm2d) or any(isinstance(l, nn.BatchNorm2d) for l in between):
            continue
        by = torch.tensor(2.0 ** rng.integers(-5, 6, layer.num_features), dtype=torch.float32)
        with torch.no_grad():
            layer.weight *= by
            layer.bias *= by
            depthwise = isinstance(reader, nn.Conv2d) and reader.groups > 1
            if depthwise:
                reader.weight /= by[:, None, None, None]
            elif isinstance(reader, nn.Conv2d):
                reader.weight /= by[None, :, None, None]
            else:
                reader.weight /= by[None, :]


def write(net, path):
    sample = torch.zeros(2, 1, 8, 8)
    torch.onnx.export(
        net,
        (sample,),
        path,
        input_names=["image"],
        output_names=["scores"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=18,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("folder")
    args.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args.add_argument("--epochs", type=int, default=40)
    args = args.parse_args()
    os.makedirs(args.folder, exist_ok=True)
    data = load_digits()
    x = (data.images / 16).astype(np.float32)[:, None]
    order = np.random.default_rng(7).permutation(len(x))
    test, fit = order[:540], order[540:]
    np.savez(os.path.join(args.folder, "test.npz"), image=x[test], labels=data.target[test].astype(np.int64))
    np.savez(os.path.join(args.folder, "calib.npz"), image=x[fit[:200]])
    for seed in args.seeds:
        torch.manual_seed(seed)
        net = network()
        train(net, torch.tensor(x[fit]), torch.tensor(data.target[fit]), args.epochs)
        with torch.no_grad():
            right = (net(torch.tensor(x[test])).argmax(1).numpy() == data.target[test]).mean()
        write(net, os.path.join(args.folder, f"digits{seed}.onnx"))
        print(f"seed {seed}: {sum(p.numel() for p in net.parameters())} parameters, top-1 {right:.4f}")
        skewed = copy.deepcopy(net)
        skew(skewed, np.random.default_rng(seed))
        write(skewed, os.path.join(args.folder, f"skewed{seed}.onnx"))


if __name__ == "__main__":
    main()
