"""Uncertainty of whole training images, computed once and cached in a pack."""

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.config import Config
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.models import build_model
from udl_tf.training import uncertainty_cache
from udl_tf.training.run import train
from udl_tf.training.uncertainty_cache import cached_log_scale


def write_images(folder, count):
    for index in range(count):
        write_rgb(folder / f"{index}.png", noise_image(40, 48, index))


def test_cached_maps_are_those_of_the_network(tmp_path, monkeypatch):
    """Within half a level of 256, away from the border, for a network without orientation."""
    write_images(tmp_path / "images", 3)
    store = ImageStore(folder_dataset(tmp_path / "images", 2).sources, 2, memory_gb=1)
    network = build_model("edsr_s", 2, num_blocks=1, num_filters=4)
    for layer in network.layers:
        if layer.get_weights():  # the same in all eight orientations
            kernel, bias = layer.get_weights()
            turned = [np.rot90(k, i, (0, 1)) for k in (kernel, kernel[::-1]) for i in range(4)]
            layer.set_weights([np.mean(turned, axis=0), bias])
    first = cached_log_scale(network, store, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(uncertainty_cache, "compute_maps", None)  # nothing is computed again
        second = cached_log_scale(network, store, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1
    for index in range(3):
        lr, _ = store.pair(index)
        expected = np.asarray(network(lr[None].astype(np.float32))["log_scale"])[0]
        values, a, b = second(index)
        inner = np.s_[12:-12, 12:-12]
        assert np.ptp(expected[inner]) > 0.01
        assert np.abs(a + b * values.astype(np.float32) - expected)[inner].max() <= 0.51 * b
        assert np.array_equal(first(index)[0], values)
    network.get_layer("log_scale_conv2").bias.assign_add([0.1, 0.1, 0.1])
    cached_log_scale(network, store, tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2  # other weights, other maps


@pytest.mark.slow
def test_a_run_with_cached_uncertainty(tmp_path):
    write_images(tmp_path / "images", 6)
    folder, weighting = [str(tmp_path / "images")], {"source": "uncertainty"}
    config = {
        "model": {"scale": 2, "options": {"num_blocks": 1, "num_filters": 4}},
        "data": {"hr_patch_size": 16, "batch_size": 2, "train": folder, "test": folder},
        "steps": [
            {"loss": "esu", "updates": 2},
            {"loss": "udl", "updates": 2, "weighting": weighting},
        ],
        "training": {"precision": "float32", "interval": 2, "cache_uncertainty": True},
        "evaluation": {"figures": 0},
    }
    config["data"]["cache_dir"] = str(tmp_path / "cache")
    train(Config.model_validate(config), tmp_path / "run")
    assert len(list((tmp_path / "cache").glob("uncertainty-*/arrays.bin"))) == 1
    log = (tmp_path / "run/log.txt").read_text()
    assert "uncertainty of 5 training images" in log
    assert "% waiting for data)" in log
