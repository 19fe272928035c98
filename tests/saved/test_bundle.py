import json
import shutil

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import make_run, plain_calibration

from udl_tf.config import ModelConfig
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.models.weight_files import save_weights
from udl_tf.saved.bundle import (
    Manifest,
    NetworkFile,
    UncertaintyFile,
    build_network,
    read_manifest,
    write_manifest,
)
from udl_tf.saved.loading import load_upscaler

MODEL = ModelConfig(name="edsr_s", scale=2, options={"num_blocks": 1, "num_filters": 8})
LR = noise_image(9, 12)
PLAIN = plain_calibration().model_dump()


@pytest.fixture
def bundle(tmp_path):
    """A bundle of two different networks, and both networks."""
    mean, uncertainty = build_network(MODEL, None), build_network(MODEL, "released")
    save_weights(mean, tmp_path / "weights/mean.weights.h5")
    save_weights(uncertainty, tmp_path / "weights/s.weights.h5")
    manifest = Manifest(
        architecture=MODEL,
        mean=NetworkFile(weights="weights/mean.weights.h5", log_scale_head=None),
        uncertainty=UncertaintyFile(
            weights="weights/s.weights.h5", log_scale_head="released", unit=3.0, power=2.0
        ),
        training={},
    )
    write_manifest(tmp_path, manifest)
    return tmp_path, mean, uncertainty


def test_a_bundle_computes_image_and_theta_by_its_two_networks(bundle):
    folder, mean, uncertainty = bundle
    model = load_upscaler(folder)
    assert model.scale == 2
    batch = LR[None].astype(np.float32)
    sr, theta = model.predict(LR)
    assert sr.dtype == theta.dtype == np.float32
    assert np.allclose(sr, mean(batch)["sr"][0], atol=1e-3)
    expected = 3 * np.exp(uncertainty(batch)["log_scale"][0] / 2)
    assert np.allclose(theta, expected, rtol=1e-4)
    assert model.predict(noise_image(20, 5))[0].shape == (40, 10, 3)


