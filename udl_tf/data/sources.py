"""Datasets as lists of picture pairs, their decoded images, and what can be wrong with them.

A dataset is a folder in one of three layouts:
- HR images directly in it: LR images are made from them by MATLAB's bicubic imresize, once;
- paired: HR/ beside LR_bicubic/X{scale}/ or LR/X{scale}/ or LR/, names equal or NAMEx{scale};
- DIV2K as published: DIV2K_train_HR/ beside DIV2K_train_LR_bicubic/X{scale}/.
"""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from udl_tf.config import DataConfig
from udl_tf.errors import UserError
from udl_tf.image_io import image_files, image_size, read_rgb, write_image
from udl_tf.resize import imresize, mod_crop

BUNDLED = "bundled"
_BUNDLED_FOLDER = Path(__file__).parent / BUNDLED
_LAYOUTS = (  # HR folder, LR folders
    ("HR", ("LR_bicubic/X{scale}", "LR/X{scale}", "LR")),
    ("DIV2K_train_HR", ("DIV2K_train_LR_bicubic/X{scale}",)),
)


@dataclass(frozen=True)
class Picture:
    """An HR file and, in a paired dataset, its LR file."""

    hr: Path
    lr: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """A named list of pictures; `bundled` if they come with the package."""

    name: str
    pictures: tuple[Picture, ...]
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
    files = image_files(_BUNDLED_FOLDER / part)
    return [Dataset(BUNDLED, tuple(Picture(file) for file in files), bundled=True)]


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


def folder_dataset(folder: Path | str, scale: int) -> Dataset:
    """The dataset in `folder`, whichever of the layouts it has.

    Raises:
        UserError: if the folder is missing or empty.
    """
    folder = Path(folder)
    for hr_name, lr_names in _LAYOUTS:
        if (folder / hr_name).is_dir():
            hr_files = image_files(folder / hr_name)
            for lr_name in lr_names:
                lr_folder = folder / lr_name.format(scale=scale)
                if lr_folder.is_dir() and _has_images(lr_folder):
                    return Dataset(folder.name, _pairs(hr_files, lr_folder, scale))
            return Dataset(folder.name, tuple(Picture(file) for file in hr_files))
    return Dataset(folder.name, tuple(Picture(file) for file in image_files(folder)))


def _has_images(folder: Path) -> bool:
    return any(p.is_file() for p in folder.iterdir())


def _pairs(hr_files: Sequence[Path], lr_folder: Path, scale: int) -> tuple[Picture, ...]:
    by_stem = {file.stem: file for file in image_files(lr_folder)}
    pictures = []
    for hr in hr_files:
        lr = by_stem.get(hr.stem) or by_stem.get(f"{hr.stem}x{scale}")
        # Where there is none, reading the pair says so.
        pictures.append(Picture(hr, lr or lr_folder / f"{hr.stem}x{scale}{hr.suffix}"))
    return tuple(pictures)


