"""Versions of the software that a result depends on."""

import platform
from importlib.metadata import version

PACKAGES = ("udl_tf", "tensorflow", "keras", "numpy", "pillow")


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of Python, of PACKAGES and of the packages `more`."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in (*PACKAGES, *more)},
    }
