"""Ranges of physical values, which networks see as 0..255."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from udl_tf.config import ValueRanges
from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import FULL_RANGE

_INTEGERS = ("u1", "u2", "u4", "i1", "i2", "i4")


@dataclass(frozen=True)
class ValueRange:
    """The values that a network sees as 0 and 255, in the unit of the images.

    Values outside the range are mapped by the same straight line, and NaN stays NaN.

    Attributes:
        low, high: for all channels, or one number per channel.
    """

    low: tuple[float, ...] = (FULL_RANGE[0],)
    high: tuple[float, ...] = (FULL_RANGE[1],)

    @classmethod
    def of(cls, ranges: Sequence[float] | Sequence[Sequence[float]]) -> "ValueRange":
        """Returns the range that a caller, a config or metadata states.

        Raises:
            UserError: unless each range has two finite numbers, the smaller one first.
        """
        pairs: Sequence[Any] = ranges if isinstance(ranges[0], Sequence) else [ranges]
        for pair in pairs:
            if not (len(pair) == 2 and math.isfinite(pair[1] - pair[0]) and pair[0] < pair[1]):
                raise UserError(
                    f"a value range of {list(pair)}: expected two finite numbers, the smaller one"
                    " first",
                    argument="value_range",
                )
        return cls(*(tuple(map(float, numbers)) for numbers in zip(*pairs, strict=True)))

    @classmethod
    def of_dtype(cls, dtype: np.dtype) -> "ValueRange":
        """Returns black and white of images of a dtype: 0..255 for floats, else the whole range.

        Raises:
            UserError: as check_dtype.
        """
        check_dtype(dtype)
        if dtype.kind == "f":
            return cls()
        limits = np.iinfo(dtype)
        return cls((float(max(limits.min, 0)),), (float(limits.max),))

    @property
    def ranges(self) -> ValueRanges:
        """The range as configs and metadata store it."""
        pairs = [list(pair) for pair in zip(self.low, self.high, strict=True)]
        return pairs[0] if len(pairs) == 1 else pairs

    @property
    def text(self) -> str:
        """The range for people, such as "0..1"; the ranges of several channels are listed."""
        pairs = zip(self.low, self.high, strict=True)
        return ", ".join(f"{low:g}..{high:g}" for low, high in pairs)

    def to_network(self, values: np.ndarray) -> np.ndarray:
        """Maps values (..., c) in the unit of the images to those of the network, float32."""
        return ((values - np.array(self.low)) / self.step).astype(np.float32)

    def from_network(self, values: np.ndarray) -> np.ndarray:
        """Maps values (..., c) of the network to the unit of the images, float64."""
        return values * self.step + np.array(self.low)

    @property
    def step(self) -> np.ndarray:
        """What one step of the network's 0..255 is in the unit of the images, (1,) or (c,).

        Multiplied by it, theta and half widths of intervals are in that unit.
        """
        return (np.array(self.high) - np.array(self.low)) / 255.0


GREY_LEVELS = ValueRange()
"""0..255, in which networks see 8-bit images."""


def check_dtype(dtype: np.dtype) -> None:
    """Raises UserError unless values of this dtype can be measurements."""
    if dtype.kind != "f" and dtype.str[1:] not in _INTEGERS:
        raise UserError(
            f"values of dtype {dtype}: expected floats, or integers of at most 32 bits: convert"
            " them"
        )
