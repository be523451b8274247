"""`python -m onnxc ...` is the tool `onnxc ...`."""

import os
import sys

from ._tool import find

tool = find()
os.execv(tool, [tool, *sys.argv[1:]])
