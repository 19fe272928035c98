"""Upscaling of images: grey, colours and alpha of 8 and 16 bits, and floats between two values."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from udl_tf._support.progress import Progress, part_of
from udl_tf.imaging.dtypes import FULL_RANGE, gray_level
from udl_tf.imaging.image_files import read_image
from udl_tf.imaging.resize import resize_image
from udl_tf.imaging.transparency import fill_hidden
from udl_tf.inference.consistency import back_project
from udl_tf.inference.image_arrays import (
    fill_plain_areas,
    in_gray_levels,
    in_value_range,
    split_channels,
    to_image,
    without_color,
)
from udl_tf.inference.passes import BORDER, Effort, Wanted
from udl_tf.inference.result import Upscaled, stacked

if TYPE_CHECKING:
    from udl_tf.inference.upscaler import Upscaler


def upscale_images(
    model: "Upscaler",
    image: np.ndarray | Path | str,
    value_range: tuple[float, float] | None,
    wanted: Wanted,
    effort: Effort,
    progress: Progress,
) -> Upscaled:
    """Upscales a file, an image or a stack of images; arguments as for `Upscaler.upscale`."""
    given, given_range = _load(image, value_range)
    pixels = in_gray_levels(given, given_range)
    if pixels.ndim == 4 and len(pixels):
        parts = parts_of(progress, len(pixels))
        result = stacked(
            [
                _upscale(model, one, wanted, effort, part)
                for one, part in zip(pixels, parts, strict=True)
            ]
        )
    else:
        result = _upscale(model, pixels, wanted, effort, progress)
    return in_value_range(result, value_range or FULL_RANGE, given.dtype)


def parts_of(progress: Progress, count: int) -> Sequence[Progress]:
    """Returns the progress of each image of a stack."""
    return [part_of(progress, index, 1, count) for index in range(count)]


def _load(
    image: np.ndarray | Path | str, value_range: tuple[float, float] | None
) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Returns the pixels of a file or an array, and their black and white."""
    if not isinstance(image, Path | str):
        return np.asarray(image), value_range
    pixels = read_image(image, value_range=value_range).pixels
    is_known = value_range is not None and pixels.dtype == np.float32
    return pixels, FULL_RANGE if is_known else value_range


def _upscale(
    model: "Upscaler", pixels: np.ndarray, wanted: Wanted, effort: Effort, progress: Progress
) -> Upscaled:
    """Upscales an image; floats are grey levels."""
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    colors, alpha = split_channels(native, model.channels)
    channels = colors.shape[2]
    colors = colors if alpha is None else fill_hidden(colors, alpha)
    if model.channels == 3:
        colors = without_color(colors)
    lr = (colors / np.float32(gray_level(colors.dtype))).astype(np.float32, copy=False)
    maps, spread = model.compute(lr, wanted, effort, progress)
    if wanted.consistent:
        maps["sr"] = back_project(maps["sr"], lr, model.scale)
    theta = maps.get("theta")
    sr = to_image(maps.pop("sr"), colors.dtype)
    fill_plain_areas(sr, colors, BORDER)
    if colors.shape[2] < channels:  # a grey image stored as RGB
        sr = np.repeat(sr, channels, -1)
        theta, spread = (None if m is None else np.repeat(m, channels, -1) for m in (theta, spread))
    if alpha is not None:
        sr = np.concatenate([sr, resize_image(alpha[..., None], model.scale)], axis=-1)
    if pixels.ndim == 2:
        sr = sr[..., 0]
        theta, spread = (None if m is None else m[..., 0] for m in (theta, spread))
    notes, deviations = list(effort.notes), None
    known = model.calibration and model.calibration.inputs
    if theta is not None and known is not None:
        deviations = known.deviations(lr)
        notes += known.warnings_of(deviations or {})
    return Upscaled(sr, theta, spread, model.calibration, tuple(notes), deviations=deviations)
