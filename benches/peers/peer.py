#!/usr/bin/env python3
"""Runs models with a runtime that has a Python API, for `onnxc bench --against NAME --peer-runner 'NAME=python peer.py NAME'`.

Speaks the protocol of README.md. Inputs are bound before any run is timed; a timed run is one call of the library, on tensors that
exist. What the loop and the call of an empty function cost is measured and taken off each time.

    openvino   openvino                 reads ONNX itself
    mnn        MNN                      converted by its mnnconvert, kept in a cache
    ncnn       ncnn, pnnx               converted by pnnx, kept in a cache
    litert     ai-edge-litert, onnx2tf  converted by onnx2tf, kept in a cache

Conversions lie in $ONNXC_PEER_CACHE, or in ~/.cache/onnxc-peers.
"""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TYPES = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "i8": np.int8, "i16": np.int16, "i32": np.int32,
         "i64": np.int64, "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "bool": np.bool_}
NAMES = {np.dtype(t): n for n, t in TYPES.items()}
MOST = 100_000


def converted(model, kind, make):
    """A folder with what `make(folder)` made of a model, made once for each content."""
    root = Path(os.environ.get("ONNXC_PEER_CACHE", Path.home() / ".cache" / "onnxc-peers"))
    folder = root / kind / hashlib.sha256(Path(model).read_bytes()).hexdigest()[:24]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as t:
            made = Path(t) / "made"
            made.mkdir()
            make(made)
            os.rename(made, folder)
    return folder


