"""The bundle of the running step."""

import json
import shutil

import numpy as np
import pytest
from helpers.commands import run_command, run_process
from helpers.images import noise_image
from helpers.runs import same_weights, stop_at, tiny_config, train_weights
from PIL import Image

from udl_tf._support.files import sha256
from udl_tf.config import Config
from udl_tf.errors import Interrupted, UserError
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.models.weight_files import load_weights
from udl_tf.saved.bundle import build_network, read_manifest
from udl_tf.saved.loading import load_upscaler
from udl_tf.training import run, running, step
from udl_tf.training.checkpoint import read_progress, read_weight_arrays
from udl_tf.training.run import train
from udl_tf.training.run_folder import RunFolder

IMAGE = noise_image(12, 16)


def two_steps(folder):
    """Returns the content of a config with an ESU step and a longer UDL step, without averages."""
    content = tiny_config(folder)
    content["optimizer"] = {"learning_rate": 1e-2, "schedule": "constant"}
    content["steps"] = [
        {"loss": "esu", "updates": 3},
        {"loss": "udl", "updates": 9, "weighting": {}},
    ]
    content["training"] |= {"interval": 2}
    return content


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """(content of the config, run folder) of a run stopped after update 4 of its UDL step."""
    folder = tmp_path_factory.mktemp("stopped")
    content = two_steps(folder)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(4, patch)
        with pytest.raises(Interrupted, match="stopped after update 4 of step 2/2 udl"):
            train(Config.model_validate(content), folder / "run")
    return content, folder / "run"


@pytest.fixture
def copied(stopped, tmp_path):
    """(content of the config, copy of the run folder)."""
    shutil.copytree(stopped[1], tmp_path / "run")
    return stopped[0], tmp_path / "run"


def test_the_bundle_is_complete_and_states_the_updates_done(stopped):
    _, folder = stopped
    bundle = folder / "running"
    assert {path.relative_to(bundle).as_posix() for path in bundle.rglob("*.*")} == {
        "config.json", "metrics.json", "model.json",
        "weights/step1-esu.weights.h5",
        "weights/step2-udl-2.weights.h5", "weights/step2-udl-4.weights.h5",
    }  # fmt: skip
    assert not any(path.is_symlink() for path in bundle.rglob("*"))
    model = (bundle / "model.json").read_text()
    assert str(folder.parent) not in model + (bundle / "metrics.json").read_text()
    esu, udl = read_manifest(bundle).training["steps"]
    assert "updates_done" not in esu
    assert (udl["loss"], udl["updates"], udl["updates_done"]) == ("udl", 9, 4)
    esu, udl = json.loads((bundle / "metrics.json").read_text())["steps"]
    assert esu["updates"] == len(esu["validation"]) + 1 == 3  # validated after updates 2 and 3
    assert (udl["updates"], udl["updates_done"]) == (9, 4)
    assert [entry["update"] for entry in udl["validation"]] == [2, 4]
    assert udl["validation"] == read_progress(folder).validation
    assert udl["validation"][-1]["psnr_y"] > 0
    assert json.loads((bundle / "config.json").read_text())["steps"][1]["updates"] == 9
    assert load_upscaler(
        folder
    ).networks.mean.get_weights()  # the run folder holds the result of step 1
    assert read_manifest(folder).mean.weights == "weights/step1-esu.weights.h5"


def test_a_copy_upscales_in_a_fresh_process_like_the_checkpoint_to_the_bit(stopped, tmp_path):
    """The student computes the image, and the frozen network of step 1 theta."""
    _, folder = stopped
    shutil.copytree(folder / "running", tmp_path / "model")
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    arguments = ["--model", "model", "--output", "out", "--uncertainty", "npy", "image.png"]
    result = run_process("udl_tf.upscale", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    architecture = read_manifest(folder).architecture
    student, frozen = build_network(architecture, None), build_network(architecture, "released")
    arrays = read_weight_arrays(folder)
    student.set_weights([arrays[f"weight{i}"] for i in range(len(arrays))])
    load_weights(frozen, folder / "weights/step1-esu.weights.h5")
    expected = KerasUpscaler(Networks(2, student, frozen)).upscale(IMAGE)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/image.png")), expected.image)
    assert np.array_equal(np.load(tmp_path / "out/image_theta.npy"), expected.theta)


def test_theta_of_a_copy_can_be_calibrated_and_the_copy_evaluated(stopped, tmp_path):
    content, folder = stopped
    shutil.copytree(folder / "running", tmp_path / "model")
    assert read_manifest(tmp_path / "model").calibration is None
    arguments = ["--model", tmp_path / "model", "--data", *content["data"]["test"]]
    result = run_command("calibrate", *arguments, "--no-baselines")
    assert result.returncode == 0, result.stderr
    assert load_upscaler(tmp_path / "model").calibration.images == 6
    result = run_command("evaluate", *arguments, "--figures", 0)
    assert result.returncode == 0, result.stderr
    assert "| model" in result.stdout


def test_a_run_starts_from_it_with_a_new_schedule(stopped, tmp_path):
    content, folder = stopped
    content = json.loads(json.dumps(content))
    content["training"]["start_from"] = str(folder / "running")
    content["optimizer"]["learning_rate"] = 1e-12
    content["steps"] = [{"loss": "l1", "updates": 1}]
    train_weights(content, tmp_path / "new")
    before = load_upscaler(folder / "running").networks.mean.get_weights()
    after = load_upscaler(tmp_path / "new").networks.mean.get_weights()
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True))
    origin = read_manifest(tmp_path / "new").training["origin"]
    assert origin["steps"][1]["updates_done"] == 4


