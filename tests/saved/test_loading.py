"""`load` of every kind of model, and of those that earlier versions of udl_tf wrote."""

import shutil

import numpy as np
import pytest
from helpers.commands import TESTS
from helpers.images import noise_image

import udl_tf
from udl_tf._support.hardware import Rates
from udl_tf.errors import UserError
from udl_tf.hub import presets
from udl_tf.inference.keras_upscaler import KerasUpscaler
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved import loading
from udl_tf.saved.exported import ExportedUpscaler
from udl_tf.saved.loading import fingerprint, load_upscaler, name_of

OLD = TESTS / "data_0_1"


@pytest.fixture(scope="module")
def old_outputs():
    """The outputs that each model of data_0_1 had in the version that wrote it."""
    with np.load(OLD / "outputs.npz") as outputs:
        return dict(outputs)


@pytest.fixture(scope="module")
def old_savedmodel(tmp_path_factory):
    """The folder of versions of a SavedModel of 0.1, stored as ZIP because its graph is large."""
    folder = tmp_path_factory.mktemp("old")
    shutil.unpack_archive(OLD / "savedmodel.zip", folder)
    return folder / "savedmodel"


def assert_gives(model, name, outputs):
    sr, theta = model.predict(outputs["lr"])
    assert np.allclose(sr, outputs[f"{name}_sr"], atol=1e-3)
    assert np.allclose(theta, outputs[f"{name}_theta"], atol=1e-3)


@pytest.mark.parametrize("name", ["format1", "format2", "format3"])
def test_bundles_of_every_format_compute_what_they_did(name, old_outputs):
    model = load_upscaler(OLD / name)
    assert (model.calibration is None) == (name == "format1")
    assert_gives(model, name, old_outputs)


def test_a_bundle_of_0_1_upscales_as_it_did(old_outputs):
    result = udl_tf.load(OLD / "format3").upscale(old_outputs["lr"])
    difference = np.abs(result.image.astype(int) - old_outputs["upscaled_image"])
    assert difference.max() <= 1  # a tie of rounding
    assert difference.mean() < 1e-3
    assert np.allclose(result.theta, old_outputs["upscaled_theta"], atol=1e-3)


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_files_of_0_1_compute_what_they_did(kind, old_outputs):
    model = udl_tf.load(OLD / f"model.{kind}")
    assert (model.card.name, model.card.licence) == ("format3", "CC0")
    assert_gives(model, kind, old_outputs)


def test_a_savedmodel_of_0_1_computes_what_it_did(old_savedmodel, old_outputs):
    model = udl_tf.load(old_savedmodel)
    assert model.card.format == "savedmodel"
    sr, theta = model.predict(old_outputs["lr"])
    difference = np.abs(sr - old_outputs["savedmodel_sr"])
    assert difference.max() <= 1  # a tie of rounding
    assert difference.mean() < 1e-3
    assert np.allclose(theta, old_outputs["savedmodel_theta"], atol=1e-3)


def policies(model):
    """The policies of a model's first convolution and of the model."""
    networks = model.networks
    return {networks.mean.get_layer("head").dtype_policy.name, networks.policy}


@pytest.mark.parametrize(
    ("dtype", "policy"),
    [(None, "float32"), ("float32", "float32"), ("bfloat16", "mixed_bfloat16")],
)
def test_the_dtype_is_the_precision_of_the_networks(dtype, policy):
    assert policies(load_upscaler(OLD / "format3", dtype)) == {policy}


@pytest.mark.parametrize(
    ("rates", "policy"), [(Rates(1e9, 3e9), "mixed_bfloat16"), (Rates(2e9, 1e9), "float32")]
)
def test_auto_is_the_faster_dtype(rates, policy, monkeypatch):
    monkeypatch.setattr(loading, "measure_rates", lambda: rates)
    assert policies(load_upscaler(OLD / "format3", "auto")) == {policy}


def test_bfloat16_is_close_to_float32():
    lr = noise_image(16, 20)
    (sr, theta), (expected, expected_theta) = (
        load_upscaler(OLD / "format3", dtype).predict(lr, BORDER)
        for dtype in ("bfloat16", "float32")
    )
    assert sr.dtype == theta.dtype == np.float32
    assert 0 < np.abs(sr - expected).max() < 4  # steps of 1 between 128 and 256
    assert np.allclose(theta, expected_theta, rtol=0.05)


def test_exports_keep_their_own_precision(monkeypatch):
    monkeypatch.setattr(loading, "measure_rates", lambda: pytest.fail("nothing to measure"))
    for dtype in (None, "float32", "auto"):
        assert isinstance(load_upscaler(OLD / "model.onnx", dtype), ExportedUpscaler)
    message = "bfloat16 is available for presets and run folders only"
    for path in (OLD / "model.onnx", OLD / "model.tflite", "grpc://127.0.0.1:9/nowhere"):
        with pytest.raises(UserError, match=message) as error:
            load_upscaler(path, "bfloat16")
        assert "\n" not in str(error.value)
        assert error.value.argument == "precision"


def test_a_dtype_that_does_not_exist():
    with pytest.raises(UserError, match="dtype 'float16': expected float32, bfloat16 or auto"):
        load_upscaler(OLD / "format3", "float16")


def test_a_path_without_a_model_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"no such file, folder or preset: .* one of edsr_light"):
        load_upscaler(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no trained model \(model.json is missing\)"):
        load_upscaler(tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".keras", ".h5", ".json"])
def test_files_of_other_kinds_are_one_line(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.touch()
    with pytest.raises(UserError, match=r"expected a preset, a run folder or a \.tflite") as error:
        load_upscaler(path)
    torch = suffix in (".pth", ".pt", ".safetensors")
    assert ("udl-tf import-torch" in str(error.value)) == torch


def test_a_folder_of_images_is_one_line(image_folder):
    with pytest.raises(UserError, match=r"images: holds no trained model"):
        load_upscaler(image_folder)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("light_x4", "light_x4"),
        (presets.FOLDER / "light_x4", "light_x4"),
        ("runs/photo/", "photo"),
        ("a/model.onnx", "model.onnx"),
        ("hf://someone/bird", "bird"),
        ("hf://someone/bird@refs/pr/1", "bird@refs_pr_1"),
        ("kaggle://someone/bird/keras/x4/2", "bird_keras_x4_2"),
        ("grpc://localhost:8500/bird_x4", "bird_x4"),
        ("http://localhost:8501/v1/models/bird/versions/3", "bird_3"),
    ],
)
def test_the_name_of_a_model_has_neither_folder_nor_place(path, name):
    assert name_of(path) == name


def test_a_fingerprint_changes_with_the_model(old_savedmodel, tmp_path):
    paths = [OLD / name for name in ("format1", "format2", "format3", "model.onnx", "model.tflite")]
    prints = {fingerprint(path) for path in (*paths, old_savedmodel, "edsr_s_x4", "edsr_s_x2")}
    assert len(prints) == 8
    assert None not in prints
    assert fingerprint(old_savedmodel) == fingerprint(old_savedmodel / "1")
    assert fingerprint("grpc://localhost:8500/edsr_s_x4") is None
    copy = shutil.copytree(OLD / "format3", tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(OLD / "format3")


def test_load_returns_a_keras_upscaler_of_a_bundle():
    assert isinstance(load_upscaler(OLD / "format2"), KerasUpscaler)
