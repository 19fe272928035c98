"""Facts about the machine that a table was measured on."""

import datetime
import os
from typing import Any

import psutil

from udl_tf._support.hardware import processor
from udl_tf._support.versions import versions


def machine(*packages: str) -> dict[str, Any]:
    """Returns processor, cores, memory, today's date and versions, also those of `packages`."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "date": datetime.date.today().isoformat(),
        "versions": versions(*packages),
    }
