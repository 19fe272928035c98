"""Datasets as lists of picture pairs.

A dataset is a folder in one of three layouts:
- HR images directly in it: LR images are made from them by MATLAB's bicubic imresize, once;
- paired: HR/ beside LR_bicubic/X{scale}/ or LR/X{scale}/ or LR/, names equal or NAMEx{scale};
- DIV2K as published: DIV2K_train_HR/ beside DIV2K_train_LR_bicubic/X{scale}/.
Or it is a pack of such (udl_tf.data.pack).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from udl_tf.config import DataConfig
from udl_tf.data.pack import Pack, is_pack
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import image_files, image_size

BUNDLED = "bundled"
_BUNDLED_FOLDER = Path(__file__).parent / BUNDLED
_LAYOUTS = (  # HR folder, LR folders
    ("HR", ("LR_bicubic/X{scale}", "LR/X{scale}", "LR")),
    ("DIV2K_train_HR", ("DIV2K_train_LR_bicubic/X{scale}",)),
)


@dataclass(frozen=True)
class ImageSource:
    """An HR file and, in a paired dataset, its LR file; or a pair in a pack, named by `hr`."""

    hr: Path
    lr: Path | None = None
    pack: Pack | None = None
    index: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the HR image."""
        if self.pack is None:
            return image_size(self.hr)
        height, width, _ = self.pack.entries[self.index]["shapes"][1]
        return height, width


@dataclass(frozen=True)
class Dataset:
    """A named list of pictures; `bundled` if they come with the package."""

    name: str
    sources: tuple[ImageSource, ...]
    bundled: bool = False


def find_datasets(config: DataConfig, part: str, scale: int) -> list[Dataset]:
    """The datasets that a config names for "train" or "test".

    With a data root every named dataset must exist, and "bundled" is read only where it stands
    alone; without one, the bundled images stand in for those that are not absolute paths.

    Raises:
        UserError: for a missing dataset, or when nothing is left without a data root.
    """
    names = config.train if part == "train" else config.test
    named = [name for name in names if name != BUNDLED]
    absolute = [name for name in named if Path(name).is_absolute()]
    if config.root or absolute:
        below_root = sorted(set(named) - set(absolute))
        if not config.root and below_root:
            raise UserError(
                f"data.{part} names {', '.join(below_root)} and data.root is not set: set data.root"
                " to the folder that holds them, or give absolute paths"
            )
        if named:
            return folder_datasets([Path(config.root or "/") / name for name in named], scale)
    if BUNDLED not in names:
        raise UserError(
            f"data.{part} names {', '.join(names) or 'nothing'} and data.root is not set: set"
            f" data.root to the folder that holds them, or add {BUNDLED!r} to data.{part}"
        )
    return [bundled_dataset(part)]


def bundled_dataset(part: str) -> Dataset:
    """The images that come with the package, for "train" or "test"."""
    files = image_files(_BUNDLED_FOLDER / part)
    return Dataset(BUNDLED, tuple(ImageSource(file) for file in files), bundled=True)


def folder_datasets(folders: Sequence[Path | str], scale: int) -> list[Dataset]:
    """The datasets in some folders; those of one name get their parent's before it.

    Raises:
        UserError: if a folder is missing or empty, or named twice.
    """
    paths = [Path(folder) for folder in folders]
    for path in paths:
        if paths.count(path) > 1:
            raise UserError(f"{path}: named twice: name it once")
    datasets = [folder_dataset(path, scale) for path in paths]
    names = [dataset.name for dataset in datasets]
    return [
        replace(dataset, name="_".join(path.parts[-2:]))
        if names.count(dataset.name) > 1
        else dataset
        for path, dataset in zip(paths, datasets, strict=True)
    ]


def holds_lr_only(folder: Path | str) -> bool:
    """Whether a folder holds nothing but LR images, by scale, of the HR images in another."""
    folder = Path(folder)
    below = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return bool(below) and below <= {"X2", "X3", "X4"}


def folder_dataset(folder: Path | str, scale: int) -> Dataset:
    """The dataset in `folder`, whichever of the layouts it has.

    Raises:
        UserError: if the folder is missing or empty.
    """
    folder = Path(folder)
    if is_pack(folder):
        return _packed_dataset(folder, scale)
    for hr_name, lr_names in _LAYOUTS:
        if (folder / hr_name).is_dir():
            hr_files = image_files(folder / hr_name)
            for lr_name in lr_names:
                lr_folder = folder / lr_name.format(scale=scale)
                if lr_folder.is_dir() and _has_images(lr_folder):
                    return Dataset(folder.name, _pairs(hr_files, lr_folder, scale))
            return Dataset(folder.name, tuple(ImageSource(file) for file in hr_files))
    return Dataset(folder.name, tuple(ImageSource(file) for file in image_files(folder)))


def _packed_dataset(folder: Path, scale: int) -> Dataset:
    pack = Pack(folder)
    if pack.facts["scale"] != scale:
        raise UserError(
            f"{folder}: packed for x{pack.facts['scale']}, not for x{scale}: pack it for x{scale} too"
        )
    names = enumerate(entry["name"] for entry in pack.entries)
    return Dataset(folder.name, tuple(ImageSource(folder / n, None, pack, i) for i, n in names))


def _has_images(folder: Path) -> bool:
    return any(p.is_file() for p in folder.iterdir())


def _pairs(hr_files: Sequence[Path], lr_folder: Path, scale: int) -> tuple[ImageSource, ...]:
    by_stem = {file.stem: file for file in image_files(lr_folder)}
    sources = []
    for hr in hr_files:
        lr = by_stem.get(hr.stem) or by_stem.get(f"{hr.stem}x{scale}")
        # Where there is none, reading the pair says so.
        sources.append(ImageSource(hr, lr or lr_folder / f"{hr.stem}x{scale}{hr.suffix}"))
    return tuple(sources)


def split_validation(
    sources: Sequence[ImageSource], large: Sequence[ImageSource], count: int, seed: int
) -> tuple[list[ImageSource], list[ImageSource]]:
    """(training, held-out) pictures.

    Args:
        pictures: all of a run's.
        large: those of them that can be used, in the same order. One alone serves as both.
        count: of the held-out ones, but at most a fifth.
        seed: draws them from all pictures, so that runs of other scales and patch sizes, which may
            start from this one's network, hold out the same.
    """
    if len(large) == 1:
        return list(large), list(large)
    usable = set(large)
    order = np.random.default_rng(seed).permutation(len(sources))
    drawn = [sources[i] for i in order if sources[i] in usable]
    held_out = set(drawn[: min(count, max(1, len(large) // 5))])
    return [p for p in large if p not in held_out], [p for p in large if p in held_out]


def large_enough(sources: Sequence[ImageSource], config: DataConfig) -> list[ImageSource]:
    """The pictures that hold a training patch; others are an error or skipped, by the config.

    Raises:
        UserError: naming the first image that is too small, or if all of them are.
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
            f"no training image has {side}x{side} pixels: lower data.hr_patch_size or give larger"
            " images"
        )
    return large
