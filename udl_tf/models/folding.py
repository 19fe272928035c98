"""Folding of linear layers into one convolution, with far fewer multiplications."""

import keras
import numpy as np
from keras import ops

# The kernel is the response to one bright pixel in each channel. The response to a black image,
# which the biases alone cause, is subtracted: a very bright pixel makes the rounding error of that
# difference small relative to it, and a power of two divides it without another error.
_BRIGHT = np.float32(2.0**14)


def as_convolution(linear: keras.Model, radius: int) -> keras.layers.Conv2D:
    """Folds a network without nonlinearities into one convolution, of which DepthToSpace makes sr.

    The result has its own weights; its method `fold` computes them again. With DepthToSpace, it
    equals `linear` at all pixels farther than `radius` from the border; nearer, `linear` also
    depends on the zero padding of its inner maps, which one convolution cannot reproduce.

    Args:
        linear: network (n, h, w, c) -> (n, scale h, scale w, filters).
        radius: input pixels on each side that an output pixel depends on.
    """
    channels, side = linear.input_shape[-1], 2 * radius + 1
    impulses = np.zeros((channels + 1, side, side, channels), np.float32)  # the last one is black
    impulses[np.arange(channels), radius, radius, np.arange(channels)] = _BRIGHT
    # One result each: over several replicas, every replica computes the same.
    outputs = np.concatenate([linear.predict_on_batch(x[None])[:1] for x in impulses])
    kernel, bias = _kernel_and_bias(outputs, radius)
    convolution = keras.layers.Conv2D(bias.shape[0], side, padding="same", dtype="float32")
    convolution.build((None, None, None, channels))
    convolution.set_weights([ops.convert_to_numpy(kernel), ops.convert_to_numpy(bias)])
    # A function, so that Keras does not track the weights of `linear` as those of the layer.
    convolution.fold = lambda: _kernel_and_bias(linear(impulses), radius)
    return convolution


def _kernel_and_bias(outputs, radius: int) -> tuple:
    """Returns the weights of the convolution for the responses to all impulses."""
    side = 2 * radius + 1
    scale, filters = outputs.shape[1] // side, outputs.shape[-1]
    outputs = ops.reshape(outputs, (-1, side, scale, side, scale, filters))
    bias = outputs[-1, radius, :, radius]  # at the centre, which no padding reaches
    response = (outputs[:-1] - outputs[-1]) / _BRIGHT  # (in, row, p, column, q, out)
    # Reversed: the output pixel `radius` below the bright one sees it at the kernel's top.
    kernel = ops.transpose(ops.flip(response, axis=(1, 3)), (1, 3, 0, 2, 4, 5))
    return ops.reshape(kernel, (side, side, -1, scale**2 * filters)), ops.reshape(bias, (-1,))
