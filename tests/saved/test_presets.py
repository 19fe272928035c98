"""The trained networks that come with the package."""

import json

import numpy as np
import pytest
from helpers.commands import assert_one_line_error, run_command, run_process
from helpers.images import noise_image
from helpers.models import make_run
from PIL import Image
from preset_from_run import export_preset
from udl_tf.saved.presets.__main__ import card, presets_table

import udl_tf
from udl_tf.data.sources import bundled_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.metrics import psnr_y
from udl_tf.saved import bundle, presets
from udl_tf.saved.loading import load
from udl_tf.saved.presets import __main__ as presets_main


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_beats_bicubic_and_knows_where_it_is_wrong(name):
    model = udl_tf.load(name)
    gains = []
    for picture in bundled_dataset("test").pictures:
        lr, hr = read_pair(picture, model.scale)
        lr = lr[:64, :64]
        hr = hr[: 64 * model.scale, : 64 * model.scale]
        made = model.upscale(lr)
        bicubic = imresize(lr, model.scale)
        gains.append(psnr_y(made.image, hr, model.scale) - psnr_y(bicubic, hr, model.scale))
        error = np.abs(made.image.astype(float) - hr)
        sure = made.theta < np.median(made.theta)
        assert 2 * error[sure].mean() < error[~sure].mean()
    assert np.mean(gains) > 0.5


@pytest.mark.parametrize("name", presets.names())
def test_a_preset_is_small_signed_calibrated_and_says_what_it_is(name):
    manifest = bundle.read_manifest(presets.find(name))
    assert manifest.calibration is not None
    assert manifest.mean.sha256
    assert manifest.licence != "not stated"
    assert manifest.limits != "not stated"
    text = card(name)
    for part in (manifest.licence, manifest.limits, "updates of udl", "BSD100", "80 % hold"):
        assert part in text
    assert "/" not in manifest.training["data"]["text"].replace("images/", "")


def test_all_presets_fit_into_the_wheel():
    sizes = [path.stat().st_size for path in presets.FOLDER.rglob("*.h5")]
    assert sum(sizes) < 39e6
    table = presets_table()
    assert all(name in table for name in presets.names())


def test_a_name_means_the_preset_and_a_path_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert presets.find("edsr_s_x4") == presets.FOLDER / "edsr_s_x4"
    assert str(presets.find("./edsr_s_x4/")) == "edsr_s_x4"
    assert presets.contains(presets.find("edsr_s_x4"))
    assert not presets.contains(tmp_path)
    with pytest.raises(UserError, match=r"no preset: .*edsr_s_x4"):
        udl_tf.load("edsr_x4")


@pytest.mark.parametrize(("outscale", "scale"), [(None, 4), (1.5, 2), (2, 2), (2.5, 3), (8, 4)])
def test_the_usual_preset_is_that_of_the_size_asked_for(outscale, scale, monkeypatch):
    monkeypatch.setattr(
        presets, "names", lambda: ["edsr_s_x2", "edsr_s_x3", "edsr_s_x4", "light_x2"]
    )
    assert presets.default_preset(outscale) == f"edsr_s_x{scale}"


def test_a_photo_is_upscaled_with_its_trust_map_by_one_word(tmp_path):
    Image.fromarray(noise_image(20, 24)).save(tmp_path / "photo.png")
    result = run_command("upscale", "photo.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert np.asarray(Image.open(tmp_path / "upscaled/photo.png")).shape == (80, 96, 3)
    assert (tmp_path / "upscaled/photo_theta.png").exists()


def test_a_preset_is_evaluated_beside_and_never_changed(tmp_path):
    write_rgb(tmp_path / "set/a.png", noise_image(48, 52))
    write_rgb(tmp_path / "set_LR/X4/a.png", noise_image(12, 13))
    before = {path: path.stat().st_mtime_ns for path in presets.FOLDER.rglob("*")}
    command = ["udl_tf.evaluate", "--model", "edsr_s_x4", "--figures", "0", "--data", "set"]
    result = run_process(*command, "set_LR", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "left out: set_LR, which holds LR images only" in result.stderr
    twice = run_process(*command, "--beside", "edsr_s_x4", cwd=tmp_path)
    assert_one_line_error(twice, "two models are named edsr_s_x4")
    assert (tmp_path / "evaluation/edsr_s_x4/results.md").exists()
    refused = run_command("calibrate", "--model", "edsr_s_x4", "--data", "set", cwd=tmp_path)
    assert_one_line_error(refused, "a preset stays as it is")
    now = {path: path.stat().st_mtime_ns for path in presets.FOLDER.rglob("*")}
    assert {path: now[path] for path in before} == before


def test_a_run_becomes_a_preset(tmp_path):
    run = make_run(tmp_path / "run", "edsr_s", 2)
    write_rgb(tmp_path / "set/a.png", noise_image(48, 52))
    made = tmp_path / "presets/small"
    results = export_preset(run, "small", [tmp_path / "set"], "free", "none", tmp_path / "presets")
    assert json.loads((made / "metrics.json").read_text())["results"] == results
    assert 0 <= results[0]["coverage_80"] <= 1
    lr = noise_image(20, 24)
    whole, half = load(run).upscale(lr), load(made).upscale(lr)
    assert np.allclose(half.image, whole.image, atol=1)
    assert np.allclose(half.theta, whole.theta, rtol=0.02)
    sizes = [sum(path.stat().st_size for path in folder.rglob("*.h5")) for folder in (run, made)]
    assert sizes[1] < sizes[0]
    with pytest.raises(UserError, match="is there already"):
        export_preset(run, "small", [tmp_path / "set"], "free", "none", tmp_path / "presets")
    (run / "config.json").write_text('{"steps": [{}, {}]}')
    with pytest.raises(UserError, match="has not ended"):
        export_preset(run, "other", [tmp_path / "set"], "free", "none", tmp_path / "presets")


def test_a_half_made_preset_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "FOLDER", tmp_path)
    for name in (".x2.1f.part", "x2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.json").write_text("{}")
    assert presets.names() == ["x2"]


def test_a_card_tells_what_a_training_started_from():
    first = {"steps": [{"updates": 1200, "loss": "esu"}], "data": {"text": "A"}, "origin": None}
    second = {"steps": [{"updates": 5, "loss": "udl"}], "data": {"text": "B"}}
    began = second | {"origin": {"name": "x2", **first}}
    expected = "5 updates of udl; on B; from x2 (trained: 1,200 updates of esu; on A)"
    assert presets_main._history(began) == expected
    imported = second | {"origin": {"name": "run", "imported": "a.pt"}}
    assert presets_main._history(imported).endswith("from run (trained: imported from a.pt)")
