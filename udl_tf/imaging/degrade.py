"""Degradations of images: compression, noise and blur.

Each operation takes and returns uint8 RGB (h, w, 3), rounded and clipped, as if the image had been
saved in between: compression needs whole grey levels, and any order of operations is possible.
"""

import io
import math

import numpy as np
from PIL import Image
from scipy.signal import fftconvolve

from udl_tf.imaging.dtypes import to_dtype

CODEC_BLOCK = 16
"""Side of the largest blocks that JPEG (of 4:2:0) and WebP compress, pixels."""

CODEC_REACH = 2
"""Pixels beyond a block that JPEG's smooth interpolation of halved chroma reads."""

_SMALLEST = 0.01  # a smaller sigma of blur or Poisson noise changes no grey level


def jpeg(image: np.ndarray, quality: int, subsampling: str = "4:2:0") -> np.ndarray:
    """Compresses an image by JPEG and decodes it.

    Args:
        image: uint8 RGB.
        quality: 1..100, as in libjpeg.
        subsampling: of chroma: "4:4:4", "4:2:2" or "4:2:0".
    """
    return _round_trip(image, "JPEG", quality=quality, subsampling=subsampling)


def webp(image: np.ndarray, quality: int) -> np.ndarray:
    """Compresses an image by lossy WebP and decodes it; `quality` is 1..100, as in libwebp."""
    return _round_trip(image, "WEBP", quality=quality)


def _round_trip(image: np.ndarray, kind: str, **options: int | str) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, kind, **options)
    return np.asarray(Image.open(buffer, formats=[kind]))


def add_noise(
    image: np.ndarray, sigma: float, random: np.random.Generator, grey: bool = False
) -> np.ndarray:
    """Adds Gaussian noise.

    Args:
        image: uint8 RGB.
        sigma: standard deviation, grey levels.
        random: generator of the noise.
        grey: whether all channels get the same noise.
    """
    shape = (*image.shape[:2], 1 if grey else 3)
    return to_dtype(image + sigma * random.standard_normal(shape, np.float32), np.uint8)


def add_poisson_noise(image: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Replaces each value v by that of a Poisson number of photons, whose mean gives v.

    Args:
        image: uint8 RGB.
        sigma: standard deviation at white (255), grey levels; at v it is sigma * sqrt(v / 255).
        random: generator of the noise.
    """
    level = max(sigma, _SMALLEST) ** 2 / 255  # grey levels per photon: white is (255 / sigma)^2
    return to_dtype(level * random.poisson(image / level), np.uint8)


def blur(image: np.ndarray, sigmas: tuple[float, float], angle: float = 0.0) -> np.ndarray:
    """Convolves an image with a Gaussian; borders are mirrored.

    Args:
        image: uint8 RGB.
        sigmas: standard deviations along the two axes of the Gaussian, pixels.
        angle: from the columns' direction to the first axis, radians.
    """
    radius = blur_radius(sigmas)
    kernel = _gaussian(sigmas, angle, radius)[:, :, None]
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), "symmetric")
    blurred = fftconvolve(padded.astype(np.float32), kernel, "valid", axes=(0, 1))
    return to_dtype(blurred, np.uint8)


def blur_radius(sigmas: tuple[float, float]) -> int:
    """Returns half the side of the kernel of `blur`, pixels: three standard deviations."""
    return math.ceil(3 * max(sigmas))


def _gaussian(sigmas: tuple[float, float], angle: float, radius: int) -> np.ndarray:
    """Returns float32 (2 radius + 1, 2 radius + 1) with sum 1."""
    offsets = np.arange(-radius, radius + 1)
    y, x = offsets[:, None], offsets[None, :]
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    first, second = (max(sigma, _SMALLEST) for sigma in sigmas)
    kernel = np.exp(-((along / first) ** 2 + (across / second) ** 2) / 2)
    return (kernel / kernel.sum()).astype(np.float32)
