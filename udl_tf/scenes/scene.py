"""Protocols of scenes and their writers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Window:
    """A rectangle of a plane.

    Attributes:
        plane: index of the plane, such as a slice of a volume or a time of a series.
        top, left, height, width: pixels.
    """

    plane: int
    top: int
    left: int
    height: int
    width: int


class Scene(Protocol):
    """An open file of one or more planes of equal size; a context manager.

    One thread at a time uses it and its writers.

    Attributes:
        path: of the file.
        planes: number of planes, at least 1.
        height, width: of a plane, pixels.
        channels: of a pixel, 1 to 64.
        dtype: of the values in the file.
        nodata: value that marks pixels without data; None: only a mask of the file, or NaN.
        notes: what of the file is not read, or not carried over to a result; one line each.
    """

    path: Path
    planes: int
    height: int
    width: int
    channels: int
    dtype: np.dtype
    nodata: float | None
    notes: tuple[str, ...]

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Reads a window that lies inside the plane.

        Returns:
            (values (h, w, c) in the dtype of the file, valid (h, w, c) bool: False for nodata, NaN
            and infinite values).

        Raises:
            UserError: if this part of the file is damaged.
        """
        ...

    def holds_data(self, window: Window) -> bool:
        """Returns False if the window is certainly all nodata, without reading its values.

        Known from blocks that are not stored, or from a mask; other formats return True.
        """
        ...

    def create(self, path: Path, scale: int, theta: Path | None, flags: bool) -> "SceneWriter":
        """Starts a result, `scale` times as high and wide, in the format of this file.

        It carries over what the format says about places and units: coordinates, pixel sizes (which
        are divided by the scale), names of channels, nodata. `notes` state what is lost.

        Args:
            path: of the result, which appears when the writer is closed without an exception.
            scale: whole number of result pixels per pixel.
            theta: file of the same format for theta, float32; None: no theta. If it equals `path`,
                theta is stored in the same file, as further channels; all are then float32, with
                NaN as nodata.
            flags: whether `write` is given flags, which are stored in a further uint8 file,
                `path_beside(path, "flags")`, with 2 as nodata.

        Raises:
            UserError: if the file cannot be written.
        """
        ...

    def __enter__(self) -> "Scene": ...

    def __exit__(self, *error) -> None: ...


class SceneWriter(Protocol):
    """A result that is being written, window by window; a context manager.

    Windows that are never written are nodata.
    """

    def write(
        self,
        window: Window,
        values: np.ndarray,
        valid: np.ndarray,
        theta: np.ndarray | None = None,
        flags: np.ndarray | None = None,
    ) -> None:
        """Writes a window of the result.

        Args:
            window: in pixels of the result; windows do not overlap.
            values: (h, w, c) in the unit of the file, float64 or float32; rounded and clipped to
                the dtype of the result if that is an integer. A valid value that would read as
                nodata becomes the next number.
            valid: (h, w, c) bool; False is stored as nodata.
            theta: float32 (h, w, c) in the unit of the file, NaN for nodata; None: none.
            flags: uint8 (h, w): 0 valid, 1 near nodata, 2 nodata in any channel; None: none.
        """
        ...

    def __enter__(self) -> "SceneWriter": ...

    def __exit__(self, *error) -> None: ...
