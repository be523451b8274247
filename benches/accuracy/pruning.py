#!/usr/bin/env python3
"""Accuracy of pruned models on labelled data: the first table of docs/pruning.md.

    pip install numpy onnx
    python3 pruning.py --onnxc PATH [--digits FOLDER] [--shared FOLDER] [--models RE] [--patterns RE] [-o table.csv]

FOLDER of --digits is what digits.py wrote (its networks are averaged); --shared has `models` and `data/labelled`. Each row is a model, a pattern and a
share: accuracy pruned without data (`l2`), judged by calibration data (`activation`), and reconstructed too (`fitted`). Calibration sees no label and
none of the cases that are measured.
"""

import argparse
import collections
import csv
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx

SHARES = ["0.5", "0.7", "0.8", "0.9"]
RECIPES = [("unstructured", s) for s in SHARES]
RECIPES += [("2:4", None)]
RECIPES += [("4x1", s) for s in SHARES]
RECIPES += [("channels", s) for s in ["0.25", *SHARES]]
HEADS = [("heads", "0.25"), ("heads", "0.5")]
HOW = {
    "l2": lambda calib: ["--criterion", "l2"],
    "activation": lambda calib: ["--calibration", *calib, "--no-reconstruct"],
    "fitted": lambda calib: ["--calibration", *calib],
}


def sets(args):
    """Name, model, calibration cases, measured cases, labels."""
    if args.digits:
        calib = np.load(os.path.join(args.digits, "calib.npz"))["image"][:150]
        test = np.load(os.path.join(args.digits, "test.npz"))
        for seed in range(10):
            path = os.path.join(args.digits, f"digits{seed}.onnx")
            if os.path.exists(path):
                yield "digits", path, calib, test["image"], test["labels"]
    if not args.shared:
        return
    data = os.path.join(args.shared, "data", "labelled")
    model = lambda name: os.path.join(args.shared, "models", name, "model.onnx")
    words = np.load(os.path.join(data, "kws_mfcc994.npz"))
    x = ((words["features"].astype(np.float32) - 83) * np.float32(0.5847029)).astype(np.float32)
    yield "kws_dscnn", model("kws_dscnn"), x[:200], x[200:], words["labels"][200:].astype(np.int64)
    calib = np.load(os.path.join(data, "cifar10_calib520.npz"))["images"][:200].astype(np.float32)
    test = np.load(os.path.join(data, "cifar10_test2000.npz"))
    pictures, labels = test["images"].astype(np.float32), test["labels"].astype(np.int64)
    yield "resnet8_cifar10", model("resnet8_cifar10"), calib, pictures, labels
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    normal = lambda x: ((x / 255 - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    yield "resnet20_cifar10", model("resnet20_cifar10"), normal(calib), normal(pictures), labels
    with open(os.path.join(data, "shakespeare_vocab.json")) as f:
        ids = {c: i for i, c in enumerate(json.load(f))}

    def windows(name, most):
        with open(os.path.join(data, name)) as f:
            text = np.array([ids[c] for c in f.read()], np.int64)
        n = min((len(text) - 1) // 128, most)
        return text[: n * 128].reshape(n, 128), text[1 : n * 128 + 1].reshape(n, 128)

    test, wanted = windows("shakespeare_test.txt", 10**6)
    yield "char_lm", model("char_lm"), windows("shakespeare_calib.txt", 150)[0], test, wanted


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def accuracy(tool, path, data):
    out = run([tool, "-q", "eval", path, "--data", data, "--json"])
    return 100 * float(re.search(r'"value":\s*([0-9.]+)', out)[1])


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--onnxc", default="onnxc")
    args.add_argument("--digits")
    args.add_argument("--shared")
    args.add_argument("--models", default=".", help="models whose name matches this regular expression")
    args.add_argument("--patterns", default=".", help="patterns whose name matches this regular expression")
    args.add_argument("-o", "--out")
    args = args.parse_args()
    sums = collections.defaultdict(list)
    for name, path, calib, x, labels in sets(args):
        if not re.search(args.models, name):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            port = onnx.load(path, load_external_data=False).graph.input[0].name
            data, cases, out = (os.path.join(scratch, f) for f in ("data.npz", "calib.npz", "p.onnx"))
            np.savez(data, **{port: x, "labels": labels})
            np.savez(cases, **{port: calib})
            sums[name, "whole", "", ""].append(accuracy(args.onnxc, path, data))
            for pattern, share in RECIPES + HEADS if name == "char_lm" else RECIPES:
                if not re.search(args.patterns, pattern):
                    continue
                for how, flags in HOW.items():
                    command = [args.onnxc, "-q", "prune", path, "-o", out, "--pattern", pattern]
                    command += ["--sparsity", share] if share else []
                    run(command + flags([cases, "--samples", str(len(calib))]))
                    sums[name, pattern, share or "", how].append(accuracy(args.onnxc, out, data))
                print(name, pattern, share, *(sums[name, pattern, share or "", how][-1] for how in HOW), flush=True)
    mean = lambda key: sum(sums[key]) / len(sums[key])
    rows = []
    for name, pattern, share, how in sums:
        if how != "fitted":
            continue
        whole, values = mean((name, "whole", "", "")), [mean((name, pattern, share, h)) for h in HOW]
        lost = whole - values[1]
        back = (values[2] - values[1]) / lost if lost > 0 else 1
        rows.append([name, pattern, share, *(f"{v:.2f}" for v in [whole, *values]), f"{100 * back:.0f}"])
    head = ["model", "pattern", "share", "whole", *HOW, "lost points that come back"]
    print(*["\t".join(r) for r in [head, *rows]], sep="\n")
    if args.out:
        with open(args.out, "w", newline="") as f:
            csv.writer(f).writerows([head, *rows])


if __name__ == "__main__":
    main()
