import numpy as np
import pytest

from udl_tf.errors import UserError
from udl_tf.scenes import open_scene, scene_kind, scene_suffixes


def test_the_content_of_a_file_decides_its_kind(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    renamed = (tmp_path / "a.npy").rename(tmp_path / "a.tif")
    kind = scene_kind(renamed)
    assert kind is not None
    assert (kind.name, kind.suffixes) == ("NumPy array", (".npy",))
    with open_scene(renamed) as scene:
        assert (scene.height, scene.width, scene.channels) == (2, 3, 1)


def test_suffixes_are_listed_once_each():
    suffixes = scene_suffixes()
    assert len(set(suffixes)) == len(suffixes)
    assert {".npy", ".tif", ".tiff"} <= set(suffixes)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2), np.complex64), "values of dtype complex64; expected integers of at most"),
        (np.zeros((2, 2), np.int64), "values of dtype int64; expected integers of at most 32 bits"),
        (np.zeros((2, 2, 65), np.uint8), "has 65 channels; expected 1 to 64"),
    ],
)
def test_values_that_cannot_be_kept_are_refused(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=message):
        open_scene(tmp_path / "a.npy")


@pytest.mark.parametrize("nodata", [-1, 0.5, 256, np.nan])
def test_nodata_is_a_value_of_the_dtype(tmp_path, nodata):
    np.save(tmp_path / "a.npy", np.zeros((2, 2), np.uint8))
    with pytest.raises(UserError, match=r"expected a value of its dtype uint8, .* in 0\.\.255"):
        open_scene(tmp_path / "a.npy", nodata)


def test_files_that_are_no_scenes_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_scene(tmp_path / "missing.npy")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(UserError, match=r"not a scene of a known kind \(NumPy array, "):
        open_scene(tmp_path / "notes.txt")
