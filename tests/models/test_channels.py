"""Weights that pass to a network of other channels."""

import numpy as np
import pytest
from helpers.models import build_small, shrink

from udl_tf.models.channels import adapt_channels, adapted_values

SPAN_SHIFT = {"shift": 127.5}  # by default, the mean of RGB is subtracted from three channels only


def network(name, channels, head="light"):
    options = {"branches": False} if name == "light" else {}
    options |= SPAN_SHIFT if name == "span" else {}
    options |= {"num_stages": 1, "num_filters": 4} if name == "dpdnn" else {}
    result = build_small(name, 2, channels=channels, log_scale_head=head, **options)
    if name == "span":
        shrink(result.get_layer("tail"), 50)
    return result


def images(channels):
    grey = np.random.default_rng(0).uniform(0, 255, (1, 6, 7, 1)).astype(np.float32)
    return np.repeat(grey, channels, axis=-1)


@pytest.mark.parametrize("head", ["released", "light"])
@pytest.mark.parametrize("name", ["edsr_s", "light", "dpdnn", "span"])
def test_repeated_channels_have_the_same_results(name, head):
    source, target = network(name, 3, head), network(name, 5, head)
    changes = adapt_channels(source, target)
    expected, found = source(images(3)), target(images(5))
    for key in ("sr", "log_scale"):
        repeated = np.asarray(expected[key])[..., [0, 1, 2, 0, 1]]
        assert np.abs(found[key] - repeated).max() <= 1e-4 * np.abs(repeated).max()
    assert set(changes.values()) <= {
        "inputs repeated",
        "outputs repeated",
        "inputs repeated and outputs repeated",
    }


@pytest.mark.parametrize(("before", "after"), [(3, 1), (3, 2), (4, 3)])
@pytest.mark.parametrize("name", ["edsr_s", "light", "span"])
def test_fewer_channels_have_the_mean_of_the_results(name, before, after):
    source, target = network(name, before), network(name, after)
    changes = adapt_channels(source, target)
    assert changes == {
        "head": "inputs summed",
        "tail": "outputs averaged",
        "log_scale": "inputs summed and outputs averaged",
    }
    expected, found = np.asarray(source(images(before))["sr"]), target(images(after))["sr"]
    merged = [expected[..., channel::after].mean(axis=-1) for channel in range(after)]
    assert np.abs(found - np.stack(merged, axis=-1)).max() <= 1e-4 * np.abs(expected).max()


def test_values_per_channel():
    assert adapted_values([1.0, 2.0, 6.0], 1) == [3.0]
    assert adapted_values([1.0, 2.0, 6.0], 4) == [1.0, 2.0, 6.0, 1.0]
    assert adapted_values([1.0, 2.0, 6.0], 3) == [1.0, 2.0, 6.0]
