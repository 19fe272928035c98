"""Keras metrics of super-resolution: PSNR and SSIM, of luma and per channel."""

import keras
from keras import ops

from udl_tf.errors import UserError
from udl_tf.imaging.color import LUMA, LUMA_OFFSET
from udl_tf.metrics import SSIM_C1, SSIM_C2, SSIM_WINDOW, ssim_taps


class _ImageMetric(keras.metrics.Mean):
    """Mean over images of a number per image.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric; None: default_name.
    """

    default_name: str
    smallest = 1  # smallest side after shaving, pixels

    def __init__(self, shave: int, name: str | None = None, dtype=None):
        super().__init__(name=name or self.default_name, dtype=dtype)
        self.shave = shave

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of images.

        Args:
            y_true, y_pred: hr and sr, (n, h, w, c), in 0..255.
            sample_weight: ignored: the protocol has no weights.
        """
        super().update_state(self._of_images(self._inside(y_pred), self._inside(y_true)))

    def _inside(self, image):
        """Returns images inside the shaved border, float32."""
        height, width, shave = image.shape[1], image.shape[2], self.shave
        for length in (height, width):
            if length is not None and length - 2 * shave < self.smallest:
                raise UserError(
                    f"{self.name}: at least {self.smallest}x{self.smallest} pixels must be left"
                    f" after shaving. Received: shape={(height, width)}, shave={shave}"
                )
        inside = image[:, shave : -shave or height, shave : -shave or width]
        return ops.cast(inside, "float32")

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "shave": self.shave}


@keras.saving.register_keras_serializable("udl_tf")
class PSNR(_ImageMetric):
    """Mean over images and channels of the PSNR, dB, as udl_tf.metrics.psnr.

    sr is neither clipped nor rounded; equal channels count as 100 dB.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric.
    """

    default_name = "psnr"

    def _of_images(self, sr, hr):
        return _psnr(sr, hr)


@keras.saving.register_keras_serializable("udl_tf")
class SSIM(_ImageMetric):
    """Mean over images and channels of the SSIM, as udl_tf.metrics.ssim.

    sr is neither clipped nor rounded.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric.
    """

    default_name = "ssim"
    smallest = SSIM_WINDOW

    def _of_images(self, sr, hr):
        return _ssim(sr, hr)


@keras.saving.register_keras_serializable("udl_tf")
class PSNRY(_ImageMetric):
    """Mean PSNR of the luma of RGB, dB, as udl_tf.metrics.psnr_y; equal images count as 100 dB.

    sr is clipped and rounded to 8 bits.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric.
    """

    default_name = "psnr_y"

    def _of_images(self, sr, hr):
        return _psnr(_luma(_in_8_bits(sr)), _luma(hr))


@keras.saving.register_keras_serializable("udl_tf")
class SSIMY(_ImageMetric):
    """Mean SSIM of the luma of RGB, as udl_tf.metrics.ssim_y.

    sr is clipped and rounded to 8 bits.

    Args:
        shave: pixels to remove on every side; the scale, by the protocol.
        name: of the metric.
    """

    default_name = "ssim_y"
    smallest = SSIM_WINDOW

    def _of_images(self, sr, hr):
        return _ssim(_luma(_in_8_bits(sr)), _luma(hr))


def _in_8_bits(image):
    return ops.floor(ops.clip(image, 0.0, 255.0) + 0.5)


def _luma(image):
    """Returns the luma of RGB images, (n, h, w, 1)."""
    if image.shape[-1] != 3:
        raise UserError(
            f"psnr_y and ssim_y of {image.shape[-1]} channels: expected RGB: use psnr and ssim"
        )
    weights = ops.convert_to_tensor(LUMA, "float32")
    return ops.sum(image * weights, axis=-1, keepdims=True) + LUMA_OFFSET


def _psnr(sr, hr):
    """Computes the mean PSNR over the channels of each image, (n,)."""
    mse = ops.mean(ops.square(sr - hr), axis=(1, 2))
    return ops.mean(10.0 * ops.log10(255.0**2 / ops.maximum(mse, 255.0**2 * 1e-10)), axis=-1)


def _ssim(sr, hr):
    """Computes the mean SSIM over the channels of each image, (n,)."""
    # Centred, so that variances lose no digits in float32.
    mean_a, mean_b = _window(sr - 128.0), _window(hr - 128.0)
    var_a = _window(ops.square(sr - 128.0)) - mean_a**2
    var_b = _window(ops.square(hr - 128.0)) - mean_b**2
    covariance = _window((sr - 128.0) * (hr - 128.0)) - mean_a * mean_b
    mean_a, mean_b = mean_a + 128.0, mean_b + 128.0
    numerator = (2.0 * mean_a * mean_b + SSIM_C1) * (2.0 * covariance + SSIM_C2)
    denominator = (mean_a**2 + mean_b**2 + SSIM_C1) * (var_a + var_b + SSIM_C2)
    return ops.mean(numerator / denominator, axis=(1, 2, 3))


def _window(x):
    """Computes the Gaussian-weighted local mean of (n, h, w, c) where the window fits."""
    taps, channels = ops.convert_to_tensor(ssim_taps(), "float32"), x.shape[-1]
    x = ops.concatenate(ops.split(x, channels, axis=-1), axis=0)  # each channel as an image
    x = ops.conv(x, ops.reshape(taps, (SSIM_WINDOW, 1, 1, 1)), padding="valid")
    x = ops.conv(x, ops.reshape(taps, (1, SSIM_WINDOW, 1, 1)), padding="valid")
    return ops.concatenate(ops.split(x, channels, axis=0), axis=-1)
