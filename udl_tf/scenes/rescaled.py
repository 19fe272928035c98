"""Arrays whose stored numbers are values by a slope and an intercept."""

from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.errors import UserError
from udl_tf.scenes.samples import Samples

VALUES = Samples(np.dtype(np.float32))
"""How values are given and taken: as float32, with NaN for nodata."""

_INACCURACY = 0.01  # of a number computed from a decimal nodata and a float32 slope


class Rescaled:
    """Gives and takes VALUES, which are `slope * stored + intercept`.

    Args:
        array: of the stored numbers.
        slope, intercept: in the unit of the file.
        stored: how numbers are stored, and which mean nodata.
    """

    def __init__(self, array: Any, slope: float, intercept: float, stored: Samples):
        self._array, self._slope, self._intercept = array, slope, intercept
        self._stored = stored

    def __getitem__(self, index) -> np.ndarray:
        stored = self._array[index]
        values = stored.astype(np.float64) * self._slope + self._intercept
        return np.where(self._stored.valid(stored), values, np.nan).astype(VALUES.dtype)

    def __setitem__(self, index, values: np.ndarray) -> None:
        numbers = (values.astype(np.float64) - self._intercept) / self._slope
        self._array[index] = self._stored.store(numbers)


def stored_samples(
    path: Path, dtype: np.dtype, slope: float, intercept: float, nodata: float | None
) -> Samples:
    """Returns how numbers are stored, given the value that means nodata.

    Args:
        path: of the file, for an error.
        dtype: of the numbers.
        slope, intercept: of the values.
        nodata: a value; None: none, except NaN.

    Raises:
        UserError: if no integer stands for `nodata`.
    """
    if nodata is None:
        return Samples(dtype)
    number = (nodata - intercept) / slope
    if dtype.kind == "f":
        return Samples(dtype, float(dtype.type(number)))
    limits, nearest = np.iinfo(dtype), np.rint(number)
    if not (limits.min <= nearest <= limits.max and abs(nearest - number) < _INACCURACY):
        raise UserError(
            f"{path}: nodata {nodata:g}; expected {intercept:g} + {slope:g} n with a whole number n"
            f" in {limits.min}..{limits.max}",
            argument="nodata",
        )
    return Samples(dtype, int(nearest))
