"""Cost of computing in a lower precision, measured on bundled images."""

import numpy as np

from udl_tf._support.hardware import measure_rates, slow_precision
from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import bundled_dataset
from udl_tf.data.store import read_pair
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import Upscaler
from udl_tf.metrics import psnr_y
from udl_tf.saved.loading import load_upscaler

_SIDE = 64  # of the crops that are upscaled, LR pixels


def precision_note(name: str, model: Upscaler) -> str:
    """Describes the precision of a loaded model: why it was chosen, and its cost in PSNR-Y.

    For a precision that is slow on this machine, a warning replaces the cost.

    Args:
        name: from which the model was loaded.
        model: the model.
    """
    if not isinstance(model, KerasUpscaler):
        return "precision: exported models keep their own"
    if slow := slow_precision(model.networks.policy):
        return f"precision: {slow}: choose float32, or auto for the faster one"
    rates = measure_rates()
    if model.networks.policy == "float32":
        return f"precision: float32, which is as fast on this machine ({rates})"
    if Pixels.seen_by(model).measured:
        return f"precision: bfloat16 ({rates}); compare the results with those of float32"
    cost = _mean_psnr(load_upscaler(name)) - _mean_psnr(model)
    return f"precision: bfloat16, which costs {cost:.4f} dB on the bundled images ({rates})"


def _mean_psnr(model: Upscaler) -> float:
    """Returns the mean PSNR-Y over crops of the bundled test images, dB."""
    values = []
    for source in bundled_dataset("test").sources:
        lr, hr = read_pair(source, model.scale)
        side = _SIDE * model.scale
        result = model.upscale(lr[:_SIDE, :_SIDE], uncertainty=False).image
        values.append(psnr_y(result, hr[:side, :side], model.scale))
    return float(np.mean(values))
