"""Measures error and theta of a model on images, for calibration and its report."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.progress import Progress, no_progress
from udl_tf.data.image_source import ImageSource
from udl_tf.data.measurements import list_measurements, read_measurement
from udl_tf.data.pixels import without_holes
from udl_tf.data.sources import Dataset
from udl_tf.data.store import read_pair, read_pair_with_holes
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.measurements import FLAGS, NEAR, NODATA, flags_of
from udl_tf.inference.nodata_reach import measure_reach
from udl_tf.inference.self_ensemble import mean_and_spread
from udl_tf.inference.upscaler import BORDER, upscaler_of
from udl_tf.scenes.opening import stem_of
from udl_tf.uncertainty.fit import Sample, error_ratio, members, pool
from udl_tf.uncertainty.inputs import measure_sizes

_MOST_PIXELS = 1_000_000  # per set; larger sets are subsampled at random
_REACH_IMAGES = 10
_GRADIENT, _SPREAD = "gradient of bicubic", "self-ensemble spread"


def measure(
    model: KerasUpscaler,
    sources: Sequence[ImageSource],
    baselines: bool = True,
    progress: Progress = no_progress,
    classes: Path | None = None,
    consistent: bool = False,
    reach: int | None = None,
) -> list[Sample]:
    """Measures error and uncertainty of a model on images, computed as `upscale` computes them.

    Args:
        model: a KerasUpscaler or an SRModel with uncertainty; its calibration is ignored.
        sources: HR images or pairs.
        baselines: whether to measure also what needs no training: the gradient of
            bicubic interpolation, and the spread of the self-ensemble (eight more passes).
        progress: receives the images that are done.
        classes: folder of 8-bit label images with the names of the HR images, whose values become
            groups of pixels; None: no classes.
        consistent: whether the results are back-projected, as with `upscale(consistent=True)`.
        reach: LR pixels from nodata that count as near it; None: as many as in `upscale`.

    Returns:
        A sample per file with data, because the planes of a file are no independent images;
        together at most about a million pixels, all with data in every channel of HR and LR image.
        Pixels that `upscale` flags as near nodata are a group.

    Raises:
        UserError: for an unreadable image, a missing label image, or a model without uncertainty.
    """
    if not model.has_uncertainty:
        raise UserError("the model has no uncertainty to calibrate: train with an 'esu' step")
    as_trained = KerasUpscaler(replace(model.networks, calibration=None))
    near: int = upscaler_of(model).nodata_reach if reach is None else reach
    share = min(1.0, _MOST_PIXELS / sum(math.prod(source.size) for source in sources))
    samples: dict[Path, list[Sample]] = {}  # of the planes of each file
    for index, source in enumerate(sources):
        lr, hr = read_pair_with_holes(source, model.scale)
        flags = flags_of(np.isfinite(lr), near, model.scale)
        pixels = _draw(np.isfinite(hr).all(axis=-1) & (flags != NODATA), share, index)
        if len(pixels):
            groups = {} if classes is None else _classes(classes, source, hr.shape[:2])
            if flags.any():
                groups[FLAGS[NEAR]] = flags == NEAR
            lr = without_holes(lr)
            maps = _maps(as_trained, lr, hr, baselines, source.pixels.measured, consistent)
            drawn = {
                name: values.reshape(-1, model.channels)[pixels].astype(np.float32)
                for name, values in maps.items()
            }
            error, log_theta = drawn.pop("error"), drawn.pop("log_theta")
            chosen = {name: mask.ravel()[pixels] for name, mask in groups.items()}
            key = hash(hr.tobytes())
            signs = None if source.pixels.measured else signs_of(source, lr, model.scale)
            sample = Sample(source.hr.name, error, log_theta, drawn, key, chosen, signs)
            samples.setdefault(source.hr, []).append(sample)
        progress(index + 1, len(sources), source.title)
    if not samples:
        raise UserError("the images hold no pixels with data: expected some to calibrate on")
    return [_pooled(planes) for planes in samples.values()]


def signs_of(source: ImageSource, lr: np.ndarray, scale: int) -> np.ndarray | None:
    """Measures the signs of degradation of an LR image, with and without its own degradations.

    Returns:
        As for udl_tf.uncertainty.inputs.measure_sizes.
    """
    clean = None if source.degrade is None else read_pair(replace(source, degrade=None), scale)[0]
    return measure_sizes(lr, clean)


def _draw(known: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Returns the places of a share of the known pixels, of (h, w), drawn at random."""
    places = np.flatnonzero(known)
    count = max(1, round(share * len(places)))
    return places[np.random.default_rng(seed).permutation(len(places))[:count]]


