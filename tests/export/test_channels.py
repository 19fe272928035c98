"""Exports of models whose images are not RGB, compared with Keras."""

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf

from udl_tf.errors import UserError
from udl_tf.export.graph import make_card, read_run
from udl_tf.export.onnx import export_onnx
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.served import ServedModule
from udl_tf.export.served_input import decode_image
from udl_tf.export.tflite import export_tflite
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.card import THETA_STEPS
from udl_tf.saved.loading import load_upscaler

TINY = {"num_blocks": 1, "num_filters": 4}
FILES = {"tflite": export_tflite, "onnx": export_onnx}


def image(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(("format", "channels"), [("tflite", 1), ("onnx", 4)])
def test_a_file_equals_keras(format, channels, make_single, hr_images, tmp_path):
    run, path = make_single("edsr_s", 2, channels=channels, **TINY), tmp_path / f"model.{format}"
    card = FILES[format](run, path, images=hr_images)
    assert card.channels == channels
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    trained, exported = load_upscaler(run), load_upscaler(path)
    assert exported.channels == channels
    lr = image(9, 14, channels)
    outputs = exported.forward(lr[None].astype(np.float32), ("sr", "theta"))
    sr, theta = trained.predict(lr, BORDER)
    assert np.abs(outputs["sr"][0] - np.clip(sr, 0, 255)).max() <= 1e-3
    assert np.abs(outputs["theta"][0] - theta).max() <= 1e-3
    assert np.array_equal(exported.upscale(lr, tile=40).image, exported.upscale(lr).image)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "savedmodel"])
def test_an_export_of_measurements_neither_clips_nor_rounds(
    format, make_single, hr_images, tmp_path
):
    run = make_single("edsr_s", 2, channels=1, value_range=(-1.0, 1.0), **TINY)
    if format == "onnx":
        path = tmp_path / "model.onnx"
        card = export_onnx(run, path, images=hr_images)
    else:
        path, card = export_savedmodel(
            run, tmp_path / "m", max_pixels=50 * 50, warmup=False, images=hr_images
        )
        assert not card.takes_files
    assert (card.range, card.image_dtype) == ([-1.0, 1.0], "float32")
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    trained, exported = load_upscaler(run), load_upscaler(path)
    assert not exported.eight_bit
    lr = np.random.default_rng(0).uniform(-3, 3, (9, 14)).astype(np.float32)
    result, expected = exported.upscale(lr), trained.upscale(lr)
    assert np.abs(expected.image).max() > 1  # an untrained network leaves the range
    assert np.abs(result.image - expected.image).max() <= 1e-4
    assert np.abs(result.theta - expected.theta).max() <= 1e-4


def test_measurements_in_8_bits_are_one_line(make_single, tmp_path):
    run = make_single("edsr_s", 2, value_range=(-1.0, 1.0), **TINY)
    with pytest.raises(UserError, match=r"range of its own, \[-1\.0, 1\.0\], for which int8 has"):
        export_tflite(run, tmp_path / "model.tflite", "int8")
    with pytest.raises(UserError, match=r"range of its own, .* for which uint8 has too few"):
        export_savedmodel(run, tmp_path / "m", image_dtype="uint8", warmup=False)


@pytest.mark.slow
def test_int8_of_four_channels_states_the_mean_psnr(make_single, hr_images, tmp_path):
    run = make_single("edsr_s", 2, channels=4, **TINY)
    card = export_tflite(run, tmp_path / "model.tflite", "int8", images=hr_images)
    assert abs(card.parity["psnr_loss"]) < 0.3
    assert " dB of PSNR on 1 real patches" in card.summary()
    assert load_upscaler(tmp_path / "model.tflite").upscale(image(9, 14, 4)).theta.shape[-1] == 4


@pytest.mark.slow
def test_a_served_model_of_four_channels(make_single, hr_images, tmp_path):
    run = make_single("edsr_s", 2, channels=4, **TINY)
    folder, card = export_savedmodel(run, tmp_path / "stack", max_pixels=50 * 50, images=hr_images)
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


def test_five_channels_are_served_as_numbers_alone(make_single, tmp_path):
    run = make_single("edsr_s", 2, channels=5, **TINY)
    model, file = read_run(run), tmp_path / "card.json"
    card = make_card(run, model, True, format="savedmodel", precision="float32", max_pixels=99)
    file.write_text(card.text())
    served = ServedModule(model, card, file, tf.uint8, tf.float32, None)
    assert set(served.endpoints) == {"serving_default", "sr_only", "model_card"}
    lr = image(6, 7, 5)
    result, expected = served.endpoints["serving_default"](lr[None]), model.upscale(lr)
    assert np.abs(result["sr"][0].numpy().astype(int) - expected.image).max() <= 1
    assert np.allclose(result["theta"][0], expected.theta, atol=1e-3)


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
