"""Run as a program, one of two workers: what `fit` of Keras as it is says of several workers."""

import keras
import numpy as np
import tensorflow as tf

from udl_tf.config import DistributionConfig
from udl_tf.distributed.strategy import make_strategy


class Built(keras.Sequential):
    """Mends the first of the two places: so what fails is the second."""

    def _maybe_symbolic_build(self, *args, **kwargs):
        pass


def outcome(kind):
    """The error of a fit, or "works"."""
    model = kind([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    batches = tf.data.Dataset.from_tensors((np.ones((2, 1)), np.ones((2, 1)))).repeat()
    try:
        model.fit(batches, steps_per_epoch=1, verbose=0)
    except (ValueError, TypeError) as error:
        return type(error).__name__
    return "works"


if __name__ == "__main__":
    strategy = make_strategy(DistributionConfig(strategy="multi_worker"))
    assert strategy is not None
    with strategy.scope():
        print(outcome(keras.Sequential), outcome(Built))
