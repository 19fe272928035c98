import json
import re

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import make_run, plain_calibration

import udl_tf
from udl_tf.data.sources import folder_dataset
from udl_tf.errors import UserError
from udl_tf.evaluation import evaluate, measure
from udl_tf.hub import presets
from udl_tf.hub.handles import FILES
from udl_tf.inference import Options, plan_jobs, run_jobs
from udl_tf.saved.bundle import read_manifest, read_networks, write_calibration
from udl_tf.saved.loading import fingerprint
from udl_tf.tasks import SRModel
from udl_tf.tasks.preset_card import results_text
from udl_tf.tasks.preset_folder import write_preset

LR = np.stack([noise_image(12, 14, i) for i in range(2)])
SMALL = {"num_blocks": 1, "num_filters": 8}
ABOUT = {"training": {"imported": "a.pt"}, "licence": "free", "limits": "none"}


def small(**options):
    return SRModel("edsr_s", 2, calibration=plain_calibration(a=[0.5, 0.6, 0.7]), **options)


@pytest.mark.parametrize("branches", [False, True])
def test_a_preset_computes_what_was_saved(tmp_path, branches):
    model = small(**SMALL, branches=branches, about=ABOUT)
    model.save_to_preset(tmp_path / "small")
    assert {path.name for path in (tmp_path / "small").iterdir()} == set(FILES) - {"metrics.json"}
    read = SRModel.from_preset(tmp_path / "small")
    expected, found = model.predict(LR, verbose=0), read.predict(LR, verbose=0)
    assert np.allclose(found["sr"], expected["sr"], atol=1e-3)
    assert np.allclose(found["theta"], expected["theta"], rtol=1e-4)
    assert read.calibration == model.calibration
    assert read.about == ABOUT
    assert not read.backbone.get_config()["branches"]
    image = noise_image(20, 22)
    assert np.array_equal(
        read.upscale(image).image, udl_tf.load(tmp_path / "small").upscale(image).image
    )


def test_two_networks_are_a_preset(tmp_path):
    first = small(**SMALL)
    student = first.udl_student()
    both = SRModel(student.backbone, uncertainty_backbone=first.backbone)
    both.save_to_preset(tmp_path / "both")
    networks = read_networks(tmp_path / "both")
    assert networks.uncertainty is not networks.mean
    assert np.array_equal(networks.uncertainty.get_weights()[0], first.backbone.get_weights()[0])
    manifest = read_manifest(tmp_path / "both")
    assert (manifest.mean.log_scale_head, manifest.uncertainty.log_scale_head) == (None, "released")


def test_a_preset_is_read_as_a_bundle(tmp_path):
    model = small(**SMALL, about=ABOUT)
    write_preset(model, tmp_path / "small", half=True)
    manifest = read_manifest(tmp_path / "small")
    assert manifest.architecture.name == "edsr_s"
    assert manifest.architecture.options["num_filters"] == 8
    assert (manifest.licence, manifest.limits) == ("free", "none")
    before = fingerprint(tmp_path / "small")
    write_calibration(tmp_path / "small", plain_calibration(a=[1, 1, 1]))
    assert read_manifest(tmp_path / "small").calibration.a == [1, 1, 1]
    assert fingerprint(tmp_path / "small") != before
    assert "theta: calibrated on none" in (tmp_path / "small/README.md").read_text()
    half = read_networks(tmp_path / "small").mean.get_weights()
    for found, expected in zip(half, model.backbone.get_weights(), strict=True):
        assert np.array_equal(found, expected.astype(np.float16))


def test_what_is_no_preset_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"has no file config.json: expected a preset"):
        SRModel.from_preset(tmp_path)
    model = small(**SMALL)
    with pytest.raises(UserError, match="exists and is not a preset: choose a new folder"):
        model.save_to_preset(tmp_path)
    folder = tmp_path / "small"
    model.save_to_preset(folder)
    model.save_to_preset(folder)  # replaced
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"registered_name": "keras>Dense"}))
    with pytest.raises(UserError, match="describes 'keras>Dense', expected 'udl_tf>SRModel'"):
        SRModel.from_preset(folder)
    del content["config"]["theta"]
    (folder / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"config.json: 'theta': restore the file"):
        SRModel.from_preset(folder)


