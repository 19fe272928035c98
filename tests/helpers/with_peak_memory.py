"""Run as a program: python -m udl_tf.upscale ..., whose peak memory is printed at its end."""

import re
import runpy
from pathlib import Path

try:
    runpy.runpy.run_module("udl_tf.upscale", run_name="__main__")
finally:
    # Not getrusage: its peak is inherited from the process that started this one.
    print("peak", re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1], "kB")
