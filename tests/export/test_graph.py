import numpy as np
import pytest
from helpers.models import transparent_model

from udl_tf.errors import UserError
from udl_tf.export.graph import theta_of
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
