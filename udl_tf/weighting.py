"""Pixel weights w of the uncertainty-driven loss.

Every function returns float32 weights of the HR patch's shape (n, h, w, c). Their minimum over each
image and channel is `floor` (0 in the paper's equation, 1 in the authors' released code), and no
gradient flows through them. The three alternatives to the uncertainty are first converted to the
units of s by s* = ln(r / 2), the optimum of ESU for a mean absolute error r. The paper names them
without formulas; the formulas here are reconstructions.

Below, x is the HR image, y the LR image and f1 the frozen network of the first step.

Source: Ning et al., NeurIPS 2021, equation of L_UDL and its ablation of the weights.
"""

import math

import keras
from keras import ops


def uncertainty_weight(
    log_scale, *, floor: float, normalize: bool = False, quantile: float = 0.0, valid=None
):
    """Computes w = s - min(s) + floor, the weight of the uncertainty-driven loss.

    Args:
        log_scale: s = ln theta of the frozen network, (n, h, w, c).
        floor: minimum of w over each image and channel.
        normalize: divide w by its mean over each image, so that all images of a batch have equal
            weight.
        quantile: subtract this quantile of s over each image and channel instead of the minimum,
            so that no single pixel determines it; all pixels below it get the weight `floor`. 0:
            minimum, as in the paper.
        valid: bool (n, h, w, c): False for pixels without data, which count neither for the
            minimum, the quantile nor the mean, and get the weight `floor`. None: all count.
    """
    s = ops.cast(log_scale, "float32")
    if valid is not None:
        return _weight_of_valid(s, valid, floor, normalize, quantile)
    if quantile:
        lowest = ops.quantile(s, quantile, axis=(1, 2), keepdims=True)
    else:
        lowest = ops.min(s, axis=(1, 2), keepdims=True)
    w = ops.maximum(s - lowest, 0.0) + floor
    if normalize:
        mean = ops.mean(w, axis=(1, 2, 3), keepdims=True)
        w = w / ops.maximum(mean, keras.config.epsilon())
    return ops.stop_gradient(w)


def _weight_of_valid(s, valid, floor: float, normalize: bool, quantile: float):
    """Computes uncertainty_weight over valid pixels with finite s only."""
    known = ops.logical_and(valid, ops.isfinite(s))
    lowest = _known_quantile(ops.where(known, s, math.inf), known, quantile)
    w = ops.where(known, ops.maximum(s - lowest, 0.0), 0.0) + floor
    if normalize:
        counted = ops.cast(known, "float32")
        count = ops.maximum(ops.sum(counted, axis=(1, 2, 3), keepdims=True), 1.0)
        mean = ops.sum(w * counted, axis=(1, 2, 3), keepdims=True) / count
        w = w / ops.maximum(mean, keras.config.epsilon())
    return ops.stop_gradient(w)


def _known_quantile(s, known, quantile: float):
    """Computes a quantile over each image and channel, (n, 1, 1, c), of s, infinite if unknown."""
    if not quantile:
        return ops.min(s, axis=(1, 2), keepdims=True)
    *_, height, width, channels = s.shape
    ordered = ops.sort(ops.reshape(s, (-1, height * width, channels)), axis=1)
    count = ops.sum(ops.cast(known, "int32"), axis=(1, 2), keepdims=True)[:, 0]
    place = quantile * ops.cast(ops.maximum(count - 1, 0), "float32")
    below = ops.cast(place, "int32")
    above = ops.minimum(below + 1, ops.maximum(count - 1, 0))
    low, high = (ops.take_along_axis(ordered, index, axis=1) for index in (below, above))
    share = place - ops.cast(below, "float32")
    return (low + share * ops.where(high > low, high - low, 0.0))[:, None]


def error_map_weight(hr, sr, **options):
    """Computes w from |x - f1(y)|, the absolute error of the frozen network.

    Args:
        hr: (n, h, w, c), grey levels of 0..255.
        sr: as hr.
        options: as for uncertainty_weight.
    """
    error = ops.abs(ops.cast(hr, "float32") - ops.cast(sr, "float32"))
    return uncertainty_weight(_as_log_scale(error), **options)


def hr_gradient_weight(hr, **options):
    """Computes w from |grad x|, the gradient magnitude of the HR image (Sobel / 8).

    Args:
        hr: (n, h, w, c), grey levels of 0..255.
        options: as for uncertainty_weight.
    """
    return uncertainty_weight(_as_log_scale(_gradient(hr)), **options)


def lr_gradient_weight(lr, *, scale: int, **options):
    """Computes w from |grad y| of the LR image, upsampled by nearest neighbours.

    Args:
        lr: (n, h, w, c), grey levels of 0..255.
        scale: HR over LR size.
        options: as for uncertainty_weight.
    """
    gradient = ops.repeat(ops.repeat(_gradient(lr), scale, axis=1), scale, axis=2)
    return uncertainty_weight(_as_log_scale(gradient), **options)


def _as_log_scale(magnitude):
    # The lower bound keeps s at or above the minimum of ELU, -1 = ln((2 / e) / 2).
    return ops.log(ops.maximum(magnitude, 2.0 / math.e) / 2.0)


def _gradient(image):
    """Computes the magnitude of the Sobel gradient per channel, in grey levels per pixel."""
    x = ops.cast(image, "float32")
    x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
    rows = x[:, :-2] + 2.0 * x[:, 1:-1] + x[:, 2:]
    columns = x[:, :, :-2] + 2.0 * x[:, :, 1:-1] + x[:, :, 2:]
    dx = (rows[:, :, 2:] - rows[:, :, :-2]) / 8.0
    dy = (columns[:, 2:] - columns[:, :-2]) / 8.0
    return ops.sqrt(dx * dx + dy * dy)
