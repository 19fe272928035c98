"""Check of training and test sets before a run."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from udl_tf.config import DataConfig
from udl_tf.data.leaks import find_leaks, thumbnail
from udl_tf.data.measurements import list_measurements, measurement_suffixes
from udl_tf.data.sources import Dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE
from udl_tf.imaging.rgb_files import list_images


@dataclass(frozen=True)
class Finding:
    """Result of a check, in one line.

    Attributes:
        text: the line.
        problem: whether it must be fixed; otherwise it is a note.
    """

    text: str
    problem: bool = True


@dataclass(frozen=True)
class _Facts:
    """File of an HR image, height and width, checksum of its pixels, and its thumbnail."""

    file: Path
    size: tuple[int, int]
    checksum: str
    thumbnail: np.ndarray


_Readable = dict[str, _Facts]
"""Facts of images, by the name of the file and the plane."""


def check_sets(
    training: Sequence[Dataset], test: Sequence[Dataset], scale: int, config: DataConfig
) -> Iterator[Finding]:
    """Checks the training and test sets of a run.

    Args:
        training: training sets.
        test: test sets.
        scale: HR over LR size.
        config: size of a patch, and what happens to smaller training images.

    Yields:
        A problem for each unreadable file, mismatched pair, training image that is too small, set
        of equal training images, and training image that shows the same as a test image; a note on
        what a run skips. Planes of one file may be equal, and blank ones of several files too.
    """
    trained: _Readable = {}
    tested: _Readable = {}
    yield from _read(training, scale, trained)
    yield from _read(test, scale, tested)
    yield from _small(trained, config)
    yield from _duplicates(trained)
    yield from _leaks(trained, tested)
    for dataset in (*training, *test):
        yield from _unpaired(dataset)
        yield from _omitted(dataset)


def _read(datasets: Sequence[Dataset], scale: int, readable: _Readable) -> Iterator[Finding]:
    """Adds the images that can be read to `readable`; yields the others."""
    errors, empty = set[str](), list[str]()  # planes of a file may have the same error
    for source in (source for dataset in datasets for source in dataset.sources):
        try:
            if source.pack:
                source.pack.check(source.index)
            _, hr = read_pair(source, scale)
        except UserError as error:
            if str(error) not in errors:
                yield Finding(str(error))
            errors.add(str(error))
            continue
        if not np.isfinite(hr).any():
            empty.append(source.where)
            continue
        height, width, _ = hr.shape
        checksum = hashlib.sha256(repr(hr.shape).encode() + hr.tobytes()).hexdigest()
        readable[source.where] = _Facts(source.hr, (height, width), checksum, thumbnail(hr))
    if empty:
        yield Finding(f"without data: {len(empty)} images, such as {empty[0]}", problem=False)


def _small(readable: _Readable, config: DataConfig) -> Iterator[Finding]:
    side = config.hr_patch_size
    sizes = {facts.file: facts.size for facts in readable.values() if min(facts.size) < side}
    if config.small_images == "error":
        for path, (height, width) in sizes.items():
            yield Finding(f"{path}: {width}x{height} pixels, smaller than a patch of {side}")
    elif sizes:
        text = f"images smaller than a patch of {side}, such as {next(iter(sizes))}"
        yield Finding(f"skipped: {len(sizes)} {text}", problem=False)


def _duplicates(readable: _Readable) -> Iterator[Finding]:
    equal: dict[str, dict[Path, str]] = defaultdict(dict)  # checksum -> files and names
    for name, facts in readable.items():
        if name == str(facts.file) or facts.thumbnail.any():  # not a blank plane of a stack
            equal[facts.checksum].setdefault(facts.file, name)
    lines: dict[tuple[Path, ...], str] = {}  # one for the same files
    for names in equal.values():
        first, *others = names.values()
        if others:
            lines.setdefault(tuple(names), f"{first}: the same pixels as {', '.join(others)}")
    yield from map(Finding, lines.values())


def _leaks(trained: _Readable, tested: _Readable) -> Iterator[Finding]:
    names, test_names = list(trained), list(tested)
    thumbnails = ([facts.thumbnail for facts in part.values()] for part in (trained, tested))
    lines: dict[tuple[Path, ...], str] = {}
    for index, test_index, correlation in find_leaks(*thumbnails):
        name, test_name = names[index], test_names[test_index]
        lines.setdefault(
            (trained[name].file, tested[test_name].file),
            f"{name}: shows the same as the test image {test_name}"
            f" (correlation {correlation:.3f}): remove it from the training set",
        )
    yield from map(Finding, lines.values())


def _unpaired(dataset: Dataset) -> Iterator[Finding]:
    paired = {source.lr for source in dataset.sources if source.lr}
    list_files = list_measurements if dataset.pixels.measured else list_images
    for folder in sorted({lr.parent for lr in paired}):
        for lr in list_files(folder):
            if lr not in paired:
                yield Finding(f"{lr}: has no HR image")


def _omitted(dataset: Dataset) -> Iterator[Finding]:
    """Notes what a folder holds apart from the images of the dataset."""
    if dataset.folder is None:
        return
    files = {path for source in dataset.sources for path in (source.hr, source.lr) if path}
    used = {path.parent for path in files}
    suffixes = measurement_suffixes() if dataset.pixels.measured else READABLE
    for folder in sorted(used):
        others = [p for p in sorted(folder.iterdir()) if p.is_file() and not _is_image(p)]
        others = [path.name for path in others if path not in files]
        if others:
            yield Finding(f"not read: {folder}: {len(others)} files, such as {others[0]}", False)
    for folder in (
        child for parent in sorted({dataset.folder, *used}) for child in _folders(parent)
    ):
        if folder in files or any(path.is_relative_to(folder) for path in used):
            continue
        if count := sum(_is_image(path, suffixes) for path in folder.rglob("*")):
            yield Finding(f"not read: {folder}: a subfolder with {count} images", False)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir())


def _is_image(path: Path, suffixes: tuple[str, ...] = READABLE) -> bool:
    return path.name.lower().endswith(suffixes)
