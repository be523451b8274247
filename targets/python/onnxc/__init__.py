"""onnxc: ONNX models become native code.

    import onnxc

    onnxc.compile("digits.onnx", "digits.o", target="aarch64-unknown-linux-gnu")     # for another machine
    model = onnxc.load("digits.onnx")                                                # for this one
    scores = model(image)                                                            # arrays in, arrays out
"""

from ._model import Model, Port, load
from ._tool import Error, compile, find, run

__all__ = ["Error", "Model", "Port", "compile", "find", "load", "run"]
