"""MATLAB's bicubic `imresize` to the last grey level: how the field's LR images are made."""

import math

import numpy as np

from udl_tf.imaging.dtypes import to_dtype


def cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5 at distances `x`."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def resize_weights(length: int, out_length: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Which input samples make each output sample along one axis, and how much of each.

    Args:
        length: number of input samples.
        out_length: number of output samples.
        scale: output over input sampling rate; below 1 the kernel is widened (antialiasing).

    Returns:
        (indices, weights), each (out_length, taps): indices in 0..length-1 with the border mirrored
        (the edge sample repeated), weights float64 whose rows sum to 1.
    """
    shrink = min(scale, 1.0)
    width = 4.0 / shrink
    center = (np.arange(out_length) + 0.5) / scale - 0.5
    first = np.floor(center - width / 2.0).astype(np.int64) + 1
    indices = first[:, None] + np.arange(math.ceil(width) + 1)
    weights = shrink * cubic(shrink * (center[:, None] - indices))
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.mod(indices, 2 * length)
    return np.minimum(mirrored, 2 * length - 1 - mirrored), weights


def _resize_axis(image: np.ndarray, axis: int, out_length: int, scale: float) -> np.ndarray:
    image = np.moveaxis(image, axis, 0)
    indices, weights = resize_weights(image.shape[0], out_length, scale)
    out = np.zeros((out_length, *image.shape[1:]))
    shape = (-1,) + (1,) * (image.ndim - 1)
    for tap in np.flatnonzero(np.any(weights, axis=0)):
        out += weights[:, tap].reshape(shape) * image[indices[:, tap]]
    return np.moveaxis(out, 0, axis)


def imresize(
    image: np.ndarray, scale: float | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Resizes as MATLAB's imresize(image, scale, 'bicubic') does.

    Integer images are rounded between the two axes too, as MATLAB does: that is where one-pass
    code differs in a tenth of all pixels.

    Args:
        image: (h, w) or (h, w, c); uint8, uint16 or float.
        scale: factor on both sides; the output has ceil(h * scale) x ceil(w * scale) pixels.
        size: output (height, width) instead of a scale.

    Returns:
        The resized image in the dtype of the input.

    Raises:
        ValueError: if not exactly one of scale and size is given, or it is not positive.
    """
    height, width = image.shape[:2]
    if scale is not None and size is None:
        scales = (scale, scale)
        size = (math.ceil(height * scale - 1e-9), math.ceil(width * scale - 1e-9))
    elif size is not None and scale is None:
        scales = (size[0] / height, size[1] / width)
    else:
        raise ValueError(f"give either scale or size. Received: scale={scale}, size={size}")
    if min(scales) <= 0 or min(size) < 1:
        raise ValueError(f"an output side must be 1 pixel at least. Received: {scale=}, {size=}")
    # MATLAB treats the axis that shrinks most first, rows when equal.
    for axis in np.argsort(scales, kind="stable"):
        image = to_dtype(_resize_axis(image, int(axis), size[axis], scales[axis]), image.dtype)
    return image


def mod_crop(image: np.ndarray, scale: int) -> np.ndarray:
    """Crops right and bottom so that height and width are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]
