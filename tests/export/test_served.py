"""The signatures of an exported SavedModel, called as TensorFlow Serving calls them."""

import io

import imagecodecs
import numpy as np
import pytest
import tensorflow as tf
from helpers.images import encoded, noise_image
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from udl_tf.inference.result import Upscaled
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.card import THETA_STEPS, parse_card
from udl_tf.saved.loading import load_upscaler

Refusal = tf.errors.InvalidArgumentError


@pytest.fixture(scope="module")
def signatures(served):
    model = tf.saved_model.load(str(served / "1"))
    yield model.signatures
    del model


@pytest.fixture(scope="module")
def trained(small_run):
    return load_upscaler(small_run)


def test_names_types_and_shapes(served):
    saved = saved_model_pb2.SavedModel.FromString((served / "1/saved_model.pb").read_bytes())
    known = saved.meta_graphs[0].signature_def
    names = {"serving_default", "sr_only", "image_bytes", "image_bytes_sr_only", "model_card"}
    assert {name for name in known if not name.startswith("__")} == names
    signature = known["serving_default"]
    assert (set(signature.inputs), set(signature.outputs)) == ({"image"}, {"sr", "theta"})
    for tensor, dtype in (
        (signature.inputs["image"], tf.uint8),
        (signature.outputs["sr"], tf.uint8),
        (signature.outputs["theta"], tf.float32),
    ):
        assert tf.as_dtype(tensor.dtype) == dtype
        assert [side.size for side in tensor.tensor_shape.dim] == [-1, -1, -1, 3]


def test_a_batch_of_images(signatures, trained):
    images = np.stack([noise_image(19, 24, seed) for seed in range(3)])
    outputs = signatures["serving_default"](image=tf.constant(images))
    only = signatures["sr_only"](image=tf.constant(images))
    assert set(only) == {"sr"}
    for index, image in enumerate(images):
        expected = trained.upscale(image)
        assert np.abs(outputs["sr"][index].numpy().astype(int) - expected.image).max() <= 1
        assert np.allclose(outputs["theta"][index], expected.theta, atol=1e-3)
    assert np.array_equal(outputs["sr"], only["sr"])


def test_files_of_any_format_and_size_in_one_batch(signatures, trained):
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
    images = [color, color, np.dstack([gray] * 3), alpha[..., :3], jpeg, noise_image(1, 1)]
    outputs = signatures["image_bytes"](image_bytes=tf.constant(files))
    for index, image in enumerate(images):
        expected = trained.upscale(np.ascontiguousarray(image))
        if index == 2:  # the graph computes grey images in colour
            expected = Upscaled(*trained.predict(image, BORDER))
        sr = imagecodecs.png_decode(outputs["sr_image_bytes"][index].numpy())
        theta = imagecodecs.png_decode(outputs["theta_image_bytes"][index].numpy())
        # TensorFlow's JPEG decoder enlarges chroma differently from Pillow's.
        difference = np.abs(sr.astype(int) - expected.image.clip(0, 255)).max()
        assert difference <= (12 if index == 4 else 1)
        assert theta.dtype == np.uint16
        if index != 4:
            assert np.abs(theta / THETA_STEPS - expected.theta).max() <= 0.5 / THETA_STEPS + 1e-3
    only = signatures["image_bytes_sr_only"](image_bytes=tf.constant(files))
    assert np.array_equal(only["sr_image_bytes"], outputs["sr_image_bytes"])


def declared(width: int, height: int) -> bytes:
    """A PNG that declares a size, and is truncated."""
    png = bytearray(encoded(noise_image(8, 8), "png"))
    png[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(png)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image: expected a PNG, JPEG or WebP file"),
        (b"a text longer than the header of an image file", "not an image"),
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
def test_images_of_zero_size(signatures, shape):
    with pytest.raises(Refusal, match="image of zero size"):
        signatures["serving_default"](image=tf.zeros(shape, tf.uint8))


def test_an_image_above_the_limit(signatures):
    with pytest.raises(Refusal, match=r"too large: at most 40000 pixels .*send it in parts"):
        signatures["sr_only"](image=tf.zeros((1, 201, 200, 3), tf.uint8))


def test_plain_areas_stay_plain(signatures):
    image = np.full((1, 30, 24, 3), (200, 30, 60), np.uint8)
    sr = signatures["sr_only"](image=tf.constant(image))["sr"]
    assert np.array_equal(sr, np.full((1, 60, 48, 3), (200, 30, 60)))


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


def test_the_card_is_returned(signatures, served):
    answers = signatures["model_card"](query=tf.constant(["", "any"]))["card"].numpy()
    assert answers[0] == answers[1] == (served / "1" / "assets" / "model_card.json").read_bytes()
    card = parse_card(answers[0], served)
    assert (card.format, card.scale, card.max_pixels) == ("savedmodel", 2, 40000)
    assert card.parity["sr"] <= 1e-3
