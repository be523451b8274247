"""Uses the installed package `onnxc` as a stranger would. Called by tests/packages.rs: wheel.py EXAMPLES DATA.

Judges: the classes that the digits model is known to give (stored scores in examples/digits/test.npz), and numpy.
"""

import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

import onnxc

examples = Path(sys.argv[1])
data = Path(sys.argv[2])
digits = examples / "digits" / "digits.onnx"
known = np.load(examples / "digits" / "test.npz")
assert Path(onnxc.__file__).is_relative_to(sys.prefix), "another package than the installed one"
assert Path(onnxc.find()).is_relative_to(sys.prefix), "another tool than the installed one"


def raises(kind, text, call):
    try:
        call()
    except kind as e:
        assert text in str(e), f"{text!r} is not in {e}"
        return
    raise AssertionError(f"no {kind.__name__} that says {text!r}")


# A model becomes a function; 450 pictures with known scores.
model = onnxc.load(digits)
assert repr(model.inputs) == "[image: float32[1, 1, 8, 8]]", model.inputs
assert [p.shape for p in model.outputs] == [(1, 10)]
images = known["images"].astype(np.float32).reshape(-1, 1, 1, 8, 8)
scale = np.float32(16)
scores = np.concatenate([model(image / scale) for image in images])
assert np.abs(scores - known["scores"]).max() < 1e-4, np.abs(scores - known["scores"]).max()
one = images[0] / scale

# DLPack in and out: what has __dlpack__ is taken where it lies, results give it.
class Foreign:
    def __init__(self, array):
        self.array, self.asked = array, 0

    def __dlpack__(self, **options):
        self.asked += 1
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


foreign = Foreign(one)
assert np.array_equal(model(foreign), scores[:1]) and foreign.asked == 1
assert np.array_equal(np.from_dlpack(model(image=one)), scores[:1])
assert np.array_equal(model(one.tolist()), scores[:1])
assert np.array_equal(model(np.asfortranarray(one)), scores[:1])

# Mistakes are named.
raises(TypeError, "float32", lambda: model(one.astype(np.float64)))
raises(ValueError, "[1, 1, 8, 8]", lambda: model(one[0]))
raises(TypeError, "missing", lambda: model())
raises(TypeError, "no input `picture`", lambda: model(picture=one))
raises(onnxc.Error, "USE002", lambda: onnxc.load("no_such_model.onnx"))
raises(onnxc.Error, "shared library", lambda: onnxc.load("digits.o"))

# Threads at once, an arena each.
wrong = []
part = [threading.Thread(target=lambda i=i: wrong.extend(
    k for k in range(i, 450, 4) if not np.array_equal(model(images[k] / scale)[0], scores[k]))) for i in range(4)]
[t.start() for t in part], [t.join() for t in part]
assert not wrong, wrong

with tempfile.TemporaryDirectory() as folder:
    folder = Path(folder)
    # A library that is kept; weights in a file; an object for another machine.
    kept = onnxc.compile(digits, folder / "libdigits.so", target_cpu="native")
    assert np.array_equal(onnxc.load(kept)(one), scores[:1])
    apart = onnxc.compile(digits, folder / "libapart.so", target_cpu="native", weights=f"file={folder / 'w'}")
    raises(onnxc.Error, "weights=PATH", lambda: onnxc.load(apart))
    raises(onnxc.Error, "another model", lambda: onnxc.load(apart, weights=kept))
    assert np.array_equal(onnxc.load(apart, weights=folder / "w")(one), scores[:1])
    made = onnxc.compile(digits, folder / "arm.o", target="aarch64-unknown-linux-gnu", target_cpu="cortex-a55")
    assert made.read_bytes()[18:20] == b"\xb7\x00" and (folder / "arm.h").exists()
    (folder / "broken.so").write_bytes(kept.read_bytes()[:100])
    raises(onnxc.Error, "broken.so", lambda: onnxc.load(folder / "broken.so"))

# Free sizes are read off the inputs, and kept within their bounds; sizes that follow from data are the model's to say.
free = onnxc.load(data / "free.onnx", dim={"N": "1..8"})
assert free.inputs[0].shape == (1, "N"), free.inputs
ends = lambda n: np.array([0, n - 1], np.int64)
for n in (1, 3, 8):
    x = np.arange(n, dtype=np.float32)[None] - 1
    positive = np.maximum(x, 0)
    doubled, found, picked = free(x, ends(n))
    assert np.array_equal(doubled, np.concatenate([x, positive], 1)), doubled
    assert np.array_equal(found, np.array(np.nonzero(positive), np.int64)), found
    assert np.array_equal(picked, x[:, ends(n)]), picked
raises(ValueError, "1..8", lambda: free(np.ones([1, 9], np.float32), ends(9)))
raises(onnxc.Error, "status 8", lambda: free(np.ones([1, 3], np.float32), ends(9)))

# The command, by its name and as a module.
version = subprocess.run([sys.executable, "-m", "onnxc", "--version"], capture_output=True, text=True, check=True).stdout
assert version.startswith("onnxc "), version
print("all is well")
