#!/usr/bin/env python3
"""Lays NAME.onnx + NAME.io (the generator's form) out as NAME/model.onnx + NAME/io.npz, which `onnxc bench DIR` reads.

    python bodies.py FROM TO      (needs numpy; models are linked, not copied)
"""
import os
import sys
from pathlib import Path

import numpy as np

CODE = {"f32": np.float32, "i64": np.int64, "i32": np.int32, "u8": np.uint8, "i8": np.int8}


def arrays(io):
    """The inputs and reference outputs that io.txt lists; references are stored as f32 whatever their type."""
    out, count = {}, {"in": 0, "out": 0}
    for line in (io / "io.txt").read_text().splitlines():
        kind, rest = line.split(" ", 1)
        _, code, shape, file = rest.rsplit(" ", 3)
        shape = [int(n) for n in shape.split(",") if n]
        stored = CODE[code] if kind == "in" else np.float32
        a = np.fromfile(io / file, stored).reshape(shape).astype(CODE[code])
        out[f"c0_{kind}{count[kind]}"] = a
        count[kind] += 1
    return out


def main():
    source, target = map(Path, sys.argv[1:3])
    for model in sorted(source.glob("*.onnx")):
        io = model.with_suffix(".io")
        if not (io / "io.txt").exists():
            continue
        folder = target / model.stem
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "io.npz", **arrays(io))
        link = folder / "model.onnx"
        if link.is_symlink() or link.exists():
            link.unlink()
        link.symlink_to(os.path.relpath(model.resolve(), folder.resolve()))


if __name__ == "__main__":
    main()
