"""Input files: images and scenes given by name or found in folders, and what is skipped."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from udl_tf.errors import UserError
from udl_tf.imaging.formats import READABLE, reason
from udl_tf.imaging.opening import NO_FILE
from udl_tf.inference.names import results_of
from udl_tf.scenes.marks import is_result
from udl_tf.scenes.opening import FOLDER_SUFFIXES


@dataclass
class Skipped:
    """What the inputs contain apart from images to upscale.

    Attributes:
        counts: number of files or folders of each kind: (singular noun, remark).
        failed: one error per file or folder that cannot be opened, which names it.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failed: list[UserError] = field(default_factory=list)

    def add_file(self, suffix: str) -> None:
        """Counts a file whose suffix, in lower case, is not in READABLE."""
        why = reason(suffix)
        self.counts["other file" if why is None else f"{suffix} file", why or ""] += 1

    def add_link(self) -> None:
        """Counts a link to a folder."""
        self.counts["linked folder", "not followed unless given as an input"] += 1

    def add_result(self) -> None:
        """Counts an earlier result."""
        self.counts["earlier result", "in the output folder"] += 1

    def add_unlisted(self, folder: Path | str, error: OSError) -> None:
        """Adds a folder whose files cannot be listed."""
        why = error.strerror or error
        self.failed.append(UserError(f"{folder}: cannot be listed ({why}): check its permissions"))

    def __str__(self) -> str:
        return ", ".join(
            f"{count} {kind}{'s' * (count > 1)}" + (f" ({remark})" if remark else "")
            for (kind, remark), count in sorted(self.counts.items())
        )


@dataclass(frozen=True)
class Inputs:
    """Images to upscale.

    Attributes:
        files: (file, its path below the output folder) of each image.
        skipped: what else the input folders contain.
    """

    files: list[tuple[Path, Path]]
    skipped: Skipped


def find_inputs(
    paths: Sequence[Path | str], output: Path, suffixes: tuple[str, ...] = READABLE
) -> Inputs:
    """Finds the images that are given by name or, recursively, in folders; each of them once.

    Hidden files, links to folders, the output folder, and earlier results of this package in the
    output folder are skipped.

    Args:
        paths: image files, and folders of them.
        output: folder for the results.
        suffixes: in lower case, of the files that are found in folders; folders with the suffix of
            a scene that is a folder count as files.

    Raises:
        UserError: if an input is missing or not a file, or a folder holds no image.
    """
    results = os.path.realpath(output)
    found, skipped = list[tuple[Path, Path]](), Skipped()
    for path in map(Path, paths):
        if path.is_dir() and not is_scene_folder(path, suffixes):
            below = Skipped()
            files = [
                (file, file.relative_to(path)) for file in _walk(path, results, below, suffixes)
            ]
            if not files:
                raise no_image(path, below, suffixes)
            found += files
            skipped.counts += below.counts
            skipped.failed += below.failed
        elif path.is_file() or path.is_dir():
            if _is_inside(path.parent, results) and _is_earlier(path):
                skipped.add_result()
            else:
                found.append((path, Path(path.name)))
        elif os.path.lexists(path):
            raise UserError(f"{path}: {NO_FILE}")
        else:
            raise UserError(f"{path}: no such file or folder: check the path")
    if not found:
        raise UserError(
            "all inputs are earlier results in the output folder: choose another output folder to"
            " upscale them again",
            argument="output",
        )
    return Inputs(list(dict.fromkeys(found)), skipped)


def no_image(folder: Path | str, skipped: Skipped, suffixes: Sequence[str] = READABLE) -> UserError:
    """Returns the error for a folder without an image that is read."""
    if skipped.failed:
        return skipped.failed[0]
    others = f" but {skipped}" if skipped.counts else ""
    return UserError(
        f"{folder}: holds no image{others}; expected files ending in {' '.join(suffixes)}"
    )


def is_scene_folder(path: Path, suffixes: Sequence[str]) -> bool:
    """Returns whether a folder is a scene by its name, such as a.zarr, and scenes are wanted."""
    suffix = path.suffix.lower()
    return suffix in FOLDER_SUFFIXES and suffix in suffixes


def _walk(
    folder: Path, results: str, skipped: Skipped, suffixes: tuple[str, ...]
) -> Iterator[Path]:
    """Yields the images below a folder, folder by folder, in the order of their names.

    Args:
        folder: where to search.
        results: real path of the output folder.
        skipped: receives what else is found.
        suffixes: as for find_inputs.
    """
    folders = [folder]
    while folders:
        here = folders.pop()
        if here != folder and os.path.realpath(here) == results:
            continue
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            skipped.add_unlisted(here, error)
            continue
        holds_results = _is_inside(here, results)
        visible = (entry for entry in entries if not entry.name.startswith("."))
        below = []
        for entry in visible:
            file = here / entry.name
            kind = _kind(entry)
            if kind == "folder" and not is_scene_folder(file, suffixes):
                below.append(file)
            elif kind == "link":
                skipped.add_link()
            elif not file.name.lower().endswith(suffixes):
                skipped.add_file(file.suffix.lower())
            elif not kind:
                skipped.failed.append(UserError(f"{file}: {NO_FILE}"))
            elif holds_results and _is_earlier(file):
                skipped.add_result()
            else:
                yield file
        folders += reversed(below)


def _kind(entry: os.DirEntry) -> str:
    """Returns "folder", "link" for a link to one, "file", or "" for anything else."""
    try:
        if entry.is_dir():
            return "link" if entry.is_symlink() else "folder"
        return "file" if entry.is_file() else ""
    except OSError:  # a link to itself
        return ""


def _is_earlier(path: Path) -> bool:
    """Returns whether a file in the output folder is an earlier result, or a map of one.

    Maps in .npy files carry no mark.
    """
    marked = results_of(path) if path.suffix.lower() == ".npy" else [path]
    return any(map(is_result, marked))


def _is_inside(folder: Path, results: str) -> bool:
    """Returns whether a folder is the output folder or below it."""
    return Path(os.path.realpath(folder)).is_relative_to(results)
