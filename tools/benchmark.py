"""Measures speed, memory and accuracy on this machine, and writes tables.

    python tools/benchmark.py train [--batches 1 2 4 8 16 32 --replicas 1 2]
    python tools/benchmark.py train --fixed-cost 1 5 20
    python tools/benchmark.py train --gpu
    python tools/benchmark.py workers [--counts 1 2 3]
    python tools/benchmark.py pipeline --data FOLDER [FOLDER...]
    python tools/benchmark.py upscale --model RUN [--sizes 1 4 16 64]
    python tools/benchmark.py scene [--side 30000 --channels 4 --share 0.01 --memory 2]
    python tools/benchmark.py files [--model light_x4 --count 500 --side 64]
    python tools/benchmark.py exports --model RUN [RUN...] --data FOLDER
    python tools/benchmark.py runtimes [--model light_x4]
    python tools/benchmark.py load --url grpc://HOST:8500/NAME [--model RUN] [--pid PID]

Stop all other programs first. Each table states the processor, the versions and the date. PyTorch
and OpenVINO, to compare with, come with pip install "udl_tf[bench]"; rows without their package are
left empty.
"""

import argparse
from pathlib import Path

from benchmarks.training_commands import add_pipeline, add_train, add_workers
from benchmarks.upscaling_commands import (
    add_exports,
    add_files,
    add_load,
    add_runtimes,
    add_scene,
    add_upscale,
)
from udl_tf._support import command_line

_COMMANDS = (
    add_train,
    add_workers,
    add_pipeline,
    add_upscale,
    add_scene,
    add_files,
    add_exports,
    add_runtimes,
    add_load,
)


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/benchmark.py", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in _COMMANDS:
        command = add(commands)
        command.add_argument(
            "--output",
            type=Path,
            default=Path("benchmarks"),
            help="folder for the table and its numbers (default: benchmarks)",
        )
    options = parser.parse_args(arguments)
    command_line.check_positive(options, *_numbers(options))
    options.measure(options)


def _numbers(options: argparse.Namespace) -> list[str]:
    """Returns the names of the numeric options, including lists of numbers."""
    found = []
    for name, value in vars(options).items():
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, int | float) and not isinstance(first, bool):
            found.append(name)
    return found


if __name__ == "__main__":
    command_line.run(main)
