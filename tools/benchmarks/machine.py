"""What a measurement was made on, and how it is told."""

import datetime
import os
from typing import Any

import numpy as np
import psutil

from udl_tf._support.hardware import processor
from udl_tf._support.versions import versions


def machine(*packages: str) -> dict[str, Any]:
    """Facts of the machine, the versions and the day."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "date": datetime.date.today().isoformat(),
        "versions": versions(*packages),
    }


def median_and_spread(seconds: list[float]) -> str:
    """The median, and the least and largest value."""
    return f"{np.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"