def _pooled(planes: list[Sample]) -> Sample:
    """Returns the sample of a file, given those of its planes."""
    if len(planes) == 1:
        return planes[0]
    baselines = {
        name: np.concatenate([plane.baselines[name] for plane in planes])
        for name in planes[0].baselines
    }
    groups = {name: members(planes, name) for plane in planes for name in plane.groups}
    key = hash(tuple(plane.key for plane in planes))
    return Sample(
        planes[0].name, pool(planes, "error"), pool(planes, "log_theta"), baselines, key, groups
    )


def with_coverage(
    results: Sequence[dict[str, Any]], model: KerasUpscaler, datasets: Sequence[Dataset]
) -> list[dict[str, Any]]:
    """Adds the coverage of intervals of `upscale` to results of `evaluate`.

    Args:
        results: of each dataset.
        model: as for `measure`.
        datasets: the test sets.

    Returns:
        The results with "coverage_80", the share of the true values of a dataset that the 80 %
        intervals cover; unchanged without a calibration.
    """
    if (calibration := model.calibration) is None:
        return list(results)
    line, half_width = (np.array(calibration.a), np.array(calibration.b)), calibration.quantile(0.8)
    found = []
    for result, dataset in zip(results, datasets, strict=True):
        ratio = error_ratio(measure(model, dataset.sources, baselines=False), *line)
        found.append({**result, "coverage_80": float(np.mean(ratio <= half_width))})
    return found


def nodata_reach(model: KerasUpscaler, sources: Sequence[ImageSource]) -> int | None:
    """Measures how far nodata reaches, on at most ten of the images; None for 8-bit images.

    Returns:
        LR pixels; see measure_reach.
    """
    if not sources[0].pixels.measured:
        return None
    chosen = sources[:: math.ceil(len(sources) / _REACH_IMAGES)]
    return measure_reach(model, (read_pair_with_holes(s, model.scale)[0] for s in chosen))


def _classes(folder: Path, source: ImageSource, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Returns the pixels of each class, bool (h, w), of the label image of an HR image."""
    hr = source.hr
    file = next((f for f in list_measurements(folder) if stem_of(f) == stem_of(hr)), None)
    if file is None:
        raise UserError(f"{folder}: holds no label image for {hr}: add one of that name")
    labels, _ = read_measurement(file, source.plane, source.planes)
    height, width = size
    if (
        labels.dtype != np.uint8
        or labels.shape[2] != 1
        or np.any(labels.shape[:2] < np.array(size))
    ):
        raise UserError(
            f"{file}: {labels.shape[1]}x{labels.shape[0]} pixels, {labels.shape[2]} channels,"
            f" {labels.dtype}; expected an 8-bit grey image of the size of {hr}: convert it"
        )
    inside = labels[:height, :width, 0]
    return {f"class {label}": inside == label for label in np.unique(inside)}


def _maps(
    model: KerasUpscaler,
    lr: np.ndarray,
    hr: np.ndarray,
    baselines: bool,
    measured: bool,
    consistent: bool,
) -> dict[str, np.ndarray]:
    """Returns "error", "log_theta" and, if asked for, the baselines of an image, each (h, w, c)."""
    sr, theta = model.predict(lr, BORDER, consistent)
    assert theta is not None
    shown = sr if measured else np.clip(sr, 0, 255)
    maps = {"error": np.abs(hr - shown), "log_theta": np.log(theta)}
    if baselines:
        floats = lr.astype(np.float32)
        rows, columns = np.gradient(imresize(floats, model.scale), axis=(0, 1))
        maps[_GRADIENT] = np.hypot(rows, columns)
        if measured:
            results = mean_and_spread(
                floats, lambda x: {"sr": model.predict(x, BORDER)[0]}, ("sr",)
            )
            spread = results[1]["sr"]
        else:
            result = model.upscale(
                floats, uncertainty=False, self_ensemble=True, value_range=(0, 255)
            )
            spread = result.spread
        assert spread is not None
        maps[_SPREAD] = spread
    return maps
