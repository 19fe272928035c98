"""Versions of the software that a result depends on."""

import platform
from importlib.metadata import PackageNotFoundError, version

from udl_tf import __version__

PACKAGES = ("tensorflow", "jax", "keras", "numpy", "pillow")


def versions(*more: str) -> dict[str, str]:
    """Returns the versions of Python, of udl_tf, and of PACKAGES and `more` if installed."""
    found = {name: _version(name) for name in (*PACKAGES, *more)}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "udl_tf": __version__,
        **{name: number for name, number in found.items() if number is not None},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
