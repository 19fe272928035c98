"""The step that adds an uncertainty head to a trained network."""

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.runs import same_weights, tiny_config, train_weights

from udl_tf.config import Config
from udl_tf.errors import UserError
from udl_tf.models.weight_files import load_weights
from udl_tf.saved.bundle import build_network, read_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.training import run, step
from udl_tf.training.run import make_losses, train

HEAD = {"loss": "esu", "train": "uncertainty_head", "updates": 6}
NETWORK = [
    {"loss": "esu", "updates": 4},
    {"loss": "udl", "updates": 4, "weighting": {}},
]


def three_steps(folder, name="edsr_s", **model):
    config = tiny_config(folder)
    options = {"num_blocks": 1, "num_filters": 4}
    if name == "dpdnn":
        options = {"num_stages": 1, "num_filters": 4}
    config["model"] = {"name": name, "scale": 2, "options": options, **model}
    config["data"]["hr_patch_size"] = 32
    config["steps"] = [*NETWORK, HEAD]
    return config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(config, run folder) of a run with all three steps."""
    folder = tmp_path_factory.mktemp("three")
    config = three_steps(folder)
    train_weights(config, folder / "run")
    return config, folder / "run"


def test_only_the_head_is_trained(trained):
    _, folder = trained
    student = build_network(read_manifest(folder).architecture, None)
    load_weights(student, folder / "weights/step2-udl.weights.h5")
    network = load_upscaler(folder).networks.mean
    known = {layer.name for layer in student.layers}
    assert {layer.name for layer in network.layers if layer.weights} - known == {"log_scale"}
    for layer in student.layers:
        for before, after in zip(
            layer.get_weights(), network.get_layer(layer.name).get_weights(), strict=True
        ):
            assert np.array_equal(before, after)


def test_the_image_is_that_of_the_two_network_form_to_the_bit(trained):
    config, folder = trained
    manifest = read_manifest(folder)
    assert manifest.mean.weights == manifest.uncertainty.weights == "weights/step3-esu.weights.h5"
    assert manifest.mean.log_scale_head == "light"
    two = {**config, "steps": NETWORK}
    train_weights(two, folder.parent / "two")
    assert same_weights(folder, folder.parent / "two", 2)
    image = noise_image(20, 30)
    one, other = load_upscaler(folder), load_upscaler(folder.parent / "two")
    assert other.networks.mean is not other.networks.uncertainty
    assert np.array_equal(one.upscale(image).image, other.upscale(image).image)
    assert not np.allclose(one.upscale(image).theta, other.upscale(image).theta)


def test_the_released_head_can_be_the_one_that_ships(trained, tmp_path):
    config, folder = trained
    config = three_steps(tmp_path, log_scale_head="released")
    config["data"] = trained[0]["data"]
    train_weights(config, tmp_path / "run")
    manifest = read_manifest(tmp_path / "run")
    assert manifest.uncertainty.log_scale_head == "released"
    assert same_weights(folder, tmp_path / "run", 2)
    assert load_upscaler(tmp_path / "run").networks.mean.settings["log_scale_head"] == "released"


def test_a_head_for_a_model_that_is_trained_already(trained, tmp_path):
    config, folder = trained
    steps = [HEAD]
    config = {**config, "steps": steps}
    config["training"] = {**config["training"], "start_from": str(folder)}
    train_weights(config, tmp_path / "run")
    image = noise_image(20, 30)
    one, other = load_upscaler(folder), load_upscaler(tmp_path / "run")
    assert np.array_equal(one.upscale(image).image, other.upscale(image).image)
    assert read_manifest(tmp_path / "run").training["origin"]["steps"][-1]["loss"] == "esu"


def test_a_killed_head_step_resumes_to_the_bit(trained, tmp_path, monkeypatch):
    config, straight = trained

    def die(*arguments):
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(run, "calibrate_theta", die)
        for call in range(2):  # dies before the calibration; then inside the last step
            with pytest.raises(MemoryError):
                train(Config.model_validate(config), tmp_path / "run")
            if call == 0:
                (tmp_path / "run/weights/step3-esu.weights.h5").unlink()
                patch.setattr(step, "save_weights", die)
    assert (tmp_path / "run/checkpoint.npz").exists()
    train_weights(config, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run", 3)


@pytest.mark.slow
def test_dpdnn_gets_a_head_on_its_last_features(tmp_path):
    config = three_steps(tmp_path, "dpdnn")
    config["optimizer"] = {"name": "sgd", "learning_rate": 1e-6}
    config["steps"] = [{"loss": "l1", "updates": 2}, HEAD]
    train(Config.model_validate(config), tmp_path / "run")
    model = load_upscaler(tmp_path / "run")
    assert model.networks.mean is model.networks.uncertainty
    theta = model.upscale(noise_image(16, 18)).theta
    assert theta.shape == (32, 36, 3)
    assert np.isfinite(theta).all()
    assert model.calibration.images == 1  # the one that is held out


def test_a_loss_that_trains_no_head_is_refused(tmp_path):
    config = three_steps(tmp_path)
    config["steps"][2] = {**HEAD, "loss": "l1"}
    with pytest.raises(UserError, match=r"steps\.2\.train is 'uncertainty_head', but loss 'l1'"):
        make_losses(Config.model_validate(config))
