"""Speed of upscaling, compared with PyTorch and OpenVINO and with the limit of the machine."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.train import flop_of
from benchmarks.turns import Contestants, in_turns
from udl_tf._support.hardware import has_gpu, measure_rates
from udl_tf.inference.chain_runner import ChainRunner
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.saved.bundle import read_manifest, read_networks

_GPU_SIDE = 1024  # of the image that is upscaled on a GPU, LR pixels


def run_upscale(run: Path, repeats: int, side: int) -> dict[str, Any]:
    """Times the networks of a run on one image, and on a GPU also `upscale` on a large one.

    Args:
        run: run folder of an edsr_s; the networks in PyTorch and OpenVINO have its size.
        repeats: of each contestant, in turns.
        side: of the image, LR pixels.

    Returns:
        "rows": by contestant the "side" of its image, and the seconds of all repeats "alone" for
        the image, and "with_theta" for both; or which package is not installed. "limit": FLOP per
        second of a train step of plain convolutions, by precision. "scale": of the networks.
    """
    tf.get_logger().setLevel("ERROR")  # it warns that its counter of operations is deprecated
    options = read_manifest(run).architecture.options
    models = {
        kind: KerasUpscaler(read_networks(run, policy))
        for kind, policy in (("float32", "float32"), ("bfloat16", "mixed_bfloat16"))
    }
    exact = models["float32"]
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3)).astype(np.uint8)
    rows: dict[str, dict[str, Any]] = {}
    for theta, key in ((False, "alone"), (True, "with_theta")):
        contestants = {
            **_peers(image.astype(np.float32), exact.scale, theta, options),
            **_contestants(models, image, theta),
        }
        for name, seconds in in_turns(contestants, repeats).items():
            rows.setdefault(name, {"side": side})[key] = seconds
        for name, seconds in in_turns(_large_contestants(models, theta), repeats).items():
            rows.setdefault(name, {"side": _GPU_SIDE})[key] = seconds
        chains = [chain for _, chain in exact.networks.build_chains(theta, bordered=True)]
        count = sum(flop_of(stage.network, side) for chain in chains for stage in chain)
        for kind in models:
            rows[f"networks, {kind}"][f"{key}_flop"] = count
    return {"rows": rows, "limit": vars(measure_rates()), "scale": exact.scale}


def upscale_table(results: dict[str, Any]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    share = "share of the limit: image, with θ"
    cells = [["", "s, image", "range", "s, with θ", "range", "Mpx/s with θ", share]]
    for name, row in results["rows"].items():
        if isinstance(row["alone"], str):
            cells.append([name, row["alone"], "", "", "", "", ""])
            continue
        line, shares = [name], []
        for key in ("alone", "with_theta"):
            seconds = np.median(row[key])
            line += [f"{seconds:.3f}", f"{min(row[key]):.3f}–{max(row[key]):.3f}"]
            if f"{key}_flop" in row:
                limit = results["limit"][name.rpartition(" ")[2]]
                shares.append(f"{row[f'{key}_flop'] / seconds / limit:.0%}")
        megapixels = (row["side"] * results["scale"]) ** 2 / 1e6
        rate = megapixels / float(np.median(row["with_theta"]))
        cells.append([*line, f"{rate:.2f}", ", ".join(shares)])
    return cells


def _peers(lr: np.ndarray, scale: int, theta: bool, options: Mapping[str, Any]) -> Contestants:
    """Returns the contestants that need packages of the extra bench."""

    def torch(channels_last: bool, bfloat16: bool) -> Callable[[], Any]:
        from benchmarks.peers import torch_upscale

        return torch_upscale(lr, scale, theta, options, channels_last, bfloat16)

    def openvino(bfloat16: bool) -> Callable[[], Any]:
        from benchmarks.peers import openvino_upscale

        return openvino_upscale(lr, scale, theta, options, bfloat16)

    return {
        "PyTorch float32": partial(torch, False, False),
        "PyTorch channels last": partial(torch, True, False),
        "PyTorch channels last, bfloat16": partial(torch, True, True),
        "OpenVINO float32": partial(openvino, False),
        "OpenVINO bfloat16": partial(openvino, True),
    }


def _contestants(
    models: Mapping[str, KerasUpscaler], image: np.ndarray, theta: bool
) -> Contestants:
    """Returns the networks alone, as the peers run them, and all that `upscale` does.

    `upscale` also mirrors borders, skips what plain areas do not need, and rounds.
    """
    contestants = {}
    for kind, model in models.items():
        contestants[f"networks, {kind}"] = partial(_networks, model, image, theta)
        contestants[f"upscale, {kind}"] = partial(_upscale, model, image, theta)
    return contestants


def _large_contestants(models: Mapping[str, KerasUpscaler], theta: bool) -> Contestants:
    """Returns `upscale` on an image that keeps a GPU busy; nothing without a GPU."""
    if not has_gpu():
        return {}
    image = np.random.default_rng(0).integers(0, 256, (_GPU_SIDE, _GPU_SIDE, 3)).astype(np.uint8)
    return {
        f"upscale, {_GPU_SIDE}², {kind}": partial(_upscale, model, image, theta)
        for kind, model in models.items()
    }


def _networks(model: KerasUpscaler, image: np.ndarray, theta: bool) -> Callable[[], Any]:
    lr = image.astype(np.float32)
    runners = [ChainRunner(chain) for _, chain in model.networks.build_chains(theta, bordered=True)]
    return lambda: [list(runner.run(lr)) for runner in runners]


def _upscale(model: KerasUpscaler, image: np.ndarray, theta: bool) -> Callable[[], Any]:
    return lambda: model.upscale(image, uncertainty=theta)
