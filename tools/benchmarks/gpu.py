"""Speed of updates on a GPU with resident data, next to PyTorch and to the GPU's convolutions."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.trainers import Network, make_trainer, random_patches
from benchmarks.updates import call_times, jax_state, noise_store, train_as_a_run
from udl_tf.config import DataConfig
from udl_tf.data.draws import CropDraws, HRMap
from udl_tf.data.pipeline import make_delivery
from udl_tf.data.resident import ResidentSet
from udl_tf.data.store import ImageStore
from udl_tf.errors import UserError
from udl_tf.losses import L1Loss
from udl_tf.models.dtype_policy import precision
from udl_tf.training.trainer import Trainer

STEPS = {"L1": ("l1", False), "ESU": ("esu", False), "UDL": ("udl", False)}
STEPS |= {"UDL, uncertainty cached": ("udl", True)}  # loss, whether uncertainty is cached
PEERS = {  # whether it is the released step 2, whether it is compiled
    "PyTorch, L1": (False, False),
    "PyTorch, L1, compiled": (False, True),
    "PyTorch, released step 2": (True, False),
    "PyTorch, released step 2, compiled": (True, True),
}

_SCALE, _FILTERS = 4, 64
_UNTIMED = 2  # calls, which compile and fill the pipeline


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurement; the defaults are for a data-centre GPU.

    Attributes:
        batches: patches per update.
        side: of the LR patches, pixels.
        count: updates per device call.
        calls: calls that are timed.
        policy: Keras dtype policy.
        seconds: no row is begun later than this.
        network: options of edsr_s.
    """

    batches: Sequence[int] = (16, 32, 64)
    side: int = 48
    count: int = 20
    calls: int = 5
    policy: str = "mixed_bfloat16"
    seconds: float = 150.0
    network: Network = field(default_factory=dict)


TINY = Sizes((1, 2), 8, 2, 2, "float32", 600.0, {"num_blocks": 1, "num_filters": 4})
"""Sizes to rehearse the benchmark on a CPU."""


