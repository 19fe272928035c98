"""Files and folders that a job writes: which exist, and whether they may be replaced."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from udl_tf.errors import UserError
from udl_tf.scenes.marks import is_result
from udl_tf.scenes.opening import scene_kind

if TYPE_CHECKING:
    from udl_tf.inference.jobs import Job

_LONGEST = 255  # bytes of a name


def check_targets(job: "Job", overwrite: bool | None) -> bool:
    """Checks that the files of a job can be written, before anything is computed.

    Args:
        job: the job.
        overwrite: whether files that exist are replaced; None: earlier results of this package are,
            other files are not.

    Returns:
        Whether a file will be replaced.

    Raises:
        UserError: naming the first file that may not be replaced or cannot be written.
    """
    found = {target: _status(target) for target in job.targets}
    existing = {target: status for target, status in found.items() if status is not None}
    for target, status in existing.items():
        _check_type(target, status)
        if os.path.samestat(status, os.stat(job.source)):  # names that differ in case alone
            raise UserError(
                f"{target}: the result would replace its input: choose another output",
                argument="output",
            )
        if overwrite is False:
            raise UserError(f"{target}: already exists: choose another output", argument="output")
    if existing and overwrite is None:
        _check_earlier(existing)
    return bool(existing)


def _check_type(target: Path, status: os.stat_result) -> None:
    """Raises UserError if a file would replace a folder, or a folder anything but OME-Zarr."""
    is_folder = stat.S_ISDIR(status.st_mode)
    if target.suffix.lower() != ".zarr":
        if is_folder:
            raise UserError(f"{target}: is a folder; expected a file: rename or remove it")
    elif not (is_folder and scene_kind(target)):
        raise UserError(f"{target}: is not a folder of OME-Zarr: rename or remove it")


def _status(target: Path) -> os.stat_result | None:
    """Returns the status of a file, not that of the file that it links to; None: no file."""
    if os.name == "posix" and len(os.fsencode(target.name)) > _LONGEST:
        raise UserError(f"{target}: its name is longer than {_LONGEST} bytes: rename the input")
    try:
        return os.lstat(target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written ({error.strerror}): choose another output"
        ) from error


def _check_earlier(existing: dict[Path, os.stat_result]) -> None:
    """Raises UserError unless the files are earlier results of this package.

    .npy files carry no mark; they count as results if another file of the job is one.
    """
    marked = {
        target
        for target, status in existing.items()
        if (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)) and is_result(target)
    }
    for target in existing:
        if target not in marked and not (marked and target.suffix == ".npy"):
            raise UserError(
                f"{target}: already exists and is not an earlier result of udl_tf: choose"
                " another output, or allow it to be replaced",
                argument="overwrite",
            )
