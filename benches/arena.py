"""Arena and its lower bound (the largest live set of the order that is used), model by model.

    python3 benches/arena.py --onnxc target/release/onnxc --models DIR [-- FLAGS OF onnxc inspect ...]

DIR holds a folder per model with `model.onnx` and `io.json`; free sizes are those of case 0. Needs nothing but Python.
"""
import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import time


def inputs(folder):
    """`--input` words for the shapes of case 0."""
    case = json.loads((folder / "io.json").read_text())["cases"][0]
    for i in case["inputs"]:
        if i["shape"]:
            yield "--input"
            yield i["name"] + ":" + ",".join(map(str, i["shape"]))


def measure(onnxc, folder, flags):
    """Arena, lower bound, code and seconds; the tool's message where it fails."""
    begin = time.monotonic()
    run = subprocess.run([onnxc, "inspect", folder / "model.onnx", *inputs(folder), *flags], capture_output=True, text=True)
    took = time.monotonic() - begin
    found = re.search(r"code ([\d,]+) bytes\narena ([\d,]+) bytes \(the largest moment needs ([\d,]+)\)", run.stdout)
    if not found:
        return run.stderr.strip().splitlines()[:1]
    code, arena, least = (int(n.replace(",", "")) for n in found.groups())
    return arena, least, code, took


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--onnxc", default="target/release/onnxc")
    p.add_argument("--models", type=pathlib.Path, required=True)
    p.add_argument("flags", nargs="*")
    a = p.parse_args()
    ratios = []
    print(f"{'model':<24} {'arena':>12} {'lower bound':>12} {'ratio':>7} {'code':>10} {'seconds':>8}")
    for folder in sorted(a.models.iterdir()):
        if not (folder / "model.onnx").exists():
            continue
        m = measure(a.onnxc, folder, a.flags)
        if len(m) != 4:
            print(f"{folder.name:<24} {' '.join(m)}")
            continue
        ratios.append(m[0] / m[1])
        print(f"{folder.name:<24} {m[0]:>12,} {m[1]:>12,} {ratios[-1]:>7.3f} {m[2]:>10,} {m[3]:>8.2f}")
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else 0
    print(f"{len(ratios)} models, geometric mean {mean:.4f}, worst {max(ratios, default=0):.4f}")
    return 0


sys.exit(main())
