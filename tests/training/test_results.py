"""Bundles of runs whose networks have branches."""

import shutil

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import LIGHT
from helpers.runs import tiny_config, train_weights, weights

from udl_tf.config import Config
from udl_tf.models.branches import BranchedConv2D
from udl_tf.models.weight_files import load_weights
from udl_tf.saved.bundle import build_network, read_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.training.run import train

LR = noise_image(14, 11)[None].astype(np.float32)
STEPS = [
    {"loss": "esu", "updates": 3},
    {"loss": "udl", "updates": 3, "weighting": {}, "learning_rate": 1e-12},
    {"loss": "esu", "train": "uncertainty_head", "updates": 3},
]


def branched_config(folder, steps=STEPS) -> Config:
    content = tiny_config(folder)
    content["model"]["options"] |= LIGHT
    content["data"]["hr_patch_size"] = 32
    content["steps"] = steps
    return Config.model_validate(content)


@pytest.fixture(scope="module")
def branched(tmp_path_factory):
    """(config, run folder) of a run with all three steps."""
    folder = tmp_path_factory.mktemp("branched")
    config = branched_config(folder)
    train_weights(config, folder / "run")
    return config, folder / "run"


def branched_layers(network) -> list[str]:
    return [layer.name for layer in network.layers if isinstance(layer, BranchedConv2D)]


def test_a_bundle_has_no_branches_and_computes_the_same(branched):
    config, folder = branched
    manifest = read_manifest(folder)
    assert "branches" not in manifest.architecture.options
    assert manifest.architecture.options["anchor"] is True
    assert manifest.mean.weights == "weights/fused/step3-esu.weights.h5"
    assert manifest.mean.weights == manifest.uncertainty.weights
    shipped = load_upscaler(folder).networks.mean
    assert branched_layers(shipped) == []
    trained = build_network(config.model, "light")
    load_weights(trained, folder / "weights/step3-esu.weights.h5")
    assert branched_layers(trained) == ["head", "block0_conv0", "block0_conv1", "body_end", "tail"]
    for key, value in trained(LR).items():
        assert np.abs(shipped(LR)[key] - value).max() <= 1e-4  # grey levels


def test_a_step_starts_from_the_branches_of_the_previous_one(branched):
    """The UDL step has a learning rate of zero, nearly; Adam moves a weight by the rate at most."""
    before, after = (weights(branched[1], step) for step in (1, 2))
    names = [name for name in after if "branched" in name]
    assert len(names) == 5 * 5
    for name in names:
        assert np.allclose(after[name], before[name], atol=1e-9)


@pytest.mark.slow
def test_the_paper_s_form_has_two_networks_without_branches(branched, tmp_path):
    config = branched[0].changed(steps=branched[0].steps[:2])
    train_weights(config, tmp_path / "run")
    manifest, networks = read_manifest(tmp_path / "run"), load_upscaler(tmp_path / "run").networks
    assert manifest.mean.weights == "weights/fused/step2-udl.weights.h5"
    assert manifest.uncertainty.weights == "weights/fused/step1-esu.weights.h5"
    assert branched_layers(networks.mean) == branched_layers(networks.uncertainty) == []


@pytest.mark.slow
def test_an_extended_run_renews_the_fused_weights(branched, tmp_path):
    config, folder = branched
    shutil.copytree(folder, tmp_path / "run")
    steps = [*config.steps[:2], config.steps[2].changed(updates=5)]
    train(config.changed(steps=steps), tmp_path / "run", extend=True)
    before, after = (load_upscaler(path).networks.mean(LR) for path in (folder, tmp_path / "run"))
    assert np.array_equal(before["sr"], after["sr"])
    assert not np.array_equal(before["log_scale"], after["log_scale"])


@pytest.mark.slow
def test_a_run_starts_from_a_bundle_without_branches(branched, tmp_path):
    config, folder = branched
    training = config.training.changed(start_from=str(folder))
    steps = [config.steps[0].changed(updates=1, learning_rate=1e-12)]
    train_weights(config.changed(steps=steps, training=training), tmp_path / "run")
    assert "kernels split into branches" in (tmp_path / "run/log.txt").read_text()
    before, after = (
        load_upscaler(path).networks.mean(LR)["sr"] for path in (folder, tmp_path / "run")
    )
    assert np.abs(before - after).max() <= 1e-3  # grey levels
