"""Division of the training images of a run into images to train on and held-out images."""

from collections.abc import Sequence

import numpy as np

from udl_tf.config import DataConfig, Section, ValueRanges
from udl_tf.data.sources import ImageSource
from udl_tf.errors import UserError


class Split(Section):
    """Names of the images that a run trains on and of those that it holds out.

    A run folder stores them, so that an image that has been trained on never validates, whatever
    images are added or removed before the run resumes; and the value range that was found in the
    images, so that it stays the same.

    Attributes:
        training, held_out: the names.
        value_range: of the training images, with data.value_range "percentile"; None: not found in
            them.
    """

    training: list[str]
    held_out: list[str]
    value_range: ValueRanges | None = None

    def changes(self, sources: Sequence[ImageSource]) -> str:
        """Describes which images were added or removed; "" if none were."""
        before, now = {*self.training, *self.held_out}, {source.name for source in sources}
        added, removed = len(now - before), len(before - now)
        if not (added or removed):
            return ""
        return f"images changed since the run began: {added} added, {removed} removed"


def keep_split(
    large: Sequence[ImageSource], split: Split
) -> tuple[list[ImageSource], list[ImageSource]]:
    """Splits the training images of a run that resumes into (training, validation).

    Added images are trained on. Held-out images that were removed are not replaced.

    Args:
        large: images that are large enough for a patch.
        split: division at the beginning of the run.

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
    return training, held_out


def split_validation(
    sources: Sequence[ImageSource], large: Sequence[ImageSource], count: int, seed: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """Splits the training images of a new run into (training, validation).

    Args:
        sources: all training images of a run.
        large: those that are large enough for a patch, in the same order. A single one serves as
            both parts.
        count: number of validation images, at most a fifth of `large`.
        seed: seed of the draw. It permutes all images, not only the large ones, so that runs with
            other scales and patch sizes, which may start from this run's network, hold out the same
            images.
    """
    if len(large) == 1:
        return list(large), list(large)
    usable = set(large)
    order = np.random.default_rng(seed).permutation(len(sources))
    drawn = [sources[i] for i in order if sources[i] in usable]
    held_out = set(drawn[: min(count, max(1, len(large) // 5))])
    return [s for s in large if s not in held_out], [s for s in large if s in held_out]


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
