"""Runs that are killed, stopped, given bad data, or started from another model."""

import errno
import json
import shutil
import signal

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import make_run
from helpers.runs import same_weights, stop_at, tiny_config

from udl_tf.config import Config
from udl_tf.data.split import Split
from udl_tf.errors import Interrupted, UserError
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.models import build_model
from udl_tf.models.weight_files import save_weights
from udl_tf.saved.bundle import NetworkFile, read_manifest, write_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.training import run, step
from udl_tf.training.callbacks import Diverged
from udl_tf.training.checkpoint import read_progress
from udl_tf.training.data import load_data
from udl_tf.training.run import train
from udl_tf.training.trainer import Trainer
from udl_tf.training.validation import Validation


@pytest.fixture
def config(tmp_path):
    return tiny_config(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(config, run folder) of a run with two steps that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = Config.model_validate(tiny_config(folder))
    train(config, folder / "run")
    return config, folder / "run"


@pytest.mark.slow
def test_a_run_killed_after_the_last_update_resumes_to_the_moving_average(
    undisturbed, tmp_path, monkeypatch
):
    config, straight = undisturbed

    def die(*arguments):
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(step, "save_weights", die)
        with pytest.raises(MemoryError):
            train(config, tmp_path / "killed")
    assert (tmp_path / "killed/checkpoint.npz").exists()
    train(config, tmp_path / "killed")
    assert same_weights(straight, tmp_path / "killed", 1)
    assert same_weights(straight, tmp_path / "killed", 2)


@pytest.mark.slow
def test_ctrl_c_during_the_last_validation_of_a_step_stops_after_the_step(
    undisturbed, tmp_path, monkeypatch
):
    config, straight = undisturbed
    validate = Validation.__call__

    def validate_and_interrupt(self, update):
        if update == 6:
            signal.raise_signal(signal.SIGINT)
        return validate(self, update)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "__call__", validate_and_interrupt)
        with pytest.raises(Interrupted, match=r"stopped after the end of l1, .* same command"):
            train(config, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run/weights").iterdir()] == ["step1-l1.weights.h5"]
    notes = train(config, tmp_path / "run")
    assert [entry["updates"] for entry in notes["steps"]] == [6, 4]
    assert same_weights(straight, tmp_path / "run", 2)


@pytest.mark.slow
def test_a_disk_that_fills_up_during_a_checkpoint_leaves_the_previous_one(
    undisturbed, tmp_path, monkeypatch
):
    config, straight = undisturbed
    savez, written = np.savez, []

    def fill(path, **content):
        if written:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        savez(path, **content)

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fill)
        with pytest.raises(OSError, match=r"No space left on device: .*run/checkpoint\.npz"):
            train(config, tmp_path / "run")
    assert read_progress(tmp_path / "run").update == 3
    assert not list((tmp_path / "run").rglob("*.part*"))
    train(config, tmp_path / "run")
    assert same_weights(straight, tmp_path / "run", 1)
    assert same_weights(straight, tmp_path / "run", 2)


def test_a_step_does_not_end_with_weights_that_are_not_finite(config, tmp_path):
    config["optimizer"] = {"name": "sgd", "learning_rate": 1e38, "schedule": "constant"}
    config["steps"] = [{"loss": "mse", "updates": 1}]
    config["training"]["interval"] = 1000
    with pytest.raises(Diverged, match="after update 1"):
        train(Config.model_validate(config), tmp_path / "run")
    assert not list((tmp_path / "run/weights").iterdir())
    assert not (tmp_path / "run/checkpoint.npz").exists()


def test_an_update_is_traced_once(config, tmp_path, monkeypatch):
    """The variables of the optimizer exist before; otherwise TensorFlow traces twice."""
    traced = []
    train_step = Trainer.train_step

    def count(self, *args):
        traced.append(len(self.optimizer.variables))
        return train_step(self, *args)

    monkeypatch.setattr(Trainer, "train_step", count)
    train(Config.model_validate(config), tmp_path / "run")
    assert len(traced) == len(config["steps"]) == 2
    assert min(traced) > 2  # more than iteration and learning rate


def test_an_image_that_vanishes_during_training_is_named(config, tmp_path, monkeypatch):
    config["data"]["memory_gb"] = 1e-9  # nothing stays in memory
    create = run.RunFolder.create

    def create_and_lose(self, *decisions):
        create(self, *decisions)
        for file in (tmp_path / "images").iterdir():
            file.unlink()

    monkeypatch.setattr(run.RunFolder, "create", create_and_lose)
    with pytest.raises(UserError, match=r"images/\d\.png: no such file"):
        train(Config.model_validate(config), tmp_path / "run")


def test_an_image_added_before_a_run_resumes_is_trained_on(config, tmp_path, monkeypatch):
    """It comes first, which would draw other held-out images."""
    images, run_folder = tmp_path / "images", tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(Interrupted):
            train(Config.model_validate(config), run_folder)
    before = json.loads((run_folder / "images.json").read_text())
    assert [len(before[part]) for part in ("training", "held_out")] == [5, 1]
    write_rgb(images / "00.png", noise_image(32, 36, 9))
    notes = train(Config.model_validate(config), run_folder)
    assert json.loads((run_folder / "images.json").read_text()) == before
    text = "6 images, 1 more held out for validation; images changed since the run began: 1 added"
    assert text in notes["data"]["text"]
    assert f"{text}, 0 removed" in (run_folder / "log.txt").read_text()
    split = Split.model_validate(before)
    data = load_data(Config.model_validate(config), split, tmp_path / "cache")
    assert [source.name for source in data.held_out.sources] == before["held_out"]
    assert str(images / "00.png") in {source.name for source in data.training.sources}


