"""Run as a program: python -m udl_tf.upscale ..., whose peak memory is printed at its end."""

import resource
import runpy

try:
    runpy.run_module("udl_tf.upscale", run_name="__main__")
finally:
    print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "kB")
