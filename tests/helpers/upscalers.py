"""Upscalers without a network."""

import numpy as np

from helpers.models import plain_calibration
from udl_tf.inference.passes import Pass
from udl_tf.inference.upscaler import Upscaler


class Repeating(Upscaler):
    """Repeats pixels, in bands of four rows, without memory of its own worth mentioning."""

    calibration = None
    has_uncertainty = True
    radius, align = 0, 1

    def __init__(self, scale: int, channels: int = 3):
        self.scale, self.channels = scale, channels

    def _passes(self, uncertainty, bordered=False):
        return [Pass(self, ("sr", "log_scale") if uncertainty else ("sr",))]

    def _theta_of(self, log_scale):
        return np.exp(log_scale / 100)

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        for top in range(0, len(lr), 4):
            band = lr[top : top + 4].repeat(self.scale, axis=0).repeat(self.scale, axis=1)
            rows = slice(top * self.scale, top * self.scale + len(band))
            yield (rows, slice(0, band.shape[1])), np.stack([band, band])


class Patterned(Upscaler):
    """An upscaler whose maps depend on the pixel's value and column."""

    has_uncertainty = True
    scale = 2
    radius = 0

    def __init__(self, excess: int = 0, channels: int = 3):
        self.excess = excess  # pixels by which its parts exceed the image
        self.channels = channels
        self.calibration = plain_calibration([0.0] * channels, [1.0] * channels)
        self.efforts = []

    def _passes(self, uncertainty, bordered=False):
        return [Pass(self, ("sr", "theta") if uncertainty else ("sr",))]

    def run(self, lr, tile=None, budget=None, notes=None, counter=None):
        self.efforts.append((tile, budget))
        height, width = lr.shape[:2]
        side, more = tile or max(height, width), self.excess
        lr = np.pad(lr, ((0, more), (0, more), (0, 0)), "edge")
        for top in range(0, height, side):
            for left in range(0, width, side):
                bottom = top + side if top + side < height else height + more
                right = left + side if left + side < width else width + more
                part = lr[top:bottom, left:right].repeat(2, axis=0).repeat(2, axis=1)
                part = 0.9 * part + np.arange(2 * left, 2 * right)[None, :, None] / 10
                yield (
                    (slice(2 * top, 2 * bottom), slice(2 * left, 2 * right)),
                    np.stack([part, 1 + part / 50]),
                )
