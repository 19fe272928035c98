"""Decoded samples as pixels: scaled to the range of the dtype, alpha not premultiplied."""

import numpy as np

ALPHA, PREMULTIPLIED = 1, 2
"""Meanings of the channel after the colours; others are not alpha."""


def to_full_range(pixels: np.ndarray, maximum: int) -> np.ndarray:
    """Scales unsigned integers of 0..maximum to all of uint8, or of uint16 above 255; rounds.

    Args:
        pixels: bool, uint8 or uint16.
        maximum: white.
    """
    dtype = np.uint8 if maximum <= 255 else np.uint16
    full = np.iinfo(dtype).max
    if maximum == full:
        return pixels.astype(dtype, copy=False)
    table = (np.arange(maximum + 1, dtype=np.int64) * full * 2 + maximum) // (2 * maximum)
    return table.astype(dtype)[np.minimum(pixels, maximum)]


def with_alpha(pixels: np.ndarray, meaning: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns pixels with plain alpha, or without a last channel that is not alpha; and notes.

    Args:
        pixels: (h, w) or (h, w, 1 to 4).
        meaning: of the last channel if there are 2 or 4: ALPHA, PREMULTIPLIED or another.
    """
    notes: tuple[str, ...] = ()
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        if meaning == PREMULTIPLIED:
            pixels = unpremultiplied(pixels)
        elif meaning != ALPHA:
            pixels, notes = pixels[..., :-1], ("1 channel skipped: not alpha",)
    return (pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels), notes


def unpremultiplied(pixels: np.ndarray) -> np.ndarray:
    """Divides colours by their alpha, the last channel; colours under alpha 0 stay as they are."""
    full = np.iinfo(pixels.dtype).max
    result = pixels.copy()
    for row, target in zip(pixels, result, strict=True):
        alpha = row[:, -1:].astype(np.uint64)
        divided = (row[:, :-1] * np.uint64(2 * full) + alpha) // np.maximum(2 * alpha, 1)
        target[:, :-1] = np.where(alpha > 0, np.minimum(divided, full), row[:, :-1])
    return result
