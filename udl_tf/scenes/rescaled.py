"""Arrays whose stored numbers are values by a slope and an intercept."""

from typing import Any

import numpy as np

from udl_tf.scenes.samples import Samples


class Rescaled:
    """Gives and takes values, which are `slope * stored + intercept`, as float32.

    Args:
        array: of the stored numbers.
        slope, intercept: in the unit of the file.
        stored: how numbers are stored, and which mean nodata; these are NaN as values.
    """

    def __init__(self, array: Any, slope: float, intercept: float, stored: Samples):
        self._array, self._slope, self._intercept = array, slope, intercept
        self._stored = stored

    def __getitem__(self, index) -> np.ndarray:
        stored = self._array[index]
        values = stored.astype(np.float64) * self._slope + self._intercept
        return np.where(self._stored.valid(stored), values, np.nan).astype(np.float32)

    def __setitem__(self, index, values: np.ndarray) -> None:
        numbers = (values.astype(np.float64) - self._intercept) / self._slope
        self._array[index] = self._stored.store(numbers)
