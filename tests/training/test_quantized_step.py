"""Steps in simulated int8."""

import json
import shutil
from unittest import mock

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import LIGHT
from helpers.runs import same_weights, stop_at, tiny_config

from udl_tf.config import Config
from udl_tf.errors import Interrupted
from udl_tf.losses import LOSSES
from udl_tf.models import build_model
from udl_tf.models.fake_quantization import fake_quantized
from udl_tf.saved.bundle import read_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.training import trainer
from udl_tf.training.networks import head_of
from udl_tf.training.run import train

QUANTIZED = {"loss": "l1", "updates": 6, "quantize": True}


def quantized_run(folder):
    """Returns the content of a config with branches, whose last step is in simulated int8."""
    content = tiny_config(folder)
    content["model"]["options"] |= LIGHT
    content["steps"] = [{"loss": "l1", "updates": 2}, QUANTIZED]
    content["optimizer"] = {"learning_rate": 1e-3}
    content["training"]["interval"] = 2
    return content


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(content of the config, run folder) of a finished run."""
    folder = tmp_path_factory.mktemp("quantized")
    content = quantized_run(folder)
    with mock.patch.object(trainer, "fake_quantized", wraps=fake_quantized) as simulated:
        train(Config.model_validate(content), folder / "run")
    assert simulated.call_count == 1
    return content, folder / "run"


def test_the_result_is_an_ordinary_model_without_branches(trained):
    _, folder = trained
    manifest = read_manifest(folder)
    assert [step["quantize"] for step in manifest.training["steps"]] == [False, True]
    network = load_upscaler(folder).networks.mean
    assert not network.settings["branches"]
    assert "updates of l1 in simulated int8" in (folder / "preset/README.md").read_text()
    assert network.get_layer("block0_conv0").get_weights()[0].shape == (3, 3, 4, 4)


def test_it_trains_in_simulated_int8_and_validates_in_float32():
    network = build_model("edsr_s", 2, num_blocks=1, num_filters=4, uncertainty=False)
    model = trainer.Trainer(network, LOSSES["l1"](), quantize=True)
    lr = noise_image(9, 9)[None].astype(np.float32)
    expected = fake_quantized(network)(lr)["sr"]
    assert np.array_equal(model(lr, training=True)["sr"], expected)
    assert np.array_equal(model(lr, training=False)["sr"], network(lr)["sr"])
    assert not np.array_equal(expected, network(lr)["sr"])


def test_a_stopped_run_resumes_to_the_bit_and_has_a_running_bundle(trained, tmp_path, monkeypatch):
    content, straight = trained
    shutil.copytree(straight, tmp_path / "run")
    (tmp_path / "run/weights/step2-l1.weights.h5").unlink()
    with monkeypatch.context() as patch:
        stop_at(4, patch)
        with pytest.raises(Interrupted, match="update 4 of step 2/2 l1 in simulated int8"):
            train(Config.model_validate(content), tmp_path / "run")
    assert not load_upscaler(tmp_path / "run/running").networks.mean.settings["branches"]
    train(Config.model_validate(content), tmp_path / "run")
    assert same_weights(straight, tmp_path / "run", 2)


def test_an_extended_step_continues(trained, tmp_path):
    content = json.loads(json.dumps(trained[0]))
    content["steps"][1]["updates"] = 8
    shutil.copytree(trained[1], tmp_path / "run")
    train(Config.model_validate(content), tmp_path / "run", extend=True)
    note = json.loads((tmp_path / "run/metrics.json").read_text())["steps"][1]
    assert (note["updates"], note["extended_from"]) == (8, [6])


def test_a_step_with_a_loss_of_uncertainty_trains_the_light_head_further():
    steps = [{"loss": "beta_nll", "updates": 1, "quantize": quantize} for quantize in (True, False)]
    config = Config.model_validate({"steps": steps})
    assert head_of(config, 0, LOSSES["beta_nll"]()) == "light"
    assert head_of(config, 1, LOSSES["beta_nll"]()) == "released"
    assert head_of(config, 0, LOSSES["l1"]()) is None


def test_int8_of_measurements_is_refused():
    content = {"data": {"value_range": [0, 1]}, "steps": [QUANTIZED]}
    with pytest.raises(ValueError, match=r"steps\.0\.quantize: int8 has too few values"):
        Config.model_validate(content)
