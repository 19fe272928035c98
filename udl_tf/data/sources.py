"""Datasets as lists of image pairs.

A dataset is a folder in one of three layouts:
- HR images directly in the folder: LR images are computed by MATLAB's bicubic imresize and cached;
- paired: HR/ and LR_bicubic/X{scale}/ or LR/X{scale}/ or LR/; LR files have the name of their HR
  file or NAMEx{scale};
- DIV2K as published: DIV2K_train_HR/ and DIV2K_train_LR_bicubic/X{scale}/;
or a pack of one or several of them (udl_tf.data.pack).

Each plane of a file of measurements, such as a slice of a volume, is an image.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from udl_tf.config import DataConfig, Degradation, parse_degradations
from udl_tf.data.degradations import ImageDegradations
from udl_tf.data.image_source import BUNDLED_FOLDER, ImageSource
from udl_tf.data.measurements import list_measurements, measurement_shape
from udl_tf.data.pack import Pack, is_pack
from udl_tf.data.pairs import pair_files
from udl_tf.data.pixels import RGB, Pixels
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import list_images
from udl_tf.scenes.opening import FOLDER_SUFFIXES

ListFiles = Callable[[Path], list[Path]]

BUNDLED = "bundled"
_PLANE_FACTS = {"plane", "planes"}  # that an item of a training pack may have
_LAYOUTS = (  # HR folder, LR folders
    ("HR", ("LR_bicubic/X{scale}", "LR/X{scale}", "LR")),
    ("DIV2K_train_HR", ("DIV2K_train_LR_bicubic/X{scale}",)),
)


@dataclass(frozen=True)
class Dataset:
    """Named list of image pairs.

    Attributes:
        name: name in logs and result tables.
        sources: image pairs.
        bundled: whether they are the images that come with the package.
        folder: folder of the files; None: bundled or packed.
    """

    name: str
    sources: tuple[ImageSource, ...]
    bundled: bool = False
    folder: Path | None = None

    @property
    def files(self) -> list[Path]:
        """HR files: the images, or stacks of images."""
        return list(dict.fromkeys(source.hr for source in self.sources))

    @property
    def crop(self) -> int | None:
        """Side of the central square of each image that is used, HR pixels; None: whole images."""
        return self.sources[0].crop

    @property
    def pixels(self) -> Pixels:
        """How the images are read."""
        return self.sources[0].pixels

    @property
    def degrade(self) -> str | None:
        """Short form of the degradations of the LR images; None if there are none."""
        degrade = self.sources[0].degrade
        return None if degrade is None else degrade.text


def find_datasets(config: DataConfig, part: str, scale: int, pixels: Pixels = RGB) -> list[Dataset]:
    """Finds the datasets that a config names.

    With a data root, every named dataset must exist, and "bundled" is used only if no other name is
    given. Without one, "bundled" replaces all names that are not absolute paths.

    Args:
        config: data section of a config.
        part: "train" or "test".
        scale: HR over LR size.
        pixels: how the files are read.

    Raises:
        UserError: for a missing dataset, if none is named, or if no data root is set and "bundled"
            is not named.
    """
    names = config.train if part == "train" else config.test
    if not names:
        raise UserError(f"data.{part} is empty: name at least one set, or {BUNDLED!r}")
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
            folders = [Path(config.root or "/") / name for name in named]
            return folder_datasets(folders, scale, pixels)
    if BUNDLED not in names:
        raise UserError(
            f"data.{part} names {', '.join(names)} and data.root is not set: set"
            f" data.root to the folder that holds them, or add {BUNDLED!r} to data.{part}"
        )
    return [read_as(bundled_dataset(part), pixels)]


def bundled_dataset(part: str) -> Dataset:
    """Returns the images that come with the package, for "train" or "test"."""
    files = list_images(BUNDLED_FOLDER / part)
    return Dataset(BUNDLED, tuple(ImageSource(file) for file in files), bundled=True)


def read_as(dataset: Dataset, pixels: Pixels) -> Dataset:
    """Returns a dataset whose files are read as other pixels."""
    sources = tuple(replace(source, pixels=pixels) for source in dataset.sources)
    return replace(dataset, sources=sources)


def cropped(dataset: Dataset, crop: int | None) -> Dataset:
    """Returns a dataset of the central squares of its images; see `Dataset.crop`."""
    sources = tuple(replace(source, crop=crop) for source in dataset.sources)
    return replace(dataset, sources=sources)


def degraded(dataset: Dataset, operations: str | Sequence[Degradation] | None) -> Dataset:
    """Returns a dataset whose LR images are degraded, the same in each call.

    Args:
        dataset: the images.
        operations: in their order, or a text as for parse_degradations; None: the dataset stays as
            it is.

    Raises:
        UserError: if the text is not valid, or the images are measurements.
    """
    if operations is None:
        return dataset
    if isinstance(operations, str):
        operations = parse_degradations(operations)
    degrade = ImageDegradations(tuple(operations))
    if dataset.pixels.measured:
        raise UserError(
            f"{dataset.name}: degradations ({degrade.text}) are for 8-bit RGB images; these are"
            " measurements: omit them"
        )
    sources = tuple(replace(source, degrade=degrade) for source in dataset.sources)
    return replace(dataset, sources=sources)


def folder_datasets(
    folders: Sequence[Path | str], scale: int, pixels: Pixels = RGB
) -> list[Dataset]:
    """Returns the datasets in several folders; equal names are prefixed by those of parent folders.

    Raises:
        UserError: if a folder is missing, empty or named twice.
    """
    paths = [Path(folder) for folder in folders]
    named: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in named:
            same = named[path.resolve()]
            raise UserError(f"{path}: the same folder as {same}, named twice: name it once")
        named[path.resolve()] = path
    datasets = [folder_dataset(path, scale, pixels) for path in paths]
    return [
        replace(dataset, name=name)
        for dataset, name in zip(datasets, _distinct_names(paths), strict=True)
    ]


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    """Returns names of different folders; equal ones get as many parents as make them differ."""
    names, parts = [_name(folder) for folder in folders], [_absolute(f).parts for f in folders]
    for count in range(2, max(map(len, parts), default=0)):
        names = [
            "_".join(part[-count:]) if names.count(name) > 1 else name
            for name, part in zip(names, parts, strict=True)
        ]
    return names


def _name(folder: Path) -> str:
    """Returns the name of a folder, also of the working folder, whose path is a dot."""
    return _absolute(folder).name


def _absolute(folder: Path) -> Path:
    """Returns an absolute path without dots; links keep their names."""
    return Path(os.path.abspath(folder))


def holds_lr_only(folder: Path | str) -> bool:
    """Returns whether a folder holds only LR images, in subfolders by scale (X2, X3, X4)."""
    folder = Path(folder)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return bool(names) and names <= {"X2", "X3", "X4"}


def folder_dataset(folder: Path | str, scale: int, pixels: Pixels = RGB) -> Dataset:
    """Returns the dataset in a folder, in any of the layouts.

    Args:
        folder: the folder, or a pack.
        scale: HR over LR size.
        pixels: how the files are read.

    Raises:
        UserError: if the folder is missing or empty, or if pairs are ambiguous.
    """
    folder = Path(folder)
    if is_pack(folder):
        return _packed_dataset(folder, scale, pixels)
    list_files = list_measurements if pixels.measured else list_images
    sources = _sources(folder, scale, list_files)
    if pixels.measured:
        sources = tuple(plane for source in sources for plane in _planes(source))
    return read_as(Dataset(_name(folder), sources, folder=folder), pixels)


def _sources(folder: Path, scale: int, list_files: ListFiles) -> tuple[ImageSource, ...]:
    """Returns the image pairs in a folder, in any of the layouts."""
    for hr_name, lr_names in _LAYOUTS:
        if (folder / hr_name).is_dir():
            hr_files = list_files(folder / hr_name)
            for lr_name in lr_names:
                lr_folder = folder / lr_name.format(scale=scale)
                if lr_folder.is_dir() and _has_images(lr_folder):
                    pairs = pair_files(hr_files, list_files(lr_folder), lr_folder, scale)
                    return tuple(ImageSource(hr, lr) for hr, lr in pairs)
            return tuple(ImageSource(file) for file in hr_files)
    return tuple(ImageSource(file) for file in list_files(folder))


def _planes(source: ImageSource) -> list[ImageSource]:
    """Returns the image pairs in a pair of files."""
    try:
        planes = measurement_shape(source.hr).planes
    except UserError:  # which whoever reads the file reports
        planes = 1
    return [replace(source, plane=plane, planes=planes) for plane in range(planes)]


def _packed_dataset(folder: Path, scale: int, pixels: Pixels) -> Dataset:
    pack = Pack(folder)
    if "scale" not in pack.facts or any(e["facts"].keys() - _PLANE_FACTS for e in pack.entries):
        raise UserError(f"{folder}: not a pack of training images: choose another folder")
    if pack.facts["scale"] != scale:
        raise UserError(
            f"{folder}: packed for x{pack.facts['scale']}; expected x{scale}: pack the images for"
            f" x{scale} too"
        )
    found = {
        key: pack.facts[key] for key in ("dtype", "channels", "value_range") if key in pack.facts
    }
    if found != pixels.facts:
        raise UserError(
            f"{folder}: packed with {_packed_as(found)}; expected {_packed_as(pixels.facts)}: set"
            " model.channels and data.value_range to those of the pack, or pack the images again"
        )
    sources = (
        ImageSource(folder / entry["name"], pack=pack, index=index, **entry["facts"])
        for index, entry in enumerate(pack.entries)
    )
    return read_as(Dataset(_name(folder), tuple(sources)), pixels)


def _packed_as(facts: dict[str, Any]) -> str:
    """Describes what a pack holds, by the facts of its pixels."""
    if not facts:
        return "8-bit RGB"
    return f"{facts['channels']} channels and the value range {facts['value_range']}"


def _has_images(folder: Path) -> bool:
    return any(p.is_file() or p.suffix.lower() in FOLDER_SUFFIXES for p in folder.iterdir())
