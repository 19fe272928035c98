"""Precision of the layers' computations."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def precision(policy: str) -> Iterator[None]:
    """Sets the Keras dtype policy of layers built inside the block, such as "mixed_bfloat16"."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
