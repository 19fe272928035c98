"""Commands that measure training."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import write_report
from udl_tf._support.stderr import quiet
from udl_tf._support.tables import markdown_table

_SCALE = 4


def add_train(commands: Any) -> argparse.ArgumentParser:
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
        help="measure instead what an update of a tiny network takes in addition to its"
        " computation, with N updates per device call",
    )
    parser.add_argument(
        "--gpu",
        action="store_true",
        help="measure instead updates on a GPU with resident data (three minutes)",
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
    write_report(options, results, text, name="train_gpu")


def _fixed_cost(options: argparse.Namespace) -> None:
    with quiet():
        from benchmarks.updates import run_updates, updates_table

    rows = run_updates(options.fixed_cost, options.repeats)
    write_report(options, rows, markdown_table(updates_table(rows)), name="train_fixed_cost")


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
    write_report(options, results, text)


def add_workers(commands: Any) -> argparse.ArgumentParser:
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
    write_report(options, rows, markdown_table(workers_table(rows)))


def add_pipeline(commands: Any) -> argparse.ArgumentParser:
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
    write_report(options, rates, markdown_table(pipeline_table(rates)))
