"""Uncertainty maps as files: numbers to compute with, or a picture with a scale bar."""

from pathlib import Path

import matplotlib
import numpy as np
import tifffile
from PIL import Image, ImageDraw, ImageFont

from udl_tf._support.files import complete_file

MAP_SUFFIXES = {"npy": ".npy", "tiff": ".tiff", "png": ".png"}
COLORS = "magma"
_ROWS = 512  # coloured at a time


def write_map(path: Path, values: np.ndarray, title: str) -> None:
    """Writes a map in the format of the suffix.

    Args:
        path: .npy or .tiff keep the float32 values; .png is a colour picture with a scale bar.
        values: (h, w) or (h, w, c) in grey levels; the picture shows the mean over channels.
        title: what the values are, for the scale bar.
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
                compression="adobe_deflate",
                predictor=True,
                metadata=None,
            )
        else:
            _draw(values, title).save(temporary)


def _draw(values: np.ndarray, title: str) -> Image.Image:
    """The map in colour, from black for 0 to pale yellow, and below it what the colours mean."""
    height, width = values.shape[:2]
    top = highest(values)
    size = int(np.clip(width / 40, 10, 60))
    font = ImageFont.load_default(size=size)
    picture = Image.new("RGB", (max(width, 30 * size), height + 9 * size // 2), "white")
    for row in range(0, height, _ROWS):
        strip = colorize(values[row : row + _ROWS], top)
        picture.paste(Image.fromarray(strip), (0, row))
    pen = ImageDraw.Draw(picture)
    left, right = size, picture.width - size
    bar = colorize(np.linspace(0, 1, right - left)[None].repeat(size, axis=0), 1.0)
    picture.paste(Image.fromarray(bar), (left, height + size // 2))
    under = height + 2 * size
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        label = f"{share * top:.3g}" + (" or more" if share == 1 else "")
        pen.text((left + share * (right - left), under), label, "black", font, anchor)
    center = (left + right) / 2
    pen.text((center, under + 0.9 * size), f"{title}, grey levels of 0..255", "black", font, "ma")
    return picture


def colorize(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """A map of non-negative values as uint8 RGB: black is 0, pale yellow is `top` or more.

    Args:
        values: (h, w); or (h, w, c), of which the mean over channels is shown.
        top: the brightest value; None: the 99.5th percentile of the map.
    """
    values = channel_mean(values)
    top = highest(values) if top is None else top
    shares = np.clip(values / max(top, 1e-6), 0.0, 1.0)
    return (matplotlib.colormaps[COLORS](shares)[..., :3] * 255 + 0.5).astype(np.uint8)


def highest(values: np.ndarray) -> float:
    """Where a map's colours end: the 99.5th percentile of its mean over channels."""
    return float(np.percentile(channel_mean(values), 99.5))


def channel_mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over channels of (h, w, c); (h, w) as it is."""
    return values.mean(axis=-1) if values.ndim == 3 else values