def test_it_is_no_run_to_resume(copied):
    content, folder = copied
    with pytest.raises(UserError, match=r"running: holds the bundle of a running step, which can"):
        train(Config.model_validate(content), folder / "running")


@pytest.mark.parametrize("function", ["save_weights", "write_json", "write_manifest"])
def test_a_run_killed_during_the_replacement_leaves_the_previous_bundle(
    copied, monkeypatch, function
):
    content, folder = copied

    def die(*arguments):
        raise MemoryError("killed")

    before = load_upscaler(folder / "running").upscale(IMAGE)
    with monkeypatch.context() as patch:
        patch.setattr(running, function, die)
        with pytest.raises(MemoryError):
            train(Config.model_validate(content), folder)
    assert read_progress(folder).update == 6  # the checkpoint comes first
    assert read_manifest(folder / "running").training["steps"][1]["updates_done"] == 4
    after = load_upscaler(folder / "running").upscale(IMAGE)
    assert np.array_equal(after.image, before.image)
    assert np.array_equal(after.theta, before.theta)


def test_a_reader_of_the_previous_model_json_finds_its_files(copied, monkeypatch):
    content, folder = copied
    bundle, seen = folder / "running", []

    def write_and_read(*arguments):
        previous = read_manifest(bundle)
        running.write_running_bundle(*arguments)
        for part in (previous.mean, previous.uncertainty):
            assert sha256(bundle / part.weights) == part.sha256
        seen.append(previous.training["steps"][1]["updates_done"])

    monkeypatch.setattr(step, "write_running_bundle", write_and_read)
    stop_at(8, monkeypatch)
    with pytest.raises(Interrupted):
        train(Config.model_validate(content), folder)
    assert seen == [4, 6]
    assert sorted(path.name for path in (bundle / "weights").iterdir()) == [
        "step1-esu.weights.h5",
        "step2-udl-6.weights.h5",
        "step2-udl-8.weights.h5",
    ]


@pytest.mark.slow
def test_after_the_last_update_it_equals_the_bundle_of_the_finished_step(tmp_path, monkeypatch):
    """In a network step, a UDL step and a head step, with moving averages; then it is deleted."""
    content = two_steps(tmp_path) | {"optimizer": {"learning_rate": 1e-2, "ema": 0.9}}
    content["data"]["hr_patch_size"] = 32
    content["steps"].append({"loss": "esu", "train": "uncertainty_head", "updates": 3})
    compared = []

    def compare_and_delete(folder: RunFolder):
        parts = []
        for path in (folder.path, folder.running):
            networks, manifest = load_upscaler(path).networks, read_manifest(path)
            both = [*networks.mean.get_weights(), *networks.uncertainty.get_weights()]
            heads = manifest.mean.log_scale_head, manifest.uncertainty.log_scale_head
            parts.append((networks.mean is networks.uncertainty, heads, both))
        (*finished, expected), (*unfinished, got) = parts
        assert finished == unfinished
        assert all(np.array_equal(a, b) for a, b in zip(expected, got, strict=True))
        compared.append(tuple(finished))
        running.delete_running_bundle(folder)
        assert not folder.running.exists()

    monkeypatch.setattr(run, "delete_running_bundle", compare_and_delete)
    train_weights(content, tmp_path / "run")
    assert compared == [
        (True, ("released", "released")),
        (False, (None, "released")),
        (True, ("light", "light")),
    ]


@pytest.mark.slow
def test_a_run_killed_before_it_is_deleted_finishes_and_deletes_it(copied, tmp_path, monkeypatch):
    content, folder = copied

    def die(*arguments):
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(run, "delete_running_bundle", die)
        with pytest.raises(MemoryError):
            train_weights(content, folder)
    assert (folder / "running/model.json").exists()
    train_weights(content, folder)
    assert not (folder / "running").exists()
    with monkeypatch.context() as patch:  # the same weights as without any such bundle
        patch.setattr(step, "write_running_bundle", lambda *arguments: None)
        train_weights(content, tmp_path / "undisturbed")
    assert same_weights(folder, tmp_path / "undisturbed", 2)
