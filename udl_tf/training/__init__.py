"""Training: steps of a run, run folder, checkpoints, callbacks, optimizers."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.training.run import train as train
    from udl_tf.training.trainer import Trainer as Trainer

__all__ = ["Trainer", "train"]

__getattr__ = lazy_names(__name__, {"Trainer": "trainer", "train": "run"})
