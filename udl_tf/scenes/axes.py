"""Axes of an array: which are planes, pixels and channels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from udl_tf.scenes.scene import Window

_CHANNELS = ("C", "S")  # channels, and samples of a colour


@dataclass(frozen=True)
class Axes:
    """Names and sizes of an array's axes, in the order of the array.

    Attributes:
        names: "Y" and "X", which are the rows and columns of a plane; "C" and "S", whose product
            are the channels of a pixel; all others, such as "T" and "Z", number the planes.
        sizes: one per axis.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def height(self) -> int:
        return self.size("Y")

    @property
    def width(self) -> int:
        return self.size("X")

    @property
    def channels(self) -> int:
        return math.prod(self._sizes_of(*_CHANNELS))

    @property
    def planes(self) -> int:
        return math.prod(self._plane_sizes)

    def size(self, name: str) -> int:
        """Returns the size of an axis, 1 if the array does not have it."""
        return next(self._sizes_of(name), 1)

    def index(self, window: Window) -> tuple[int | slice, ...]:
        """Returns the index of a window in the array."""
        position = iter(np.unravel_index(window.plane, self._plane_sizes or (1,)))
        known = {
            "Y": slice(window.top, window.top + window.height),
            "X": slice(window.left, window.left + window.width),
            "C": slice(None),
            "S": slice(None),
        }
        return tuple(known[name] if name in known else int(next(position)) for name in self.names)

    def to_pixels(self, part: np.ndarray) -> np.ndarray:
        """Returns what the array holds at the index of a window as (h, w, c)."""
        ordered = np.transpose(part, [self._kept.index(name) for name in self._pixel_order])
        return ordered.reshape(*ordered.shape[:2], self.channels)

    def from_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Returns pixels (h, w, c) in the order of the array, for the index of a window."""
        sizes = (self.size(name) for name in self._pixel_order[2:])
        ordered = pixels.reshape(*pixels.shape[:2], *sizes)
        return np.transpose(ordered, [self._pixel_order.index(name) for name in self._kept])

    def result(self, scale: int, channels: int) -> "Axes":
        """Returns the axes of a result, `scale` times as high and wide, with another "C".

        Args:
            scale: whole number of result pixels per pixel.
            channels: of the result; "S" becomes 1 if it does not divide them.
        """
        samples = self.size("S") if channels % self.size("S") == 0 else 1
        known = {"C": channels // samples, "S": samples}
        known |= {"Y": self.height * scale, "X": self.width * scale}
        pairs = zip(self.names, self.sizes, strict=True)
        result = Axes(self.names, tuple(known.get(name, size) for name, size in pairs))
        if result.channels != channels:
            raise ValueError(f"axes {self.names} cannot hold {channels} channels")
        return result

    @property
    def _plane_sizes(self) -> tuple[int, ...]:
        pairs = zip(self.names, self.sizes, strict=True)
        return tuple(size for name, size in pairs if name not in ("Y", "X", *_CHANNELS))

    @property
    def _kept(self) -> list[str]:
        """Names of the axes that remain of the array at the index of a window."""
        return [name for name in self.names if name in ("Y", "X", *_CHANNELS)]

    @property
    def _pixel_order(self) -> list[str]:
        return ["Y", "X", *(name for name in self._kept if name in _CHANNELS)]

    def _sizes_of(self, *names: str) -> Iterator[int]:
        pairs = zip(self.names, self.sizes, strict=True)
        return (size for name, size in pairs if name in names)
