#!/usr/bin/env python3
"""Accuracy of onnxc's quantization beside onnxruntime.quantization: the same float file, the same calibration data, the same labels.

    pip install numpy onnx onnxruntime
    python3 accuracy.py --onnxc PATH --digits FOLDER [--shared FOLDER] [-o table.csv]

FOLDER of --digits is what digits.py wrote; --shared has `models` and `data/labelled`. Files of both quantizers are measured by `onnxc eval`,
whose integers are exact; those of onnxruntime by onnxruntime too (column `ort`), whose byte products may saturate. Prints one line for each
model and recipe, and means over the seeds of the digits.
"""

import argparse
import collections
import csv
import json
import os
import re
import subprocess
import tempfile

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime import quantization as oq
from onnxruntime.quantization.shape_inference import quant_pre_process

OURS = {
    "int8": ["--precision", "int8"],
    "int8 mse": ["--precision", "int8", "--calibration-method", "mse"],
    "int4": ["--precision", "int4"],
    "int4 gptq": ["--precision", "int4", "--weight-rounding", "gptq"],
    "int4 adaround": ["--precision", "int4", "--weight-rounding", "adaround"],
    "w4a8": ["--precision", "w4a8"],
    "w4a8 gptq": ["--precision", "w4a8", "--weight-rounding", "gptq"],
    "w4a8 adaround": ["--precision", "w4a8", "--weight-rounding", "adaround"],
    "w3a8 gptq": ["--precision", "w4a8", "--weight-bits", "3", "--weight-rounding", "gptq"],
    "w3a8 adaround": ["--precision", "w4a8", "--weight-bits", "3", "--weight-rounding", "adaround"],
    "int8 equalize": ["--precision", "int8", "--equalize"],
    "int8 per-tensor": ["--precision", "int8", "--per-tensor"],
    "int8 per-tensor equalize": ["--precision", "int8", "--per-tensor", "--equalize"],
}
THEIRS = {
    "ort s8s8 minmax": (oq.QuantType.QInt8, oq.QuantType.QInt8, oq.CalibrationMethod.MinMax),
    "ort s8s8 entropy": (oq.QuantType.QInt8, oq.QuantType.QInt8, oq.CalibrationMethod.Entropy),
    "ort s8s8 percentile": (oq.QuantType.QInt8, oq.QuantType.QInt8, oq.CalibrationMethod.Percentile),
    "ort u8s8 minmax": (oq.QuantType.QUInt8, oq.QuantType.QInt8, oq.CalibrationMethod.MinMax),
    "ort s8s4 minmax": (oq.QuantType.QInt8, oq.QuantType.QInt4, oq.CalibrationMethod.MinMax),
}


class Cases(oq.CalibrationDataReader):
    def __init__(self, name, cases):
        self.feeds = iter([{name: c[None]} for c in cases])

    def get_next(self):
        return next(self.feeds, None)


def digits(folder):
    calib = np.load(os.path.join(folder, "calib.npz"))["image"]
    test = np.load(os.path.join(folder, "test.npz"))
    for kind in ("digits", "skewed"):
        for seed in range(10):
            path = os.path.join(folder, f"{kind}{seed}.onnx")
            if os.path.exists(path):
                yield kind, path, calib, test["image"], test["labels"]


def shared(folder):
    data = os.path.join(folder, "data", "labelled")
    model = lambda name: os.path.join(folder, "models", name, "model.onnx")
    calib = np.load(os.path.join(data, "cifar10_calib520.npz"))["images"][:200].astype(np.float32)
    test = np.load(os.path.join(data, "cifar10_test2000.npz"))
    pictures, labels = test["images"].astype(np.float32), test["labels"].astype(np.int64)
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    normal = lambda x: ((x / 255 - mean) / deviation).transpose(0, 3, 1, 2).astype(np.float32)
    yield "resnet20", model("resnet20_cifar10"), normal(calib), normal(pictures), labels
    yield "resnet8", model("resnet8_cifar10"), calib, pictures, labels
    words = np.load(os.path.join(data, "kws_mfcc994.npz"))
    x = ((words["features"].astype(np.float32) - 83) * np.float32(0.5847029)).astype(np.float32)
    yield "kws_dscnn", model("kws_dscnn"), x[:200], x[200:], words["labels"][200:].astype(np.int64)