def read_pair(
    picture: Picture, scale: int, cache: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a picture as (lr, hr), uint8 RGB, HR cropped to a multiple of the scale.

    Args:
        picture: what to read.
        scale: HR over LR size.
        cache: folder that keeps LR images made on the fly; None: keep none.

    Raises:
        UserError: for an unreadable file, a pair whose sizes don't fit, or a tiny image.
    """
    hr = mod_crop(read_rgb(picture.hr), scale)
    if min(hr.shape[:2]) < 2 * scale:
        height, width = image_size(picture.hr)
        raise UserError(
            f"{picture.hr}: {width}x{height} pixels; x{scale} needs {2 * scale} a side at least:"
            " remove it"
        )
    if picture.lr is None:
        return _made_lr(picture.hr, hr, scale, cache), hr
    if not picture.lr.exists():
        raise UserError(f"{picture.hr}: its LR file {picture.lr} is missing: add it")
    lr = read_rgb(picture.lr)
    expected = (hr.shape[0] // scale, hr.shape[1] // scale)
    if lr.shape[:2] != expected:
        raise UserError(
            f"{picture.lr}: {lr.shape[1]}x{lr.shape[0]} pixels; its HR image at x{scale} needs"
            f" {expected[1]}x{expected[0]}: set model.scale to the pairs' scale or mend the pair"
        )
    return lr, hr


def cache_folder(config: DataConfig) -> Path:
    """Where LR images made on the fly are kept."""
    if config.cache_dir:
        return Path(config.cache_dir)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "udl_tf" / "lr"


def _made_lr(path: Path, hr: np.ndarray, scale: int, cache: Path | None) -> np.ndarray:
    if cache is None:
        return imresize(hr, 1 / scale)
    stat = path.stat()
    identity = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}|{scale}"
    file = cache / f"{path.stem}-x{scale}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.png"
    try:
        lr = read_rgb(file)
        if lr.shape == (hr.shape[0] // scale, hr.shape[1] // scale, 3):
            return lr
    except UserError:
        pass  # not there yet, or damaged: made anew
    lr = imresize(hr, 1 / scale)
    write_image(file, lr)
    return lr


class ImageStore:
    """Decoded (lr, hr) pairs by index, kept up to a limit; the longest unused leave first.

    So a set that fits in memory is decoded once a run. Safe for several threads.

    Args:
        pictures: what can be asked for.
        scale: HR over LR size.
        memory_gb: how much to keep.
        cache: folder for LR images made on the fly, or None.

    Attributes:
        decoded: how many pictures were decoded so far.
        error: the last UserError, which would get lost inside a tf.data pipeline.
    """

    def __init__(
        self, pictures: Sequence[Picture], scale: int, memory_gb: float, cache: Path | None = None
    ):
        self.pictures = tuple(pictures)
        self.scale = scale
        self.decoded = 0
        self.error: UserError | None = None
        self._cache = cache
        self._free_bytes = int(memory_gb * 1e9)
        self._kept: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.pictures)

    def pair(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(lr, hr) of picture `index`, uint8 RGB."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
        try:
            pair = read_pair(self.pictures[index], self.scale, self._cache)
        except UserError as error:
            self.error = error
            raise
        with self._lock:
            self.decoded += 1
            if index not in self._kept:
                self._keep(index, pair)
        return pair

    def load_all(self) -> None:
        """Decodes every picture once, so that a bad one is found before training.

        Raises:
            UserError: naming the first bad file.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for _ in pool.map(self.pair, range(len(self))):
                pass

    def _keep(self, index: int, pair: tuple[np.ndarray, np.ndarray]) -> None:
        self._free_bytes -= _bytes(pair)
        self._kept[index] = pair
        while self._free_bytes < 0 and self._kept:
            _, oldest = self._kept.popitem(last=False)
            self._free_bytes += _bytes(oldest)


def _bytes(pair: tuple[np.ndarray, np.ndarray]) -> int:
    return sum(image.nbytes for image in pair)


def split_validation(
    pictures: Sequence[Picture], count: int, seed: int
) -> tuple[list[Picture], list[Picture]]:
    """(training, held-out) pictures: `count` of them, but at most a fifth, drawn by the seed.

    A set of one picture serves as both.
    """
    held_out = min(count, max(1, len(pictures) // 5))
    if len(pictures) == 1:
        return list(pictures), list(pictures)
    order = np.random.default_rng(seed).permutation(len(pictures))
    chosen = set(order[:held_out].tolist())
    return (
        [p for i, p in enumerate(pictures) if i not in chosen],
        [p for i, p in enumerate(pictures) if i in chosen],
    )


def large_enough(pictures: Sequence[Picture], config: DataConfig) -> list[Picture]:
    """The pictures that hold a training patch; others are an error or skipped, by the config.

    Raises:
        UserError: naming the first image that is too small, or if all of them are.
    """
    side = config.hr_patch_size
    large = []
    for picture in pictures:
        height, width = image_size(picture.hr)
        if min(height, width) >= side:
            large.append(picture)
        elif config.small_images == "error":
            raise UserError(
                f"{picture.hr}: {width}x{height} pixels, smaller than data.hr_patch_size {side}:"
                ' remove it, or set data.small_images="skip", or lower data.hr_patch_size'
            )
    if not large:
        raise UserError(
            f"no training image has {side}x{side} pixels: lower data.hr_patch_size or give larger"
            " images"
        )
    return large
