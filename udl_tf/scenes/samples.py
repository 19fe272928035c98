"""Values as files store them: dtype and nodata."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import to_dtype

_ROWS = 128  # stored at a time, so that intermediate arrays stay small


@dataclass(frozen=True)
class Samples:
    """How values are stored.

    Attributes:
        dtype: integer or float.
        nodata: value of pixels without data; None: only NaN and infinity mark them.
    """

    dtype: np.dtype
    nodata: float | None = None

    @property
    def fill(self) -> float:
        """What is stored where there are no data: 0 if the dtype cannot mark it."""
        if self.nodata is not None:
            return self.nodata
        return np.nan if self.dtype.kind == "f" else 0

    def valid(self, stored: np.ndarray) -> np.ndarray:
        """Returns where stored values are data, bool of their shape."""
        valid = np.isfinite(stored)
        if self.nodata is not None:
            valid &= stored != self.nodata
        return valid

    def store(self, values: np.ndarray) -> np.ndarray:
        """Returns floats as they are stored: rounded and clipped if integers, NaN as nodata.

        Values that would be stored as nodata become the next number of the dtype.
        """
        stored = np.empty(values.shape, self.dtype)
        for row in range(0, len(values), _ROWS):
            stored[row : row + _ROWS] = self._stored(values[row : row + _ROWS])
        return stored

    def _stored(self, values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        stored = to_dtype(np.where(missing, 0, values.astype(np.float64, copy=False)), self.dtype)
        if self.nodata is not None and not np.isnan(self.nodata):
            stored[stored == self.nodata] = self._next_to(self.nodata)
        stored[missing] = self.fill
        return stored

    def _next_to(self, nodata: float) -> float:
        """Returns the number of the dtype next to nodata, towards 0 (or 1 for 0)."""
        towards = 0 if nodata else 1
        if self.dtype.kind == "f":
            return np.nextafter(self.dtype.type(nodata), self.dtype.type(towards))
        return nodata + np.sign(towards - nodata)


def check_nodata(nodata: float | None, dtype: np.dtype, path: Path | None = None) -> None:
    """Requires `nodata` to be a value of the dtype.

    Raises:
        UserError: naming the file, if one is given.
    """
    if nodata is None or dtype.kind == "f":
        return
    limits = np.iinfo(dtype)
    if not (limits.min <= nodata <= limits.max and nodata == int(nodata)):
        where = "" if path is None else f"{path}: "
        raise UserError(
            f"{where}nodata {nodata:g}; expected a value of the dtype {dtype}, a whole number in"
            f" {limits.min}..{limits.max}",
            argument="nodata",
        )


FLAGS = Samples(np.dtype(np.uint8), nodata=2)
"""Flags of pixels, of which 2 means nodata."""

THETA = Samples(np.dtype(np.float32))
"""Theta, with NaN as nodata."""
