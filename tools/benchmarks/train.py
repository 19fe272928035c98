"""Speed of an update of each step, compared with PyTorch and with the limit of the machine."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.trainers import Network, make_trainer, random_patches
from benchmarks.turns import in_turns
from udl_tf._support.hardware import measure_rates
from udl_tf.training.trainer import Trainer

RELEASED = "released code, PyTorch float32"
STEPS = {  # loss, whether the uncertainty comes from the cache
    "L1": ("l1", False),
    "ESU": ("esu", False),
    "UDL": ("udl", False),
    "UDL, uncertainty cached": ("udl", True),
}


def run_train(
    scale: int,
    batch: int,
    side: int,
    repeats: int,
    policies: Sequence[str] | None = None,
    options: Network | None = None,
) -> dict[str, Any]:
    """Times updates of EDSR-S on one random batch.

    Args:
        scale: HR size divided by LR size.
        batch: patches per update.
        side: of the LR patches, pixels.
        repeats: updates that are timed of each contestant, in turns.
        policies: Keras dtype policies to time, float32 among them; None: mixed_bfloat16 too, if it
            is faster on this machine.
        options: of the network; None: EDSR-S as released.

    Returns:
        "rows": by contestant the "seconds" of all repeats, and the "flop" of an update where they
        can be counted; or "missing", the package that is not installed. "limit": FLOP per second
        of a train step of plain convolutions, by precision. "batch".
    """
    tf.get_logger().setLevel("ERROR")  # it warns of many graphs, and that its counter is deprecated
    lr, hr = random_patches(scale, side, batch)
    options = options or {}
    if policies is None:
        policies = sorted({"float32", measure_rates().precision})
    flop: dict[str, float] = {}
    contestants: dict[str, Callable[[], Callable[[], Any]]] = {
        RELEASED: partial(_released, lr, hr, scale, options, False, False),
        "released code, channels last": partial(_released, lr, hr, scale, options, True, False),
    }
    if "mixed_bfloat16" in policies:
        contestants["released code, channels last, bfloat16"] = partial(
            _released, lr, hr, scale, options, True, True
        )
    for policy in policies:
        for name, (loss, cached) in STEPS.items():
            full = f"{name}, {policy.removeprefix('mixed_')}"
            build = partial(make_trainer, scale, loss, policy, options, cached)
            contestants[full] = partial(_update, build, cached, lr, hr, full, flop)
    times = in_turns(contestants, repeats)
    rows: dict[str, dict[str, Any]] = {
        name: {"missing": seconds} if isinstance(seconds, str) else {"seconds": seconds}
        for name, seconds in times.items()
    }
    for name, count in flop.items():
        rows[name]["flop"] = count
    return {"rows": rows, "limit": vars(measure_rates()), "batch": batch}


def train_table(results: dict[str, Any]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    header = ["update", "patches/s", "range", "times released", "TFLOP", "share of the limit"]
    cells = [header]
    batch, rows = results["batch"], results["rows"]
    released = np.median(rows[RELEASED].get("seconds", np.nan))
    for name, row in rows.items():
        if "missing" in row:
            cells.append([name, row["missing"], "", "", "", ""])
            continue
        seconds = np.median(row["seconds"])
        slow, quick = batch / max(row["seconds"]), batch / min(row["seconds"])
        cells.append([name, f"{batch / seconds:.2f}", f"{slow:.2f}–{quick:.2f}"])
        cells[-1].append("" if np.isnan(released) else f"{released / seconds:.2f}")
        if "flop" in row:
            limit = results["limit"]["bfloat16" if name.endswith("bfloat16") else "float32"]
            cells[-1] += [f"{row['flop'] / 1e12:.3f}", f"{row['flop'] / seconds / limit:.0%}"]
        else:
            cells[-1] += ["", ""]
    return cells


def flop_of(network: keras.Model, side: int) -> float:
    """Counts the floating-point operations of a network for one image of side x side LR pixels."""
    specs = [
        tf.TensorSpec((1, side, side, image.shape[-1]), tf.float32) for image in network.inputs
    ]
    call = tf.function(lambda *x: network(x[0] if len(x) == 1 else list(x), training=False))
    return _flop(call.get_concrete_function(*specs).graph)


def _released(
    lr, hr, scale: int, options: Network, channels_last: bool, bfloat16: bool
) -> Callable[[], float]:
    from benchmarks.peers import torch_step2

    return torch_step2(lr, hr, scale, options, channels_last, bfloat16)


def _update(
    build: Callable[[], Trainer], cached: bool, lr, hr, name: str, flop: dict[str, float]
) -> Callable[[], float]:
    """Returns a function that does one update; stores the update's operations in flop[name]."""
    trainer = build()
    batch = [part.astype(np.uint8) for part in (lr, hr)]
    if cached:  # s = hr / 255
        a, b = np.zeros((2, len(hr), 1, 1, 1), np.float32)
        batch += [batch[1], a, b + np.float32(1 / 255)]
    data = tf.data.Dataset.from_tensors(tuple(batch)).repeat()
    trainer.make_train_function()
    iterator = iter(data)

    def update() -> float:
        return float(trainer.train_function(iterator)["loss"])

    update()  # creates the optimizer's variables, which the graph below may not
    flop[name] = flop_of_train_step(trainer, batch)
    return update


def flop_of_train_step(trainer: Trainer, batch: Sequence[np.ndarray]) -> float:
    """Counts the floating-point operations of an update on a batch."""
    specs = tuple(tf.TensorSpec(part.shape, part.dtype) for part in batch)
    return _flop(tf.function(trainer.train_step).get_concrete_function(specs).graph)


def _flop(graph: tf.Graph) -> float:
    """Counts the floating-point operations of a graph with known shapes."""
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops
