"""Runs that are extended by more updates."""

import json
import shutil

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.runs import curve, loss_curve, same_weights, stop_at, tiny_config, weights

from udl_tf._support.json_files import write_json
from udl_tf.config import Config
from udl_tf.errors import Interrupted, UserError
from udl_tf.saved.loading import load_upscaler
from udl_tf.training import extension, run
from udl_tf.training import step as training_step
from udl_tf.training.checkpoint import (
    Progress,
    read_progress,
    weight_arrays,
    write_checkpoint,
)
from udl_tf.training.run import train
from udl_tf.training.run_folder import RunFolder, with_note

IMAGE = noise_image(12, 16)


def with_updates(config, step, updates):
    """Returns a config with another number of updates in a step, counted from 0."""
    steps = list(config.steps)
    steps[step] = steps[step].model_copy(update={"updates": updates})
    return config.model_copy(update={"steps": steps})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(config, run folder) of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    content = tiny_config(folder)
    content["optimizer"] = {"learning_rate": 1e-2, "schedule": "cosine", "ema": 0.5}
    content["steps"] = [{"loss": "l1", "updates": 5}, {"loss": "l1", "updates": 40}]
    content["training"] |= {"interval": 10, "log_every": 1}
    config = Config.model_validate(content)
    train(config, folder / "run")
    return config, folder / "run"


@pytest.fixture(scope="module")
def extended(finished, tmp_path_factory):
    """(config, run folder) of the same run, extended by 12 updates."""
    config, before = finished
    folder = tmp_path_factory.mktemp("extended") / "run"
    shutil.copytree(before, folder)
    longer = with_updates(config, 1, 52)
    train(longer, folder, extend=True)
    return longer, folder


@pytest.fixture
def copied(finished, tmp_path):
    """(config, run folder) of a copy of the finished run."""
    config, folder = finished
    shutil.copytree(folder, tmp_path / "run")
    return config, tmp_path / "run"


@pytest.mark.slow
def test_a_finished_run_continues_from_its_last_weights_with_a_new_schedule(finished, extended):
    _, before = finished
    config, after = extended
    log = (after / "log.txt").read_text()
    assert "step 2/2 l1: extended from update 40, new schedule over the last 12 updates" in log
    # Step 1 has 5 updates.
    losses = loss_curve(after / "tensorboard/step2-l1")
    first, last, next_ = losses[6], losses[45], losses[46]
    assert first > 2 * last
    assert next_ < last + 0.1 * (first - last)
    rates = curve(after / "tensorboard/step2-l1", "train/learning_rate")
    assert [rates[6], rates[45]] == pytest.approx([1e-2, 0], rel=0.02, abs=1e-4)
    expected = [1e-2 * (1 + np.cos(np.pi * done / 12)) / 2 for done in range(1, 13)]
    assert [rates[46 + i] for i in range(12)] == pytest.approx(expected, abs=1e-6)
    _, note = json.loads((after / "metrics.json").read_text())["steps"]
    assert (note["updates"], note["extended_from"]) == (52, [40])
    assert [entry["update"] for entry in note["validation"]] == [10, 20, 30, 40, 50, 52]
    assert RunFolder(after, config).stored_config() == RunFolder(after, config).config
    assert not (after / "checkpoint.npz").exists()
    assert same_weights(before, after, 1)
    assert not same_weights(before, after, 2)


@pytest.mark.slow
def test_the_bundle_is_usable_during_an_extension_which_resumes_exactly(
    copied, extended, monkeypatch
):
    _, folder = copied
    config, undisturbed = extended
    before = load_upscaler(folder).upscale(IMAGE).image

    def die(*arguments):
        raise MemoryError("killed")

    with monkeypatch.context() as patch:  # between the new checkpoint and the new config
        patch.setattr(extension, "write_json", die)
        with pytest.raises(MemoryError):
            train(config, folder, extend=True)
    with monkeypatch.context() as patch:  # before the first update
        patch.setattr(run, "train_step", die)
        with pytest.raises(MemoryError):
            train(config, folder, extend=True)
    assert read_progress(folder).extended_from == [40]
    with monkeypatch.context() as patch:
        stop_at(50, patch)
        with pytest.raises(Interrupted, match="stopped after update 50 of step 2/2 l1"):
            train(config, folder)
    assert np.array_equal(load_upscaler(folder).upscale(IMAGE).image, before)
    train(config, folder)
    assert same_weights(undisturbed, folder, 2)
    assert not np.array_equal(load_upscaler(folder).upscale(IMAGE).image, before)
    assert "step 2/2 l1: resumes after update 50 of 52" in (folder / "log.txt").read_text()


