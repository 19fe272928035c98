"""Scenes whose file is an array with named axes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.errors import UserError
from udl_tf.imaging.library_warnings import collected_warnings
from udl_tf.scenes.axes import Axes
from udl_tf.scenes.result_files import Content, ResultWriter, WindowFile
from udl_tf.scenes.samples import Samples
from udl_tf.scenes.scene import Window


class ArrayScene(ABC):
    """A scene of an array; formats say how the file of a result is created.

    Args:
        path: of the file.
        array: gives the values at an index, in the unit of the file.
        axes: of the array.
        samples: how `array` gives values.
        notes: what is not read, or not carried over.
        resources: what is closed with the scene; None: nothing.
    """

    def __init__(
        self,
        path: Path,
        array: Any,
        axes: Axes,
        samples: Samples,
        notes: tuple[str, ...] = (),
        resources: ExitStack | None = None,
    ):
        self.path, self.notes = path, notes
        self.planes, self.channels = axes.planes, axes.channels
        self.height, self.width = axes.height, axes.width
        self.dtype, self.nodata = samples.dtype, samples.nodata
        self._array, self._axes, self._samples = array, axes, samples
        self._resources = resources or ExitStack()

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        with readable(self.path):
            part = np.asarray(self._array[self._axes.index(window)])
        values = self._axes.to_pixels(part).astype(self.dtype, copy=False)
        return values, self._samples.valid(values)

    def holds_data(self, window: Window) -> bool:
        return True

    def create(self, path: Path, scale: int, theta: Path | None, flags: bool) -> ResultWriter:
        return ResultWriter(self._create_file, path, scale, theta, flags)

    @abstractmethod
    def _create_file(
        self, path: Path, scale: int, content: Content
    ) -> AbstractContextManager[WindowFile]:
        """Creates a file of a result: a context manager, at whose end the file is complete."""

    def __enter__(self) -> "ArrayScene":
        return self

    def __exit__(self, *error) -> None:
        self._resources.close()


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Reports what libraries find wrong with a file as one line.

    Raises:
        UserError: for any exception inside; libraries share no narrower base class.
    """
    try:
        with collected_warnings():  # of damage, which is an exception too, or harmless
            yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: cannot be read ({text}): replace or remove it") from error
