"""Settings of glibc's memory allocator."""

import ctypes
import sys

_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD = -3, -1, -2  # <malloc.h>
_UNLIMITED = 2**31 - 1  # the largest value that mallopt takes, bytes
_PAD = 64 * 2**20  # bytes requested from the system in addition, so that it is asked less often


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for later allocations; returns whether it does.

    By default, it returns large tensors to the system, which hands the memory out again page by
    page, filled with zeros. After this call, the memory of the process never shrinks. The call has
    no effect where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = (_MMAP_THRESHOLD, _UNLIMITED), (_TRIM_THRESHOLD, _UNLIMITED), (_TOP_PAD, _PAD)
    # A list, so that one refused setting does not prevent the others.
    return mallopt is not None and all([mallopt(*setting) == 1 for setting in settings])
