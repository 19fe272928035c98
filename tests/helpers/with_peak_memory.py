"""Run as a program: `udl-tf upscale ...`, which prints the peak memory of its process last."""

import re
import runpy
from pathlib import Path

try:
    runpy.run_module("udl_tf.upscale", run_name="__main__")
finally:
    # Not getrusage: its peak is inherited from the process that started this one.
    print("peak", re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1], "kB")