def test_a_bundle_without_uncertainty(bundle):
    folder, mean, _ = bundle
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "uncertainty": None}))
    sr, theta = load_upscaler(folder).predict(LR)
    assert theta is None
    assert np.allclose(sr, mean(LR[None].astype(np.float32))["sr"][0], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"format": "1"}, "format '1'"),
        (
            {"uncertainty": {"weights": "x", "log_scale_head": "light", "unit": "a", "power": 1.0}},
            r"model\.json: uncertainty\.unit: got \"a\"; input should be a valid number",
        ),
        ({"format": 5}, "format 5; this version of udl_tf reads formats up to 4: update"),
        (
            {"calibration": {"method": "magic"}},
            r"model\.json: calibration\.method: got \"magic\"; input should be",
        ),
        (
            {"calibration": {**PLAIN, "a": [0.0]}},
            r"model\.json: calibration: got .*; a, b and factors have 1, 3 channels: expected as",
        ),
        (
            {"calibration": plain_calibration([0.0] * 4, [1.0] * 4).model_dump()},
            r"model\.json: a calibration of 4 channels: expected 3, those of the model: calibrate",
        ),
        (
            {"calibration": {**PLAIN, "levels": [0.5]}},
            r"model\.json: calibration: got .{60}\.\.\.; has 1 levels and \d+ factors",
        ),
        (
            {"calibration": {**PLAIN, "levels": [2.0, *PLAIN["levels"][1:]]}},
            "levels are not ascending between 0 and 1: calibrate again",
        ),
        (
            {"calibration": {**PLAIN, "factors": [[1.0, 1.0, -1.0], *PLAIN["factors"][1:]]}},
            r"calibration\.factors\.0\.2: got -1\.0; input should be greater than or equal to 0",
        ),
        (
            {"range": [1, 1]},
            r"model\.json: range: got \[1, 1\]; a value range of \[1, 1\]: expected",
        ),
        (
            {"uncertainty": {"weights": "x", "log_scale_head": "light", "unit": 1.0, "power": 0}},
            r"uncertainty\.power: got 0; input should be greater than 0",
        ),
        (
            {"mean": {"weights": 3}},
            r"model\.json: mean\.weights: got 3; input should be a valid string",
        ),
        (
            {"architecture": {"name": "edsr_s", "scale": 7}},
            r"model\.json: architecture\.scale: got 7; input should be 2, 3 or 4",
        ),
        (
            {"architecture": {"name": "edsr", "scale": 2, "options": {"depth": 3}}},
            r"model\.json: model\.options\.depth is not an option of edsr",
        ),
        (
            {"architecture": {"name": "edsr_s", "scale": 2}},
            "the weights do not match the network edsr_s",
        ),
        (
            {"architecture": {"name": "dpdnn", "scale": 2}},
            "the weights do not match the network dpdnn",
        ),
        ({"mean": {"weights": "a\nb.h5", "log_scale_head": None}}, r"a\\nb\.h5: no such file"),
        ({"mean": {"weights": "gone.weights.h5", "log_scale_head": None}}, "gone.weights.h5"),
    ],
)
def test_damaged_newer_and_foreign_bundles_are_one_line(bundle, change, part):
    folder, *_ = bundle
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(UserError, match=part) as caught:
        load_upscaler(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "keys", "part"),
    [
        ("metadata.json", ["sha256"], r"model.weights.h5 does not match metadata.json"),
        ("config.json", ["config", "about"], r"config.json: 'about': restore the file"),
        ("config.json", ["config", "theta"], r"config.json: 'theta': restore the file"),
        ("config.json", ["config", "uncertainty_backbone"], r"config.json: 'uncertainty_backbone'"),
        ("config.json", ["config", "backbone", "config"], r"config.json: 'config': restore"),
        ("config.json", ["config", "backbone", "config", "name"], r"config.json: 'name': restore"),
    ],
)
def test_a_preset_without_one_of_its_facts_is_one_line(file, keys, part, tmp_path):
    """calibrate, which reads the manifest first, gave a traceback."""
    folder = shutil.copytree(presets.FOLDER / "light_x4", tmp_path / "own")
    content = json.loads((folder / file).read_text())
    section = content
    for key in keys[:-1]:
        section = section[key]
    del section[keys[-1]]
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=part) as caught:
        read_manifest(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_bundle_and_broken_files(bundle, tmp_path_factory):
    folder, *_ = bundle
    with pytest.raises(UserError, match="holds no trained model"):
        load_upscaler(tmp_path_factory.mktemp("empty"))
    (folder / "weights/mean.weights.h5").write_bytes(b"not weights")
    write_manifest(folder, read_manifest(folder))  # with the checksum of the broken file
    with pytest.raises(UserError, match=r"mean\.weights\.h5: damaged, or not a file of Keras"):
        load_upscaler(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_upscaler(folder)


def test_weights_of_another_model_of_the_same_shape_are_refused(bundle):
    folder, *_ = bundle
    save_weights(build_network(MODEL, None), folder / "weights/mean.weights.h5")
    with pytest.raises(UserError, match="checksums differ"):
        load_upscaler(folder)


def test_one_network_with_a_light_head_computes_both(tmp_path):
    network = build_network(MODEL, "light")
    save_weights(network, tmp_path / "weights/both.weights.h5")
    file = {"weights": "weights/both.weights.h5", "log_scale_head": "light"}
    manifest = Manifest(
        architecture=MODEL,
        mean=NetworkFile(**file),
        uncertainty=UncertaintyFile(**file, unit=1.0, power=1.0),
        training={},
    )
    write_manifest(tmp_path, manifest)
    model = load_upscaler(tmp_path)
    assert model.networks.mean is model.networks.uncertainty
    sr, theta = model.predict(LR)
    expected = network(LR[None].astype(np.float32))
    assert np.allclose(sr, expected["sr"][0], atol=1e-3)
    assert np.allclose(theta, np.exp(expected["log_scale"][0]), rtol=1e-4)


@pytest.mark.parametrize(("with_s", "head"), [(True, "released"), (False, None)])
def test_a_bundle_of_format_3_has_released_heads(bundle, with_s, head):
    folder, *_ = bundle
    content = json.loads((folder / "model.json").read_text())
    for part in ("mean", "uncertainty"):
        del content[part]["log_scale_head"]
    del content["architecture"]["log_scale_head"]
    content["mean"]["uncertainty"] = with_s
    (folder / "model.json").write_text(json.dumps({**content, "format": 3}))
    manifest = read_manifest(folder)
    assert manifest.format == 4
    assert manifest.mean.log_scale_head == head
    assert manifest.uncertainty.log_scale_head == "released"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(bundle, bad):
    """They made black images."""
    folder, mean, _ = bundle
    layer = mean.get_layer("body_end")
    layer.set_weights([layer.get_weights()[0], np.full(8, bad)])
    save_weights(mean, folder / "weights/mean.weights.h5")
    write_manifest(folder, read_manifest(folder))
    message = r"mean\.weights\.h5: body_end/bias contains NaN or infinite values"
    with pytest.raises(UserError, match=message):
        load_upscaler(folder)


@pytest.mark.parametrize(
    "damage", [lambda x: b"", lambda x: x[:-99], lambda x: x.replace(b"HEAP", b"?")]
)
def test_weights_that_are_damaged_are_one_line(bundle, damage):
    folder, *_ = bundle
    path = folder / "weights/mean.weights.h5"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"the checksums differ.*: restore the file"):
        load_upscaler(folder)
    write_manifest(folder, read_manifest(folder))  # with the checksum of the cut file
    with pytest.raises(UserError, match="damaged, or not a file of Keras weights: restore it"):
        load_upscaler(folder)


def test_unknown_keys_and_missing_weights_are_one_line(bundle):
    folder, *_ = bundle
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**content, "licences": "CC0"}))
    with pytest.raises(UserError, match=r"unknown key licences, nearest known: licence$"):
        load_upscaler(folder)
    (folder / "model.json").write_text(json.dumps(content))
    (folder / "weights/s.weights.h5").rename(folder / "weights/t.weights.h5")
    with pytest.raises(UserError, match=r"s\.weights\.h5: no such file, which .* names: restore"):
        load_upscaler(folder)


def test_a_bundle_of_other_channels(tmp_path):
    folder = make_run(tmp_path / "run", "edsr_s", 2, channels=4, num_blocks=1, num_filters=4)
    manifest = read_manifest(folder)
    assert (manifest.architecture.channels, manifest.calibration.channels) == (4, 4)
    lr = np.random.default_rng(0).integers(0, 256, (5, 6, 4), dtype=np.uint8)
    result = load_upscaler(folder).upscale(lr)
    assert result.image.shape == result.theta.shape == (10, 12, 4)
    assert np.ptp(result.theta, axis=(0, 1)).min() > 0
