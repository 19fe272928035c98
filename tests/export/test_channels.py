"""Exports of models whose images are not RGB, compared with Keras."""

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.export.graph import make_card, read_run
from udl_tf.export.onnx import export_onnx
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.served import ServedModule
from udl_tf.export.served_input import decode_image
from udl_tf.export.tflite import export_tflite
from udl_tf.imaging.value_range import GREY_LEVELS
from udl_tf.inference import upscale_scene
from udl_tf.inference.measurements import compute
from udl_tf.inference.passes import BORDER, Effort, Wanted
from udl_tf.saved.card import THETA_STEPS
from udl_tf.saved.loading import load_upscaler
from udl_tf.scenes import open_scene

TINY = {"num_blocks": 1, "num_filters": 4}
FILES = {"tflite": export_tflite, "onnx": export_onnx}


def image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def hr_folder(tmp_path, values):
    """Returns a folder that holds an HR image."""
    folder = tmp_path / "hr"
    folder.mkdir()
    np.save(folder / "hr.npy", values)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "channels", "value_range"), [("tflite", 1, (-1.0, 1.0)), ("onnx", 4, None)]
)
def test_a_file_equals_keras(format, channels, value_range, make_single, tmp_path, monkeypatch):
    """That of measurements does not clip sr, which leaves the range in an untrained network."""
    hr = image(96, 128, channels)
    if value_range:
        hr = (hr / 100).astype(np.float32)  # also outside the range
        hr[40:44, 50:60] = np.nan
    run = make_single("edsr_s", 2, channels=channels, value_range=value_range, **TINY)
    path = tmp_path / f"model.{format}"
    card = FILES[format](run, path, images=hr_folder(tmp_path, hr))
    assert card.channels == channels
    assert card.range == list(value_range or (0, 255))
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    trained, exported = load_upscaler(run), load_upscaler(path)
    assert exported.channels == channels
    lr = image(9, 14, channels)
    outputs = exported.forward(lr[None].astype(np.float32), ("sr", "theta"))
    sr, theta = trained.predict(lr, BORDER)
    sr = sr if value_range else np.clip(sr, 0, 255)
    assert np.abs(outputs["sr"][0] - sr).max() <= 1e-3
    assert np.abs(outputs["theta"][0] - theta).max() <= 1e-3
    result = exported.upscale(lr.astype(np.float32) / 100)
    expected = trained.upscale(lr.astype(np.float32) / 100)
    for found, correct in zip(result.interval(0.9), expected.interval(0.9), strict=True):
        assert np.abs(found - correct).max() <= 1e-2
    # A scene in two windows equals the whole; -1 is no value of it.
    scene = image(30, 20, channels).astype(np.float32) / 100
    np.save(tmp_path / "scene.npy", scene)
    monkeypatch.setattr("udl_tf.inference.scene_runner._LARGEST_CORE", 20)
    with open_scene(tmp_path / "scene.npy") as opened:
        summary = upscale_scene(exported, opened, tmp_path / "sr.npy", tmp_path / "theta.npy")
    assert (summary.windows, summary.empty) == (2, 0)
    whole = exported.upscale(scene, nodata=-1)
    assert np.abs(np.load(tmp_path / "sr.npy") - whole.image).max() <= 1e-3
    assert np.abs(np.load(tmp_path / "theta.npy") - whole.theta).max() <= 1e-3


def test_measurements_in_8_bits_are_one_line(make_single, tmp_path):
    run = make_single("edsr_s", 2, value_range=(-1.0, 1.0), **TINY)
    with pytest.raises(
        UserError, match=r"int8 has too few values .* range \[-1\.0, 1\.0\]: choose"
    ):
        export_tflite(run, tmp_path / "model.tflite", "int8")
    with pytest.raises(
        UserError, match=r"uint8 has too few values .* range \[-1\.0, 1\.0\]: choose"
    ):
        export_savedmodel(run, tmp_path / "m", image_dtype="uint8", warmup=False)


