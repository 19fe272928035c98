"""Division of the training images of a run into images to train on and held-out images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from udl_tf.config import DataConfig, Section, ValueRanges
from udl_tf.data.image_source import ImageSource
from udl_tf.errors import UserError


class Split(Section):
    """Names of the image files that a run trains on and of those that it holds out.

    A run folder stores them, so that an image that has been trained on never validates, whatever
    images are added or removed before the run resumes; and the value range that was found in the
    images, so that it stays the same. The planes of a file are nearly equal: they are on one side.

    Attributes:
        training, held_out: the names of the files.
        value_range: of the training images, with data.value_range "percentile"; None: not found in
            them.
    """

    training: list[str]
    held_out: list[str]
    value_range: ValueRanges | None = None

    @classmethod
    def of(
        cls,
        training: Sequence[ImageSource],
        held_out: Sequence[ImageSource],
        value_range: ValueRanges | None,
    ) -> "Split":
        """Returns the split into these images; value_range as above."""
        names = [list(dict.fromkeys(s.name for s in part)) for part in (training, held_out)]
        return cls(training=names[0], held_out=names[1], value_range=value_range)

    def changes(self, sources: Sequence[ImageSource]) -> str:
        """Describes which images were added or removed; "" if none were."""
        before, now = {*self.training, *self.held_out}, {source.name for source in sources}
        added, removed = len(now - before), len(before - now)
        if not (added or removed):
            return ""
        return f"images changed since the run began: {added} added, {removed} removed"


def keep_split(
    large: Sequence[ImageSource], split: Split, count: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """Splits the training images of a run that resumes into (training, validation).

    Added images are trained on. Held-out images that were removed are not replaced.

    Args:
        large: images that are large enough for a patch.
        split: division at the beginning of the run.
        count: as for split_validation.

    Raises:
        UserError: if no held-out image, or none to train on, is left.
    """
    trained, kept = set(split.training), set(split.held_out)
    training = [s for s in large if s.name not in kept or s.name in trained]
    held_out = [s for s in large if s.name in kept]
    for part, names, text in (
        (held_out, split.held_out, "held-out images"),
        (training, split.training, "images to train on"),
    ):
        if not part:
            raise UserError(
                f"all {text} of the run were removed, such as {names[0]}: restore at least one, or"
                " choose a new run folder",
                argument="output",
            )
    return training, _spread(held_out, count)


def split_validation(
    sources: Sequence[ImageSource], large: Sequence[ImageSource], count: int, seed: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """Splits the training images of a new run into (training, validation).

    Files of several planes are held out as a whole, and some of their planes validate.

    Args:
        sources: all training images of a run.
        large: those that are large enough for a patch, in the same order. If they are in a single
            file, it serves as both parts.
        count: number of validation images; of at most a fifth of the files in `large`.
        seed: seed of the draw. It permutes all files, not only those of large images, so that runs
            with other scales and patch sizes, which may start from this run's network, hold out the
            same images.
    """
    files, usable = list(dict.fromkeys(s.hr for s in sources)), {s.hr for s in large}
    if len(usable) == 1:
        return list(large), _spread(large, count)
    order = np.random.default_rng(seed).permutation(len(files))
    drawn = [files[i] for i in order if files[i] in usable]
    held_out = set(drawn[: min(count, max(1, len(usable) // 5))])
    training = [s for s in large if s.hr not in held_out]
    return training, _spread([s for s in large if s.hr in held_out], count)


def _spread(sources: Sequence[ImageSource], count: int) -> list[ImageSource]:
    """Returns about `count` images, equally many of each file, at least one.

    They are spread evenly over the planes, at other places in each file: the first and last slices
    of volumes are often empty.
    """
    stacks: dict[Path, list[ImageSource]] = {}
    for source in sources:
        stacks.setdefault(source.hr, []).append(source)
    share, chosen = max(1, count // len(stacks)), []
    for number, planes in enumerate(stacks.values()):
        of_each = min(share, len(planes))
        start = (number + 0.5) / len(stacks)
        chosen += [planes[int(len(planes) * (i + start) / of_each)] for i in range(of_each)]
    return chosen


def large_enough(sources: Sequence[ImageSource], config: DataConfig) -> list[ImageSource]:
    """Returns the images that are at least as large as a patch; `small_images` decides on others.

    Raises:
        UserError: if an image is too small and `small_images` is "error", or if all are too small.
    """
    side = config.hr_patch_size
    large = []
    for source in sources:
        height, width = source.size
        if min(height, width) >= side:
            large.append(source)
        elif config.small_images == "error":
            raise UserError(
                f"{source.hr}: {width}x{height} pixels, smaller than data.hr_patch_size {side}:"
                ' remove it, or set data.small_images="skip", or lower data.hr_patch_size'
            )
    if not large:
        raise UserError(
            f"no training image has at least {side}x{side} pixels: lower data.hr_patch_size or give"
            " larger images"
        )
    return large