def test_test_images_are_checked_before_training(config, tmp_path):
    write_rgb(tmp_path / "test/small.png", noise_image(12, 40))
    config["data"]["test"] = [str(tmp_path / "test")]
    with pytest.raises(UserError, match=r"small\.png: 40x12 pixels; evaluation at x2 needs"):
        train(Config.model_validate(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_a_damaged_checkpoint_is_one_line(undisturbed, tmp_path, content):
    config, straight = undisturbed
    shutil.copytree(straight, tmp_path / "run")
    (tmp_path / "run/weights/step2-l1.weights.h5").unlink()
    (tmp_path / "run/checkpoint.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged: delete it"):
        train(config, tmp_path / "run")


def test_a_user_without_a_home_has_the_cache_in_the_run_folder(config, tmp_path, monkeypatch):
    config["data"]["cache_dir"] = None
    config["steps"] = [{"loss": "l1", "updates": 1}]
    config, folder = Config.model_validate(config), tmp_path / "run"
    (tmp_path / "home").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home/cache"))
    with monkeypatch.context() as patched:
        patched.setattr(run, "_begin", None)  # stopped between reading the images and the start
        with pytest.raises(TypeError):
            train(config, folder)
    assert len(list((folder / "cache").glob("*.png"))) == 6
    train(config, folder)
    assert f"cache: {folder / 'cache'}, as the user's" in (folder / "log.txt").read_text()


def test_a_flat_image_gives_valid_json(config, tmp_path):
    write_rgb(tmp_path / "flat/flat.png", np.zeros((32, 32, 3), np.uint8))
    config["data"]["test"] = [str(tmp_path / "flat")]
    config["steps"] = [{"loss": "l1", "updates": 1}]
    train(Config.model_validate(config), tmp_path / "run")
    text = (tmp_path / "run/metrics.json").read_text()
    assert "Infinity" not in text
    assert json.loads(text)["results"][0]["bicubic_psnr_y"] is None
    assert (
        "| flat     | 1      | inf (bicubic inf)" in (tmp_path / "run/preset/README.md").read_text()
    )


@pytest.mark.slow
def test_a_run_starts_from_a_model_of_another_scale(undisturbed, config, tmp_path):
    options = config["model"]["options"]
    trained = make_run(tmp_path / "x2", "edsr_s", 2, **options)
    history = read_manifest(undisturbed[1]).training
    assert history["origin"] is None
    file = "weights/mean.weights.h5"
    save_weights(build_model("edsr_s", 2, uncertainty=False, **options), trained / file)
    changes = {"mean": NetworkFile(weights=file, log_scale_head=None), "training": history}
    write_manifest(trained, read_manifest(trained).model_copy(update=changes))
    config["model"]["scale"], config["data"]["hr_patch_size"] = 3, 24
    config["steps"] = [{"loss": "esu", "updates": 2}]
    config["training"]["start_from"] = str(trained)
    config["optimizer"]["learning_rate"] = 1e-12
    train(Config.model_validate(config), tmp_path / "x3")
    origin, networks = load_upscaler(trained).networks, load_upscaler(tmp_path / "x3").networks
    for layer in networks.uncertainty.layers:
        part = origin.uncertainty if layer.name.startswith("log_scale") else origin.mean
        expected = part.get_layer(layer.name).get_weights()
        for old, new in zip(expected, layer.get_weights(), strict=True):
            assert (layer.name == "upsample0") == (old.shape != new.shape), layer.name
            assert old.shape != new.shape or np.allclose(old, new, atol=1e-6), layer.name
    assert "layers with new weights: upsample0" in (tmp_path / "x3/log.txt").read_text()
    expected = {"name": "x2", **history}
    assert read_manifest(tmp_path / "x3").training["origin"] == expected


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"start_from": "gone"}, "gone: no such"),
        ({"start_from": "edsr_s_x4"}, "edsr_s_x4: the model is 'edsr_s', expected 'dpdnn'"),
    ],
)
def test_a_start_from_an_unsuitable_model_is_one_line(config, tmp_path, change, part):
    config["model"] = {"name": "dpdnn", "scale": 2}
    config["training"].update(change)
    with pytest.raises(UserError, match=part):
        train(Config.model_validate(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        ("beta_nll", {"beta": "1.0"}, r"beta: got '1\.0'; Input should be a valid number"),
        ("beta_nll", {"beta": None}, "beta: got None; Input should be a valid number"),
        ("beta_nll", {"beta": -1}, r"beta must be in 0\.\.2\. Received: beta=-1"),
        ("gram", {"unit": 0}, "unit must be positive. Received: unit=0"),
        ("gram", {"power": -2.0}, r"power must be positive\. Received: power=-2\.0"),
        ("gram", {"units": 1}, "unexpected keyword argument 'units'"),
    ],
)
def test_wrong_options_of_a_loss_are_one_line(config, loss, options, message):
    config["steps"] = [{"loss": loss, "loss_options": options, "updates": 2}]
    with pytest.raises(UserError, match=rf"^steps\.0\.loss_options.*{message}"):
        run.make_losses(Config.model_validate(config))


def test_a_start_from_weights_of_another_meaning_is_one_line(config, tmp_path):
    config["model"] = {"scale": 2, "options": {"shift": 127.5}}
    config["training"]["start_from"] = "edsr_s_x4"
    with pytest.raises(UserError, match=r"with divide 127\.5, not 1\.0: set model"):
        train(Config.model_validate(config), tmp_path / "run")
