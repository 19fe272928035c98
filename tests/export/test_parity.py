import numpy as np
import pytest

from udl_tf.errors import UserError
from udl_tf.export import parity
from udl_tf.export.onnx import export_onnx
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.tflite import export_tflite


@pytest.mark.parametrize(
    ("name", "export", "options"),
    [
        ("a.tflite", export_tflite, {}),
        ("a.onnx", export_onnx, {}),
        pytest.param(
            "a",
            export_savedmodel,
            {"warmup": False, "max_pixels": 999},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_export_beyond_the_bound_leaves_nothing(
    name, export, options, tiny_run, hr_images, tmp_path, monkeypatch
):
    monkeypatch.setitem(parity.BOUNDS, "float32", -1.0)
    with pytest.raises(
        UserError, match=r"differs from the Keras networks by sr .*, theta"
    ) as error:
        export(tiny_run, tmp_path / name, images=hr_images, **options)
    assert "\n" not in str(error.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_difference_that_is_not_finite_exceeds_every_bound():
    assert parity.largest_difference(np.array([np.nan, 0.0]), np.zeros(2)) == np.inf
    assert parity.largest_difference(np.array([np.inf, 0.0]), np.zeros(2)) == np.inf


def test_rounding_is_no_difference():
    assert parity.largest_difference(np.array([7.0, 8.0]), np.array([7.5, 7.6]), step=1) == 0
    assert parity.largest_difference(np.array([7.0]), np.array([7.75]), step=1) == 0.25
    assert parity.largest_difference(np.array([np.nan]), np.array([7.75]), step=1) == np.inf


def test_large_values_are_compared_relative_to_their_size():
    """A rehearsal's theta of 200 grey levels was refused for a difference of 0.0028."""
    theta = np.array([0.5, 1.0, 200.0])
    units = parity.units_of({"raw": np.array([-9.0, 255.0]), "theta": theta}, "float32")
    assert units["theta"].tolist() == [1, 1, 200]  # 0.1 % of it
    assert units["sr"] == 1
    units = parity.units_of({"raw": np.array([-510.0, 9.0]), "theta": theta}, "float16")
    assert units["theta"].tolist() == [1, 1, 20]  # 10 % of it
    assert units["sr"] == 2
    difference = parity.largest_difference(theta + 0.02 * (theta > 9), theta, unit=units["theta"])
    assert difference == pytest.approx(1e-3)  # 0.02 / 20


def test_a_piece_is_the_middle_of_an_image():
    image = np.arange(6 * 8).reshape(6, 8, 1)
    assert np.array_equal(parity.piece(image, (2, 4)), image[2:4, 2:6])
    assert np.array_equal(parity.piece(image, (1, 2), scale=2), image[2:4, 2:6])
    small = parity.piece(image, (9, 8))
    assert np.array_equal(small, np.pad(image, ((0, 3), (0, 0), (0, 0)), "symmetric"))


def test_grey_images_are_compared_in_colour():
    """`upscale` averages the channels of grey images, the graphs of exports do not."""
    gray, colored = np.full((4, 5, 3), 255.0), np.arange(60.0).reshape(4, 5, 3)
    assert parity._in_color(colored.copy()).tolist() == colored.tolist()
    found = parity._in_color(gray)
    assert found[0, 0].tolist() == [255, 255, 254]
    assert (found.reshape(-1)[3:] == 255).all()
