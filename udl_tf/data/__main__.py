"""Checks images before training, packs them for faster reading, or writes synthetic ones.

udl-tf data check --config CONFIG [--set key=value ...]
udl-tf data check FOLDER [FOLDER ...] [--test FOLDER ...] [--config CONFIG | --scale 4]
udl-tf data pack FOLDER [FOLDER ...] --output PACK [--scale 4 | --config CONFIG]
udl-tf data synthetic KIND --output FOLDER [--count 40] [--size 256] [--seed 0]
"""

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.config_file import load_config
from udl_tf._support.json_files import parse_model
from udl_tf.config import Config, ModelConfig
from udl_tf.data.check import check_sets
from udl_tf.data.image_source import ImageSource
from udl_tf.data.pack import Arrays, write_pack
from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import find_datasets, folder_datasets, read_as
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.scenes.synthetic_files import KINDS, write_synthetic

FLAGS = {"overrides": "--set"}


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("udl-tf data", __doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="list the problems of training and test sets")
    check.add_argument(
        "folders",
        nargs="*",
        metavar="FOLDER",
        help="training sets: folders of HR images, of HR and LR pairs, DIV2K, or packs",
    )
    check.add_argument(
        "--test",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="test sets, whose images must not be among the training images",
    )
    check.add_argument(
        "--config",
        help="check the sets of a config, or folders, with its scale, patch size, channels and"
        " value range",
    )
    check.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as for udl-tf train"
    )
    check.add_argument("--scale", type=int, choices=(2, 3, 4), help="default: 4")
    check.add_argument("--hr-patch-size", type=int, help="default: 192")
    check.add_argument(
        "--small-images",
        choices=("error", "skip"),
        help="skip: images smaller than a patch are no problem (default: error)",
    )
    pack = commands.add_parser("pack", help="decode training sets into one file for faster reading")
    pack.add_argument("folders", nargs="+", type=Path, help="folders as for check")
    pack.add_argument("--output", type=Path, required=True, help="new folder for the packed data")
    pack.add_argument("--scale", type=int, choices=(2, 3, 4), help="default: 4")
    pack.add_argument("--config", help="pack for the scale, channels and value range of a config")
    _add_synthetic(commands)
    options = parser.parse_args(arguments)
    if options.command == "synthetic":
        _write_synthetic(options)
    elif options.command == "pack":
        _refuse_beside_config(options, "scale")
        wanted = Config(model=ModelConfig(**_given(options, "scale")))
        config = load_config(options.config) if options.config else wanted
        _pack(options.folders, options.output, config)
    else:
        _check(_config_of(options))


def _add_synthetic(commands: Any) -> None:
    """Adds the command that writes synthetic measurements."""
    parser = commands.add_parser(
        "synthetic", help="write synthetic measurements, for the guides of docs/science.md"
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--output", type=Path, required=True, help="new folder")
    parser.add_argument("--count", type=int, default=40, help="training images (default: 40)")
    parser.add_argument(
        "--size", type=int, default=256, help="side of HR images, pixels (default: 256)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first image (default: 0)")


def _write_synthetic(options: argparse.Namespace) -> None:
    command_line.check_positive(options, "count", "size")
    if options.seed < 0:
        raise UserError(f"--seed {options.seed}: expected a whole number, at least 0")
    write_synthetic(options.kind, options.output, options.count, options.size, options.seed)
    files = [file for file in options.output.rglob("*") if file.is_file()]
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    print(f"written: {options.output} ({len(files)} files, {megabytes:.0f} MB)")


def _pack(folders: Sequence[Path], output: Path, config: Config) -> None:
    scale, pixels = config.model.scale, Pixels.of(config)
    datasets = folder_datasets(folders, scale, pixels)
    if config.data.value_range == "percentile":
        files = [file for dataset in datasets for file in dataset.files]
        pixels = replace(pixels, value_range=pixels.quantiles(files))
    items, contents = [], hashlib.sha256()
    for dataset in (read_as(dataset, pixels) for dataset in datasets):
        for source in dataset.sources:
            items.append((f"{dataset.name}/{source.hr.name}", partial(_arrays, source, scale)))
            contents.update(os.fsencode(source.identity))
    facts = {"scale": scale, "contents": contents.hexdigest()[:16], **pixels.facts}
    with command_line.progress_bar("images") as progress:
        write_pack(output, facts, items, progress)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e9
    print(f"written: {output} ({len(items)} images, {size:.2f} GB), all checksums verified")
    if pixels.value_range is not None:
        print(f"data.value_range of this pack: {pixels.value_range.ranges}")


def _arrays(source: ImageSource, scale: int) -> tuple[Arrays, dict[str, Any]]:
    """Returns the pair as the arrays of a pack's item, and which plane of its file it is."""
    facts = {"plane": source.plane, "planes": source.planes} if source.planes > 1 else {}
    return read_pair(source, scale), facts


def _config_of(options: argparse.Namespace) -> Config:
    """Returns the config whose sets are checked; given folders replace those that it names."""
    _refuse_beside_config(options, "scale", "hr_patch_size", "small_images")
    if options.config is not None:
        config = load_config(options.config, options.set)
    elif options.folders and not options.set:
        model, data = _given(options, "scale"), _given(options, "hr_patch_size", "small_images")
        config = parse_model({"data": data, "model": model}, Config, "options")
    else:
        raise UserError(
            "expected folders of training images, or --config CONFIG, to which --set belongs"
        )
    if not (options.folders or options.test):
        return config
    train, test = (
        [str(Path(folder).absolute()) for folder in part]
        for part in (options.folders, options.test)
    )
    return config.changed(data=config.data.changed(train=train or config.data.train, test=test))


def _given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Returns the options of these names that are given; configs hold the other values."""
    values = {name: getattr(options, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _refuse_beside_config(options: argparse.Namespace, *names: str) -> None:
    """Refuses options whose values a config states.

    Raises:
        UserError: naming one that is given beside --config.
    """
    for name in _given(options, *names) if options.config is not None else ():
        flag = f"--{name.replace('_', '-')}"
        raise UserError(f"{flag} {getattr(options, name)}: the config states it: omit {flag}")


def _check(config: Config) -> None:
    scale = config.model.scale
    pixels = Pixels.of(config)
    training = find_datasets(config.data, "train", scale, pixels)
    test = find_datasets(config.data, "test", scale, pixels) if config.data.test else []
    count = 0
    for finding in check_sets(training, test, scale, config.data):
        print(finding.text)
        count += finding.problem
    counted = [(d.name, len(d.sources)) for d in (*training, *test)]
    sets = ", ".join(f"{name} ({images} images)" for name, images in counted)
    if count:
        raise UserError(f"{sets}: {count} problems: fix or remove the files listed above")
    print(f"{sets}: no problems")


if __name__ == "__main__":
    command_line.run(main, flags=FLAGS)
