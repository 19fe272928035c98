"""What can befall a run, within one process: each of these once ended wrong."""

import json
import signal

import h5py
import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.config import Config
from udl_tf.errors import Interrupted, UserError
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.saved.bundle import read_manifest
from udl_tf.saved.loading import load
from udl_tf.training import run as run_process
from udl_tf.training.callbacks import Diverged
from udl_tf.training.run import train
from udl_tf.training.validation import Validation


@pytest.fixture
def config(tmp_path):
    for index in range(6):
        write_rgb(tmp_path / f"images/{index}.png", noise_image(32, 36, index))
    folder = [str(tmp_path / "images")]
    return {
        "model": {"scale": 2, "options": {"num_blocks": 1, "num_filters": 4}},
        "data": {
            "hr_patch_size": 16,
            "batch_size": 2,
            "train": folder,
            "test": folder,
            "cache_dir": str(tmp_path / "cache"),
        },
        "optimizer": {"learning_rate": 1e-2, "ema": 0.9},
        "steps": [{"loss": "l1", "updates": 6}, {"loss": "l1", "updates": 4}],
        "training": {"precision": "float32", "interval": 3},
        "evaluation": {"figures": 0},
    }


def weights(folder, step):
    (file,) = (folder / "weights").glob(f"step{step}-*")
    with h5py.File(file) as content:
        found = []
        content.visititems(
            lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None
        )
    return found


def test_killed_after_the_last_update_still_ends_with_the_average(config, tmp_path, monkeypatch):
    parsed = Config.model_validate(config)
    train(parsed, tmp_path / "straight")

    def die(*arguments):
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(run_process, "save_weights", die)
        with pytest.raises(MemoryError):
            train(parsed, tmp_path / "killed")
    assert (tmp_path / "killed/checkpoint.npz").exists()
    train(parsed, tmp_path / "killed")
    for step in (1, 2):
        straight, killed = (weights(tmp_path / name, step) for name in ("straight", "killed"))
        assert all(np.array_equal(a, b) for a, b in zip(straight, killed, strict=True))


def test_ctrl_c_during_the_last_validation_of_a_step_is_heard(config, tmp_path, monkeypatch):
    assess = Validation.__call__

    def judge_and_interrupt(self, update):
        if update == 6:
            signal.raise_signal(signal.SIGINT)
        return assess(self, update)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "__call__", judge_and_interrupt)
        with pytest.raises(Interrupted, match="the same command goes on"):
            train(Config.model_validate(config), tmp_path / "run")
    assert [p.name for p in (tmp_path / "run/weights").iterdir()] == ["step1-l1.weights.h5"]
    notes = train(Config.model_validate(config), tmp_path / "run")
    assert [step["updates"] for step in notes["steps"]] == [6, 4]


def test_weights_that_are_not_finite_end_no_step(config, tmp_path):
    config["optimizer"] = {"name": "sgd", "learning_rate": 1e38, "schedule": "constant"}
    config["steps"] = [{"loss": "mse", "updates": 1}]
    config["training"]["interval"] = 1000
    with pytest.raises(Diverged, match="after update 1"):
        train(Config.model_validate(config), tmp_path / "run")
    assert not list((tmp_path / "run/weights").iterdir())
    assert not (tmp_path / "run/checkpoint.npz").exists()


def test_a_picture_that_vanishes_while_training_is_named(config, tmp_path, monkeypatch):
    config["data"]["memory_gb"] = 1e-9  # nothing stays in memory
    create = run_process.RunFolder.create

    def create_and_lose(self, precision):
        create(self, precision)
        for file in (tmp_path / "images").iterdir():
            file.unlink()

    monkeypatch.setattr(run_process.RunFolder, "create", create_and_lose)
    with pytest.raises(UserError, match=r"images/\d\.png: no such file"):
        train(Config.model_validate(config), tmp_path / "run")


def test_test_images_are_looked_at_before_training(config, tmp_path):
    write_rgb(tmp_path / "judged/small.png", noise_image(12, 40))
    config["data"]["test"] = [str(tmp_path / "judged")]
    with pytest.raises(UserError, match=r"small\.png: 40x12 pixels; to be judged at x2"):
        train(Config.model_validate(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 torn"])
def test_a_damaged_checkpoint_is_one_line(config, tmp_path, content):
    parsed = Config.model_validate(config)
    train(parsed, tmp_path / "run")
    (tmp_path / "run/weights/step2-l1.weights.h5").unlink()
    (tmp_path / "run/checkpoint.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged: delete it"):
        train(parsed, tmp_path / "run")


def test_a_flat_picture_leaves_valid_json(config, tmp_path):
    write_rgb(tmp_path / "flat/flat.png", np.zeros((32, 32, 3), np.uint8))
    config["data"]["test"] = [str(tmp_path / "flat")]
    train(Config.model_validate(config), tmp_path / "run")
    text = (tmp_path / "run/metrics.json").read_text()
    assert "Infinity" not in text
    assert json.loads(text)["results"][0]["bicubic_psnr_y"] is None


def test_a_run_starts_from_a_model_of_another_scale(config, tmp_path):
    config["steps"] = [{"loss": "esu", "updates": 3}]
    train(Config.model_validate(config), tmp_path / "x2")
    origin = load(tmp_path / "x2").networks.uncertainty
    config["model"]["scale"], config["data"]["hr_patch_size"] = 3, 24
    config["training"]["start_from"] = str(tmp_path / "x2")
    config["optimizer"]["learning_rate"] = 1e-12
    parsed = Config.model_validate(config)
    train(parsed, tmp_path / "x3")
    made = load(tmp_path / "x3").networks.uncertainty
    for layer in origin.layers:
        taken = made.get_layer(layer.name).get_weights()
        for old, new in zip(layer.get_weights(), taken, strict=True):
            assert (layer.name == "upsample0") == (old.shape != new.shape), layer.name
            assert old.shape != new.shape or np.allclose(old, new, atol=1e-6), layer.name
    assert "layers that begin anew: upsample0" in (tmp_path / "x3/log.txt").read_text()
    training = [read_manifest(tmp_path / name).training for name in ("x2", "x3")]
    assert training[0]["origin"] is None
    assert training[1]["origin"] == {"name": "x2", **training[0]}


@pytest.mark.parametrize(
    ("change", "part"),
    [({"start_from": "gone"}, "gone: no such"), ({"start_from": "edsr_s_x4"}, "is of 'edsr_s'")],
)
def test_a_start_that_does_not_fit_is_one_line(config, tmp_path, change, part):
    config["model"] = {"name": "dpdnn", "scale": 2}
    config["training"].update(change)
    with pytest.raises(UserError, match=part):
        train(Config.model_validate(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_that_mean_something_else_are_no_start(config, tmp_path):
    config["model"] = {"scale": 2, "options": {"shift": 127.5}}
    config["training"]["start_from"] = "edsr_s_x4"
    with pytest.raises(UserError, match=r"with divide 127\.5, not 1\.0: set model"):
        train(Config.model_validate(config), tmp_path / "run")
