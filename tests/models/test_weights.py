import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import CONTRACT, build_small, shrink

from udl_tf.models import copy_weights, fused

LR = noise_image(12, 9)[None].astype(np.float32)


@pytest.mark.parametrize("head", ["released", "light"])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["light", "edsr_s", "span"])
def test_a_fused_network_computes_the_same_without_branches(name, scale, head):
    network = build_small(name, scale, branches=True, log_scale_head=head)
    if name == "span":
        shrink(network.get_layer("tail"), 50)
    plain = fused(network)
    assert plain.settings == {**network.settings, "branches": False}
    assert not any(type(layer).__name__ == "BranchedConv2D" for layer in plain.layers)
    assert plain.count_params() < network.count_params()
    expected = network(LR)
    for key, value in plain(LR).items():
        assert np.abs(value - expected[key]).max() <= 1e-4  # grey levels


@pytest.mark.parametrize("name", CONTRACT)
def test_a_network_without_branches_is_fused(name):
    network = build_small(name, 2, **({"branches": False} if name == "light" else {}))
    assert fused(network) is network


def test_a_plain_network_passes_its_weights_to_branches_and_back():
    plain = build_small("light", 3, branches=False)
    network = build_small("light", 3)
    assert np.abs(network(LR)["sr"] - plain(LR)["sr"]).max() > 1
    assert copy_weights(plain, network) == []
    assert np.abs(network(LR)["sr"] - plain(LR)["sr"]).max() <= 1e-4  # grey levels
    back = build_small("light", 3, branches=False)
    assert copy_weights(network, back) == []
    for ours, theirs in zip(back.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("branches", [(True, False), (False, True), (True, True)])
def test_a_kernel_of_another_scale_is_not_copied(branches):
    source, target = (
        build_small("light", scale, branches=b, uncertainty=False)
        for scale, b in zip((2, 3), branches, strict=True)
    )
    before = target.get_layer("tail").get_weights()
    assert copy_weights(source, target) == ["tail"]
    for ours, theirs in zip(target.get_layer("tail").get_weights(), before, strict=True):
        assert np.array_equal(ours, theirs)
