"""PyTorch checkpoints of SPAN, as its authors release them for x2 and x4.

They hold the networks as they train. Each 3x3 convolution is the sum of a 1x1 convolution, `sk`,
and of three convolutions in a row, `conv.0` to `conv.2`, all with biases; `eval_conv` is their sum
as of the last evaluation, possibly an outdated one, and is not read.
"""

import keras
import numpy as np

from udl_tf.config import ModelConfig
from udl_tf.saved.bundle import build_network
from udl_tf.saved.torch_layers import State, before_depth_to_space, convolution, set_checked

_PARTS = ("sk", "conv.0", "conv.1", "conv.2", "eval_conv")
_SCALES = {12: 2, 27: 3, 48: 4}  # by the outputs of the last convolution, 3 scale^2


def is_span(state: State) -> bool:
    """Returns whether the keys are those of SPAN."""
    return any(key.startswith("conv_1.") for key in state)


def build_networks(state: State) -> tuple[ModelConfig, dict[str, keras.Model]]:
    """Builds the network of a state_dict, with plain convolutions.

    Returns:
        (architecture, {"mean": network}).

    Raises:
        ValueError: if a key is missing or unknown, or has another shape.
    """
    architecture = _find_architecture(state)
    network = build_network(architecture, None)
    blocks = range(architecture.options["num_blocks"])
    summed = {f"block{b}_conv{i}": f"block_{b + 1}.c{i + 1}_r" for b in blocks for i in range(3)}
    summed |= {"head": "conv_1", "body_end": "conv_2"}
    for layer, name in summed.items():
        set_checked(network.get_layer(layer), _sum_of_branches(state, name), name)
    set_checked(network.get_layer("merge"), convolution(state, "conv_cat"), "conv_cat")
    tail = before_depth_to_space(convolution(state, "upsampler.0"), channels=3)
    set_checked(network.get_layer("tail"), tail, "upsampler.0")
    names = [f"{name}.{part}" for name in summed.values() for part in _PARTS]
    names += ["conv_cat", "upsampler.0"]
    known = {f"{name}.{part}" for name in names for part in ("weight", "bias")} | {"no_norm"}
    if unknown := sorted(set(state) - known):
        raise ValueError(f"unknown key {unknown[0]}")
    return architecture, {"mean": network}


def _find_architecture(state: State) -> ModelConfig:
    """Returns the architecture that the keys and shapes of a state_dict imply."""
    filters = len(convolution(state, "conv_1.sk")[1])
    outputs = len(convolution(state, "upsampler.0")[1])
    if outputs not in _SCALES:
        raise ValueError(f"upsampler.0 has {outputs} outputs, expected 12, 27 or 48")
    blocks = sum(key.startswith("block_") and key.endswith("c1_r.sk.weight") for key in state)
    options = {"num_blocks": blocks, "num_filters": filters}
    if "no_norm" in state:  # the network sees images in 0..1
        options |= {"shift": 0.0, "divide": 255.0}
    return ModelConfig.model_validate(
        {"name": "span", "scale": _SCALES[outputs], "options": options}
    )


def _sum_of_branches(state: State, name: str) -> list[np.ndarray]:
    """Returns kernel and bias of the 3x3 convolution that the branches add up to."""
    weights = [convolution(state, f"{name}.{part}") for part in _PARTS[:4]]
    (sk, sk_bias), *row = [(k.astype(np.float64), b.astype(np.float64)) for k, b in weights]
    (first, first_bias), (middle, middle_bias), (last, last_bias) = row
    try:
        kernel = first @ middle @ last
        kernel[1, 1] += sk[0, 0]
        # The image is padded before the first convolution, so its bias reaches all nine taps.
        bias = (first_bias @ middle.sum(axis=(0, 1)) + middle_bias) @ last[0, 0]
        bias += last_bias + sk_bias
    except (ValueError, IndexError):
        raise ValueError(f"the shapes of {name}.sk and {name}.conv do not fit together") from None
    return [kernel.astype(np.float32), bias.astype(np.float32)]
