"""Metadata of ImageJ's hyperstacks: what of them applies to a result."""

from typing import Any

import numpy as np

from udl_tf.scenes.axes import Axes
from udl_tf.scenes.result_files import Content

_OF_SOURCE = {"ImageJ", "images", "channels", "slices", "frames", "hyperstack"}
_IN_PIXELS = {"ROI", "Overlays", "Plot"}  # places in pixels
_OF_VALUES = {"min", "max", "Ranges", "LUTs", "Labels", "mode"}  # and of channels


class ImageJ:
    """Metadata of a hyperstack.

    Args:
        metadata: as tifffile reads them; None: not a hyperstack.

    Raises:
        ValueError: if there are none.
    """

    def __init__(self, metadata: dict[str, Any] | None):
        if metadata is None:
            raise ValueError("neither OME-TIFF nor a hyperstack of ImageJ")
        self._metadata = metadata

    def notes(self) -> list[str]:
        """Returns what of the file is not carried over to a result."""
        return ["regions of interest not carried over"] if _IN_PIXELS & set(self._metadata) else []

    def arranged(self, axes: Axes, content: Content) -> Axes:
        """Returns the axes of a result, still of the size of the source.

        Samples are channels, unless they are 8-bit RGB: ImageJ knows no others.
        """
        if content is Content.IMAGE:
            return axes
        known = {"C": axes.channels, "S": 1}
        pairs = zip(axes.names, axes.sizes, strict=True)
        return Axes(axes.names, tuple(known.get(name, size) for name, size in pairs))

    def options(self, axes: Axes, scale: int, content: Content, dtype: np.dtype) -> dict[str, Any]:
        """Returns the options of tifffile that write the metadata."""
        dropped = _OF_SOURCE | _IN_PIXELS
        if content is not Content.IMAGE:
            dropped |= _OF_VALUES
        kept = {key: value for key, value in self._metadata.items() if key not in dropped}
        names = axes.names if axes.size("S") > 1 else axes.names[:-1]
        return {"metadata": kept | {"axes": "".join(names)}}
