"""Colours of TIFF samples: CMYK and CIELab to RGB, premultiplied alpha; 8 and 16 bits."""

from functools import cache
from typing import Literal

import imagecodecs
import numpy as np
from PIL import ImageCms

from udl_tf.imaging.samples import unpremultiplied

_ROWS = 256  # converted at a time, so that intermediate arrays stay small


def cmyk_to_rgb(pixels: np.ndarray, icc_profile: bytes | None) -> tuple[np.ndarray, bytes | None]:
    """Converts CMYK to sRGB by its profile; without a usable one, to (1 - c)(1 - k) and so on.

    Args:
        pixels: uint8 or uint16 (h, w, 4).
        icc_profile: of the pixels.

    Returns:
        (RGB in the same dtype, profile of the result or None).
    """
    if icc_profile:
        try:
            return _transformed(pixels, icc_profile, "cmyk", pixels.dtype), _profile("sRGB")
        except (RuntimeError, ValueError):
            pass  # the profile is damaged, or of another colour space
    full = np.iinfo(pixels.dtype).max
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for row in range(0, len(pixels), _ROWS):
        inverse = full - pixels[row : row + _ROWS].astype(np.uint64)
        result[row : row + _ROWS] = (2 * inverse[..., :3] * inverse[..., 3:] + full) // (2 * full)
    return result, None


def lab_to_rgb(samples: np.ndarray, is_signed: bool) -> tuple[np.ndarray, bytes | None]:
    """Converts CIELab of the white point D50 to sRGB.

    Args:
        samples: 8 or 16 bits, (h, w, 3).
        is_signed: whether a and b are signed (CIELab) or offset by 128 (ICCLab).

    Returns:
        (uint8 or uint16 RGB, profile of the result).
    """
    deep = samples.dtype.itemsize == 2
    unsigned, unit = samples.view(np.uint16 if deep else np.uint8), 256 if deep else 1
    full = 65280 if deep and not is_signed else 65535 if deep else 255  # ICC's 16 bits: FF00 is 100
    lab = np.empty(samples.shape, np.float32)
    lab[..., 0] = unsigned[..., 0] * np.float32(100 / full)
    if is_signed:
        lab[..., 1:] = unsigned[..., 1:].view(np.int16 if deep else np.int8)
        lab[..., 1:] /= unit
    else:
        lab[..., 1:] = unsigned[..., 1:] / np.float32(unit) - 128
    return _transformed(lab, _profile("LAB"), "lab", unsigned.dtype), _profile("sRGB")


def alpha_applied(pixels: np.ndarray, alpha: np.ndarray | None, premultiplied: bool) -> np.ndarray:
    """Appends alpha to pixels, which are divided by it first if they are premultiplied."""
    if alpha is None:
        return pixels
    joined = np.concatenate([pixels.reshape(*alpha.shape, -1), alpha[..., None]], axis=-1)
    return unpremultiplied(joined) if premultiplied else joined


def _transformed(values: np.ndarray, profile: bytes, space: str, dtype: np.dtype) -> np.ndarray:
    return np.asarray(
        imagecodecs.cms_transform(
            np.ascontiguousarray(values),
            profile,
            _profile("sRGB"),
            colorspace=space,
            outcolorspace="rgb",
            outdtype=dtype.name,
        )
    )


@cache
def _profile(name: Literal["sRGB", "LAB"]) -> bytes:
    """Returns a standard colour profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()
