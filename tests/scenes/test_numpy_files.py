import numpy as np
import pytest
from helpers.scenes import repeated

from udl_tf.errors import UserError
from udl_tf.scenes import Window, open_scene

ALL = Window(0, 0, 0, 4, 6)  # a result of 2x3 pixels at scale 2


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (5, 2, 3, 4)])
def test_arrays_are_read_by_window_and_results_have_the_same_axes(tmp_path, shape, order):
    array = np.arange(np.prod(shape), dtype=">i2").reshape(shape)
    np.save(tmp_path / "a.npy", np.asarray(array, order=order))
    array = array if array.ndim > 2 else array[..., np.newaxis]
    planes = array if array.ndim == 4 else array[np.newaxis]
    with open_scene(tmp_path / "a.npy") as scene:
        assert (scene.planes, scene.channels) == (len(planes), planes.shape[3])
        assert scene.dtype == np.int16
        for plane in range(scene.planes):
            values, valid = scene.read(Window(plane, 1, 0, 1, 2))
            np.testing.assert_array_equal(values, planes[plane, 1:2, 0:2])
            assert valid.all()
        with scene.create(tmp_path / "b.npy", 2, None, flags=False) as result:
            for plane, values in enumerate(planes):
                window = Window(plane, 0, 0, 4, 6)
                result.write(
                    window, repeated(values, 2) + 0.25, np.ones((4, 6, scene.channels), bool)
                )
    written = np.load(tmp_path / "b.npy")
    assert written.dtype == np.int16
    assert written.ndim == len(shape)
    np.testing.assert_array_equal(
        written.reshape(-1, 4, 6, scene.channels)[-1], repeated(planes[-1], 2)
    )


def test_nan_and_nodata_are_not_valid_and_windows_not_written_are_nodata(tmp_path):
    array = np.array([[1, np.nan, -9999], [4, 5, np.inf]], np.float32)
    np.save(tmp_path / "a.npy", array)
    with open_scene(tmp_path / "a.npy", nodata=-9999) as scene:
        values, valid = scene.read(Window(0, 0, 0, 2, 3))
        with scene.create(tmp_path / "b.npy", 2, None, flags=False) as result:
            top = Window(0, 0, 0, 2, 6)
            result.write(top, repeated(values, 2)[:2], repeated(valid, 2)[:2])
    np.testing.assert_array_equal(valid[..., 0], [[True, False, False], [True, True, False]])
    top = [1, 1, -9999, -9999, -9999, -9999]
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), [top, top, [-9999] * 6, [-9999] * 6])


def test_theta_and_flags_are_stored_beside_or_as_channels(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.uint16))
    values, theta = np.full((4, 6, 1), 7.0), np.full((4, 6, 1), 0.5, np.float32)
    flags = np.repeat(np.array([[0], [1], [2], [0]], np.uint8), 6, axis=1)
    for name in ("theta.npy", "sr.npy"):
        with (
            open_scene(tmp_path / "a.npy") as scene,
            scene.create(tmp_path / "sr.npy", 2, tmp_path / name, flags=True) as result,
        ):
            result.write(ALL, values, np.ones((4, 6, 1), bool), theta, flags)
        np.testing.assert_array_equal(np.load(tmp_path / "sr_flags.npy"), flags)
        if name == "theta.npy":
            assert np.load(tmp_path / "sr.npy").dtype == np.uint16
            np.testing.assert_array_equal(np.load(tmp_path / name), theta[..., 0])
    both = np.load(tmp_path / "sr.npy")
    np.testing.assert_array_equal(both, np.concatenate([values, theta], axis=2))
    assert both.dtype == np.float32


def test_a_result_that_fails_leaves_no_file(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.uint16))
    with (
        pytest.raises(KeyboardInterrupt),
        open_scene(tmp_path / "a.npy") as scene,
        scene.create(tmp_path / "b.npy", 2, None, flags=False),
    ):
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_damaged_and_foreign_arrays_are_refused(tmp_path):
    np.save(tmp_path / "text.npy", np.array(["a", "b"]))
    with pytest.raises(UserError, match=r"shape \(2,\) and dtype <U1; expected numbers"):
        open_scene(tmp_path / "text.npy")
    np.save(tmp_path / "a.npy", np.zeros((8, 8)))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(data[:-100])
    with (
        open_scene(tmp_path / "cut.npy") as scene,
        pytest.raises(UserError, match="cannot be read"),
    ):
        scene.read(Window(0, 0, 0, 8, 8))
