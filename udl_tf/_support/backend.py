"""Choice of the Keras backend, checked before Keras is imported."""

import importlib.util
import os
import sys
from pathlib import Path

from udl_tf._support.json_files import read_json
from udl_tf.errors import UserError


def check_backend(*working: str) -> None:
    """Checks that the Keras backend is one of `working`, and that JAX is installed if it is that.

    A missing TensorFlow is reported where it is imported.

    Raises:
        UserError: naming the backends that work.
    """
    name = keras_backend()
    if name not in working:
        raise UserError(
            f"the Keras backend is {name!r}; this command works with {' and '.join(working)}: set"
            f" the environment variable KERAS_BACKEND={working[0]}"
        )
    if name == "jax" and importlib.util.find_spec("jax") is None:
        raise UserError('jax is not installed: run pip install "udl_tf[jax]"')


def keras_backend() -> str:
    """Returns the name of the backend that Keras uses, or will use once it is imported."""
    if "keras" in sys.modules:
        return sys.modules["keras"].backend.backend()
    if name := os.environ.get("KERAS_BACKEND"):
        return name
    home = os.environ.get("KERAS_HOME")
    folder = Path(home) if home else Path.home() / ".keras"
    try:
        return read_json(folder / "keras.json").get("backend", "tensorflow")
    except (OSError, UserError):  # Keras then uses its default
        return "tensorflow"
