# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the layer onnxc needs of Python: see onnxc.tune."""

BBIMPORTS = ["tune"]