def run_gpu(sizes: Sizes, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Times updates of EDSR-S x4 as in a run, with resident data.

    Args:
        sizes: what to measure.
        report: gets each row as text as soon as it is measured.

    Returns:
        "peak", FLOP per second of a train step of convolutions; "rows" with "name", "batch" and
        either "missing", why it is not measured, or "seconds" per update. Rows of this project also
        have "computing", the seconds of an update without the training loop, and "flop".
    """
    end = time.monotonic() + sizes.seconds
    peak = _peak(sizes)
    report(f"convolutions: {peak / 1e9:,.0f} GFLOP/s")
    rows = []
    for row in _rows(sizes, end):
        rows.append(row)
        report(" | ".join(_cells(row, peak)))
    return {"peak": peak, "rows": rows}


def gpu_table(results: dict[str, Any]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    header = ["update", "patches per update", "updates/s", "patches/s", "share of the peak"]
    header.append("share of time waiting")
    return [header, *(_cells(row, results["peak"]) for row in results["rows"])]


def _cells(row: dict[str, Any], peak: float) -> list[str]:
    cells = [row["name"], str(row["batch"])]
    if "missing" in row:
        return [*cells, row["missing"], "", "", ""]
    rate = 1 / row["seconds"]
    cells += [f"{rate:.1f}", f"{rate * row['batch']:.0f}"]
    if "flop" not in row:
        return [*cells, "", ""]
    waiting = max(0.0, 1 - row["computing"] / row["seconds"])
    return [*cells, f"{row['flop'] * rate / peak:.0%}", f"{waiting:.0%}"]


def _rows(sizes: Sizes, end: float) -> Iterator[dict[str, Any]]:
    side = 4 * sizes.side * _SCALE
    with tempfile.TemporaryDirectory() as folder:
        store = noise_store(Path(folder), _SCALE, side)
        for batch in sizes.batches:
            for name, (loss, cached) in STEPS.items():
                row = {"name": name, "batch": batch}
                yield row | _measured(end, _own, store, sizes, batch, loss, cached)
    for name, (weighted, compiled) in PEERS.items():
        for batch in sizes.batches:
            row = {"name": name, "batch": batch}
            yield row | _measured(end, _peer, sizes, batch, weighted, compiled)


def _measured(end: float, measure: Callable[..., dict[str, Any]], *arguments) -> dict[str, Any]:
    """Returns what `measure` returns, or why it was not called or failed."""
    if time.monotonic() > end:
        return {"missing": "no time left"}
    try:
        return measure(*arguments)
    except UserError as error:  # PyTorch is not installed
        return {"missing": str(error)}


def _own(store: ImageStore, sizes: Sizes, batch: int, loss: str, cached: bool) -> dict[str, float]:
    config = DataConfig(hr_patch_size=sizes.side * _SCALE, batch_size=batch)
    hr_map: HRMap | None = (lambda index: (store.pair(index)[1], -1.0, 0.02)) if cached else None
    trainer = make_trainer(_SCALE, loss, sizes.policy, sizes.network, cached)
    trainer.steps_per_execution = sizes.count
    trainer.resident = ResidentSet(store, config, hr_map)
    delivery = make_delivery(store, config, 0, 0, hr_map, None, trainer.resident, sizes.count)
    times = train_as_a_run(trainer, delivery, sizes.count * (sizes.calls + _UNTIMED))
    seconds = (times[-1] - times[_UNTIMED - 1]) / sizes.calls / sizes.count
    places = trainer.resident.places(CropDraws(store, config, 0)(0))
    flop = flop_of_update(trainer, places)
    computing = min(call_times(trainer, places, sizes.calls)) / sizes.count
    return {"seconds": seconds, "computing": computing, "flop": flop}


def _peer(sizes: Sizes, batch: int, weighted: bool, compiled: bool) -> dict[str, float]:
    from benchmarks.peers import torch_update

    lr, hr = random_patches(_SCALE, sizes.side, batch)
    bfloat16 = sizes.policy == "mixed_bfloat16"
    update = torch_update(lr, hr, _SCALE, sizes.network, weighted, True, bfloat16, compiled)
    for _ in range(3):
        float(update())
    start = time.perf_counter()
    for _ in range(sizes.count * sizes.calls - 1):
        update()
    float(update())  # waits for all of them
    return {"seconds": (time.perf_counter() - start) / sizes.count / sizes.calls}


def flop_of_update(trainer: Trainer, batch: tuple) -> float:
    """Counts the floating-point operations of an update on a batch."""
    if keras.backend.backend() == "tensorflow":
        from benchmarks.train import flop_of_train_step

        return flop_of_train_step(trainer, batch)
    import jax

    costs = jax.jit(trainer.train_step).lower(jax_state(trainer), batch).cost_analysis()
    return dict(costs or {})["flops"]


def _peak(sizes: Sizes) -> float:
    """Returns FLOP per second of an update of 3x3 convolutions of 64 channels."""
    layers, batch = 8, max(sizes.batches)
    with precision(sizes.policy):
        x = image = keras.Input((sizes.side, sizes.side, _FILTERS))
        for _ in range(layers):
            x = keras.layers.Conv2D(_FILTERS, 3, padding="same")(x)
        trainer = Trainer(keras.Model(image, {"sr": x}), L1Loss())
    trainer.compile("sgd", steps_per_execution=sizes.count)
    trainer.optimizer.build(trainer.trainable_variables)
    trainer.make_train_function()
    features = np.full((batch, sizes.side, sizes.side, _FILTERS), 100, np.uint8)
    times = list(call_times(trainer, (features, features), sizes.calls + 1))  # the first compiles
    multiplications = batch * sizes.side**2 * layers * 9 * _FILTERS**2
    return 3 * 2 * multiplications * sizes.count / min(times)