def test_an_extension_stopped_before_its_config_leaves_the_finished_run(copied, monkeypatch):
    config, folder = copied
    before = weights(folder, 2)

    def die(*arguments):
        raise MemoryError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(extension, "write_json", die)
        with pytest.raises(MemoryError):
            train(with_updates(config, 1, 50), folder, extend=True)
    train(config, folder)
    after = weights(folder, 2)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_the_same_of_a_step_stopped_after_its_last_update(copied):
    config, folder = copied
    before = weights(folder, 2)
    arrays = weight_arrays(load_upscaler(folder).networks.mean)
    write_checkpoint(folder, Progress(1, 40, extended_from=[40]), arrays)
    (folder / "weights/step2-l1.weights.h5").unlink()
    train(config, folder)
    after = weights(folder, 2)
    assert all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_a_stopped_step_is_extended_from_its_checkpoint(finished, tmp_path, monkeypatch):
    config, folder = finished[0], tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(10, patch)
        config = with_updates(config, 0, 20)
        with pytest.raises(Interrupted, match="stopped after update 10 of step 1/2 l1"):
            train(config, folder)
    longer = with_updates(with_updates(config, 0, 22), 1, 3)
    with pytest.raises(UserError, match=r"steps\.1\.updates was 40 and is now 3\): an exten"):
        train(longer, folder, extend=True)
    longer = with_updates(with_updates(config, 0, 22), 1, 41)
    notes = train(longer, folder, extend=True)
    log = (folder / "log.txt").read_text()
    assert "step 1/2 l1: extended from update 10, new schedule over the last 12 updates" in log
    assert [entry["updates"] for entry in notes["steps"]] == [22, 41]
    assert notes["steps"][0]["extended_from"] == [10]
    assert "extended_from" not in notes["steps"][1]


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_an_earlier_step_is_extended_and_later_ones_are_trained_again(
    finished, tmp_path, monkeypatch, stopped
):
    """From a finished run, and from one stopped in its second step; the same results."""
    config, folder = finished[0], tmp_path / "run"
    if stopped:
        with monkeypatch.context() as patch:
            stop_at(20, patch)
            with pytest.raises(Interrupted, match="stopped after update 20 of step 2/2"):
                train(config, folder)
    else:
        shutil.copytree(finished[1], folder)
        before = load_upscaler(folder).upscale(IMAGE).image

    def die(*arguments):
        raise MemoryError("killed")

    longer = with_updates(config, 0, 9)
    with monkeypatch.context() as patch:
        patch.setattr(training_step, "save_weights", die)
        with pytest.raises(MemoryError):
            train(longer, folder, extend=True)
    if not stopped:  # the previous model is kept while the step is extended
        assert np.array_equal(load_upscaler(folder).upscale(IMAGE).image, before)
        assert "results" in json.loads((folder / "metrics.json").read_text())
    running = json.loads((folder / "running/metrics.json").read_text())
    assert [entry["updates_done"] for entry in running["steps"]] == [9]
    assert "results" not in running  # those of the previous model
    notes = train(longer, folder)
    log = (folder / "log.txt").read_text()
    assert "step 1/2 l1: extended from update 5, new schedule over the last 4 updates" in log
    assert ("later steps will be trained again" in log) == (not stopped)
    assert [(n["updates"], n.get("extended_from")) for n in notes["steps"]] == [
        (9, [5]),
        (40, None),
    ]
    assert [entry["update"] for entry in notes["steps"][1]["validation"]] == [10, 20, 30, 40]
    other = tmp_path / "other"  # the second step from the extended weights, in a run of its own
    shutil.copytree(folder, other)
    (other / "weights/step2-l1.weights.h5").unlink()
    train(longer, other)
    assert same_weights(folder, other, 2)
    assert not same_weights(folder, finished[1], 2)


@pytest.mark.parametrize(
    ("step", "updates", "extend", "message"),
    [
        (1, 50, False, r"steps\.1\.updates was 40 and is now 50\): .* or extend the run"),
        (1, 30, False, r"steps\.1\.updates was 40 and is now 30\): .* to resume it"),
        (
            1,
            30,
            True,
            r"steps\.1\.updates was 40 and is now 30\): an extension may only add updates",
        ),
    ],
)
def test_other_extensions_are_one_line(finished, step, updates, extend, message):
    config, folder = finished
    with pytest.raises(UserError, match=message) as caught:
        train(with_updates(config, step, updates), folder, extend)
    assert "\n" not in str(caught.value)
    assert caught.value.argument == ("extend" if "or extend" in message else "output")


def test_an_extension_that_changes_another_key_is_one_line(finished):
    config, folder = finished
    other = config.model_copy(
        update={"training": config.training.model_copy(update={"log_every": 2})}
    )
    with pytest.raises(UserError, match=r"training\.log_every was 1 and is now 2.*may only add"):
        train(with_updates(other, 1, 50), folder, extend=True)


def test_a_further_extension_keeps_the_running_one_of_an_earlier_step(copied):
    config, folder = copied
    longer = with_updates(config, 0, 9)
    extension.extend_run(folder, longer, run.make_losses(config))
    longest = with_updates(longer, 1, 50)
    extension.extend_run(folder, longest, run.make_losses(config))
    progress = read_progress(folder)
    assert (progress.step, progress.update, progress.extended_from) == (0, 5, [5])
    assert RunFolder(folder, longest).stored_config().steps == longest.steps


def test_a_run_without_metrics_json_is_finished_and_can_be_extended(copied):
    config, folder = copied
    (folder / "metrics.json").unlink()
    finished = RunFolder(folder, config)
    assert finished.finished(0)
    assert finished.finished(1)
    extension.extend_run(folder, with_updates(config, 1, 50), run.make_losses(config))
    assert read_progress(folder) == Progress(1, 40, extended_from=[40])


def test_entries_of_metrics_json_belong_to_the_step_that_they_name(copied):
    config, folder = copied
    second = {"step": 2, "updates": 3}
    write_json(folder / "metrics.json", {"steps": [second]})
    found = RunFolder(folder, config)
    assert found.finished(0)  # 5 updates
    assert not found.finished(1)  # 40 updates
    first = {"step": 1, "updates": 5}
    assert with_note({"steps": [second]}, first) == {"steps": [first]}
    assert with_note({"steps": [first]}, second) == {"steps": [first, second]}


def test_a_run_without_the_checkpoint_of_its_extension_is_not_finished(copied, monkeypatch):
    config, folder = copied
    longer = with_updates(config, 1, 50)
    monkeypatch.setattr(run, "train_step", lambda session, index: pytest.fail(f"step {index}"))
    with pytest.raises(pytest.fail.Exception, match="step 1"):
        train(longer, folder, extend=True)
    (folder / "checkpoint.npz").unlink()
    with pytest.raises(pytest.fail.Exception, match="step 1"):
        train(longer, folder)
