"""EDSR-S ready to train, and random patches, for benchmarks under every Keras backend."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from udl_tf.config import OptimizerConfig, WeightingConfig
from udl_tf.losses import LOSSES
from udl_tf.models import build_model
from udl_tf.models.dtype_policy import precision
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.trainer import Trainer

Network = Mapping[str, Any]
"""Options of edsr_s; none: EDSR-S as released."""


def random_patches(scale: int, side: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns random LR patches of side x side pixels, and HR patches `scale` times as large."""
    random = np.random.default_rng(0)
    shapes = [(batch, size, size, 3) for size in (side, side * scale)]
    lr, hr = (random.uniform(0, 255, shape).astype(np.float32) for shape in shapes)
    return lr, hr


def make_trainer(
    scale: int, loss: str, policy: str, options: Network, cached: bool = False, replicas: int = 1
) -> Trainer:
    """Returns EDSR-S ready to train; for the loss udl, a frozen network computes the weights."""
    with precision(policy):
        uncertainty = LOSSES[loss].needs_log_scale
        network = build_model("edsr_s", scale, uncertainty=uncertainty, **options)
        weight = None
        if loss == "udl":
            frozen = build_model("edsr_s", scale, **options)
            weight = make_pixel_weight(WeightingConfig(), frozen, scale, cached)
        trainer = Trainer(network, LOSSES[loss](), weight)
        trainer.compile(make_optimizer(OptimizerConfig(), 1000, replicas=replicas))
    return trainer
