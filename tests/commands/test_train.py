"""udl-tf train and evaluate: the run folder, resuming, stopping, bad input."""

import json
import logging
import re
import shutil
import signal

import h5py
import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command, run_process
from helpers.images import noise_image
from helpers.with_signal import SignalAt

from udl_tf.imaging.rgb_files import write_rgb

TINY = {
    "model": {"name": "edsr_s", "scale": 2, "options": {"num_blocks": 1, "num_filters": 8}},
    "data": {
        "hr_patch_size": 16,
        "batch_size": 2,
        "degradations": [
            {"kind": "noise", "probability": 0.5, "sigma": [0, 4]},
            {"kind": "jpeg", "quality": [70, 95], "probability": 0.8},
        ],
    },
    "optimizer": {"name": "muon", "learning_rate": 1e-3, "schedule": "cosine", "ema": 0.9},
    "steps": [
        {"loss": "esu", "updates": 40},
        {"loss": "udl", "updates": 40, "weighting": {"floor": 1.0}},
    ],
    "training": {"precision": "float32", "interval": 10, "log_every": 1},
    "evaluation": {"figures": 1},
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with training images, test images, a cache and a config that uses them."""
    folder = tmp_path_factory.mktemp("work")
    for name, count in (("train", 6), ("test", 2)):
        for index in range(count):
            write_rgb(folder / name / f"{index}.png", noise_image(48, 40, index))
    config = json.loads(json.dumps(TINY))
    config["data"] |= {"train": [str(folder / "train")], "test": [str(folder / "test")]}
    config["data"]["cache_dir"] = str(folder / "cache")
    (folder / "tiny.json").write_text(json.dumps(config))
    return folder


def options(workplace, run, *more):
    return ["--config", workplace / "tiny.json", "--output", workplace / run, *more]


def train(workplace, run, *more):
    return run_command("train", *options(workplace, run, *more))


@pytest.fixture(scope="module")
def finished(workplace):
    """A run that was not interrupted, and the outcome of its command."""
    result = train(workplace, "undisturbed")
    assert result.returncode == 0, result.stderr
    return workplace / "undisturbed", result


def weights(run):
    found = {}
    for file in sorted((run / "weights").iterdir()):
        with h5py.File(file) as content:
            content.visititems(
                lambda name, item, file=file: (
                    found.__setitem__((file.name, name), np.array(item))
                    if isinstance(item, h5py.Dataset)
                    else None
                )
            )
    assert found
    return found


def step_notes(run):
    return json.loads((run / "metrics.json").read_text())["steps"]


def test_a_run_folder_holds_everything(finished):
    run, result = finished
    for name in ("config.json", "versions.json", "model.json", "log.txt", "results.md"):
        assert (run / name).stat().st_size > 0
    assert sorted(p.name for p in (run / "weights").iterdir()) == [
        "step1-esu.weights.h5", "step2-udl.weights.h5",
    ]  # fmt: skip
    assert (run / "figures/test_0.png").stat().st_size > 10_000
    assert not (run / "checkpoint.npz").exists()
    metrics = json.loads((run / "metrics.json").read_text())
    (row,) = metrics["results"]
    keys = {"dataset", "scale", "images", "psnr_y", "ssim_y", "bicubic_psnr_y", "bicubic_ssim_y"}
    assert keys <= set(row)
    assert (row["dataset"], row["scale"], row["images"]) == ("test", 2, 2)
    assert [s["updates"] for s in metrics["steps"]] == [40, 40]
    assert "bicubic" in result.stderr
    assert "patches/s" in result.stderr
    assert (run / "results.md").read_text().startswith("| PSNR-Y dB / SSIM-Y | test ×2 (2)")


def test_a_run_calibrates_theta_on_held_out_images(finished):
    run, _ = finished
    calibration = json.loads((run / "model.json").read_text())["calibration"]
    number, text = calibration["images"], "noise:0..4 on 50 % + jpeg:70..95 on 80 %"
    assert calibration["data"] == f"{number} held-out training images, degraded by {text}"
    report = json.loads((run / "calibration/report.json").read_text())
    assert report["calibration"] == calibration
    (held_out,) = report["sets"]
    assert held_out["nll"]["calibrated"] < held_out["nll"]["as trained"]
    assert (run / "calibration/held-out_training_images.png").stat().st_size > 10_000


def test_a_run_states_its_degradations(finished):
    run, result = finished
    text = "LR images degraded by noise:0..4 on 50 % + jpeg:70..95 on 80 %"
    data = json.loads((run / "model.json").read_text())["training"]["data"]
    assert text in data["text"]
    config = json.loads((run / "config.json").read_text())
    assert data["degradations"] == config["data"]["degradations"]
    assert text in (run / "results.md").read_text()
    assert text in result.stderr
    (row,) = json.loads((run / "metrics.json").read_text())["results"]
    assert "degrade" not in row  # the test set stays clean


def test_tensorboard_shows_training_and_validation(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = finished
    for step in ("step1-esu", "step2-udl"):
        sizes = {"scalars": 0, "images": 0}
        events = EventAccumulator(str(run / "tensorboard" / step), size_guidance=sizes)
        events.Reload()
        expected = {"train/loss", "train/learning_rate", "train/patches_per_second"}
        expected |= {"train/share_of_time_waiting_for_data"}
        expected |= {"validation/psnr_y", "validation/ssim_y"}
        expected |= {"validation/s_min", "validation/s_mean", "validation/s_max"}
        assert set(events.Tags()["scalars"]) == expected
        assert [e.step for e in events.Scalars("train/loss")] == list(range(1, 41))
        assert events.Tags()["images"] == ["validation/row"]
        assert [e.step for e in events.Images("validation/row")] == [10, 20, 30, 40]


def train_killed_at(workplace, run, pattern):
    number = int(signal.SIGKILL)
    result = run_process("helpers.with_signal", number, pattern, *options(workplace, run))
    assert result.returncode == -number, result.stderr
    return result


def train_stopped_at(workplace, run, pattern):
    stop = SignalAt(pattern, signal.SIGINT)
    logging.getLogger("udl_tf").addHandler(stop)
    try:
        return train(workplace, run)
    finally:
        logging.getLogger("udl_tf").removeHandler(stop)


@pytest.mark.slow
def test_killed_stopped_and_resumed_equals_undisturbed_to_the_bit(workplace, finished):
    """Killed in either step, then stopped by Ctrl-C, which saves and says how to resume."""
    run = workplace / "disturbed"
    train_killed_at(workplace, run, r"step 1/2 esu .* 13/40")
    result = train_killed_at(workplace, run, r"step 2/2 udl .* 27/40")
    assert re.search(r"step 1/2 esu:? resumes after update 10 of 40", result.stderr)
    result = train_stopped_at(workplace, run, r"step 2/2 udl .* 33/40")
    assert re.search(r"step 2/2 udl:? resumes after update 20 of 40", result.stderr)
    assert result.returncode == 130
    last = result.stderr.rstrip().splitlines()[-1]
    assert "stopped after update 33 of step 2/2 udl" in last
    assert "run the same command again to resume" in last
    result = train(workplace, run)
    assert result.returncode == 0, result.stderr
    assert re.search(r"step 2/2 udl:? resumes after update 33 of 40", result.stderr)
    notes = zip(step_notes(run), step_notes(finished[0]), strict=True)
    assert all(note["validation"] == undisturbed["validation"] for note, undisturbed in notes)
    expected, got = weights(finished[0]), weights(run)
    assert expected.keys() == got.keys()
    for key, value in expected.items():
        assert np.array_equal(value, got[key]), key


# A network that diverged gives NaN, which no image can hold.
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
def test_a_diverging_run_stops_and_keeps_the_last_good_checkpoint(workplace):
    more = ["--set", "optimizer.name=sgd", "--set", "optimizer.learning_rate=1e30"]
    more += ["--set", "optimizer.ema=null", "--set", "training.interval=1"]
    result = train(workplace, "diverged", *more)
    assert_one_line_error(result, "update", "lower optimizer.learning_rate")
    assert not list((workplace / "diverged/weights").iterdir())
    file = workplace / "diverged/checkpoint.npz"
    if file.exists():
        content = np.load(file)
        assert all(np.isfinite(content[k]).all() for k in content.files if k != "progress")


def test_a_run_folder_of_another_config_is_not_changed(workplace, finished):
    before = weights(finished[0])
    result = train(workplace, "undisturbed", "--set", "optimizer.learning_rate=2e-3")
    assert_one_line_error(
        result, "another config", "learning_rate was 0.001 and is now 0.002", "(--output)"
    )
    after = weights(finished[0])
    assert all(np.array_equal(value, after[key]) for key, value in before.items())


def test_a_folder_with_other_files_is_not_changed(workplace):
    result = train(workplace, "train")
    assert_one_line_error(result, "is not empty and holds no run", "choose a new folder")


def bad_data(folder, kind):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if kind == "missing":
        folder.rmdir()
        return
    if kind == "empty":
        return
    for index in range(6):
        write_rgb(folder / f"{index}.png", noise_image(48, 40, index))
    if kind == "truncated":
        content = (folder / "3.png").read_bytes()
        (folder / "3.png").write_bytes(content[: len(content) // 2])
    elif kind == "text":
        (folder / "3.png").write_text("not an image")
    elif kind == "tiny":
        write_rgb(folder / "3.png", noise_image(5, 5))
    elif kind == "wrong scale":
        for index in range(6):
            write_rgb(folder / "HR" / f"{index}.png", noise_image(48, 40, index))
            write_rgb(folder / "LR" / f"{index}.png", noise_image(16, 13, index))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("truncated", ["3.png", "cannot be decoded"]),
        ("text", ["3.png", "not an image"]),
        ("empty", ["holds no image"]),
        ("missing", ["does not exist"]),
        ("tiny", ["3.png: 5x5 pixels", "small_images"]),
        ("wrong scale", ["13x16", "x2 needs 20x24"]),
    ],
)
def test_bad_data_fails_before_anything_is_written(workplace, kind, parts):
    folder = workplace / "bad"
    bad_data(folder, kind)
    result = train(workplace, "never", "--set", f'data.train=["{folder}"]')
    assert_one_line_error(result, *parts)
    assert not (workplace / "never").exists()


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("model.name=edsrs", ["model.name 'edsrs'", "nearest known: edsr"]),
        ("model.options.num_blokcs=3", ["num_blokcs", "num_blocks"]),
        ("steps.0.loss=esuu", ["steps.0.loss", "nearest known: esu"]),
        ("steps.0.loss=l1", ["steps.1.weighting.source", "use 'esu'"]),
        ("steps.0.loss_options.beta=1", ["steps.0.loss_options"]),
        ('distribution.strategy="mirrored"', ["no GPU not found"]),
        ("steps.2.updates=1", ["steps has 2 entries", "(--set)"]),
        ("batch_size", ["expected KEY=VALUE", "(--set)"]),
    ],
)
def test_bad_settings_fail_before_anything_is_written(workplace, override, parts):
    result = train(workplace, "never", "--set", override)
    assert_one_line_error(result, *parts)
    assert not (workplace / "never").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "loss_options", "precision"),
    [
        ("mse", {}, "mixed_bfloat16"),
        ("eu", {}, "mixed_float16"),
        ("gram", {"unit": 1.0, "power": 1.0}, "float32"),
    ],
)
def test_single_step_runs_of_every_loss_and_precision(workplace, loss, loss_options, precision):
    step = [{"loss": loss, "loss_options": loss_options, "updates": 5}]
    more = ["--set", f"steps={json.dumps(step)}", "--set", f"training.precision={precision}"]
    more += ["--set", "training.interval=2", "--set", "evaluation.figures=0"]
    more += ["--set", "optimizer.name=adam", "--set", "optimizer.clip_norm=10"]
    result = train(workplace, loss, *more)
    assert result.returncode == 0, result.stderr
    manifest = json.loads((workplace / loss / "model.json").read_text())
    if loss == "mse":
        assert manifest["uncertainty"] is None
        assert manifest["calibration"] is None
        assert not (workplace / loss / "calibration").exists()
    else:
        unit, power = loss_options.get("unit", 1.0), loss_options.get("power", 1.0)
        uncertainty = manifest["uncertainty"]
        assert (uncertainty["unit"], uncertainty["power"]) == (unit, power)


@pytest.mark.slow
def test_a_mirrored_run_gives_the_result_of_a_single_one(workplace, finished):
    # Without clip_norm, which acts on each replica's gradient before the sum.
    strategy = '{"strategy": "mirrored", "devices": ["CPU:0", "CPU:1"]}'
    more = ["--set", f"distribution={strategy}", "--set", "evaluation.figures=0"]
    result = run_process(  # logical devices have to be set up before TensorFlow runs
        "udl_tf.train", *options(workplace, "mirrored", *more)
    )
    assert result.returncode == 0, result.stderr
    assert "device: CPU:0 + CPU:1" in result.stderr
    assert "device: CPU:0 + CPU:1" not in finished[1].stderr
    (row,), (single,) = (
        json.loads((run / "metrics.json").read_text())["results"]
        for run in (workplace / "mirrored", finished[0])
    )
    assert row["psnr_y"] == pytest.approx(single["psnr_y"], abs=0.02)


def test_evaluate_gives_the_numbers_of_the_run(workplace, finished):
    run, _ = finished
    output = workplace / "evaluated"
    arguments = ["--model", run, "--data", workplace / "test", "--output", output]
    result = run_command("evaluate", *arguments)
    assert result.returncode == 0, result.stderr
    (row,) = json.loads((output / "results.json").read_text())["results"]
    (trained,) = json.loads((run / "metrics.json").read_text())["results"]
    assert row == trained
    assert len(row["per_image"]) == 2
    assert (output / "results.md").read_text() in result.stdout
    assert len(list((output / "figures").iterdir())) == 2


def test_evaluate_degrades_test_images(workplace, finished):
    run, _ = finished
    arguments = ["--model", run, "--data", workplace / "test", "--figures", 0]
    rows = []
    for name in ("degraded", "again"):
        more = ["--output", workplace / name, "--degrade", "noise:10+jpeg:40"]
        result = run_command("evaluate", *arguments, *more)
        assert result.returncode == 0, result.stderr
        assert "PSNR-Y dB / SSIM-Y, LR degraded by noise:10 + jpeg:40" in result.stdout
        rows += json.loads((workplace / name / "results.json").read_text())["results"]
    assert rows[0] == rows[1]
    assert rows[0]["degrade"] == "noise:10 + jpeg:40"
    (clean,) = json.loads((run / "metrics.json").read_text())["results"]
    assert rows[0]["bicubic_psnr_y"] < clean["bicubic_psnr_y"] - 0.5
    assert rows[0]["psnr_y"] != clean["psnr_y"]  # an untrained network: in either direction
    result = run_command("evaluate", *arguments, "--degrade", "jpg:40")
    assert_one_line_error(result, "'jpg' is unknown, nearest known: jpeg", "(--degrade)")


def test_evaluate_needs_a_trained_model(workplace):
    for model, part in ((workplace, "holds no trained model"), (workplace / "x", "no such file")):
        result = run_command("evaluate", "--model", model, "--data", workplace / "test")
        assert_one_line_error(result, part)
