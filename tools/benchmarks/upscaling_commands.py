"""Commands that measure upscaling, exports and servers."""

import argparse
import hashlib
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import write_report
from udl_tf._support.stderr import quiet
from udl_tf._support.tables import markdown_table
from udl_tf.errors import needs_extra

_SCALE = 4


def _export_folder(options: argparse.Namespace, model: Path | str) -> Path:
    """Returns the folder for a model's exports; a checksum distinguishes equal names."""
    from udl_tf.saved.loading import fingerprint

    digest = hashlib.sha256(str(fingerprint(model)).encode()).hexdigest()[:8]
    return options.output / options.command / f"{Path(model).resolve().name}-{digest}"


def add_upscale(commands: Any) -> argparse.ArgumentParser:
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
    write_report(options, results, text)


def add_scene(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("scene", help="a large GeoTIFF, most of it without data")
    parser.set_defaults(measure=_scene)
    parser.add_argument("--side", type=int, default=30_000, help="pixels (default: 30000)")
    parser.add_argument("--channels", type=int, default=4, help="default: 4")
    parser.add_argument(
        "--share", type=float, default=0.01, help="of blocks with data (default: 0.01)"
    )
    parser.add_argument(
        "--memory", type=float, default=2.0, metavar="GB", help="limit of the process (default: 2)"
    )
    return parser


def _scene(options: argparse.Namespace) -> None:
    with needs_extra("geo"):
        import rasterio  # noqa: F401

    with quiet():
        from benchmarks.scenes import run_scene, scene_table

    row = run_scene(options.side, options.channels, options.share, options.memory)
    write_report(options, row, markdown_table(scene_table(row)), "rasterio")


def add_files(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser("files", help="many small files, next to the networks alone")
    parser.set_defaults(measure=_files)
    parser.add_argument(
        "--model", default="light_x4", help="preset or run folder (default: light_x4)"
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
    write_report(options, rows, markdown_table(files_table(rows)))


def add_exports(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "exports", help="size, accuracy and speed of all formats; keeps the exports"
    )
    parser.set_defaults(measure=_exports)
    parser.add_argument("--model", required=True, nargs="+", help="presets or run folders")
    parser.add_argument("--data", required=True, type=Path, help="HR images, such as Set5")
    parser.add_argument("--repeats", type=int, default=5, help="of each timing (default: 5)")
    return parser


def _exports(options: argparse.Namespace) -> None:
    with quiet(), needs_extra("onnx"):
        from benchmarks.exports import exports_table, run_exports
        from udl_tf.data.sources import folder_dataset
        from udl_tf.hub import presets
        from udl_tf.saved.bundle import read_manifest

    results, text = {}, ""
    for run in map(presets.find, options.model):
        scale = read_manifest(run).architecture.scale
        dataset = folder_dataset(options.data, scale)
        rows = run_exports(run, _export_folder(options, run), dataset, options.repeats)
        results[str(run) if run.name in results else run.name] = rows
        text += f"{run.name}\n\n{markdown_table(exports_table(rows, dataset.name, scale))}\n"
    write_report(options, results, text, "onnx", "onnxruntime", "ai-edge-litert")


def add_runtimes(commands: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        "runtimes", help="an export in ONNX Runtime, LiteRT and OpenVINO; keeps the exports"
    )
    parser.set_defaults(measure=_runtimes)
    parser.add_argument(
        "--model", default="light_x4", help="preset or run folder (default: light_x4)"
    )
    parser.add_argument("--repeats", type=int, default=7, help="default: 7")
    return parser


def _runtimes(options: argparse.Namespace) -> None:
    with quiet(), needs_extra("onnx"):
        from benchmarks.runtimes import run_runtimes, runtimes_table

    rows = run_runtimes(options.model, _export_folder(options, options.model), options.repeats)
    write_report(options, rows, markdown_table(runtimes_table(rows)), "onnxruntime", "openvino")


def add_load(commands: Any) -> argparse.ArgumentParser:
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
        from udl_tf.saved.loading import load_upscaler

        direct = load_upscaler(options.model) if options.model else None
    rows = run_load(options.url, direct, options.pid, options.requests, options.at_a_time)
    write_report(
        options, rows, markdown_table(load_table(rows)), "tensorflow-serving-api", "grpcio"
    )
