"""A picture that was made, with what is known of its errors."""

from dataclasses import dataclass

import numpy as np

from udl_tf.calibration.record import Calibration
from udl_tf.errors import UserError
from udl_tf.resize import imresize


def gray_level(dtype: np.dtype) -> float:
    """One grey level of 0..255 in the unit of an image's dtype: 257 for uint16, else 1."""
    return 257.0 if dtype == np.uint16 else 1.0


@dataclass(frozen=True)
class Upscaled:
    """A picture that was made, with what is known of its errors.

    Attributes:
        image: (h, w) or (h, w, c) in the dtype of the input, alpha last where the input had it.
        theta: float32 scale of the Laplace distribution of the error, in grey levels of 0..255, for
            each pixel and colour channel; None without uncertainty.
        spread: float32 standard deviation over the self-ensemble's members, likewise; None without
            self-ensemble.
        calibration: how theta was calibrated; None: theta is as trained.
    """

    image: np.ndarray
    theta: np.ndarray | None = None
    spread: np.ndarray | None = None
    calibration: Calibration | None = None

    @property
    def total(self) -> np.ndarray | None:
        """The Laplace scale of both together: theta's variance and the members' are added."""
        if self.theta is None or self.spread is None:
            return None
        return np.sqrt(self.theta**2 + self.spread**2 / 2)  # a Laplace variance is 2 theta^2

    def resized(self, size: tuple[int, int]) -> "Upscaled":
        """The same brought to (height, width) by bicubic interpolation, the maps too.

        Shrinking averages pixels, and their errors partly cancel: theta then is an upper bound.
        """

        def resized_map(values: np.ndarray | None) -> np.ndarray | None:
            if values is None:
                return None
            # The bicubic kernel overshoots.
            return np.clip(imresize(values, size=size), values.min(), values.max())

        return Upscaled(
            imresize(self.image, size=size),
            resized_map(self.theta),
            resized_map(self.spread),
            self.calibration,
        )

    def interval(self, level: float) -> tuple[np.ndarray, np.ndarray]:
        """Bounds that hold the true value of a share `level` of the pixels.

        Args:
            level: in 0.01..0.999.

        Returns:
            (low, high): float32, in the image's unit, of theta's shape. Their half width is theta
            times the quantile of |error|/theta that the calibration measured.

        Raises:
            UserError: for another level, or a model that is not calibrated.
        """
        return self._around(self._calibrated().quantile(level))

    def conformal_interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds with the conformal guarantee that the model was calibrated for.

        Raises:
            UserError: if it was calibrated without --conformal.
        """
        conformal = self._calibrated().conformal
        if conformal is None:
            raise UserError(
                "the model has no conformal factor: run python -m udl_tf.calibrate with"
                " --conformal ALPHA,DELTA"
            )
        return self._around(np.full(3, conformal.factor))

    def _calibrated(self) -> Calibration:
        if self.theta is None or self.calibration is None:
            raise UserError(
                "the picture has no calibrated theta: run python -m udl_tf.calibrate on the model,"
                " and upscale with uncertainty"
            )
        return self.calibration

    def _around(self, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        theta, image = self.theta, self.image
        assert theta is not None
        if theta.ndim < 3 or theta.shape[-1] == 1:
            factors = factors.mean(keepdims=True)
        center = image if image.ndim == 2 else image[..., : theta.shape[-1]]
        half = (theta * factors * gray_level(image.dtype)).astype(np.float32)
        return center - half, center + half
