"""A trained model in the precision that this machine is fastest in, and what that costs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from udl_tf import bundle, presets
from udl_tf.data.sources import bundled_dataset
from udl_tf.data.store import read_pair
from udl_tf.hardware import measure_rates
from udl_tf.metrics import psnr_y
from udl_tf.super_resolver import SuperResolver

_SIDE = 64  # of the pieces that the cost is measured on, LR pixels


def load_fast(folder: Path | str, tell: Callable[[str], None]) -> SuperResolver:
    """Loads a run folder to compute in bfloat16, if this machine is clearly faster in it.

    Args:
        folder: a run folder or a preset's name.
        tell: gets a line with the precision, why, and what it costs: the mean PSNR-Y that pieces
            of the images that come with the package lose.

    Raises:
        UserError: as udl_tf.bundle.load.
    """
    folder = presets.find(folder)
    exact, rates = bundle.load(folder), measure_rates()
    if rates.precision == "float32":
        tell(f"fast: stays in float32, which is as fast here ({rates})")
        return exact
    fast = bundle.load(folder, rates.precision)
    loss = _mean_psnr(exact) - _mean_psnr(fast)
    tell(f"fast: bfloat16, which costs {loss:.4f} dB on the bundled images ({rates})")
    return fast


def _mean_psnr(model: SuperResolver) -> float:
    values = []
    for picture in bundled_dataset("test").pictures:
        lr, hr = read_pair(picture, model.scale)
        side = _SIDE * model.scale
        made = model.upscale(lr[:_SIDE, :_SIDE], uncertainty=False).image
        values.append(psnr_y(made, hr[:side, :side], model.scale))
    return float(np.mean(values))
