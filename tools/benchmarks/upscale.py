"""How fast a picture becomes larger, beside other runtimes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.train import flop_of
from benchmarks.turns import in_turns
from udl_tf._support.hardware import measure_rates
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.saved.bundle import read_networks

SIDE = 128  # LR pixels

Contestants = dict[str, Callable[[], Callable[[], Any]]]


def run_upscale(run: Path, repeats: int) -> dict[str, Any]:
    """Times an EDSR-S run's networks on a picture of 128x128 LR pixels.

    Returns:
        By name the seconds of all repeats for the image alone and, under "with_theta", for both; or
        which package is not here; and "limit", FLOP a second of a train step of convolutions.
    """
    tf.get_logger().setLevel("ERROR")  # it warns of its old counter
    exact, fast = (KerasUpscaler(read_networks(run, p)) for p in ("float32", "mixed_bfloat16"))
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    lr = picture.astype(np.float32)
    rows: dict[str, dict[str, Any]] = {}
    for theta in (False, True):
        contestants: Contestants = {}
        for name, options in (
            ("PyTorch float32", (False, False)),
            ("PyTorch channels last", (True, False)),
            ("PyTorch channels last, bfloat16", (True, True)),
        ):
            contestants[name] = partial(_torch, lr, exact.scale, theta, *options)
        for name, bfloat16 in (("OpenVINO float32", False), ("OpenVINO bfloat16", True)):
            contestants[name] = partial(_openvino, lr, exact.scale, theta, bfloat16)
        for kind, model in (("float32", exact), ("bfloat16", fast)):
            contestants[f"networks, {kind}"] = partial(_networks, model, lr, theta)
            contestants[f"upscale, {kind}"] = partial(_upscale, model, picture, theta)
        for name, seconds in in_turns(contestants, repeats).items():
            rows.setdefault(name, {})["with_theta" if theta else "alone"] = seconds
    for theta, key in ((False, "alone_flop"), (True, "with_theta_flop")):
        chains = [chain for _, chain in exact.networks.build_chains(theta, bordered=True)]
        count = sum(flop_of(stage.network, SIDE) for chain in chains for stage in chain)
        for kind in ("float32", "bfloat16"):
            rows[f"networks, {kind}"][key] = count
    return {"rows": rows, "limit": vars(measure_rates())}


def upscale_table(results: dict[str, Any]) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    cells = [["", "s, image", "range", "s, with θ", "range", "share of the limit: image, with θ"]]
    for name, row in results["rows"].items():
        if isinstance(row["alone"], str):
            cells.append([name, row["alone"], "", "", "", ""])
            continue
        line, shares = [name], []
        for key in ("alone", "with_theta"):
            seconds = np.median(row[key])
            line += [f"{seconds:.3f}", f"{min(row[key]):.3f}–{max(row[key]):.3f}"]
            if f"{key}_flop" in row:
                limit = results["limit"][name.rpartition(" ")[2]]
                shares.append(f"{row[f'{key}_flop'] / seconds / limit:.0%}")
        cells.append([*line, ", ".join(shares)])
    return cells


def _torch(lr, scale: int, theta: bool, channels_last: bool, bfloat16: bool) -> Callable[[], Any]:
    from benchmarks.peers import torch_picture

    return torch_picture(lr, scale, theta, channels_last, bfloat16)


def _openvino(lr, scale: int, theta: bool, bfloat16: bool) -> Callable[[], Any]:
    from benchmarks.peers import openvino_picture

    return openvino_picture(lr, scale, theta, bfloat16)


def _networks(model: KerasUpscaler, lr: np.ndarray, theta: bool) -> Callable[[], Any]:
    """The networks alone on the picture as it is, which is what the others do."""
    runners = [ChainRunner(chain) for _, chain in model.networks.build_chains(theta, bordered=True)]
    return lambda: [list(runner.run(lr)) for runner in runners]


def _upscale(model: KerasUpscaler, picture: np.ndarray, theta: bool) -> Callable[[], Any]:
    """All that `upscale` does: mirrored borders, plain areas, rounding."""
    return lambda: model.upscale(picture, uncertainty=theta)
