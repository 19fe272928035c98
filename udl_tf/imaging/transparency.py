"""Transparency: composition on a background, and the colours of hidden pixels."""

import numpy as np
from PIL import ImageColor
from scipy.ndimage import distance_transform_edt

from udl_tf.errors import UserError
from udl_tf.imaging.dtypes import gray_level, to_dtype

_ROWS = 64  # composed at a time, so that intermediate arrays stay small


def parse_color(text: str) -> tuple[int, int, int]:
    """Returns the 8-bit RGB colour of a name, such as "white", or of #rrggbb.

    Raises:
        UserError: if it is neither.
    """
    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        color = ()
    if len(color) != 3:
        raise UserError(
            f"background {text!r}: expected the name of a colour, such as white, or #rrggbb"
        )
    return color


def compose(pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Lays an image over a background of one colour.

    Args:
        pixels: uint8 or uint16, (h, w, 2) grey and alpha or (h, w, 4) RGB and alpha.
        background: 8-bit RGB.

    Returns:
        (h, w) for a grey image on a grey background, otherwise (h, w, 3); dtype as `pixels`.
    """
    unit = gray_level(pixels.dtype)
    gray = pixels.shape[2] == 2 and len(set(background)) == 1
    behind = np.array(background[:1] if gray else background) * unit
    result = np.empty((*pixels.shape[:2], len(behind)), pixels.dtype)
    for row in range(0, len(pixels), _ROWS):
        part = pixels[row : row + _ROWS].astype(np.float64)
        share = part[..., -1:] / (255 * unit)
        mixed = part[..., :-1] * share + behind * (1 - share)
        result[row : row + _ROWS] = to_dtype(mixed, pixels.dtype)
    return result[..., 0] if gray else result


def is_opaque(pixels: np.ndarray) -> bool:
    """Returns whether the last channel of a uint8 or uint16 image is full alpha everywhere."""
    return bool((pixels[..., -1] == np.iinfo(pixels.dtype).max).all())


def fill_hidden(colors: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Gives hidden pixels (alpha 0) the colour of the nearest pixel that is not hidden.

    Hidden colours are arbitrary, often black, and a network would mix them into the visible pixels
    next to them.

    Args:
        colors: (h, w, c).
        alpha: (h, w).

    Returns:
        A copy, or `colors` itself if no pixel is hidden, or all are.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return colors
    rows, columns = distance_transform_edt(hidden, return_distances=False, return_indices=True)
    return colors[rows, columns]