def tool(words, **more):
    """Runs a converter, which must say nothing on our standard output."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]} failed: {done.stdout[-400:]}")


def beside(name):
    """A program installed beside this Python, or on the PATH."""
    own = Path(sys.executable).parent / name
    found = str(own) if own.exists() else shutil.which(name)
    if not found:
        raise RuntimeError(f"{name} is not installed")
    return found


class OpenVino:
    def __init__(self, model, threads, inputs):
        import openvino as ov
        self.version = ov.get_version().split("-")[0]
        core = ov.Core()
        m = core.read_model(model)
        m.reshape({name: list(a.shape) for name, a in inputs.items()})
        settings = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_PRECISION_HINT": "f32"}
        self.request = core.compile_model(m, "CPU", settings).create_infer_request()
        for name, a in inputs.items():
            self.request.set_tensor(name, ov.Tensor(a, shared_memory=True))
        self.model = m
        self.run = self.request.infer

    def outputs(self):
        for o in self.model.outputs:
            yield o.get_any_name(), self.request.get_tensor(o).data


class Mnn:
    def __init__(self, model, threads, inputs):
        import MNN
        self.version = MNN.version() if hasattr(MNN, "version") else ""
        folder = converted(model, "mnn", lambda f: tool(
            [beside("mnnconvert"), "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(f / "m.mnn"), "--bizCode", "x"]))
        self.net = MNN.Interpreter(str(folder / "m.mnn"))
        self.session = self.net.createSession({"numThread": threads, "precision": "high", "backend": "CPU"})
        for name, a in inputs.items():
            self.net.resizeTensor(self.net.getSessionInput(self.session, name), tuple(a.shape))
        self.net.resizeSession(self.session)
        kinds = {np.dtype(np.float32): MNN.Halide_Type_Float, np.dtype(np.int32): MNN.Halide_Type_Int,
                 np.dtype(np.int64): MNN.Halide_Type_Int64, np.dtype(np.uint8): MNN.Halide_Type_Uint8}
        self.sources = [(self.net.getSessionInput(self.session, name),
                         MNN.Tensor(tuple(a.shape), kinds[a.dtype], a, MNN.Tensor_DimensionType_Caffe))
                        for name, a in inputs.items()]
        self.prepare()
        self.mnn = MNN
        self.run = lambda: self.net.runSession(self.session)

    def prepare(self):
        """A run may use the memory of its inputs for other things, so they are filled again."""
        for to, source in self.sources:
            to.copyFrom(source)

    def outputs(self):
        self.prepare()
        self.run()
        for name, t in self.net.getSessionOutputAll(self.session).items():
            shape = t.getShape()
            to = self.mnn.Tensor(shape, t.getDataType(), np.zeros(shape, np.float32), self.mnn.Tensor_DimensionType_Caffe)
            t.copyToHostTensor(to)
            yield name, np.array(to.getNumpyData(), np.float32).reshape(shape)


class Ncnn:
    def __init__(self, model, threads, inputs):
        import ncnn
        self.version = getattr(ncnn, "__version__", "")
        shapes = ",".join(str(list(a.shape)).replace(" ", "") for a in inputs.values())

        def make(folder):
            shutil.copy(model, folder / "m.onnx")
            tool([beside("pnnx"), "m.onnx", f"inputshape={shapes}", "fp16=0"], cwd=folder)

        folder = converted(model, "ncnn", make)
        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        for flag in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(self.net.opt, flag, False)
        if self.net.load_param(str(folder / "m.ncnn.param")) or self.net.load_model(str(folder / "m.ncnn.bin")):
            raise RuntimeError("ncnn can't load what pnnx made")
        # A batch of one is no axis there.
        self.inputs = [(n, ncnn.Mat(a[0] if a.ndim > 1 and a.shape[0] == 1 else a))
                       for n, a in zip(self.net.input_names(), inputs.values())]
        self.names = self.net.output_names()
        self.results = []

    def run(self):
        e = self.net.create_extractor()
        for name, mat in self.inputs:
            e.input(name, mat)
        self.results = []
        for name in self.names:
            status, mat = e.extract(name)
            if status:
                raise RuntimeError(f"ncnn: extracting {name} gave {status}")
            self.results.append(mat)

    def outputs(self):
        for name, mat in zip(self.names, self.results):
            a = np.array(mat, np.float32)
            yield name, a.reshape((1,) + a.shape)


class LiteRt:
    def __init__(self, model, threads, inputs):
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter
        self.version = getattr(ai_edge_litert, "__version__", "")

        def make(folder):
            # The converter rewrites its input.
            shutil.copy(model, folder / "m.onnx")
            tool([beside("onnx2tf"), "-i", "m.onnx", "-o", "out", "-n"], cwd=folder)
            shutil.copy(folder / "out" / "m_float32.tflite", folder / "m.tflite")

        folder = converted(model, "litert", make)
        self.net = Interpreter(str(folder / "m.tflite"), num_threads=threads)
        self.net.allocate_tensors()
        for d, a in zip(self.net.get_input_details(), inputs.values()):
            shape = list(d["shape"])
            if list(a.shape) != shape and a.ndim == 4:
                a = a.transpose(0, 2, 3, 1)
            self.net.set_tensor(d["index"], a.reshape(shape))
        self.run = self.net.invoke

    def outputs(self):
        for d in self.net.get_output_details():
            yield d["name"], self.net.get_tensor(d["index"])


PEERS = {"openvino": OpenVino, "mnn": Mnn, "ncnn": Ncnn, "litert": LiteRt}


def nothing():
    pass


def sample(run, batch):
    """Nanoseconds of one of `batch` runs."""
    start = time.perf_counter_ns()
    for _ in range(batch):
        run()
    return (time.perf_counter_ns() - start) / batch


def measure(run, seconds, batch):
    overhead = min(sample(nothing, batch) for _ in range(20))
    times, end = [], time.perf_counter() + seconds
    while not times or (time.perf_counter() < end and len(times) < MOST):
        times.append(max(sample(run, batch) - overhead, 1.0))
    return times


def answer(name, request, state):
    what = request["do"]
    if what == "load":
        state.pop("model", None)
        inputs = {p["name"]: np.ascontiguousarray(np.fromfile(p["file"], TYPES[p["dtype"]]).reshape(p["shape"]))
                  for p in request["inputs"]}
        model = PEERS[name](request["model"], request["threads"], inputs)
        # Libraries read from these for as long as they run.
        state["inputs"] = inputs
        model.run()
        state["model"] = model
        return {"peer": name, "version": str(model.version)}
    model = state.get("model")
    if model is None:
        raise RuntimeError("no model is loaded")
    if what == "run":
        getattr(model, "prepare", nothing)()
        return {"ns": measure(model.run, request["seconds"], max(1, request["batch"]))}
    ports = []
    for k, (port, a) in enumerate(model.outputs()):
        a = np.ascontiguousarray(a)
        file = os.path.join(request["folder"], f"out_{k}.bin")
        a.tofile(file)
        ports.append({"name": port, "dtype": NAMES[a.dtype], "shape": list(a.shape), "file": file})
    return {"outputs": ports}


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in PEERS:
        sys.exit(f"usage: peer.py {'|'.join(PEERS)}")
    # Libraries that print would break the protocol: what they write goes to standard error.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    state = {}
    for line in sys.stdin:
        try:
            reply = answer(sys.argv[1], json.loads(line), state)
        except Exception as e:  # whatever a library throws is an answer
            reply = {"error": f"{sys.argv[1]}: {type(e).__name__}: {e}"[:500]}
        print(json.dumps(reply), file=out, flush=True)


if __name__ == "__main__":
    main()
