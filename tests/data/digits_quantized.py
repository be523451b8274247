"""Writes digits_qdq.onnx and digits_qop.onnx: the model of examples/digits, quantized by onnxruntime 1.31.1 on 64 of its pictures."""

import pathlib
import tempfile

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

HERE = pathlib.Path(__file__).parent
DIGITS = HERE.parent.parent / "examples" / "digits"


class Pictures(CalibrationDataReader):
    def __init__(self):
        images = np.load(DIGITS / "test.npz")["images"][:64]
        self.rest = iter(images.astype(np.float32).reshape(-1, 1, 1, 8, 8) / 16)

    def get_next(self):
        x = next(self.rest, None)
        return None if x is None else {"image": x}


with tempfile.TemporaryDirectory() as folder:
    fused = pathlib.Path(folder) / "fused.onnx"
    quant_pre_process(DIGITS / "digits.onnx", fused, skip_symbolic_shape=True)
    for name, form in [("digits_qdq", QuantFormat.QDQ), ("digits_qop", QuantFormat.QOperator)]:
        quantize_static(
            fused,
            HERE / f"{name}.onnx",
            Pictures(),
            quant_format=form,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
        )
