import numpy as np
import pytest
from helpers.models import transparent_model

from udl_tf.errors import UserError
from udl_tf.export.graph import make_card, mirror, read_run, theta_of
from udl_tf.export.onnx import export_onnx
from udl_tf.export.tflite import export_tflite


@pytest.mark.parametrize(("export", "suffix"), [(export_tflite, ".tflite"), (export_onnx, ".onnx")])
def test_a_name_whose_format_load_would_not_recognise(export, suffix, small_run, tmp_path):
    with pytest.raises(UserError, match=rf"model\.bin: expected a name that ends in \{suffix}"):
        export(small_run, tmp_path / "model.bin")


def test_exports_need_the_tensorflow_backend(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax: exports need the TensorFlow backend"):
        export_onnx(small_run, tmp_path / "model.onnx")


def test_theta_is_at_most_the_width_of_the_value_range():
    """An error cannot exceed 255 grey levels; s of a network may be of any size."""
    model = transparent_model(2)
    s = np.array([[-np.inf, -1.0, 0.0], [5.0, 90.0, np.inf]], np.float32)
    expected = [[0, np.exp(-1), 1], [np.exp(5), 255, 255]]
    assert np.allclose(model.networks.theta_of(s), expected, rtol=1e-5)
    assert np.allclose(theta_of(model, s), expected, rtol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (8, 9), (3, 20)])
@pytest.mark.parametrize("border", [0, 1, 5, 8])
def test_images_of_any_size_are_mirrored_as_by_numpy(size, border):
    image = np.arange(2 * size[0] * size[1] * 3, dtype=np.float32).reshape(2, *size, 3)
    pad = ((0, 0), (border, border), (border, border), (0, 0))
    assert np.array_equal(mirror(image, border), np.pad(image, pad, "symmetric"))


def test_presets_are_exported_by_their_name():
    model = read_run("edsr_light_x4")
    card = make_card("edsr_light_x4", model, True, format="onnx", precision="float32")
    assert (card.name, card.scale, card.smallest) == ("edsr_light_x4", 4, 1)
    assert {result["dataset"] for result in card.metrics} >= {"Set5"}
