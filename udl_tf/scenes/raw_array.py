"""Arrays stored uncompressed in files, read and written part by part."""

import math
import os
from pathlib import Path
from typing import Literal

import numpy as np
from tifffile import TiffPageSeries


class RawArray:
    """An array in a file, which is mapped only while a part is read or written.

    Mapped pages count as memory of the process: a map that stayed open would grow to the file.

    Args:
        path: of the file.
        dtype: of the values, with byte order.
        shape: of the array, whose last axis changes fastest.
        offset: of the first value in the file, bytes.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int = 0):
        self.path, self.dtype, self.shape, self.offset = path, dtype, shape, offset

    @classmethod
    def of_pages(
        cls, path: Path, series: TiffPageSeries, byteorder: Literal["<", ">"]
    ) -> "RawArray | None":
        """Returns the pages of a TIFF file as one array; None: the file does not store them so."""
        if series.dataoffset is None or series.is_multifile:
            return None
        dtype = series.dtype.newbyteorder(byteorder)
        return cls(path, dtype, series.get_shape(False), series.dataoffset)

    def __getitem__(self, index) -> np.ndarray:
        return np.array(self._map("r")[index])

    def __setitem__(self, index, values: np.ndarray | float) -> None:
        self._map("r+")[index] = values

    def fill(self, value: float) -> None:
        """Sets all values, a part at a time; the file grows as needed."""
        size = self.offset + math.prod(self.shape) * self.dtype.itemsize
        if self.path.stat().st_size < size:
            os.truncate(self.path, size)
        if value != 0:  # also NaN; a grown file reads as 0
            for part in np.ndindex(self.shape[:-2]):
                self[part] = value

    def _map(self, mode) -> np.memmap:
        return np.memmap(self.path, self.dtype, mode, self.offset, self.shape)
