"""Keras metrics of super-resolution: PSNR-Y and SSIM-Y, as means over images."""

import keras
from keras import ops

from udl_tf.imaging.color import LUMA, LUMA_OFFSET
from udl_tf.metrics import SSIM_C1, SSIM_C2, SSIM_WINDOW, ssim_taps


class _ImageMetric(keras.metrics.Mean):
    """Mean over images of a number per image, after sr is clipped and rounded to 8 bits.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric; None: default_name.
    """

    default_name: str

    def __init__(self, shave: int, name: str | None = None, dtype=None):
        super().__init__(name=name or self.default_name, dtype=dtype)
        self.shave = shave

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of images.

        Args:
            y_true, y_pred: hr and sr, (n, h, w, 3), RGB in 0..255.
            sample_weight: ignored: the protocol has no weights.
        """
        sr = ops.floor(ops.clip(ops.cast(y_pred, "float32"), 0.0, 255.0) + 0.5)
        pair = [_luma(image, self.shave) for image in (sr, ops.cast(y_true, "float32"))]
        super().update_state(self._of_images(*pair))

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "shave": self.shave}


@keras.saving.register_keras_serializable("udl_tf")
class PSNRY(_ImageMetric):
    """Mean PSNR of the luma, dB, as udl_tf.metrics.psnr_y; equal images count as 100 dB.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric.
    """

    default_name = "psnr_y"

    def _of_images(self, sr, hr):
        mse = ops.mean(ops.square(sr - hr), axis=(1, 2, 3))
        return 10.0 * ops.log10(255.0**2 / ops.maximum(mse, 255.0**2 * 1e-10))


@keras.saving.register_keras_serializable("udl_tf")
class SSIMY(_ImageMetric):
    """Mean SSIM of the luma, as udl_tf.metrics.ssim_y.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric.
    """

    default_name = "ssim_y"

    def _of_images(self, sr, hr):
        # Centred, so that variances lose no digits in float32.
        mean_a, mean_b = _window(sr - 128.0), _window(hr - 128.0)
        var_a = _window(ops.square(sr - 128.0)) - mean_a**2
        var_b = _window(ops.square(hr - 128.0)) - mean_b**2
        covariance = _window((sr - 128.0) * (hr - 128.0)) - mean_a * mean_b
        mean_a, mean_b = mean_a + 128.0, mean_b + 128.0
        numerator = (2.0 * mean_a * mean_b + SSIM_C1) * (2.0 * covariance + SSIM_C2)
        denominator = (mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2)
        return ops.mean(numerator / denominator, axis=(1, 2, 3))


def _luma(image, shave: int):
    """Returns the luma of images inside the shaved border, (n, h, w, 1)."""
    height, width = image.shape[1], image.shape[2]
    inside = image[:, shave : -shave or height, shave : -shave or width]
    weights = ops.convert_to_tensor(LUMA, "float32")
    return ops.sum(inside * weights, axis=-1, keepdims=True) + LUMA_OFFSET


def _window(x):
    """Computes the Gaussian-weighted local mean of (n, h, w, 1) where the window fits."""
    taps = ops.convert_to_tensor(ssim_taps(), "float32")
    x = ops.conv(x, ops.reshape(taps, (SSIM_WINDOW, 1, 1, 1)), padding="valid")
    return ops.conv(x, ops.reshape(taps, (1, SSIM_WINDOW, 1, 1)), padding="valid")