@pytest.mark.slow
def test_int8_of_four_channels_states_the_mean_psnr(make_single, tmp_path):
    run = make_single("edsr_s", 2, channels=4, **TINY)
    hr = np.repeat(noise_image(192, 256)[..., :1], 4, axis=2)
    images = hr_folder(tmp_path, hr)
    card = export_tflite(run, tmp_path / "model.tflite", "int8", images=images)
    assert abs(card.parity["psnr_loss"]) < 0.3
    assert " dB of PSNR on 1 real patches" in card.summary()
    assert load_upscaler(tmp_path / "model.tflite").upscale(image(9, 14, 4)).theta.shape[-1] == 4


@pytest.mark.slow
def test_a_served_model_of_four_channels(make_single, tmp_path):
    run = make_single("edsr_s", 2, channels=4, **TINY)
    images = hr_folder(tmp_path, image(96, 128, 4))
    folder, card = export_savedmodel(run, tmp_path / "stack", max_pixels=50 * 50, images=images)
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    assert (folder / "assets.extra/tf_serving_warmup_requests").stat().st_size > 0
    lr, served = image(9, 14, 4), tf.saved_model.load(str(folder))
    expected = load_upscaler(run).upscale(lr)
    files = tf.constant([bytes(imagecodecs.png_encode(lr))])
    answer = served.signatures["image_bytes"](image_bytes=files)
    sr, theta = (
        imagecodecs.png_decode(answer[f"{name}_image_bytes"].numpy()[0]) for name in ("sr", "theta")
    )
    assert np.abs(sr.astype(int) - expected.image).max() <= 1
    assert np.abs(theta / THETA_STEPS - expected.theta).max() <= 0.5 / THETA_STEPS + 1e-3


@pytest.mark.parametrize(("channels", "value_range"), [(5, None), (1, (-1.0, 1.0))])
def test_others_are_served_as_numbers_alone(channels, value_range, make_single, tmp_path):
    run = make_single("edsr_s", 2, channels=channels, value_range=value_range, **TINY)
    model, file = read_run(run), tmp_path / "card.json"
    card = make_card(run, model, True, format="savedmodel", precision="float32", max_pixels=99)
    file.write_text(card.text())
    served = ServedModule(model, card, file, tf.float32, tf.float32, None)
    assert set(served.endpoints) == {"serving_default", "sr_only", "model_card"}
    lr = image(6, 7, channels).astype(np.float32)
    if value_range:
        lr *= 2  # beyond the range
    maps = served.endpoints["serving_default"](lr[None])
    valid = np.ones(lr.shape, bool)
    expected = compute(model, lr, valid, GREY_LEVELS, Wanted(), Effort())
    assert np.allclose(maps["theta"][0], expected.theta, atol=1e-3)
    if value_range:
        assert np.abs(maps["sr"][0] - expected.sr).max() <= 1e-2
        assert expected.sr.max() > 255 or expected.sr.min() < 0
    else:
        sr = np.clip(expected.sr, 0, 255)
        assert np.abs(maps["sr"][0].numpy().astype(int) - sr).max() <= 0.5 + 1e-3


def test_files_of_one_and_four_channels_are_png_of_their_kind():
    grey, four = image(5, 6, 1), image(5, 6, 4)
    pixels = {1: grey[..., 0], 3: image(5, 6, 3), 4: four}
    files = {channels: bytes(imagecodecs.png_encode(x)) for channels, x in pixels.items()}
    files["jpeg"] = bytes(imagecodecs.jpeg_encode(pixels[1]))
    assert np.array_equal(decode_image(tf.constant(files[1]), 99, 1), grey)
    assert np.array_equal(decode_image(tf.constant(files[4]), 99, 4), four)
    for channels, kind, message in (
        (1, 3, "PNG file of grey: expected 1 channels"),
        (1, "jpeg", "PNG file of grey"),
        (4, 3, "PNG file of RGB and alpha: expected 4 channels"),
        (4, 1, "PNG file of RGB and alpha"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode_image(tf.constant(files[kind]), 99, channels)
