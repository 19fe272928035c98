"""Measures this package on this machine; each table says with what, and when.

    python tools/benchmark.py train [--batches 1 2 4 8 16 32 --replicas 1 2]
    python tools/benchmark.py workers [--counts 1 2 3]
    python tools/benchmark.py pipeline --data FOLDER [FOLDER...]
    python tools/benchmark.py upscale --model RUN [--sizes 1 4 16 64]
    python tools/benchmark.py exports --model RUN [RUN...] --data FOLDER
    python tools/benchmark.py load --model RUN

Nothing else should run meanwhile. Contestants run in turns; what they are compared with comes with
pip install "udl_tf[bench]", and is left out where it is missing.
"""

import tempfile
from pathlib import Path
from typing import Any

from udl_tf._support import command_line
from udl_tf._support.files import write_text
from udl_tf._support.json_files import write_json
from udl_tf._support.stderr import quiet
from udl_tf._support.tables import markdown_table
from udl_tf.errors import needs_extra


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/benchmark.py", __doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="updates of EDSR-S x4 beside PyTorch")
    train.add_argument("--batch-size", type=int, default=8, help="default: 8")
    train.add_argument("--lr-patch-size", type=int, default=48, help="default: 48")
    train.add_argument("--repeats", type=int, default=7, help="updates (default: 7)")
    train.add_argument(
        "--batches", nargs="*", type=int, default=[], metavar="N", help="also by patches an update"
    )
    train.add_argument(
        "--replicas", nargs="+", type=int, default=[1], metavar="N", help="of these (default: 1)"
    )
    workers = commands.add_parser("workers", help="updates by workers on this machine's loopback")
    workers.add_argument("--batch-size", type=int, default=12, help="global (default: 12)")
    workers.add_argument("--lr-patch-size", type=int, default=48, help="default: 48")
    workers.add_argument("--counts", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    workers.add_argument(
        "--mbit", type=float, nargs="*", default=[], help="also by links of these Mbit/s"
    )
    pipeline = commands.add_parser("pipeline", help="training patches beside a DataLoader")
    pipeline.add_argument("--data", required=True, nargs="+", type=Path, help="training folders")
    pipeline.add_argument("--repeats", type=int, default=3, help="of 5 s each (default: 3)")
    upscale = commands.add_parser("upscale", help="a picture beside PyTorch and OpenVINO")
    upscale.add_argument("--model", required=True, type=Path, help="run folder of an edsr_s")
    upscale.add_argument("--repeats", type=int, default=7, help="default: 7")
    upscale.add_argument(
        "--sizes", nargs="*", type=float, default=[], metavar="MP", help="also grows to these"
    )
    exports = commands.add_parser(
        "exports", help="size, difference, PSNR-Y, time of formats; keeps them"
    )
    exports.add_argument("--model", required=True, nargs="+", type=Path, help="run folders")
    exports.add_argument("--data", required=True, type=Path, help="folder of HR images, as Set5")
    exports.add_argument("--repeats", type=int, default=5, help="of each timing (default: 5)")
    load = commands.add_parser("load", help="many requests at a time to a served model")
    load.add_argument("--model", required=True, type=Path, help="run folder")
    load.add_argument("--requests", type=int, default=500, help="by each way (default: 500)")
    load.add_argument("--at-a-time", type=int, default=16, help="default: 16")
    for command in (train, workers, pipeline, upscale, exports, load):
        command.add_argument(
            "--output", type=Path, default=Path("benchmarks"), help="default: ./benchmarks"
        )
    options = parser.parse_args(arguments)
    counts = ("repeats", "batch_size", "lr_patch_size", "requests", "at_a_time")
    command_line.check_positive(options, *(name for name in counts if hasattr(options, name)))
    measures = {"train": _train, "workers": _workers, "pipeline": _pipeline, "upscale": _upscale}
    {**measures, "exports": _exports, "load": _load}[options.command](options)


def _train(options: Any) -> None:
    with quiet():
        from benchmarks.growth import batches_table, run_batches
        from benchmarks.train import run_train, train_table

    side = options.lr_patch_size
    results = run_train(4, options.batch_size, side, options.repeats)
    text = markdown_table(train_table(results))
    if options.batches:
        rows = run_batches(4, side, options.batches, options.replicas)
        results["batches"] = rows
        text += "\n" + markdown_table(batches_table(rows))
    _write(options, results, text)


def _workers(options: Any) -> None:
    with quiet():
        from benchmarks.workers import run_workers, workers_table

    rows = run_workers(4, options.lr_patch_size, options.batch_size, options.counts, options.mbit)
    _write(options, rows, markdown_table(workers_table(rows)))


def _pipeline(options: Any) -> None:
    with quiet():
        from benchmarks.pipeline import pipeline_table, run_pipeline

    with tempfile.TemporaryDirectory() as folder:
        rates = run_pipeline(options.data, 4, Path(folder), options.repeats)
    _write(options, rates, markdown_table(pipeline_table(rates)))


def _upscale(options: Any) -> None:
    with quiet():
        from benchmarks.growth import run_sizes, sizes_table
        from benchmarks.upscale import run_upscale, upscale_table

    results = run_upscale(options.model, options.repeats)
    text = markdown_table(upscale_table(results))
    if options.sizes:
        results["sizes"] = run_sizes(options.model, options.sizes)
        text += "\n" + markdown_table(sizes_table(results["sizes"]))
    _write(options, results, text)


def _exports(options: Any) -> None:
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


def _load(options: Any) -> None:
    with quiet(), needs_extra("serve"):
        from benchmarks.load import run_load

        from udl_tf.export.savedmodel import export_savedmodel
        from udl_tf.saved.loading import load

    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / options.model.resolve().name
        export_savedmodel(options.model, base)
        results = run_load(base, load(options.model), options.requests, options.at_a_time)
    heads = list(results[0])
    rows = [[r[h] if isinstance(r[h], str) else f"{r[h]:.4g}" for h in heads] for r in results]
    text = markdown_table([[head.replace("_", " ") for head in heads], *rows])
    _write(options, {options.model.name: results}, text, "tensorflow-serving-api", "grpcio")


def _write(options: Any, results: Any, text: str, *packages: str) -> None:
    from benchmarks.machine import machine

    facts = machine(*packages)
    output = options.output / options.command
    write_json(output.with_suffix(".json"), {"machine": facts, "results": results})
    line = f"{facts['processor']}, {facts['cores']} cores, {facts['date']}\n"
    write_text(output.with_suffix(".md"), f"{text}\n{line}")
    print(f"{text}\n{line}written: {output}.md, {output}.json")


if __name__ == "__main__":
    command_line.run(main)
