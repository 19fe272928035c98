"""Pixel weights of a UDL step, from the frozen network of the previous step."""

from collections.abc import Callable

import keras

from udl_tf import weighting
from udl_tf.config import WeightingConfig
from udl_tf.models import mean_part, uncertainty_part


def make_pixel_weight(
    config: WeightingConfig, frozen: keras.Model, scale: int, cached: bool = False
) -> Callable:
    """Returns the function (lr, hr) -> w of a UDL step, or (lr, hr, s) -> w if `cached`.

    Both take a keyword `valid`: bool mask of the pixels of hr with data; None: all. hr may be NaN
    where it is False.

    Args:
        config: source and scale of the weights.
        frozen: network of the previous step, of which only the part that the source needs is run.
        scale: HR over LR size.
        cached: whether batches contain s, so that the frozen network is not run.
    """
    options = config.model_dump(exclude={"source"})
    if cached:
        return lambda lr, hr, s, valid=None: weighting.uncertainty_weight(s, valid=valid, **options)
    if config.source == "uncertainty":
        part = uncertainty_part(frozen)
        return lambda lr, hr, valid=None: weighting.uncertainty_weight(
            part(lr, training=False)["log_scale"], valid=valid, **options
        )
    if config.source == "error_map":
        part = mean_part(frozen)
        return lambda lr, hr, valid=None: weighting.error_map_weight(
            hr, part(lr, training=False)["sr"], valid=valid, **options
        )
    if config.source == "hr_gradient":
        return lambda lr, hr, valid=None: weighting.hr_gradient_weight(hr, valid=valid, **options)
    return lambda lr, hr, valid=None: weighting.lr_gradient_weight(
        lr, scale=scale, valid=valid, **options
    )
