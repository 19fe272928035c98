"""What a result was made with."""

import platform
from importlib.metadata import version

PACKAGES = ("udl_tf", "tensorflow", "keras", "numpy", "pillow")


def versions(*more: str) -> dict[str, str]:
    """Versions of Python, of the packages that shape every result, and of `more`."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: version(name) for name in (*PACKAGES, *more)},
    }
