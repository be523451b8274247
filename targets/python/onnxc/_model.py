"""Compiled models as functions over arrays."""

import ctypes
import mmap
import tempfile
import threading
from pathlib import Path

import numpy as np

from . import _abi, _elf
from ._tool import Error, compile

# By the number in ONNX's TensorProto.DataType. bfloat16 travels as uint16, types below a byte and of 8-bit floats as one byte each.
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16", 11: "float64",
    12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "uint16", 17: "uint8", 18: "uint8", 19: "uint8",
    20: "uint8", 21: "uint8", 22: "int8",
}  # fmt: skip
WEIGHTS_BEGIN = 65536


class Port:
    """An input or an output: `name`, `dtype` (numpy's), and `shape`, in which a size that is not fixed is a name or None."""

    def __init__(self, raw, symbols):
        self.name, number, self._dims, self._most = raw
        if number not in DTYPES:
            raise Error(f"`{self.name}` has element type {number}, which this package does not know")
        self.dtype = np.dtype(DTYPES[number])
        self.shape = tuple(
            size if fixed else symbols[symbol][0] if 0 <= symbol < len(symbols) else None
            for size, symbol, fixed in self._dims
        )

    def __repr__(self):
        return f"{self.name}: {self.dtype}{list(self.shape)}"


class Model:
    """A compiled model in this process. `inputs` and `outputs` are lists of `Port`.

    Call it with an array for each input, in their order or by name; the answer is an array, or a tuple where there are several outputs.
    Several threads may call it at the same time. What has `__dlpack__` (tensors of other libraries) is taken without a copy where it lies in
    the CPU's memory; results have `__dlpack__` too.
    """

    def __init__(self, library, prefix=None, weights=None):
        path = Path(library)
        try:
            names = set(_elf.exported(path.read_bytes()))
            found = sorted(n[: -len("_run")] for n in names if n.endswith("_run"))
            found = [p for p in found if f"{p}_descriptor" in names]
            if prefix is None and len(found) == 1:
                prefix = found[0]
            if prefix not in found:
                raise ValueError(f"say which model, by prefix=: there are {', '.join(found) or 'none'}")
            self._library = ctypes.CDLL(str(path.absolute()))
            here = ctypes.addressof(ctypes.c_byte.in_dll(self._library, f"{prefix}_descriptor"))
            self._about = about = _abi.Descriptor(here)
        except (OSError, ValueError) as e:
            raise Error(f"{path}: {e}") from e
        self._run = getattr(self._library, f"{prefix}_run")
        self._run.argtypes, self._run.restype = [ctypes.POINTER(_abi.Context)], ctypes.c_int32
        self.prefix = prefix
        self._free = about.free()
        self.inputs = [Port(p, self._free) for p in about.ports(32)]
        self.outputs = [Port(p, self._free) for p in about.ports(40)]
        (self._num_out_dims,) = about.words("I", 60)
        self.arena_size, self.weights_size = about.words("QQ", 80)
        self._weights = self._map(weights)
        self._local = threading.local()

    def __repr__(self):
        return f"<onnxc model {self.prefix}: {self.inputs} -> {self.outputs}>"

    def _map(self, path):
        (placement,) = self._about.words("I", 112)
        if path is None:
            if placement == _abi.WEIGHTS_IN_FILE:
                raise Error("the model's weights are in a file: load(.., weights=PATH)")
            return None
        with open(path, "rb") as f:
            data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        fits = data[:8] == b"ONNXCWTS" and data[40:72] == self._about.data[120:152]
        if not fits or len(data) < WEIGHTS_BEGIN + self.weights_size:
            raise Error(f"{path}: weights of another model")
        return np.frombuffer(data, np.uint8)[WEIGHTS_BEGIN:]

    def _arena(self):
        # One for each thread; it begins at a multiple of 64.
        arena = getattr(self._local, "arena", None)
        if arena is None:
            room = np.empty(self.arena_size + 64, np.uint8)
            begin = -room.ctypes.data % 64
            arena = self._local.arena = room[begin : begin + self.arena_size]
        return arena

    def _input(self, port, value, sizes):
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray):
            value = np.from_dlpack(value)
        if not isinstance(value, (np.ndarray, np.generic)):
            value = np.asarray(value, port.dtype)
        if value.dtype != port.dtype:
            raise TypeError(f"input `{port.name}` is {port.dtype}, not {value.dtype}")
        # A plain number has no axes, and must get none here.
        value = np.ascontiguousarray(value) if value.ndim else np.asarray(value)
        good, whole = value.ndim == len(port._dims), True
        for (size, symbol, fixed), n in zip(port._dims, value.shape):
            if fixed:
                good &= n == size
            elif 0 <= symbol < len(self._free):
                good &= sizes.setdefault(symbol, n) == n
            else:
                good, whole = good and n <= size, False
        if not good:
            raise ValueError(f"input `{port.name}` has the shape {list(port.shape)}, not {list(value.shape)}")
        if not whole:
            # How long it must be is the model's to compute: give it as much as it can need.
            room = np.zeros(max(port._most, 1), np.uint8)
            room[: value.nbytes] = value.reshape(-1).view(np.uint8)
            return room
        return value

    def _arguments(self, arguments, named):
        if len(arguments) > len(self.inputs):
            raise TypeError(f"{len(arguments)} inputs for a model with {len(self.inputs)}")
        values = {p.name: a for p, a in zip(self.inputs, arguments)}
        for name, value in named.items():
            if name in values or all(p.name != name for p in self.inputs):
                raise TypeError(f"no input `{name}` is left")
            values[name] = value
        missing = [p.name for p in self.inputs if p.name not in values]
        if missing:
            raise TypeError(f"inputs are missing: {', '.join(missing)}")
        return [values[p.name] for p in self.inputs]

    def __call__(self, *arguments, **named):
        sizes = {}
        values = self._arguments(arguments, named)
        inputs = [self._input(p, v, sizes) for p, v in zip(self.inputs, values)]
        for i, (name, low, high, _, _) in enumerate(self._free):
            if not low <= sizes.get(i, low - 1) <= high:
                raise ValueError(f"size `{name}` is {sizes.get(i)}, not within {low}..{high}")
        outputs = [np.empty(max(p._most, 1), np.uint8) for p in self.outputs]
        arena = self._arena()
        context = _abi.Context(abi_version=_abi.ABI_VERSION, struct_size=ctypes.sizeof(_abi.Context))
        context.arena, context.arena_size = arena.ctypes.data, arena.nbytes
        if self._weights is not None:
            context.weights, context.weights_size = self._weights.ctypes.data, self.weights_size
        pointers = lambda arrays: (ctypes.c_void_p * max(len(arrays), 1))(*(a.ctypes.data for a in arrays))
        context.inputs, context.num_inputs = pointers(inputs), len(inputs)
        context.outputs, context.num_outputs = pointers(outputs), len(outputs)
        dims = (ctypes.c_int64 * max(len(self._free), 1))(*(sizes[i] for i in range(len(self._free))))
        context.dims, context.num_dims = dims, len(self._free)
        out_dims = (ctypes.c_int64 * max(self._num_out_dims, 1))()
        context.out_dims, context.num_out_dims = out_dims, self._num_out_dims
        status = self._run(ctypes.byref(context))
        if status != 0:
            raise Error(f"the run ended with status {status}: {_abi.STATUS.get(status, 'an accelerator failed')}")
        shapes, results = iter(out_dims), []
        for port, room in zip(self.outputs, outputs):
            shape = [next(shapes) for _ in port._dims]
            count = int(np.prod(shape, dtype=np.int64))
            results.append(room[: count * port.dtype.itemsize].view(port.dtype).reshape(shape))
        return results[0] if len(results) == 1 else tuple(results)


def load(model, prefix=None, weights=None, **options):
    """A model as a function over arrays.

    `model`: an ONNX file, which is compiled for this machine's CPU (options as in `compile`), or a shared library that `compile` made before.
    `prefix`: which, where a library holds several. `weights`: the file of weights, for a library without.
    """
    path = Path(model)
    if path.suffix in (".o", ".a"):
        raise Error(f"{path}: an object can't be loaded; compile to a shared library: onnxc.compile(.., '{path.stem}.so')")
    if ".so" in path.suffixes:
        if options:
            raise TypeError("options are for models that are still to be compiled")
        return Model(path, prefix, weights)
    if not options.get("target_cpu") and not options.get("target"):
        options["target_cpu"] = "native"
    if prefix:
        options["prefix"] = prefix
    with tempfile.TemporaryDirectory(prefix="onnxc-") as folder:
        # The library stays mapped when its file is gone.
        library = compile(path, Path(folder) / f"lib{path.stem}.so", **options)
        return Model(library, prefix, weights)