def by_onnxc(tool, model, x, labels, scratch):
    name = onnx.load(model, load_external_data=False).graph.input[0].name
    np.savez(os.path.join(scratch, "eval.npz"), **{name: x, "labels": labels})
    run = subprocess.run(
        [tool, "-q", "eval", model, "--data", os.path.join(scratch, "eval.npz"), "--json"], capture_output=True, text=True
    )
    if run.returncode:
        return None
    return re.search(r'"value":\s*([0-9.]+)', run.stdout)[1]


def by_ort(model, x, labels):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    scores = [session.run(None, {feed: c[None]})[0] for c in x]
    return float((np.concatenate(scores).reshape(len(x), -1).argmax(1) == labels).mean())


def quantize_ours(tool, model, calib, flags, out, scratch):
    name = onnx.load(model, load_external_data=False).graph.input[0].name
    path = os.path.join(scratch, "calib.npz")
    np.savez(path, **{name: calib})
    run = subprocess.run(
        [tool, "-q", "quantize", model, "-o", out, "--calibration", path, "--samples", str(len(calib)), *flags],
        capture_output=True,
        text=True,
    )
    return None if run.returncode == 0 else run.stderr.strip().splitlines()[0]


def quantize_theirs(model, calib, how, out, scratch):
    activation, weight, method = how
    ready = os.path.join(scratch, "ready.onnx")
    # Shape inference of the peer fails on some files; the optimized file alone is what its guide asks for.
    quant_pre_process(model, ready, skip_symbolic_shape=True)
    name = ort.InferenceSession(ready, providers=["CPUExecutionProvider"]).get_inputs()[0].name
    oq.quantize_static(
        ready,
        out,
        Cases(name, calib),
        quant_format=oq.QuantFormat.QDQ,
        per_channel=True,
        activation_type=activation,
        weight_type=weight,
        calibrate_method=method,
    )


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--onnxc", default="onnxc")
    args.add_argument("--digits")
    args.add_argument("--shared")
    args.add_argument("--only", help="recipes whose name matches this regular expression")
    args.add_argument("--models", help="models whose name matches this regular expression")
    args.add_argument("-o", "--out")
    args = args.parse_args()
    rows, sums = [], collections.defaultdict(list)
    sets = [*(digits(args.digits) if args.digits else []), *(shared(args.shared) if args.shared else [])]
    for name, model, calib, x, labels in sets:
        if args.models and not re.search(args.models, name):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            out = os.path.join(scratch, "q.onnx")

            def note(recipe, ours, theirs=None, why=""):
                rows.append([name, os.path.basename(os.path.dirname(model)) + "/" + os.path.basename(model), recipe, ours, theirs, why])
                sums[name, recipe].append((ours, theirs))
                print(*[("" if v is None else v) for v in rows[-1]], sep="\t", flush=True)

            note("float", float(by_onnxc(args.onnxc, model, x, labels, scratch)), by_ort(model, x, labels))
            for recipe, flags in OURS.items():
                if args.only and not re.search(args.only, recipe):
                    continue
                why = quantize_ours(args.onnxc, model, calib, flags, out, scratch)
                value = None if why else by_onnxc(args.onnxc, out, x, labels, scratch)
                try:
                    theirs = None if why else by_ort(out, x, labels)
                except Exception as e:
                    theirs, why = None, str(e).splitlines()[0][:100]
                note(recipe, value and float(value), theirs, why or "")
            for recipe, how in THEIRS.items():
                if args.only and not re.search(args.only, recipe):
                    continue
                try:
                    quantize_theirs(model, calib, how, out, scratch)
                    value, theirs, why = by_onnxc(args.onnxc, out, x, labels, scratch), by_ort(out, x, labels), ""
                except Exception as e:
                    value, theirs, why = None, None, str(e).splitlines()[0][:100]
                note(recipe, value and float(value), theirs, why)
    print("\nmeans:")
    for (name, recipe), values in sums.items():
        mean = lambda k: np.mean([v[k] for v in values]) if all(v[k] is not None for v in values) else float("nan")
        print(f"{name:10} {recipe:26} onnxc {mean(0):.4f}   onnxruntime {mean(1):.4f}   ({len(values)})")
    if args.out:
        with open(args.out, "w", newline="") as f:
            csv.writer(f).writerows([["set", "model", "recipe", "onnxc", "onnxruntime", "error"], *rows])


if __name__ == "__main__":
    main()
