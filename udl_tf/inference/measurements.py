"""Arrays as measurements: of any unit, kept outside their range too, with pixels without data."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from udl_tf._support.progress import Progress, no_progress
from udl_tf.errors import UserError
from udl_tf.imaging.nodata import FILL_DISTANCE, fill_nodata, near_nodata
from udl_tf.imaging.value_range import GREY_LEVELS, ValueRange, check_dtype
from udl_tf.inference.consistency import back_project
from udl_tf.inference.image_arrays import check_takes_range, fill_plain_areas
from udl_tf.inference.images import parts_of
from udl_tf.inference.passes import BORDER, Effort, Wanted
from udl_tf.inference.result import Upscaled, stacked
from udl_tf.scenes.image_scene import open_raster
from udl_tf.scenes.samples import Samples, check_nodata
from udl_tf.scenes.scene import Window

if TYPE_CHECKING:
    from udl_tf.inference.upscaler import Upscaler

NODATA_REACH = 5
"""LR pixels from nodata within which filling it changes results noticeably, if it was not measured.

The largest of the presets, by udl_tf.inference.nodata_reach on Set14 and images of BSD100.
"""

VALID, NEAR, NODATA = 0, 1, 2
FLAGS: Mapping[int, str] = MappingProxyType({VALID: "valid", NEAR: "near nodata", NODATA: "nodata"})
"""Names of the flags of result pixels."""


@dataclass(frozen=True)
class Computed:
    """What the networks computed of measurements, in their 0..255.

    Attributes:
        lr: float32 (h, w, c), the measurements with nodata filled.
        sr: float32 (scale h, scale w, c), finite.
        theta, spread: as sr, or None.
    """

    lr: np.ndarray
    sr: np.ndarray
    theta: np.ndarray | None
    spread: np.ndarray | None


def compute(
    model: "Upscaler",
    values: np.ndarray,
    valid: np.ndarray,
    value_range: ValueRange,
    wanted: Wanted,
    effort: Effort,
    progress: Progress = no_progress,
) -> Computed:
    """Computes the maps of measurements.

    Args:
        model: of as many channels, or of one: then it computes each channel by itself.
        values: (h, w, c), of any number type, in the unit of `value_range`.
        valid: bool (h, w, c): False for nodata, whose values do not matter.
        value_range: what the networks see as 0 and 255.
        wanted: what to compute.
        effort: tiles and memory.
        progress: receives the LR pixels that are done, over all passes.
    """
    channels = values.shape[2]
    if channels > model.channels == 1:
        run = partial(compute, model, value_range=value_range, wanted=wanted, effort=effort)
        parts = enumerate(parts_of(progress, channels))
        return _joined([run(values[..., [c]], valid[..., [c]], progress=part) for c, part in parts])
    low = np.array(value_range.low, np.float64)
    # First of all without nodata: its values may be too large for float32.
    lr = value_range.to_network(values if valid.all() else np.where(valid, values, low))
    lr = fill_nodata(lr, valid, FILL_DISTANCE)
    maps, spread = model.compute(lr, wanted, effort, progress)
    sr = maps["sr"]
    fill_plain_areas(sr, lr, BORDER)
    if wanted.consistent:
        sr = back_project(sr, lr, model.scale)
    return Computed(lr, sr, maps.get("theta"), spread)


def _joined(channels: list[Computed]) -> Computed:
    """Joins what was computed of single channels."""

    def join(name: str) -> Any:
        maps = [getattr(channel, name) for channel in channels]
        return None if maps[0] is None else np.concatenate(maps, axis=-1)

    return Computed(join("lr"), join("sr"), join("theta"), join("spread"))


def flags_of(valid: np.ndarray, reach: int, scale: int) -> np.ndarray:
    """Returns the flags of result pixels.

    Args:
        valid: bool (h, w, c) of the input.
        reach: LR pixels from nodata at which filling still changes the result noticeably.
        scale: HR size divided by LR size.

    Returns:
        uint8 (scale h, scale w), keys of FLAGS; NODATA where any channel has no data.
    """
    flags = near_nodata(valid, reach).astype(np.uint8)
    flags[~valid.all(axis=-1)] = NODATA
    return enlarged(flags, scale)


def enlarged(array: np.ndarray, scale: int) -> np.ndarray:
    """Repeats each pixel of an array (h, w, ...) scale x scale times."""
    return array.repeat(scale, axis=0).repeat(scale, axis=1)


def coverage_by_flag(covered: np.ndarray, flags: np.ndarray) -> dict[str, float]:
    """Returns the share of true values inside their intervals, apart for each kind of pixels.

    Args:
        covered: bool (h, w, c): whether the interval contains the true value.
        flags: uint8 (h, w), as from `flags_of`.

    Returns:
        {"valid": share, "near nodata": share}, without kinds that have no pixels.
    """
    kinds = {FLAGS[flag]: covered[flags == flag] for flag in (VALID, NEAR)}
    return {name: float(found.mean()) for name, found in kinds.items() if found.size}


def upscale_measurements(
    model: "Upscaler",
    image: np.ndarray | Path | str,
    nodata: float | None,
    valid: np.ndarray | None,
    value_range: tuple[float, float] | None,
    wanted: Wanted,
    effort: Effort,
    progress: Progress,
) -> Upscaled:
    """Upscales a file, an array or a stack of arrays; arguments as for `Upscaler.upscale`.

    A model of one channel upscales each channel of a file by itself.
    """
    if isinstance(image, Path | str):
        array, known, nodata = _read(Path(image), nodata)
        channels = array.shape[-1] if model.channels == 1 else model.channels
    else:
        array, known, channels = np.asarray(image), True, model.channels
        check_nodata(nodata, array.dtype)
    array = check_array(array, channels)
    known = valid_of(array, nodata, valid) & known
    samples = Samples(array.dtype, nodata)
    found_range = range_of(model.value_range, array.dtype, value_range)
    if array.ndim < 4:
        return _upscale(model, array, known, samples, found_range, wanted, effort, progress)
    parts = parts_of(progress, len(array))
    return stacked(
        [
            _upscale(model, values, mask, samples, found_range, wanted, effort, part)
            for values, mask, part in zip(array, known, parts, strict=True)
        ]
    )


def _read(path: Path, nodata: float | None) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Returns (values, valid, nodata) of a file; (n, h, w, c) if it has several planes."""
    with open_raster(path, nodata) as scene:
        windows = [Window(p, 0, 0, scene.height, scene.width) for p in range(scene.planes)]
        planes = [scene.read(window) for window in windows]
        nodata = scene.nodata
    values, valid = zip(*planes, strict=True)
    if len(planes) == 1:
        return values[0], valid[0], nodata
    return np.stack(values), np.stack(valid), nodata


