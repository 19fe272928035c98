"""Choices of SRModel by name: losses, metrics, what is trained."""

from collections.abc import Callable
from typing import Any

import keras

from udl_tf.errors import UserError, nearest
from udl_tf.losses import LOSSES
from udl_tf.tasks.image_metrics import PSNR, PSNRY, SSIM, SSIMY

_METRICS = {"psnr_y": PSNRY, "ssim_y": SSIMY, "psnr": PSNR, "ssim": SSIM}
_TRAINED_PARTS = "network", "uncertainty_head"


class _FunctionLoss(keras.losses.Loss):
    """Wraps a function (y_true, y_pred) -> losses, which is what Keras finds for "mae"."""

    def __init__(self, function: Callable):
        super().__init__("function", dtype="float32")
        self.call = function


def find_loss(loss: Any) -> keras.losses.Loss:
    """Returns the loss of a name in udl_tf.losses.LOSSES, or what Keras finds for `loss`."""
    known = isinstance(loss, str) and loss in LOSSES
    found = LOSSES[loss]() if known else keras.losses.get(loss)
    return found if isinstance(found, keras.losses.Loss) else _FunctionLoss(found)


def find_metrics(metrics: Any, scale: int) -> Any:
    """Returns metrics with those named in _METRICS built, which shave `scale` pixels."""
    if not isinstance(metrics, list | tuple):
        return metrics
    return [
        _METRICS[metric](shave=scale) if isinstance(metric, str) and metric in _METRICS else metric
        for metric in metrics
    ]


def check_trained_part(train: str) -> None:
    """Checks what a model is to train.

    Raises:
        UserError: naming the choices.
    """
    if train not in _TRAINED_PARTS:
        raise UserError(f"train {train!r} is unknown, {nearest(train, _TRAINED_PARTS)}")
