"""Uncertainty of whole training images, computed once and cached in a pack."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf._support.json_files import write_json
from udl_tf.config import Config
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import ImageStore
from udl_tf.errors import UserError
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.models import build_model
from udl_tf.training import step, uncertainty_cache
from udl_tf.training.run import train
from udl_tf.training.run_folder import RunFolder
from udl_tf.training.uncertainty_cache import cache_path, cached_log_scale, decide_cache


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
    cache, run = tmp_path / "cache", tmp_path / "run"
    path = cache_path(network, store, cache, run)
    assert path != cache_path(network, store, cache, tmp_path / "other")
    first = cached_log_scale(network, store, path)
    with monkeypatch.context() as patch:
        patch.setattr(uncertainty_cache, "compute_maps", None)  # nothing is computed again
        second = cached_log_scale(network, store, cache_path(network, store, cache, run))
    assert len(list(cache.iterdir())) == 1
    for index in range(3):
        lr, _ = store.pair(index)
        expected = np.asarray(network(lr[None].astype(np.float32))["log_scale"])[0]
        values, a, b = second(index)
        inner = np.s_[12:-12, 12:-12]
        assert np.ptp(expected[inner]) > 0.01
        assert np.abs(a + b * values.astype(np.float32) - expected)[inner].max() <= 0.51 * b
        assert np.array_equal(first(index)[0], values)
    network.get_layer("log_scale_conv2").bias.assign_add([0.1, 0.1, 0.1])
    cached_log_scale(network, store, cache_path(network, store, cache, run))
    assert len(list(cache.iterdir())) == 2  # other weights, other maps


@pytest.fixture
def store(tmp_path):
    write_images(tmp_path / "images", 3)
    return ImageStore(folder_dataset(tmp_path / "images", 2).sources, 2, memory_gb=1)


def config_of(updates, source="uncertainty", **data):
    steps = [
        {"loss": "esu", "updates": 5},
        {"loss": "udl", "updates": updates, "weighting": {"source": source}},
    ]
    data = {"hr_patch_size": 16, "batch_size": 2, **data}
    return Config.model_validate({"model": {"scale": 2}, "data": data, "steps": steps})


def test_maps_are_cached_where_they_are_less_work(store):
    """Three LR images of 20x24, mirrored by 8, in 8 orientations: 8 * 3 * 36 * 40 = 34,560 pixels.

    An update has 2 patches of 8x8 = 128 pixels: the maps are the work of 270 updates.
    """
    cached, (line,) = decide_cache(config_of(271), store, Path("/"))
    assert cached
    # The maps are of HR size: 3 * 3 * 40 * 48 bytes.
    assert line == (
        "uncertainty is cached in / (0.0 GB): s of 3 training images costs as much as the frozen"
        " network in 270 updates; there are 271"
    )
    cached, (line,) = decide_cache(config_of(270), store, Path("/"))
    assert not cached
    assert line.endswith("would cost as much as the frozen network in 270 updates; there are 270")
    assert decide_cache(config_of(271, "error_map"), store, Path("/")) == (False, [])


def test_maps_are_not_cached_for_degraded_patches(store):
    noise = [{"kind": "noise", "sigma": [0, 4]}]
    cached, (line,) = decide_cache(config_of(271, degradations=noise), store, Path("/"))
    assert not cached
    assert line == "uncertainty is not cached: data.degradations change the patches at random"


def test_maps_are_not_cached_where_they_do_not_fit(store, monkeypatch):
    cached, (line,) = decide_cache(
        config_of(271, memory_gb=17e-6), store, Path("/")
    )  # 17,280 bytes
    assert not cached
    assert line.endswith("would need 0.0 GB; data.memory_gb is 1.7e-05")
    for free, expected in ((34_000, False), (35_000, True)):  # half of it
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(uncertainty_cache.shutil, "disk_usage", lambda path, usage=usage: usage)
        assert decide_cache(config_of(271), store, Path("/"))[0] is expected


def run_config(tmp_path, cache_uncertainty):
    write_images(tmp_path / "images", 6)
    folder, weighting = [str(tmp_path / "images")], {"source": "uncertainty"}
    config = {
        "model": {"scale": 2, "options": {"num_blocks": 1, "num_filters": 4}},
        "data": {"hr_patch_size": 16, "batch_size": 2, "train": folder, "test": folder},
        "steps": [
            {"loss": "esu", "updates": 2},
            {"loss": "udl", "updates": 2, "weighting": weighting},
        ],
        "training": {"precision": "float32", "interval": 2, "cache_uncertainty": cache_uncertainty},
        "evaluation": {"figures": 0},
    }
    config["data"]["cache_dir"] = str(tmp_path / "cache")
    return Config.model_validate(config)


@pytest.mark.slow
def test_a_run_with_cached_uncertainty_deletes_its_maps_at_the_end(tmp_path, monkeypatch):
    found = []
    save = step.save_weights

    def look_and_save(network, path):
        found.append(len(list((tmp_path / "cache").glob("uncertainty-*"))))
        save(network, path)

    monkeypatch.setattr(step, "save_weights", look_and_save)
    config = run_config(tmp_path, True)
    train(config, tmp_path / "run")
    log = (tmp_path / "run/log.txt").read_text()
    assert "uncertainty of 5 training images" in log
    assert "% waiting for data)" in log
    assert found == [0, 0]
    assert len(list((tmp_path / "cache").glob("*.png"))) == 6  # computed LR images stay


@pytest.mark.parametrize(("before", "after"), [(True, True), (False, False), ("auto", False)])
def test_a_run_keeps_its_decision(tmp_path, before, after):
    """Version 0.1 wrote false, which is the value of "auto" for its runs."""
    stored = run_config(tmp_path, before)
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run/config.json", stored.model_dump())
    longer = run_config(tmp_path, "auto")
    for extend in (False, True):
        run = RunFolder(tmp_path / "run", longer, extend)
        assert run.config.training.cache_uncertainty is after
        steps = [*longer.steps[:-1], longer.steps[-1].model_copy(update={"updates": 4})]
        longer = longer.model_copy(update={"steps": steps})
    if before != "auto":
        with pytest.raises(UserError, match=r"cache_uncertainty was \w+ and is now"):
            RunFolder(tmp_path / "run", run_config(tmp_path, not before))


@pytest.mark.slow
def test_a_new_run_records_its_decision(tmp_path):
    config = run_config(tmp_path, "auto")
    train(config, tmp_path / "run")
    # 8 * 5 * 36 * 40 pixels are the work of 450 updates of 2 * 64 pixels.
    expected = "would cost as much as the frozen network in 450 updates; there are 2"
    assert expected in (tmp_path / "run/log.txt").read_text()
    run = RunFolder(tmp_path / "run", config)
    assert run.stored_config() == run.config
    assert run.config.training.cache_uncertainty is False
