"""Single-image super-resolution that knows where it is unsure.

Importing the package starts no TensorFlow work: the names below are loaded when first used.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "BACKBONES": "udl_tf.models",
    "build_model": "udl_tf.models",
    "calibration": "udl_tf",
    "load": "udl_tf.loading",
    "load_config": "udl_tf.config_file",
    "image_io": "udl_tf",
    "losses": "udl_tf",
    "metrics": "udl_tf",
    "models": "udl_tf",
    "resize": "udl_tf",
    "weighting": "udl_tf",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'udl_tf' has no attribute {name!r}")
    home = _HOMES[name]
    if home == "udl_tf":
        return import_module(f"udl_tf.{name}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
