"""Row of images with titles."""

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont


def titled_row(images: Mapping[str, np.ndarray], size: int) -> np.ndarray:
    """Draws images beside each other on white, each below its title; returns uint8 (h, w, 3).

    Args:
        images: title -> uint8 (h, w, 3); heights and widths may differ.
        size: of the font, pixels.
    """
    font = ImageFont.load_default(size)
    widths = [
        max(image.shape[1], int(font.getlength(title)) + size) for title, image in images.items()
    ]
    height = max(len(image) for image in images.values())
    row = Image.new("RGB", (sum(widths), 2 * size + height), "white")
    pen, left = ImageDraw.Draw(row), 0
    for (title, image), width in zip(images.items(), widths, strict=True):
        pen.text((left + width / 2, size / 2), title, "black", font, "ma")
        row.paste(Image.fromarray(image), (left + (width - image.shape[1]) // 2, 2 * size))
        left += width
    return np.asarray(row)
