"""The signatures of an exported SavedModel, called as TF Serving calls them."""

import io
import subprocess
import sys

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import assert_one_line_error, run_command
from helpers.images import encoded, noise_image
from PIL import Image
from tensorflow_serving.apis import prediction_log_pb2

from udl_tf.errors import UserError
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.saved.card import THETA_STEPS, parse_card
from udl_tf.saved.loading import load

Refusal = tf.errors.InvalidArgumentError


@pytest.fixture(scope="module")
def signatures(served):
    model = tf.saved_model.load(str(served / "1"))
    yield model.signatures
    del model


def test_names_types_and_shapes(served):
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir"]
    result = subprocess.run([*command, served / "1", "--all"], capture_output=True, text=True)
    text = " ".join(result.stdout.split())
    for name in ("serving_default", "sr_only", "image_bytes", "image_bytes_sr_only", "model_card"):
        assert f"signature_def['{name}']" in text
    assert "inputs['image'] tensor_info: dtype: DT_UINT8 shape: (-1, -1, -1, 3)" in text
    assert "outputs['sr'] tensor_info: dtype: DT_UINT8 shape: (-1, -1, -1, 3)" in text
    assert "outputs['theta'] tensor_info: dtype: DT_FLOAT shape: (-1, -1, -1, 3)" in text


def test_a_batch_of_pictures(signatures, small_run):
    trained = load(small_run)
    images = np.stack([noise_image(19, 24, seed) for seed in range(3)])
    made = signatures["serving_default"](image=tf.constant(images))
    only = signatures["sr_only"](image=tf.constant(images))
    assert set(only) == {"sr"}
    for index, image in enumerate(images):
        expected = trained.upscale(image)
        assert np.abs(made["sr"][index].numpy().astype(int) - expected.image).max() <= 1
        assert np.allclose(made["theta"][index], expected.theta, atol=1e-3)
    assert np.array_equal(made["sr"], only["sr"])


def test_encoded_pictures_of_any_kind_and_size_in_one_batch(signatures, small_run):
    trained = load(small_run)
    color, gray = noise_image(17, 21), noise_image(12, 9)[..., 0]
    alpha = np.dstack([noise_image(8, 8), np.full((8, 8), 9, np.uint8)])
    files = [
        encoded(color, "png"),
        encoded(color, "webp", lossless=True),
        encoded(gray, "png"),
        encoded(alpha, "png"),
        encoded(color, "jpeg"),
        encoded(noise_image(1, 1), "png"),
    ]
    jpeg = np.asarray(Image.open(io.BytesIO(files[4])))
    pictures = [color, color, np.dstack([gray] * 3), alpha[..., :3], jpeg, noise_image(1, 1)]
    made = signatures["image_bytes"](image_bytes=tf.constant(files))
    for index, picture in enumerate(pictures):
        expected = trained.upscale(np.ascontiguousarray(picture))
        sr = imagecodecs.png_decode(made["sr_image_bytes"][index].numpy())
        theta = imagecodecs.png_decode(made["theta_image_bytes"][index].numpy())
        # TensorFlow's JPEG decoder is not Pillow's: chroma is enlarged otherwise.
        assert np.abs(sr.astype(int) - expected.image).max() <= (12 if index == 4 else 1)
        assert theta.dtype == np.uint16
        if index != 4:
            assert np.abs(theta / THETA_STEPS - expected.theta).max() <= 0.5 / THETA_STEPS + 1e-3
    only = signatures["image_bytes_sr_only"](image_bytes=tf.constant(files))
    assert np.array_equal(only["sr_image_bytes"], made["sr_image_bytes"])


def declared(width: int, height: int) -> bytes:
    """A PNG that declares a size, and is truncated."""
    png = bytearray(encoded(noise_image(8, 8), "png"))
    png[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(png)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image: expected a PNG, JPEG or WebP file"),
        (b"a text that is long enough to be looked at", "not an image"),
        (encoded(noise_image(8, 8), "bmp"), "not an image"),
        (encoded(noise_image(40, 40), "png")[:200], "(?i)png"),
        (encoded(noise_image(201, 200), "png"), "too large: at most 40000 pixels"),
        (encoded(noise_image(201, 200), "jpeg"), "too large: at most 40000 pixels"),
        (encoded(noise_image(201, 200), "webp"), "too large: at most 40000 pixels"),
        (declared(60_000, 60_000), "too large"),  # without decoding 10 gigabytes
    ],
)
def test_bytes_that_are_refused(signatures, data, message):
    good = encoded(noise_image(8, 8), "png")
    with pytest.raises(Refusal, match=message):
        signatures["image_bytes"](image_bytes=tf.constant([good, data]))
    assert signatures["image_bytes"](image_bytes=tf.constant([good]))


