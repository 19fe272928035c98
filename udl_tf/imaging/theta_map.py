"""Uncertainty maps as files: float32 values, or a colour image with a scale bar."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from udl_tf._support.files import complete_file
from udl_tf.imaging.dtypes import to_dtype
from udl_tf.imaging.metadata import MARK
from udl_tf.imaging.rgb_files import SAVE_OPTIONS

MAP_SUFFIXES = {"npy": ".npy", "tiff": ".tiff", "png": ".png"}
COLORS = "magma"
_ROWS = 512  # coloured at a time, so that intermediate arrays stay small


def write_map(path: Path, values: np.ndarray, title: str) -> None:
    """Writes a map in the format of the suffix, with the mark of results if it can store one.

    Args:
        path: .npy and .tiff store the float32 values; .png is a colour image with a scale bar.
        values: (h, w) or (h, w, c), grey levels of 0..255; .png shows the mean over channels.
        title: name of the values, shown below the scale bar.
    """
    with complete_file(path) as temporary:
        if path.suffix == ".npy":
            with open(temporary, "wb") as file:
                np.save(file, values)
        elif path.suffix == ".tiff":
            color = values.ndim == 3 and values.shape[2] == 3
            tifffile.imwrite(
                temporary,
                values if color else values.reshape(values.shape[:2]),
                photometric="rgb" if color else "minisblack",
                description=f"{title}, grey levels of 0..255",
                software=MARK.decode(),
                compression="adobe_deflate",
                predictor=True,
                metadata=None,
            )
        else:
            text = PngInfo()
            text.add_text("Software", MARK.decode())
            _draw(values, title).save(temporary, pnginfo=text, **SAVE_OPTIONS[".png"])


def _draw(values: np.ndarray, title: str) -> Image.Image:
    """Draws the map in colour, from black for 0 to pale yellow, with a scale bar below it."""
    values = channel_mean(values)
    height, width = values.shape
    top = highest(values)
    size = int(np.clip(width / 40, 10, 60))
    font = ImageFont.load_default(size=size)
    image = Image.new("RGB", (max(width, 30 * size), height + 9 * size // 2), "white")
    for row in range(0, height, _ROWS):
        strip = colorize(values[row : row + _ROWS], top)
        image.paste(Image.fromarray(strip), (0, row))
    pen = ImageDraw.Draw(image)
    left, right = size, image.width - size
    bar = colorize(np.linspace(0, 1, right - left)[None].repeat(size, axis=0), 1.0)
    image.paste(Image.fromarray(bar), (left, height + size // 2))
    below = height + 2 * size
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        label = f"{share * top:.3g}" + (" or more" if share == 1 else "")
        pen.text((left + share * (right - left), below), label, "black", font, anchor)
    center = (left + right) / 2
    pen.text((center, below + 0.9 * size), f"{title}, grey levels of 0..255", "black", font, "ma")
    return image


def colorize(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """Converts a map of non-negative values to uint8 RGB: black for 0, pale yellow from `top` on.

    Args:
        values: (h, w), or (h, w, c), whose mean over channels is shown.
        top: value of the brightest colour; None: the 99.5th percentile of the map.
    """
    values = channel_mean(values)
    top = highest(values) if top is None else top
    shares = np.clip(values / max(top, 1e-6), 0.0, 1.0)
    table = _color_table()
    indices = (np.nan_to_num(shares) * len(table)).astype(np.intp)
    return table[np.minimum(indices, len(table) - 1)]


@cache
def _color_table() -> np.ndarray:
    """Returns the colours of the map as uint8 (n, 3)."""
    colors = matplotlib.colormaps[COLORS]
    return to_dtype(colors(np.arange(colors.N))[:, :3] * 255, np.uint8)


def highest(values: np.ndarray) -> float:
    """Returns the value of a map's brightest colour: the 99.5th percentile of its channel mean."""
    return float(np.percentile(channel_mean(values), 99.5))


def channel_mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over channels of (h, w, c), and (h, w) unchanged."""
    return values.mean(axis=-1) if values.ndim == 3 else values
