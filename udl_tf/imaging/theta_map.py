"""Uncertainty maps as files: float32 values, or a colour image, with a scale bar or plain."""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from udl_tf._support.files import complete_file
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.metadata import MARK
from udl_tf.imaging.png_writing import write_png
from udl_tf.imaging.tiff_writing import write_float_tiff

MAP_SUFFIXES = {"npy": ".npy", "tiff": ".tiff", "png": ".png"}
MAP_STYLES = ("captioned", "plain")
MAP_TOP = 20.0
"""Grey levels of the brightest colour; one constant, so that all maps can be compared by colour.

With the presets, theta is below it at nine of ten pixels at x4, and at 98 of 100 at x2 (images of
Set14 and the bundled test images).
"""

COLORS = "magma"
"""Colour map; its lightness rises steadily, so that it is readable with any colour vision."""

_ROWS = 512  # coloured at a time, so that intermediate arrays stay small


def write_map(
    path: Path,
    values: np.ndarray,
    title: str,
    legend: Sequence[str] = (),
    top: float = MAP_TOP,
    style: str = "captioned",
) -> None:
    """Writes a map in the format of the suffix, with the mark of results if it can store one.

    Args:
        path: .npy and .tiff store the float32 values; .png is a colour image.
        values: (h, w) or (h, w, c), grey levels of 0..255; .png shows the mean over channels.
        title: name of the values, shown below the scale bar.
        legend: further lines of text below the scale bar.
        top: grey levels of the brightest colour of .png.
        style: of .png; "captioned" has a scale bar and text below the map, "plain" is the map
            alone, (h, w).
    """
    with complete_file(path) as temporary:
        if path.suffix == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, values)
        elif path.suffix == ".tiff":
            write_float_tiff(temporary, values, _unit(title))
        else:
            text = PngInfo()
            text.add_text("Software", MARK.decode())
            text.add_text("Description", f"{_unit(title)}: black 0, pale yellow {top:g} or more")
            lines = [_unit(title), *legend]
            image = _plain(values, top) if style == "plain" else captioned_map(values, lines, top)
            with open(temporary, "wb") as file:
                write_png(file, np.asarray(image), pnginfo=text)


def _unit(title: str) -> str:
    return f"{title}, grey levels of 0..255"


def captioned_map(
    values: np.ndarray, lines: Sequence[str], top: float = MAP_TOP, size: int | None = None
) -> Image.Image:
    """Draws a map in colour, with a scale bar and text below it.

    Args:
        values: (h, w) or (h, w, c), as for colorize.
        lines: of text.
        top: value of the brightest colour.
        size: of the font, pixels; None: a fortieth of the width, but 10 to 60.
    """
    height, width = values.shape[:2]
    size = int(np.clip(width / 40, 10, 60)) if size is None else size
    scale = "0", f"{top / 2:.3g}", f"{top:.3g} or more"
    low, middle, high = (_text(label, size) for label in scale)
    rows = [_text(line, size) for line in lines]
    labels = middle.width + 2 * high.width + size  # the middle is centred
    wide = max([width, *(2 * size + x for x in (labels, *(row.width for row in rows)))])
    image = Image.new("RGB", (wide, height + int((3.5 + 1.3 * len(rows)) * size)), "white")
    image.paste(_plain(values, top))
    left, right = size, wide - size
    bar = colorize(np.linspace(0, 1, right - left)[None].repeat(size, axis=0), 1.0)
    image.paste(Image.fromarray(bar), (left, height + size // 2))
    for text, x in (
        (low, left),
        (middle, (wide - middle.width) // 2),
        (high, right - high.width),
    ):
        image.paste(text, (x, height + 2 * size))
    for index, row in enumerate(rows):
        top_left = (wide - row.width) // 2, height + int((3.3 + 1.3 * index) * size)
        image.paste(row, top_left)
    return image


@lru_cache(64)  # the maps of a folder share most of their lines
def _text(line: str, size: int) -> Image.Image:
    """Draws a line of text, black on white."""
    font = ImageFont.load_default(size=size)
    image = Image.new("L", (math.ceil(font.getlength(line)), math.ceil(1.2 * size)), 255)
    ImageDraw.Draw(image).text((0, 0), line, 0, font)
    return image


def _plain(values: np.ndarray, top: float) -> Image.Image:
    """Draws a map in colour, strip by strip."""
    image = Image.new("RGB", values.shape[1::-1])
    for row in range(0, len(values), _ROWS):
        image.paste(Image.fromarray(colorize(values[row : row + _ROWS], top)), (0, row))
    return image


def colorize(values: np.ndarray, top: float = MAP_TOP) -> np.ndarray:
    """Converts a map of non-negative values to uint8 RGB: black for 0, pale yellow from `top` on.

    Args:
        values: (h, w), or (h, w, c), whose mean over channels is shown.
        top: value of the brightest colour.
    """
    shares = np.clip(channel_mean(values) / top, 0.0, 1.0)
    table = _color_table()
    indices = (np.nan_to_num(shares) * len(table)).astype(np.intp)
    return np.take(table, indices, axis=0, mode="clip")


@cache
def _color_table() -> np.ndarray:
    """Returns the colours of the map as uint8 (n, 3)."""
    colors = matplotlib.colormaps[COLORS]
    return to_dtype(colors(np.arange(colors.N))[:, :3] * 255, np.uint8)


def channel_mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over channels of floats (h, w, c), and (h, w) unchanged."""
    if values.ndim == 2:
        return values
    channels = values.shape[-1]
    return values @ np.full(channels, 1 / channels, values.dtype)  # ten times as fast as mean()
