import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import build_small
from helpers.runs import tiny_config

from udl_tf.config import Config
from udl_tf.inference.chain_runner import make_forward
from udl_tf.training.callbacks import Diverged
from udl_tf.training.liveness import is_dead
from udl_tf.training.run import train

LR = noise_image(16, 18)[None].astype("float32")


# Layers without which nothing nonlinear reaches the result; EDSR's blocks have bypasses, so that it
# needs all of them.
LAST = {"edsr_s": ["block0_conv0", "block1_conv0"], "edsr": ["block0_conv0"]}
LAST |= {"dpdnn": ["decoder0_conv3"], "light": LAST["edsr_s"]}


@pytest.mark.parametrize("name", LAST)  # SPAN has no ReLU
def test_a_network_is_dead_once_no_relu_is_active(name):
    network = build_small(name, 2)
    predict = make_forward(network)
    biases = [layer.bias for layer in network._flatten_layers() if layer.name in LAST[name]]
    assert len(biases) == len(LAST[name])
    for bias in biases:
        assert not is_dead(network, predict, LR)
        bias.assign(np.full(bias.shape, -1e6))
    state = network.get_weights()
    assert is_dead(network, predict, LR)
    assert all(np.array_equal(a, b) for a, b in zip(state, network.get_weights(), strict=True))
    biases[-1].assign(np.eye(biases[-1].shape[0])[0] * 2e6 - 1e6)  # one active unit is enough
    assert not is_dead(network, predict, LR)


def test_a_network_without_relus_is_alive_with_a_head_that_has_some():
    network = build_small("span", 2, log_scale_head="light")
    assert not is_dead(network, make_forward(network), LR)


def test_a_network_that_ignores_its_input_is_dead():
    network = build_small("edsr_s", 2)
    predict = make_forward(network)
    head = network.get_layer("head")
    head.kernel.assign(np.zeros(head.kernel.shape))
    head.bias.assign(np.ones(head.bias.shape))  # ReLUs are active, but constant
    assert is_dead(network, predict, LR)
    head.kernel.assign(np.full(head.kernel.shape, 1e-2))
    assert not is_dead(network, predict, LR)


@pytest.mark.parametrize("level", [0, 127.5, 255])
def test_a_network_is_alive_on_an_image_of_one_colour(level):
    network = build_small("edsr_s", 2, shift=127.5, divide=127.5)
    assert not is_dead(network, make_forward(network), np.full_like(LR, level))


def test_a_rate_that_kills_the_network_is_named(tmp_path):
    config = tiny_config(tmp_path)
    config["optimizer"] = {"name": "adam", "learning_rate": 10.0, "schedule": "constant"}
    config["steps"] = [{"loss": "l1", "updates": 6}]
    with pytest.raises(
        Diverged, match=r"the network is dead after update 3: .*set optimizer\.warmup"
    ):
        train(Config.model_validate(config), tmp_path / "run")
    assert not (tmp_path / "run/checkpoint.npz").exists()
