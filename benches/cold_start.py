"""Cold start: from nothing to the first answer, against onnxruntime's session and first run.

    python3 benches/cold_start.py --onnxc target/release/onnxc MODEL.onnx:NAME=1,49,10,1 ...

Each figure is the smallest of many fresh processes. Ours: dlopen of the compiled model, memory, first run (cold_start.c, built with
`cc`). onnxruntime's: creating the session and the first run, one thread, its import not counted. Needs `onnxruntime` and `numpy`.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

PEER = """
import sys, time
import numpy as np, onnxruntime as ort
path, shape = sys.argv[1], [int(d) for d in sys.argv[2].split(",")]
types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
begin = time.perf_counter()
o = ort.SessionOptions()
o.intra_op_num_threads = 1
s = ort.InferenceSession(path, o, providers=["CPUExecutionProvider"])
i = s.get_inputs()[0]
s.run(None, {i.name: np.zeros(shape, types[i.type])})
print((time.perf_counter() - begin) * 1e6)
"""


def build(onnxc, folder, model, name, shape):
    """A library of the model and a program that starts it."""
    here = pathlib.Path(__file__).parent
    run = lambda *words: subprocess.run(list(map(str, words)), check=True, cwd=folder)
    run(onnxc, model, "-q", "--prefix", "net", "--input", f"{name}:{shape}", "--target-cpu", "native", "-o", "net.o")
    run("cc", "-shared", "-o", "libnet.so", "net.o")
    defines = ['-DHEADER="net.h"', "-DP(x)=net_##x", "-DUP(x)=NET_##x"]
    run("cc", "-O2", *defines, "-I.", (here / "cold_start.c").resolve(), "-o", "start", "-ldl")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--onnxc", type=pathlib.Path, default="target/release/onnxc")
    p.add_argument("--runs", type=int, default=20)
    p.add_argument("models", nargs="+", metavar="MODEL.onnx:NAME=SHAPE")
    a = p.parse_args()
    for word in a.models:
        path, port = word.rsplit(":", 1)
        name, shape = port.split("=")
        path = pathlib.Path(path).resolve()
        with tempfile.TemporaryDirectory() as folder:
            build(a.onnxc.resolve(), folder, path, name, shape)
            ours, theirs = [], []
            for _ in range(a.runs):
                start = subprocess.run(["./start", "./libnet.so"], cwd=folder, capture_output=True, text=True, check=True)
                ours.append(float(start.stdout.split()[0]))
                peer = subprocess.run([sys.executable, "-c", PEER, path, shape], capture_output=True, text=True, check=True)
                theirs.append(float(peer.stdout))
        best = min(ours), min(theirs)
        print(f"{path.parent.name}: {best[0]:.0f} us, onnxruntime {best[1]:.0f} us, {best[1] / best[0]:.1f} times", flush=True)


main()
