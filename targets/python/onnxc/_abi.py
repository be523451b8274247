"""The ABI of compiled models: the context of a run, and what a model says of itself. `docs/abi.md` describes both."""

import ctypes
import struct

ABI_VERSION = 1
MAGIC = int.from_bytes(b"ONXD", "little")
SIZE = 184
WEIGHTS_IN_FILE = 2

STATUS = {
    1: "something needed is null",
    2: "another ABI version",
    3: "the arena is too small",
    4: "a buffer is not aligned",
    5: "the weights are not the model's",
    6: "a count is not the model's",
    7: "a size is outside of its bounds",
    8: "an index or a size computed from the inputs is out of range",
    9: "a loop or a size passed its limit",
    10: "the run took a branch that could not be compiled",
    11: "free sizes do not fit together",
}


class Context(ctypes.Structure):
    """`onnxc_context`."""

    _fields_ = [
        ("abi_version", ctypes.c_uint32),
        ("struct_size", ctypes.c_uint32),
        ("arena", ctypes.c_void_p),
        ("arena_size", ctypes.c_uint64),
        ("weights", ctypes.c_void_p),
        ("weights_size", ctypes.c_uint64),
        ("inputs", ctypes.POINTER(ctypes.c_void_p)),
        ("outputs", ctypes.POINTER(ctypes.c_void_p)),
        ("num_inputs", ctypes.c_uint32),
        ("num_outputs", ctypes.c_uint32),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("out_dims", ctypes.POINTER(ctypes.c_int64)),
        ("num_dims", ctypes.c_uint32),
        ("num_out_dims", ctypes.c_uint32),
        ("parallel_for", ctypes.c_void_p),
        ("parallel_user", ctypes.c_void_p),
        ("trace", ctypes.c_void_p),
        ("trace_user", ctypes.c_void_p),
        ("offload", ctypes.c_void_p),
        ("num_offload", ctypes.c_uint32),
        ("cpu_level", ctypes.c_uint32),
        ("reserved", ctypes.c_uint64 * 3),
    ]


class Descriptor:
    """Reads `PREFIX_descriptor` at an address of this process."""

    def __init__(self, address):
        head = ctypes.string_at(address, 16)
        magic, version, size, total = struct.unpack("<IIII", head)
        if magic != MAGIC or version != ABI_VERSION or size < SIZE or total < size:
            raise ValueError("the model is of another ABI version than this package")
        self.data = ctypes.string_at(address, total)

    def words(self, form, at):
        """Numbers at an offset."""
        return struct.unpack_from("<" + form, self.data, at)

    def follow(self, at):
        """The offset that the distance at `at` leads to, or None."""
        (distance,) = self.words("i", at)
        return at + distance if distance else None

    def text(self, at):
        """The text that the distance at `at` leads to."""
        begin = self.follow(at)
        return "" if begin is None else self.data[begin : self.data.index(b"\0", begin)].decode()

    def ports(self, at):
        """Name, element type, dimensions and largest size in bytes of each input (`at` 32) or output (`at` 40).

        A dimension is its largest size, its symbol or -1, and whether it is fixed.
        """
        (count,) = self.words("I", at + 4)
        begin = self.follow(at)
        ports = []
        for port in range(begin or 0, (begin or 0) + 40 * count, 40):
            dtype, _, rank = self.words("III", port + 8)
            dims = self.follow(port + 20) or 0
            shape = [self.words("qii", dims + 16 * i) for i in range(rank)]
            shape = [(size, symbol, expression == 0) for size, symbol, expression in shape]
            (most,) = self.words("Q", port + 24)
            ports.append((self.text(port), dtype, shape, most))
        return ports

    def free(self):
        """Name, bounds, input and axis of each size that the caller states."""
        (count,) = self.words("I", 56)
        begin = self.follow(48)
        return [
            (self.text(s), *self.words("qqII", s + 8))
            for s in range(begin or 0, (begin or 0) + 32 * count, 32)
        ]