@pytest.mark.parametrize("shape", [(1, 0, 8, 3), (1, 8, 0, 3), (0, 8, 8, 3)])
def test_pictures_of_zero_size(signatures, shape):
    with pytest.raises(Refusal, match="image of zero size"):
        signatures["serving_default"](image=tf.zeros(shape, tf.uint8))


def test_a_picture_above_the_limit(signatures):
    with pytest.raises(Refusal, match=r"too large: at most 40000 pixels .*send it in parts"):
        signatures["sr_only"](image=tf.zeros((1, 201, 200, 3), tf.uint8))


def test_float_pictures_and_half_precision_theta(small_run, tmp_path):
    folder, card = export_savedmodel(
        small_run, tmp_path / "m", warmup=False, image_dtype="float32", theta_dtype="float16"
    )
    assert (card.image_dtype, card.theta_dtype) == ("float32", "float16")
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    image = noise_image(9, 12).astype(np.float32) + 0.25
    image = np.minimum(image, 255)
    made = serve(image=tf.constant(image[None]))
    expected = load(small_run).upscale(image)
    assert np.abs(made["sr"][0].numpy() - expected.image).max() <= 0.5 + 1e-3
    assert made["theta"].dtype == tf.float16
    assert np.allclose(made["theta"][0], expected.theta, rtol=1e-3)
    for bad in (np.nan, np.inf, -0.5, 255.5):
        image[0, 0, 0] = bad
        with pytest.raises(Refusal, match=r"values outside 0\.\.255, or not numbers"):
            serve(image=tf.constant(image[None]))


def test_self_ensemble(small_run, tmp_path):
    folder, card = export_savedmodel(
        small_run, tmp_path / "m", warmup=False, self_ensemble=True, memory_gb=1e-3
    )
    assert card.self_ensemble
    image = noise_image(15, 22)
    made = load(folder).upscale(image)
    expected = load(small_run).upscale(image, self_ensemble=True)
    plain = load(small_run).upscale(image)
    assert np.abs(made.image.astype(int) - expected.image).max() <= 1
    assert np.mean(made.image != expected.image) < 0.001 < np.mean(made.image != plain.image)
    assert np.allclose(made.theta, expected.theta, atol=1e-3)


def test_plain_areas_stay_plain(served):
    image = np.full((30, 24, 3), (200, 30, 60), np.uint8)
    made = load(served).upscale(image, uncertainty=False)
    assert np.array_equal(made.image, np.full((60, 48, 3), (200, 30, 60)))


def test_warm_up_requests_are_answered(served, signatures):
    path = served / "1" / "assets.extra" / "tf_serving_warmup_requests"
    names = []
    for record in tf.data.TFRecordDataset(str(path)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        assert request.model_spec.name == "small_x2"
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        assert signatures[request.model_spec.signature_name](**inputs)
        names.append(request.model_spec.signature_name)
    assert names == ["serving_default", "sr_only", "image_bytes", "image_bytes_sr_only"]


def test_the_card_is_answered(signatures, served):
    answers = signatures["model_card"](query=tf.constant(["", "any"]))["card"].numpy()
    assert answers[0] == answers[1] == (served / "1" / "assets" / "model_card.json").read_bytes()
    card = parse_card(answers[0], served)
    assert (card.format, card.scale, card.max_pixels) == ("savedmodel", 2, 40000)
    assert card.parity["sr"] <= 1e-3


def test_versions_count_up_and_are_never_replaced(small_run, tmp_path):
    for expected in ("1", "2"):
        folder, _ = export_savedmodel(small_run, tmp_path / "m", uncertainty=False, warmup=False)
        assert folder.name == expected
    with pytest.raises(UserError, match=r"m/2: is there already: choose another --version"):
        export_savedmodel(small_run, tmp_path / "m", version=2)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1", "2"]
    assert load(tmp_path / "m").card.outputs == ["sr"]


def test_exported_models_in_the_commands(served, tmp_path):
    from udl_tf.imaging.rgb_files import write_rgb

    (tmp_path / "in").mkdir()
    for index in range(2):
        write_rgb(tmp_path / f"in/{index}.png", noise_image(40, 44, index))
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "in/deep.png")
    out = ("--output", tmp_path / "out")
    result = run_command(
        "upscale", tmp_path / "in", "--model", served, *out, "--uncertainty", "npy"
    )
    assert result.returncode == 0, result.stderr
    assert "deep.png: 16-bit pixels computed in 8 bits" in result.stdout
    assert np.load(tmp_path / "out/0_theta.npy").shape == (80, 88, 3)
    (tmp_path / "in/deep.png").unlink()
    result = run_command("evaluate", "--model", served, "--data", tmp_path / "in")
    assert result.returncode == 0, result.stderr
    assert (served.parent / "small_x2_evaluation/results.md").is_file()
    arguments = ("--model", served, "--data", tmp_path / "in")
    message = "expected a run folder, of which exports are made"
    assert_one_line_error(run_command("calibrate", *arguments), message)
