"""What a measurement was made on, and how it is told."""

import datetime
import os
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from udl_tf.versions import versions


def machine(*packages: str) -> dict[str, Any]:
    """Facts of the machine, the versions and the day."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "date": datetime.date.today().isoformat(),
        "versions": versions(*packages),
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "unknown")


def median_and_spread(seconds: list[float]) -> str:
    """The median, and the least and largest value."""
    return f"{np.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f})"