def test_run_folders_load_as_models(tmp_path):
    run = make_run(tmp_path / "run", "edsr_s", 2)
    model = udl_tf.load(run)
    assert isinstance(model, SRModel)
    assert model.about["training"] == read_manifest(run).training
    model.save_to_preset(run / "preset")
    again = SRModel.from_preset(run)
    assert np.array_equal(again.upscale(LR[0]).theta, model.upscale(LR[0]).theta)
    assert "# run\n" in (run / "preset/README.md").read_text()
    results = [
        {"dataset": "a", "images": 1, "psnr": 30.0, "bicubic_psnr": 29.0, "coverage_80": 0.8}
    ]
    (run / "preset/metrics.json").write_text(json.dumps({"results": results}))
    write_calibration(run, plain_calibration(a=[1, 1, 1]))
    assert SRModel.from_preset(run).calibration.a == udl_tf.load(run).calibration.a == [1, 1, 1]
    # The coverage was that of the earlier calibration.
    assert (
        "| a        | 1      | 30.000 (bicubic 29.000) |\n"
        in (run / "preset/README.md").read_text()
    )


@pytest.mark.parametrize("name", presets.names())
def test_cards_describe_the_presets(name):
    text = (presets.FOLDER / name / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: keras\n")
    assert f'SRModel.from_preset("{name}")' in text
    assert re.search(r"\| BSD100 +\| 100 ", text)


def test_functions_of_upscalers_take_a_model(image_folder, tmp_path):
    model = udl_tf.load(make_run(tmp_path / "run", "edsr_s", 2))
    sources = folder_dataset(image_folder, 2)
    (result,) = evaluate(model, [sources], beside={"again": model})
    assert result["beside"]["again"]["psnr_y"] == result["psnr_y"]
    assert len(measure(model, sources.sources[:1], baselines=False)) == 1
    jobs = plan_jobs([image_folder], tmp_path / "out", Options())
    assert run_jobs(model, jobs, Options()).done == len(sources.sources)


def test_the_repr_names_scale_and_theta():
    assert repr(udl_tf.load("edsr_light_x4")) == "SRModel(x4, calibrated theta)"
    assert repr(SRModel("edsr_s", 2, uncertainty=False, **SMALL)) == "SRModel(x2, no theta)"


def test_a_preset_of_other_channels(tmp_path):
    options = {"num_blocks": 1, "num_filters": 4, "shift": 127.5}
    calibration = plain_calibration([0.0] * 4, [1.0] * 4).model_copy(update={"nodata_reach": 3})
    model = SRModel(
        "edsr_s", 2, channels=4, value_range=[0, 4000], calibration=calibration, **options
    )
    assert model.channels == 4
    model.save_to_preset(tmp_path / "stack")
    manifest = read_manifest(tmp_path / "stack")
    assert manifest.architecture.channels == 4
    assert manifest.architecture.options == options
    card = (tmp_path / "stack/README.md").read_text()
    assert "- channels: 4\n- value range: 0..4000, in the unit of files, results and" in card
    assert "- near nodata: within 3 input pixels, as measured\n" in card
    assert 'model.upscale("scene.tif")' in card
    lr = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    again = SRModel.from_preset(tmp_path / "stack")
    assert np.array_equal(again.upscale(lr).image, model.upscale(lr).image)


def test_cards_name_the_metrics_of_the_results():
    found = {"dataset": "scenes", "images": 2, "psnr": 31.25, "bicubic_psnr": 30.0, "sam": 1.5}
    text = results_text([found | {"bicubic_sam": 2.0, "coverage_80": 0.81}])
    assert "| test set | images | PSNR, dB" in text
    assert "31.250 (bicubic 30.000)" in text
    assert "| 81.0 %  " in text
    assert "1.500 (bicubic 2.000)" in text


def test_a_wrong_dtype_does_not_blame_the_file():
    with pytest.raises(UserError, match=r"^dtype 'flaot16': "):
        SRModel.from_preset("light_x4", dtype="flaot16")
