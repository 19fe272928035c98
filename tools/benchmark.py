"""Measures speed, memory and accuracy on this machine, and writes tables.

    python tools/benchmark.py train [--batches 1 2 4 8 16 32 --replicas 1 2]
    python tools/benchmark.py train --fixed-cost 1 5 20
    python tools/benchmark.py train --gpu
    python tools/benchmark.py allocator
    python tools/benchmark.py workers [--counts 1 2 3]
    python tools/benchmark.py pipeline --data FOLDER [FOLDER...]
    python tools/benchmark.py upscale --model RUN [--sizes 1 4 16 64]
    python tools/benchmark.py files [--model edsr_light_x4 --count 500 --side 64]
    python tools/benchmark.py exports --model RUN [RUN...] --data FOLDER
    python tools/benchmark.py runtimes [--model edsr_s_x4]
    python tools/benchmark.py load --url grpc://HOST:8500/NAME [--model RUN] [--pid PID]

Stop all other programs first. Each table states the processor, the versions and the date. PyTorch
and OpenVINO, to compare with, come with pip install "udl_tf[bench]"; rows without their package are
left empty.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json
from udl_tf._support.stderr import quiet
from udl_tf._support.tables import markdown_table
from udl_tf.errors import needs_extra

_SCALE = 4


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
    counts = ("repeats", "count", "updates", "batch_size", "lr_patch_size", "side", "requests")
    counts += ("at_a_time",)
    command_line.check_positive(options, *(name for name in counts if hasattr(options, name)))
    options.measure(options)


def _add_train(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("train", help="updates of EDSR-S x4, next to PyTorch")
    parser.set_defaults(measure=_train)
    parser.add_argument("--batch-size", type=int, default=8, help="default: 8")
    parser.add_argument("--lr-patch-size", type=int, default=48, help="default: 48")
    parser.add_argument(
        "--repeats", type=int, default=7, help="updates or calls to time (default: 7)"
    )
    parser.add_argument(
        "--batches",
        nargs="*",
        type=int,
        default=[],
        metavar="N",
        help="also time these batch sizes, and measure their memory",
    )
    parser.add_argument(
        "--replicas",
        nargs="+",
        type=int,
        default=[1],
        metavar="N",
        help="numbers of replicas for --batches (default: 1)",
    )
    parser.add_argument(
        "--fixed-cost",
        nargs="+",
        type=int,
        metavar="N",
        help="instead, the time of an update of a tiny network beside its computation, with N"
        " updates per call of the device",
    )
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="instead, updates on a GPU with resident data, in three minutes",
    )
    parser.add_argument(
        "--tiny", action="store_true", help="rehearse --gpu on any device, with a tiny network"
    )
    return parser


def _train(options: argparse.Namespace) -> None:
    if options.gpu or options.tiny:
        _gpu(options)
    elif options.fixed_cost:
        _fixed_cost(options)
    else:
        _steps(options)


def _gpu(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.gpu import TINY, Sizes, gpu_table, run_gpu

    results = run_gpu(TINY if options.tiny else Sizes())
    text = f"{markdown_table(gpu_table(results))}\npeak: {results['peak'] / 1e9:,.0f} GFLOP/s\n"
    _write(options, results, text, name="train_gpu")


def _fixed_cost(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.updates import run_updates, updates_table

    rows = run_updates(options.fixed_cost, options.repeats)
    _write(options, rows, markdown_table(updates_table(rows)), name="train_fixed_cost")


def _steps(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.growth import batches_table, run_batches
        from benchmarks.train import run_train, train_table

    side = options.lr_patch_size
    results = run_train(_SCALE, options.batch_size, side, options.repeats)
    text = markdown_table(train_table(results))
    if options.batches:
        rows = run_batches(_SCALE, side, options.batches, options.replicas)
        results["batches"] = rows
        text += "\n" + markdown_table(batches_table(rows))
    _write(options, results, text)


def _add_allocator(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("allocator", help="updates with freed memory kept or returned")
    parser.set_defaults(measure=_allocator)
    parser.add_argument("--repeats", type=int, default=5, help="processes per row (default: 5)")
    parser.add_argument("--updates", type=int, default=20, help="per process (default: 20)")
    return parser


def _allocator(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.allocator import allocator_table, run_allocator

    rows = run_allocator(options.repeats, options.updates)
    _write(options, rows, markdown_table(allocator_table(rows)))


def _add_workers(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("workers", help="updates by the number of workers, all here")
    parser.set_defaults(measure=_workers)
    parser.add_argument("--batch-size", type=int, default=12, help="global (default: 12)")
    parser.add_argument("--lr-patch-size", type=int, default=48, help="default: 48")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    return parser


def _workers(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.workers import run_workers, workers_table

    rows = run_workers(_SCALE, options.lr_patch_size, options.batch_size, options.counts)
    _write(options, rows, markdown_table(workers_table(rows)))


def _add_pipeline(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("pipeline", help="training patches, next to a DataLoader")
    parser.set_defaults(measure=_pipeline)
    parser.add_argument("--data", required=True, nargs="+", type=Path, help="training images")
    parser.add_argument("--repeats", type=int, default=3, help="of 5 s each (default: 3)")
    return parser


def _pipeline(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.pipeline import pipeline_table, run_pipeline

    with tempfile.TemporaryDirectory() as folder:
        rates = run_pipeline(options.data, _SCALE, Path(folder), options.repeats)
    _write(options, rates, markdown_table(pipeline_table(rates)))


def _add_upscale(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("upscale", help="one image, next to PyTorch and OpenVINO")
    parser.set_defaults(measure=_upscale)
    parser.add_argument("--model", required=True, type=Path, help="run folder of an edsr_s")
    parser.add_argument("--repeats", type=int, default=7, help="default: 7")
    parser.add_argument(
        "--side", type=int, default=128, help="of the image, LR pixels (default: 128)"
    )
    parser.add_argument(
        "--sizes",
        nargs="*",
        type=float,
        default=[],
        metavar="MP",
        help="also time results of these megapixels, and measure their memory",
    )
    return parser


def _upscale(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.growth import run_sizes, sizes_table
        from benchmarks.upscale import run_upscale, upscale_table

    results = run_upscale(options.model, options.repeats, options.side)
    text = markdown_table(upscale_table(results))
    if options.sizes:
        results["sizes"] = run_sizes(options.model, options.sizes)
        text += "\n" + markdown_table(sizes_table(results["sizes"]))
    _write(options, results, text)


def _add_files(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("files", help="many small files, next to the networks alone")
    parser.set_defaults(measure=_files)
    parser.add_argument(
        "--model", default="edsr_light_x4", help="preset or run folder (default: edsr_light_x4)"
    )
    parser.add_argument("--count", type=int, default=500, help="files (default: 500)")
    parser.add_argument("--side", type=int, default=64, help="LR pixels (default: 64)")
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    return parser


def _files(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.files import files_table, run_files

    with tempfile.TemporaryDirectory() as folder:
        rows = run_files(options.model, Path(folder), options.count, options.side, options.repeats)
    _write(options, rows, markdown_table(files_table(rows)))


def _add_exports(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "exports", help="size, accuracy and speed of all formats; keeps the exports"
    )
    parser.set_defaults(measure=_exports)
    parser.add_argument("--model", required=True, nargs="+", type=Path, help="run folders")
    parser.add_argument("--data", required=True, type=Path, help="HR images, such as Set5")
    parser.add_argument("--repeats", type=int, default=5, help="of each timing (default: 5)")
    return parser


def _exports(options: argparse.Namespace) -> None:
    with quiet(), needs_extra("onnx"):
        from benchmarks.exports import exports_table, run_exports

        from udl_tf.data.sources import folder_dataset
        from udl_tf.saved.bundle import read_manifest

    results, text = {}, ""
    for run in options.model:
        scale = read_manifest(run).architecture.scale
        dataset = folder_dataset(options.data, scale)
        folder = options.output / "exports" / run.resolve().name
        rows = run_exports(run, folder, dataset, options.repeats)
        results[run.name] = rows
        text += f"{run.name}\n\n{markdown_table(exports_table(rows, dataset.name, scale))}\n"
    _write(options, results, text, "onnx", "onnxruntime", "ai-edge-litert")


def _add_runtimes(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "runtimes", help="an export in ONNX Runtime, LiteRT and OpenVINO; keeps the exports"
    )
    parser.set_defaults(measure=_runtimes)
    parser.add_argument(
        "--model", default="edsr_s_x4", help="preset or run folder (default: edsr_s_x4)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="default: 7")
    return parser


def _runtimes(options: argparse.Namespace) -> None:
    with quiet(), needs_extra("onnx"):
        from benchmarks.runtimes import run_runtimes, runtimes_table

    folder = options.output / "runtimes" / Path(options.model).name
    rows = run_runtimes(options.model, folder, options.repeats)
    _write(options, rows, markdown_table(runtimes_table(rows)), "onnxruntime", "openvino")


def _add_load(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("load", help="many simultaneous requests to running servers")
    parser.set_defaults(measure=_load)
    parser.add_argument(
        "--url",
        required=True,
        nargs="+",
        help="grpc://HOST:8500/NAME, http://HOST:8501/NAME, or both",
    )
    parser.add_argument("--model", help="the same model here, to compare the results with")
    parser.add_argument(
        "--pid", type=int, help="process of the server on this machine, to measure its memory"
    )
    parser.add_argument("--requests", type=int, default=500, help="per URL (default: 500)")
    parser.add_argument("--at-a-time", type=int, default=16, help="default: 16")
    return parser


def _load(options: argparse.Namespace) -> None:
    with quiet(), needs_extra("serve"):
        from benchmarks.load import load_table, run_load

        from udl_tf.saved.loading import load

        direct = load(options.model) if options.model else None
    rows = run_load(options.url, direct, options.pid, options.requests, options.at_a_time)
    _write(options, rows, markdown_table(load_table(rows)), "tensorflow-serving-api", "grpcio")


_COMMANDS = (
    _add_train,
    _add_allocator,
    _add_workers,
    _add_pipeline,
    _add_upscale,
    _add_files,
    _add_exports,
    _add_runtimes,
    _add_load,
)


def _write(
    options: argparse.Namespace, results: Any, text: str, *packages: str, name: str | None = None
) -> None:
    from benchmarks.machine import machine

    facts = machine(*packages)
    output = options.output / (name or options.command)
    write_json(output.with_suffix(".json"), {"machine": facts, "results": results})
    line = f"{facts['processor']}, {facts['cores']} cores, {facts['date']}\n"
    write_text(output.with_suffix(".md"), f"{text}\n{line}")
    print(f"{text}\n{line}written: {output}.md, {output}.json")


if __name__ == "__main__":
    command_line.run(main)
