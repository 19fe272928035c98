"""Upscalers without a network."""

import numpy as np

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
