"""Pairs of HR and LR files of equal names."""

from collections.abc import Sequence
from pathlib import Path

from udl_tf.errors import UserError
from udl_tf.scenes.opening import stem_of


def pair_files(
    hr_files: Sequence[Path], lr_files: Sequence[Path], lr_folder: Path, scale: int
) -> list[tuple[Path, Path]]:
    """Returns the pairs (HR file, LR file) of a dataset.

    Args:
        hr_files, lr_files: the files.
        lr_folder: that of the LR files.
        scale: HR over LR size.

    Raises:
        UserError: if two HR files have the same LR file, or two LR files the same name.
    """
    by_stem: dict[str, Path] = {}
    for lr in lr_files:
        if (other := by_stem.setdefault(stem_of(lr), lr)) != lr:
            raise UserError(f"{other} and {lr}: LR images of the same name: remove one")
    taken: dict[Path, Path] = {}
    for hr in hr_files:
        # If the LR file is missing, read_pair reports it under the expected name.
        stem = stem_of(hr)
        expected = lr_folder / f"{stem}x{scale}{hr.name[len(stem) :]}"
        lr = by_stem.get(stem) or by_stem.get(stem_of(expected)) or expected
        if (other := taken.setdefault(lr, hr)) != hr:
            raise UserError(
                f"{other} and {hr}: both have the LR image {lr}; expected one HR image for each LR"
                " image: remove or rename one"
            )
    return [(hr, lr) for lr, hr in taken.items()]
