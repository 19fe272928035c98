"""What `fit` of plain Keras does over several workers."""

import keras
import numpy as np
import tensorflow as tf


class Built(keras.Sequential):
    """Avoids the first of the two places that fail, so that the second is reached."""

    def _maybe_symbolic_build(self, *args, **kwargs):
        pass


def outcomes(strategy):
    """Returns what a fit of plain Keras and one of Built end with: an error's name, or "works"."""
    with strategy.scope():
        return [_outcome(keras.Sequential), _outcome(Built)]


def _outcome(kind):
    model = kind([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    batches = tf.data.Dataset.from_tensors((np.ones((2, 1)), np.ones((2, 1)))).repeat()
    try:
        model.fit(batches, steps_per_epoch=1, verbose=0)
    except (ValueError, TypeError) as error:
        return type(error).__name__
    return "works"
