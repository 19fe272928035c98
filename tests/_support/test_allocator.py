import platform
import subprocess
import sys

import pytest
from helpers.commands import ROOT

CODE = """
import resource
import numpy as np
from udl_tf._support.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        np.ones(64 * 2**20, np.uint8)  # above 32 MiB, glibc never keeps memory by default
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults() and faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_memory_is_used_again_without_page_faults():
    command = [sys.executable, "-c", CODE]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    before, kept, after = result.stdout.split()
    assert kept == "True"
    # 64 MiB are 16,384 pages of 4 KiB, or 32 of 2 MiB where the system uses huge pages.
    assert int(before) >= 4 * 32
    assert int(after) < int(before) / 10
