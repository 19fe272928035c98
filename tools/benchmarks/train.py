"""How fast an update of each step is, beside the same in PyTorch and the machine's own limit."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.turns import in_turns
from udl_tf._support.hardware import measure_rates
from udl_tf.config import OptimizerConfig, WeightingConfig
from udl_tf.losses import LOSSES
from udl_tf.models import build_model
from udl_tf.models.precision import precision
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.trainer import Trainer, make_pixel_weight

RELEASED = "released code, PyTorch float32"
STEPS = {
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
    policies: Sequence[str] = ("float32", "mixed_bfloat16"),
) -> dict[str, Any]:
    """Times updates of EDSR-S on one random batch.

    Args:
        scale: HR over LR size.
        batch: patches.
        side: of an LR patch.
        repeats: updates that are timed of each, in turns.
        policies: of Keras, in which they are timed.

    Returns:
        The rows by name: "seconds" of all repeats, "flop" of an update where it is counted; or
        "missing", which package is not here. And "limit": FLOP a second in a train step of plain
        convolutions, by precision.
    """
    tf.get_logger().setLevel("ERROR")  # it warns of many graphs, and of its old counter
    lr, hr = random_patches(scale, side, batch)
    rates = measure_rates()
    flop: dict[str, float] = {}
    contestants: dict[str, Callable[[], Callable[[], Any]]] = {
        RELEASED: partial(_released, lr, hr, scale, False, False),
        "released code, channels last": partial(_released, lr, hr, scale, True, False),
        "released code, channels last, bfloat16": partial(_released, lr, hr, scale, True, True),
    }
    for policy in policies:
        for name, (loss, cached) in STEPS.items():
            full = f"{name}, {policy.removeprefix('mixed_')}"
            contestants[full] = partial(_update, full, loss, cached, policy, lr, hr, scale, flop)
    times = in_turns(contestants, repeats)
    rows: dict[str, dict[str, Any]] = {
        name: {"missing": seconds} if isinstance(seconds, str) else {"seconds": seconds}
        for name, seconds in times.items()
    }
    for name, count in flop.items():
        rows[name]["flop"] = count
    return {"rows": rows, "limit": vars(rates), "batch": batch}


def train_table(results: dict[str, Any]) -> list[list[str]]:
    """The rows as cells of a Markdown table, the heads first."""
    heads = ["update", "patches/s", "range", "times released", "TFLOP", "share of the limit"]
    cells = [heads]
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


def random_patches(scale: int, side: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch of LR patches, side x side pixels, and of their HR patches."""
    random = np.random.default_rng(0)
    shapes = [(batch, size, size, 3) for size in (side, side * scale)]
    lr, hr = (random.uniform(0, 255, shape).astype(np.float32) for shape in shapes)
    return lr, hr


def make_trainer(
    scale: int, loss: str, policy: str, cached: bool = False, replicas: int = 1
) -> Trainer:
    """EDSR-S ready to be trained, with a frozen network beside it where the loss is udl."""
    with precision(policy):
        network = build_model("edsr_s", scale, uncertainty=LOSSES[loss].needs_log_scale)
        weight = None
        if loss == "udl":
            frozen = build_model("edsr_s", scale)
            weight = make_pixel_weight(WeightingConfig(), frozen, scale, cached)
        trainer = Trainer(network, LOSSES[loss](), weight)
        trainer.compile(make_optimizer(OptimizerConfig(), 1000, replicas=replicas))
    return trainer


def _released(lr, hr, scale: int, channels_last: bool, bfloat16: bool) -> Callable[[], float]:
    from benchmarks.peers import torch_step2

    return torch_step2(lr, hr, scale, channels_last, bfloat16)


def _update(name, loss: str, cached: bool, policy: str, lr, hr, scale: int, flop):
    """A function that makes one update; notes in `flop` how many operations it takes."""
    trainer = make_trainer(scale, loss, policy, cached)
    batch = (lr, hr, hr / 255) if cached else (lr, hr)
    data = tf.data.Dataset.from_tensors(batch).repeat()
    trainer.make_train_function()
    iterator = iter(data)

    def update() -> float:
        return float(trainer.train_function(iterator)["loss"])

    update()  # which makes the optimizer's variables
    graph = (
        tf.function(trainer.train_step)
        .get_concrete_function(tuple(tf.TensorSpec(part.shape, tf.float32) for part in batch))
        .graph
    )
    flop[name] = _flop(graph)
    return update


def flop_of(network: keras.Model, side: int) -> float:
    """Floating-point operations of a network for a square picture of so many LR pixels a side."""
    specs = [
        tf.TensorSpec((1, side, side, image.shape[-1]), tf.float32) for image in network.inputs
    ]
    call = tf.function(lambda *x: network(x[0] if len(x) == 1 else list(x), training=False))
    return _flop(call.get_concrete_function(*specs).graph)


def _flop(graph: tf.Graph) -> float:
    """Floating-point operations of a graph of known shapes, as TensorFlow counts them."""
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops
