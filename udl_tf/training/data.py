"""Training, validation and test data of a run."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf.config import Config, Degradation, ValueRanges, degradations_text
from udl_tf.data.degradations import ImageDegradations
from udl_tf.data.image_source import ImageSource
from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import Dataset, cropped, degraded, find_datasets, read_as
from udl_tf.data.split import Split, keep_split, large_enough, split_validation
from udl_tf.data.store import ImageStore, cache_folder, middle
from udl_tf.errors import UserError
from udl_tf.evaluation.protocol import check_size
from udl_tf.imaging.value_range import ValueRange

MIDDLE_SIDE = 256
"""Largest side of the part of a held-out image that validates during training, HR pixels."""


@dataclass(frozen=True)
class RunData:
    """Training, validation and test data of a run.

    Attributes:
        training: images to train on.
        held_out: images for validation and calibration, degraded like training patches.
        test: test sets.
        split: division of the images into the first two at the beginning of the run.
        cache: folder of computed LR images and of other data that can be computed again.
        summary: description for metrics.json and the bundle.
    """

    training: ImageStore
    held_out: ImageStore
    test: list[Dataset]
    split: Split
    cache: Path
    summary: dict[str, Any]

    @property
    def digest(self) -> str:
        """Checksum of the training images' names and sizes, in order."""
        names = [(source.hr.name, *source.size) for source in self.training.sources]
        return hashlib.sha256(repr(names).encode()).hexdigest()

    @property
    def pixels(self) -> Pixels:
        """How the images of all sets are read."""
        return self.training.pixels


def load_data(config: Config, split: Split | None, fallback: Path) -> RunData:
    """Finds, splits and decodes the images that a config names.

    Args:
        config: the resolved config.
        split: division of the images at the beginning of the run; None: the run is new.
        fallback: as for cache_folder.

    Raises:
        UserError: for a dataset or image that is missing, damaged or too small, or if no held-out
            image has data in its middle.
    """
    scale, seed, evaluation = config.model.scale, config.training.seed, config.evaluation
    pixels = Pixels.of(config)
    sets = find_datasets(config.data, "train", scale, pixels)
    test = [
        degraded(cropped(dataset, evaluation.crop), evaluation.degrade)
        for dataset in find_datasets(config.data, "test", scale, pixels)
    ]
    sources = [source for dataset in sets for source in dataset.sources]
    large = large_enough(sources, config.data)
    count = config.data.validation_images
    if split is None:
        training, held_out = split_validation(sources, large, count, seed)
        split = Split.of(training, held_out, _percentiles(config, pixels, training))
    else:
        training, held_out = keep_split(large, split, count)
    if split.value_range is not None:
        pixels = replace(pixels, value_range=ValueRange.of(split.value_range))
        test = [read_as(dataset, pixels) for dataset in test]
    operations = tuple(config.data.degradations)
    degrade = ImageDegradations(operations, seed) if operations else None
    training = [replace(source, pixels=pixels) for source in training]
    held_out = [
        replace(source, pixels=pixels, crop=evaluation.crop, degrade=degrade) for source in held_out
    ]
    cache = cache_folder(config.data, fallback)
    store = ImageStore(training, scale, config.data.memory_gb, cache)
    store.load_all()
    for source in [*held_out, *(s for dataset in test for s in dataset.sources)]:
        check_size(source, scale)
    validation = ImageStore(held_out, scale, config.data.memory_gb, cache)
    validation.load_all()
    middles(validation)  # a UserError now, instead of in the first step
    counts = len(training), len(held_out), len(sources) - len(large)
    summary = _summary(sets, *counts, split.changes(large), config.data.degradations)
    if pixels.measured:
        text = f"{summary['text']}{_planes_text(training, held_out, large)}; {pixels.text}"
        summary |= {"text": text, "value_range": pixels.unit.ranges}
    return RunData(store, validation, test, split, cache, summary)


def middles(
    held_out: ImageStore, side: int = MIDDLE_SIDE
) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]]]:
    """Returns the middles that validate during training, of the images that have data there.

    Args:
        held_out: held-out images.
        side: largest side of a middle, HR pixels.

    Returns:
        (names of the images, middles (lr, hr)).

    Raises:
        UserError: if no image has data in its middle.
    """
    names, pairs = [], []
    for source, pair in zip(held_out.sources, held_out.pairs(), strict=True):
        lr, hr = middle(*pair, held_out.scale, side // held_out.scale)
        if np.isfinite(hr).any():
            names.append(source.title)
            pairs.append((lr, hr))
    if not pairs:
        raise UserError(
            f"none of {len(held_out)} held-out images has data in its central {side}x{side} pixels:"
            " raise data.validation_images, or remove files without data"
        )
    return names, pairs


def _percentiles(config: Config, pixels: Pixels, training: list[ImageSource]) -> ValueRanges | None:
    """Returns the value range of the training images if the config asks for their percentiles."""
    if config.data.value_range != "percentile":
        return None
    packed = next((source for source in training if source.pack), None)
    if packed is not None:
        raise UserError(
            f"{packed.hr.parent}: packs state their value range: set data.value_range to it instead"
            ' of "percentile"'
        )
    return pixels.quantiles(list(dict.fromkeys(source.hr for source in training))).ranges


def _planes_text(
    training: list[ImageSource], held_out: list[ImageSource], large: list[ImageSource]
) -> str:
    """Describes what becomes of the planes of held-out files, unless all of them validate."""
    if (unused := len(large) - len(training) - len(held_out)) > 0:
        return f"; other planes of held-out files, not used: {unused}"
    if held_out[0].planes > 1 and held_out[0].hr == training[0].hr:
        return "; all are planes of one file, so that the held-out ones are trained on too"
    return ""


def _summary(
    sets: list[Dataset],
    training: int,
    held_out: int,
    small: int,
    changes: str,
    operations: list[Degradation],
) -> dict[str, Any]:
    names = {dataset.name: len(dataset.sources) for dataset in sets}
    bundled = any(dataset.bundled for dataset in sets)
    text = " + ".join(f"{name} ({count})" for name, count in names.items())
    text += f": {training} images, {held_out} more held out for validation"
    if small:
        text += f", {small} smaller than a patch skipped"
    if changes:
        text += f"; {changes}"
    if operations:
        text += f"; LR images degraded by {degradations_text(operations)}"
    if bundled:
        text += "; bundled images are for rehearsals: set data.root to train on other images"
    counts = {"training": training, "held_out": held_out}
    degradations = [operation.model_dump() for operation in operations]
    facts = {"bundled": bundled, "degradations": degradations, "text": text}
    return {"sets": names, **counts, **facts}
