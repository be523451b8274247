"""Calls of the tool `onnxc`, which lies in the same installation."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path


class Error(Exception):
    """What the tool said is wrong, or what a model answered."""


def find():
    """Path of the tool: the environment's `ONNXC`, what was installed with this package, or what is on the PATH."""
    named = os.environ.get("ONNXC")
    if named:
        return named
    folders = [sysconfig.get_path("scripts"), os.path.join(sys.prefix, "bin")]
    user = sysconfig.get_preferred_scheme("user")
    folders.append(sysconfig.get_path("scripts", scheme=user))
    for folder in folders:
        path = os.path.join(folder, "onnxc")
        if os.access(path, os.X_OK):
            return path
    found = shutil.which("onnxc")
    if found is None:
        raise Error("the tool `onnxc` is not installed; name it in the environment's ONNXC")
    return found


def run(*words):
    """Runs the tool with these words of the command line; what it prints is the answer.

    Raises `Error` with its messages where it fails.
    """
    done = subprocess.run(
        [find(), *map(os.fspath, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if done.returncode != 0:
        raise Error(done.stderr.strip() or f"onnxc ended with {done.returncode}")
    if done.stderr:
        # Warnings and remarks.
        sys.stderr.write(done.stderr)
    return done.stdout


def words_of(options):
    """`target_cpu="native"` becomes `--target-cpu=native`; True a bare flag, a list several, a dict NAME=VALUE."""
    words = []
    for name, value in options.items():
        flag = "--" + name.strip("_").replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            words.append(flag)
        elif isinstance(value, dict):
            words += [f"{flag}={k}={v}" for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            words += [f"{flag}={os.fspath(v) if isinstance(v, os.PathLike) else v}" for v in value]
        else:
            words.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return words


def compile(model, output=None, **options):
    """Compiles a model; the answer is the path of what was made.

    `output` says by its ending what: `.o` an object and a header (the default, in the current folder), `.a` a library and a header,
    `.so` a shared library, which `load` takes. Options are those of `onnxc compile`, with `_` for `-`:

        compile("m.onnx", "m.o", target="aarch64-unknown-linux-gnu", target_cpu="cortex-a55", dim={"batch": 1})
        compile("m.onnx", "libm.a", quantize="int8", calibration="pictures/", opt_level="s")

    Raises `Error` with the tool's messages; then nothing was written.
    """
    model = Path(model)
    output = Path(output) if output is not None else Path(model.stem + ".o")
    kinds = {".a": "staticlib,header", ".so": "so"}.get(output.suffix)
    if kinds and "emit" not in options:
        options["emit"] = kinds
    run("compile", model, "-o", output, *words_of(options))
    return output
