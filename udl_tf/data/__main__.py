"""Checks a folder of images before training, or packs it for faster reading.

udl-tf data check FOLDER [--scale 4] [--hr-patch-size 192]
udl-tf data pack FOLDER [FOLDER ...] --output PACK [--scale 4]
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf.data.pack import Arrays, write_pack
from udl_tf.data.sources import Dataset, ImageSource, folder_dataset, folder_datasets
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import list_images


def find_problems(dataset: Dataset, scale: int, hr_patch_size: int) -> Iterator[str]:
    """Yields one line per bad file, mismatched pair, small image and set of duplicates."""
    names: dict[str, list[str]] = defaultdict(list)
    for source in dataset.sources:
        try:
            if source.pack:
                source.pack.check(source.index)
            _, hr = read_pair(source, scale)
        except UserError as error:
            yield str(error)
            continue
        height, width = hr.shape[:2]
        if min(height, width) < hr_patch_size:
            yield f"{source.hr}: {width}x{height} pixels, smaller than a patch of {hr_patch_size}"
        identity = hashlib.sha256(repr(hr.shape).encode() + hr.tobytes()).hexdigest()
        names[identity].append(str(source.hr))
    paired = {source.lr for source in dataset.sources if source.lr}
    for folder in {lr.parent for lr in paired}:
        for lr in list_images(folder):
            if lr not in paired:
                yield f"{lr}: has no HR image"
    for first, *duplicates in names.values():
        if duplicates:
            yield f"{first}: the same pixels as {', '.join(duplicates)}"


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf data", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="list the problems of a folder of images")
    check.add_argument(
        "folder", type=Path, help="folder of HR images, of HR and LR pairs, or DIV2K"
    )
    check.add_argument("--scale", type=int, default=4, choices=(2, 3, 4), help="default: 4")
    check.add_argument("--hr-patch-size", type=int, default=192, help="default: 192")
    pack = commands.add_parser("pack", help="decode training sets into one file for faster reading")
    pack.add_argument("folders", nargs="+", type=Path, help="folders as for check")
    pack.add_argument("--output", type=Path, required=True, help="new folder for the packed data")
    pack.add_argument("--scale", type=int, default=4, choices=(2, 3, 4), help="default: 4")
    options = parser.parse_args(arguments)
    if options.command == "pack":
        _pack(options.folders, options.output, options.scale)
    else:
        _check(options.folder, options.scale, options.hr_patch_size)


def _pack(folders: Sequence[Path], output: Path, scale: int) -> None:
    items = [
        (f"{dataset.name}/{source.hr.name}", partial(_arrays, source, scale))
        for dataset in folder_datasets(folders, scale)
        for source in dataset.sources
    ]
    with command_line.progress_bar("images") as progress:
        write_pack(output, {"scale": scale}, items, progress)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e9
    print(f"written: {output} ({len(items)} images, {size:.2f} GB), all checksums verified")


def _arrays(source: ImageSource, scale: int) -> tuple[Arrays, dict[str, Any]]:
    """Returns the pair as the arrays of a pack's item, without further facts."""
    return read_pair(source, scale), {}


def _check(folder: Path, scale: int, hr_patch_size: int) -> None:
    dataset = folder_dataset(folder, scale)
    count = 0
    for problem in find_problems(dataset, scale, hr_patch_size):
        print(problem)
        count += 1
    summary = f"{folder}: {len(dataset.sources)} images, {count} problems"
    if count:
        raise UserError(f"{summary}: fix or remove the files listed above")
    print(summary)


if __name__ == "__main__":
    command_line.run(main)
