"""NumPy files (.npy): arrays (h, w), (h, w, c) or (planes, h, w, c)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from udl_tf._support.files import complete_file
from udl_tf.errors import UserError
from udl_tf.scenes.array_scene import ArrayScene, readable
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.raw_array import RawArray
from udl_tf.scenes.result_files import Content, ResultFile
from udl_tf.scenes.samples import Samples

_AXES = {2: ("Y", "X"), 3: ("Y", "X", "C"), 4: ("Z", "Y", "X", "C")}  # by number of axes


def open_file(path: Path, nodata: float | None) -> "NumpyScene":
    """Opens a .npy file as a scene.

    Raises:
        UserError: if it is damaged, or its shape or dtype is not supported.
    """
    return NumpyScene(path, nodata)


class NumpyScene(ArrayScene):
    """An array in a .npy file, of which only the window that is read is mapped into memory.

    Args:
        path: of the file.
        nodata: value of pixels without data; None: only NaN.
    """

    def __init__(self, path: Path, nodata: float | None):
        with readable(path):
            shape, in_columns, dtype, offset = _header(path)
        names = _AXES.get(len(shape))
        if names is None or dtype.hasobject:
            raise UserError(
                f"{path}: holds an array of shape {shape} and dtype {dtype}; expected numbers of"
                " shape (h, w), (h, w, c) or (planes, h, w, c): save it as such"
            )
        if in_columns:  # the first axis changes fastest
            names, shape = names[::-1], shape[::-1]
        self._in_columns = in_columns
        array = RawArray(path, dtype, shape, offset)
        samples = Samples(dtype.newbyteorder("="), nodata)
        super().__init__(path, array, Axes(names, shape), samples)

    @contextmanager
    def _create_file(self, path: Path, scale: int, content: Content) -> Iterator[ResultFile]:
        source = self._axes
        channels = content.channels(self.channels)
        if channels > 1 and "C" not in source.names:
            source = Axes((*source.names, "C"), (*source.sizes, 1))
        axes, samples = source.result(scale, channels), content.samples(self._samples)
        shape = axes.sizes[::-1] if self._in_columns else axes.sizes
        header = {"descr": np.lib.format.dtype_to_descr(samples.dtype), "shape": shape}
        with complete_file(path) as temporary:
            with open(temporary, "wb") as file:
                np.lib.format.write_array_header_1_0(
                    file, header | {"fortran_order": self._in_columns}
                )
                offset = file.tell()
            array = RawArray(temporary, samples.dtype, axes.sizes, offset)
            array.fill(samples.fill)
            yield ResultFile(array, axes, samples)


def _header(path: Path) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Returns (shape, whether in Fortran order, dtype, offset of the values) of a .npy file."""
    with open(path, "rb") as file:
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(np.lib.format.read_magic(file))
        if read is None:
            raise ValueError("it is of a version that NumPy writes for names in other scripts only")
        shape, in_columns, dtype = read(file)
        return shape, in_columns, dtype, file.tell()