def _upscale(
    model: "Upscaler",
    array: np.ndarray,
    known: np.ndarray,
    samples: Samples,
    value_range: ValueRange,
    wanted: Wanted,
    effort: Effort,
    progress: Progress,
) -> Upscaled:
    """Upscales one array (h, w, c) or (h, w); `known` has its shape and is False for nodata.

    Valid values of integers do not become nodata by rounding, as in files.
    """
    shape = (*array.shape[:2], -1)  # (h, w, c) also for (h, w)
    values, known = array.reshape(shape), known.reshape(shape)
    found = compute(model, values, known, value_range, wanted, effort, progress)
    scale, step = model.scale, value_range.step.astype(np.float32)
    image = samples.store(value_range.from_network(found.sr))
    missing = enlarged(~known, scale)
    image[missing] = np.nan if array.dtype.kind == "f" else enlarged(values, scale)[missing]
    theta, spread = (
        None if m is None else np.where(missing, np.float32(np.nan), m * step)
        for m in (found.theta, found.spread)
    )
    if array.ndim == 2:
        image = image[..., 0]
        theta, spread = (None if m is None else m[..., 0] for m in (theta, spread))
    limits = min(value_range.low), max(value_range.high)
    notes, flags = tuple(effort.notes), flags_of(known, model.nodata_reach, scale)
    return Upscaled(image, theta, spread, model.calibration, notes, limits, flags)


def range_of(
    model_range: ValueRange, dtype: np.dtype, given: tuple[float, float] | None
) -> ValueRange:
    """Returns the values of an array that the networks see as 0 and 255.

    Args:
        model_range: of the model; the range of 8-bit images stands for black and white.
        dtype: of the array.
        given: black and white that the caller stated, or None.

    Raises:
        UserError: if a range is given for a model that has one of its own, or for integers.
    """
    if model_range != GREY_LEVELS:
        if given is not None:
            raise UserError(
                f"a value range of {given[0]:g} to {given[1]:g}: the model has its own,"
                f" {model_range.ranges}: omit it",
                argument="value_range",
            )
        return model_range
    if given is None:
        return ValueRange.of_dtype(dtype)
    check_takes_range(dtype)
    return ValueRange.of(given)


def check_array(array: np.ndarray, channels: int) -> np.ndarray:
    """Returns an array in native byte order that a model of so many channels can upscale.

    Raises:
        UserError: if its shape or dtype is not that of measurements.
    """
    shapes = f"(h, w, {channels}) or (n, h, w, {channels}), because the model has {channels}"
    shapes += " channels" if channels > 1 else " channel, or (h, w)"
    plain = channels == 1 and array.ndim == 2
    if not (plain or (array.ndim in (3, 4) and array.shape[-1] == channels)) or not array.size:
        raise UserError(f"an array of shape {array.shape}: expected {shapes}")
    check_dtype(array.dtype)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def valid_of(array: np.ndarray, nodata: float | None, valid: np.ndarray | None) -> np.ndarray:
    """Returns which values are data: finite, not `nodata`, and valid by the given mask.

    Args:
        array: of measurements.
        nodata: value that marks nodata; None: none.
        valid: bool, of the array's shape with or without its channels; None: all.

    Raises:
        UserError: if the mask has another shape or dtype.
    """
    known = np.isfinite(array)
    if nodata is not None:
        known &= array != nodata
    if valid is None:
        return known
    valid = np.asarray(valid)
    if valid.shape == array.shape[:-1] and array.ndim > 2:
        valid = valid[..., None]
    elif valid.shape != array.shape:
        raise UserError(
            f"a mask of shape {valid.shape}: expected {array.shape}, that of the array, or"
            " without its channels",
            argument="valid",
        )
    if valid.dtype != bool:
        raise UserError(
            f"a mask of dtype {valid.dtype}: expected bool, False for nodata", argument="valid"
        )
    return known & valid
