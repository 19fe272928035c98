"""Fixed cost of an update: its time in training, minus that of its computation alone."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import keras
import numpy as np

from benchmarks.trainers import make_trainer
from udl_tf.config import DataConfig
from udl_tf.data.draws import Batch, draw_batch
from udl_tf.data.pipeline import Delivery, make_delivery
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.training import callbacks
from udl_tf.training.progress_log import ProgressLog
from udl_tf.training.tensorboard import TensorBoardLog
from udl_tf.training.trainer import Trainer

_SMALL = {"num_blocks": 1, "num_filters": 4}
_SCALE, _SIDE, _BATCH = 4, 12, 4


class _Stopwatch(keras.callbacks.Callback):
    """Notes the time after each device call."""

    def __init__(self):
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        self.times.append(time.perf_counter())


def run_updates(counts: Sequence[int], calls: int) -> list[dict[str, float]]:
    """Measures the fixed cost of an update of a tiny network, one block of four filters.

    Args:
        counts: numbers of updates per device call.
        calls: calls that are timed of each.

    Returns:
        A row per count, with "seconds" and "computing", the median seconds of an update in training
        and of an update alone: the same calls without callbacks, on batches that are on the device.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = noise_store(Path(folder), _SCALE, 160)
        return [_row(store, count, calls) for count in counts]


def updates_table(rows: Sequence[dict[str, float]]) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first."""
    header = ["updates per call", "ms per update", "computation alone, ms", "fixed cost, ms"]
    cells = [header]
    for row in rows:
        times = row["seconds"], row["computing"], row["seconds"] - row["computing"]
        cells.append([f"{row['count']:.0f}", *(f"{1000 * seconds:.2f}" for seconds in times)])
    return cells


def noise_store(folder: Path, scale: int, side: int) -> ImageStore:
    """Returns a store of four images of noise, side x side HR pixels."""
    random = np.random.default_rng(0)
    for index in range(4):
        image = random.integers(0, 256, (side, side, 3), np.uint8)
        write_rgb(folder / f"{index}.png", image)
    store = ImageStore(folder_dataset(folder, scale).sources, scale, memory_gb=1)
    store.load_all()
    return store


def _row(store: ImageStore, count: int, calls: int) -> dict[str, float]:
    config = DataConfig(hr_patch_size=_SIDE * _SCALE, batch_size=_BATCH)
    trainer = make_trainer(_SCALE, "l1", "float32", _SMALL)
    trainer.steps_per_execution = count
    delivery = make_delivery(store, config, 0, 0, updates_per_call=count)
    times = train_as_a_run(trainer, delivery, count * (calls + 2))
    seconds = np.median(np.diff(times)[1:]) / count
    alone = list(call_times(trainer, draw_batch(store, config, 0, 0), calls + 1))[1:]
    computing = float(np.median(alone)) / count
    return {"count": count, "seconds": float(seconds), "computing": computing}


def train_as_a_run(trainer: Trainer, delivery: Delivery, updates: int) -> list[float]:
    """Trains as a run does; returns the times at the end of each call."""
    clock, stopwatch = callbacks.Clock(0, updates), _Stopwatch()
    with tempfile.TemporaryDirectory() as folder, delivery:
        board = TensorBoardLog(Path(folder))
        observers = [
            clock,
            callbacks.StopOnDivergence(clock, "updates", 1000),
            ProgressLog(clock, "updates", delivery.batch_size, 100, delivery.waiting, board),
            checkpoints := callbacks.Checkpoints(clock, 1000, lambda: True),
            stopwatch,
        ]
        try:
            trainer.fit(
                delivery.batches(),
                steps_per_epoch=updates,
                shuffle=False,
                verbose=0,
                callbacks=callbacks.CallbackList(observers, add_history=True, model=trainer),
            )
        finally:
            checkpoints.restore_handlers()
            board.close()
    return stopwatch.times


def call_times(trainer: Trainer, batch: Batch, calls: int) -> Iterator[float]:
    """Yields the seconds of device calls with one batch, which is on the device.

    Under JAX, the trainer loses its variables.
    """
    if keras.backend.backend() == "jax":
        return _jax_call_times(trainer, batch, calls)
    return _tensorflow_call_times(trainer, batch, calls)


def _jax_call_times(trainer: Trainer, batch: Batch, calls: int) -> Iterator[float]:
    import jax

    batches = repeat(jax.device_put(batch))
    state = jax_state(trainer)
    for _ in range(calls):
        start = time.perf_counter()
        _, state = jax.block_until_ready(trainer.train_function(state, batches))
        yield time.perf_counter() - start


def jax_state(trainer: Trainer) -> tuple:
    """Returns the state that a train function of Keras takes under JAX."""
    kinds = ("trainable", "non_trainable", "optimizer", "metrics")
    return trainer._get_jax_state(**{f"{kind}_variables": True for kind in kinds})


def _tensorflow_call_times(trainer: Trainer, batch: Batch, calls: int) -> Iterator[float]:
    import tensorflow as tf

    on_device = tuple(tf.constant(part) for part in batch)

    @tf.function
    def call():
        for _ in tf.range(trainer.steps_per_execution):
            trainer.train_step(on_device)

    call()
    for _ in range(calls):
        start = time.perf_counter()
        call()
        yield time.perf_counter() - start
