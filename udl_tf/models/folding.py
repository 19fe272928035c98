"""A chain of linear layers as one convolution: the same result from far fewer multiplications."""

import keras
import numpy as np

from udl_tf.models.blocks import DepthToSpace


def as_convolution(linear: keras.Model, radius: int) -> keras.Model:
    """A network without nonlinearity, as one convolution and a DepthToSpace, with its own weights.

    It equals `linear` for all pixels further than `radius` from the border: there the zeros around
    each map of `linear` come in, of which one convolution knows nothing.

    Args:
        linear: (n, h, w, c) -> (n, scale h, scale w, 3).
        radius: pixels of the input on each side that a pixel of the output depends on.
    """
    channels, side = linear.input_shape[-1], 2 * radius + 1
    # The kernel is what comes of a single bright pixel in each channel. It is very bright, so that
    # little is lost when what comes of the biases alone is subtracted.
    bright = np.float32(2.0**14)
    impulses = np.zeros((channels + 1, side, side, channels), np.float32)
    impulses[np.arange(channels), radius, radius, np.arange(channels)] = bright
    made = np.concatenate([linear.predict_on_batch(impulse[None]) for impulse in impulses])
    scale, filters = made.shape[1] // side, made.shape[-1]
    made = made.reshape(-1, side, scale, side, scale, filters)
    bias = made[-1, radius, :, radius]
    response = (made[:-1] - made[-1]) / bright  # (in, row, p, column, q, out)
    kernel = response[:, ::-1, :, ::-1].transpose(1, 3, 0, 2, 4, 5)
    outputs = scale**2 * filters
    convolution = keras.layers.Conv2D(outputs, side, padding="same", dtype="float32")
    network = keras.Sequential(
        [
            keras.Input((None, None, channels)),
            convolution,
            DepthToSpace(scale, dtype="float32"),
        ],
        name=f"{linear.name}_folded",
    )
    convolution.set_weights([kernel.reshape(side, side, channels, outputs), bias.ravel()])
    return network
