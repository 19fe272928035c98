"""Exports that several tests share, each computed once."""

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.models import make_run
from PIL import Image

from udl_tf.export.onnx import export_onnx
from udl_tf.export.tflite import export_tflite
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.loading import load_upscaler


@pytest.fixture(scope="session")
def hr_images(tmp_path_factory):
    """A folder with one image for the comparison with Keras, fewer than the bundled ones."""
    folder = tmp_path_factory.mktemp("hr")
    Image.fromarray(noise_image(192, 256)).save(folder / "noise.png")
    return folder


@pytest.fixture(scope="session")
def make_single(tmp_path_factory):
    """Makes a bundle whose image and theta come from one network with a light head."""

    def make(name, scale, **options):
        folder = tmp_path_factory.mktemp("single") / name
        return make_run(folder, name, scale, light=True, **options)

    return make


@pytest.fixture(scope="session")
def tiny_run(make_single):
    """The cheapest bundle with random weights: one network of one block and four filters, x2."""
    return make_single("edsr_s", 2, num_blocks=1, num_filters=4)


@pytest.fixture(scope="session")
def small_tflite(small_run, tmp_path_factory):
    """(path, card) of a float32 TFLite file of small_run, checked on the bundled images."""
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    return path, export_tflite(small_run, path, licence="CC0")


@pytest.fixture(scope="session")
def small_onnx(small_run, tmp_path_factory):
    """(path, card) of a float32 ONNX file of small_run, checked on the bundled images."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    return path, export_onnx(small_run, path)


@pytest.fixture(scope="session")
def int8_tflite(transparent_run, tmp_path_factory):
    """(path, card) of an int8 TFLite file of transparent_run, checked on the bundled images."""
    path = tmp_path_factory.mktemp("int8") / "model.tflite"
    return path, export_tflite(transparent_run, path, "int8")


@pytest.fixture(scope="session")
def assert_same():
    """Compares an export with its bundle, on images of sizes that the export did not check."""

    def check(run, path, bound):
        trained, exported = load_upscaler(run), load_upscaler(path)
        for size in ((27, 38), (2, 5)):
            lr = noise_image(*size, seed=5)
            outputs = exported.forward(lr[None].astype(np.float32), ("sr", "theta"))
            expected = trained.predict(lr, BORDER)
            for values, correct in zip(outputs.values(), expected, strict=True):
                assert values[0].shape == correct.shape
                assert np.abs(values[0] - np.clip(correct, 0, 255)).max() <= bound
                assert np.ptp(values) > 1e-3  # not constant

    return check
