"""Contract of networks: what a run requires of them, checked before its first update."""

from collections.abc import Callable

import keras
import numpy as np

from udl_tf.errors import UserError, first_line
from udl_tf.models.dtype_policy import precision
from udl_tf.models.heads import LOG_SCALE
from udl_tf.models.stages import chain_of, chain_radius, run_chain

_HEIGHT, _WIDTH = 7, 13  # odd sizes, which networks with strides may get wrong
_INFLUENCE = 1e-5  # of the largest change of a result; rounding changes less


def check_contract(
    name: str,
    scale: int,
    uncertainty: bool,
    build: Callable[[], keras.Model],
    channels: int = 3,
) -> None:
    """Checks the contract of a network.

    Args:
        name: name of the network, for errors.
        scale: HR over LR size.
        uncertainty: whether it must compute s.
        build: builds it with fresh weights.
        channels: of its images.

    Raises:
        UserError: naming what is missing or wrong.
    """
    # Without values, and in mixed precision, in which outputs must be float32 too.
    with keras.StatelessScope(initialize_variables=False), precision("mixed_bfloat16"):
        network = build()
    try:
        _check_outputs(network, scale, channels, uncertainty)
        if not hasattr(network, "build_chain"):  # for networks with chains of stages, the tests do
            again = build()
            _check_names(network, again, uncertainty)
            _check_radius(again, uncertainty)
    except UserError as error:
        raise UserError(f"network {name}: {error}") from None


def _check_outputs(network: keras.Model, scale: int, channels: int, uncertainty: bool) -> None:
    expected = {"sr", LOG_SCALE} if uncertainty else {"sr"}
    output = getattr(network, "output", None)
    if not isinstance(output, dict) or set(output) != expected:
        given = sorted(output) if isinstance(output, dict) else type(output).__name__
        raise UserError(
            f"its output is {given}; expected a keras.Model over a functional graph with a dict of"
            f" {' and '.join(sorted(expected, reverse=True))}"
        )
    if network.input_shape != (None, None, None, channels):
        raise UserError(
            f"its input has shape {network.input_shape}; expected (None, None, None,"
            f" {channels}), images of any size"
        )
    try:
        specs = network.compute_output_spec(keras.KerasTensor((1, _HEIGHT, _WIDTH, channels)))
    except ValueError as error:
        raise UserError(
            f"it does not accept an image of {_HEIGHT}x{_WIDTH} pixels ({first_line(error)});"
            " expected images of any size"
        ) from None
    shape = (1, scale * _HEIGHT, scale * _WIDTH, channels)
    for key, spec in specs.items():
        if tuple(spec.shape) != shape:
            raise UserError(
                f"{key} has shape {tuple(spec.shape)} for an image of {_HEIGHT}x{_WIDTH} pixels;"
                f" expected {shape}"
            )
        if (dtype := keras.backend.standardize_dtype(output[key].dtype)) != "float32":
            raise UserError(
                f"{key} has dtype {dtype} in mixed precision; expected float32: give the last"
                ' layers dtype="float32"'
            )


def _check_names(network: keras.Model, again: keras.Model, uncertainty: bool) -> None:
    names, others = ([x.name for x in model.layers if x.weights] for model in (network, again))
    unnamed = [name for name in names if name not in others]
    if unnamed:
        raise UserError(
            f"its layers {', '.join(unnamed)} have another name each time; expected fixed names, by"
            " which weights pass from step to step: give every layer a name"
        )
    if uncertainty and not any(name.startswith(LOG_SCALE) for name in names):
        raise UserError(
            f"no layer with weights has a name that begins with {LOG_SCALE}; expected those of the"
            " s head to, by which the head is trained alone: rename them"
        )


def _check_radius(network: keras.Model, uncertainty: bool) -> None:
    """Changes a pixel, and checks that no pixel of the result beyond the radius changes."""
    chain = chain_of(network, *(("sr", LOG_SCALE) if uncertainty else ("sr",)))
    radius, scale = chain_radius(chain), chain[-1].scale
    side = 2 * radius + 9
    middle = side // 2
    shape = (1, side, side, network.input_shape[-1])
    lr = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    changed = lr.copy()
    changed[:, middle, middle] = 255 - lr[:, middle, middle]
    pairs = zip(run_chain(chain, lr), run_chain(chain, changed), strict=True)
    for values, other in pairs:
        change = np.abs(np.subtract(*map(keras.ops.convert_to_numpy, (values, other)))).max(
            axis=(0, 3)
        )
        pixels = np.argwhere(change > _INFLUENCE * change.max()) // scale
        reach = int(np.abs(pixels - middle).max(initial=0))
        if reach > radius:
            raise UserError(
                f"a pixel of the result depends on LR pixels at a distance of {reach}, but its"
                f" radius is {radius}: state the largest distance, and use nothing that depends on"
                " the whole image"
            )
