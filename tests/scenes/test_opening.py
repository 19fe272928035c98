import sys

import nibabel
import numpy as np
import pytest
import tifffile
import zarr

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


def write_ome_tiff(path):
    tifffile.imwrite(path, np.zeros((3, 2, 2), np.uint16), metadata={"axes": "ZYX"}, ome=True)


def write_imagej(path):
    array = np.zeros((3, 2, 2), np.uint16)
    tifffile.imwrite(path, array, imagej=True, metadata={"axes": "ZYX"})


def write_ome_zarr(path):
    image = {"axes": [{"name": name, "type": "space"} for name in "zyx"]}
    step = {"type": "scale", "scale": [1, 1, 1]}
    image["datasets"] = [{"path": "0", "coordinateTransformations": [step]}]
    ome = {"version": "0.5", "multiscales": [image]}
    group = zarr.create_group(path, attributes={"ome": ome})
    group.create_array("0", shape=(3, 2, 2), dtype=np.uint16)


def write_nifti(path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 3), np.uint16), np.eye(4)), path)


MICRO_AND_MEDICAL = pytest.mark.parametrize(
    ("write", "name", "module", "extra", "package"),
    [
        (write_ome_tiff, "a.tif", "tiff_stack", "micro", "zarr"),
        (write_imagej, "a.tif", "tiff_stack", "micro", "zarr"),
        (write_ome_zarr, "a.zarr", "ome_zarr", "micro", "zarr"),
        (write_nifti, "a.nii", "nifti", "medical", "nibabel"),
        (write_nifti, "a.nii.gz", "nifti", "medical", "nibabel"),
    ],
)


@MICRO_AND_MEDICAL
def test_files_of_microscopy_and_medicine_are_recognised(
    tmp_path, monkeypatch, write, name, module, extra, package
):
    write(tmp_path / name)
    kind = scene_kind(tmp_path / name)
    assert kind is not None
    assert (kind.module, kind.extra) == (module, extra)
    assert name.endswith(kind.suffixes)
    with open_scene(tmp_path / name) as scene:
        assert (scene.planes, scene.height, scene.width, scene.channels) == (3, 2, 2, 1)
    monkeypatch.delitem(sys.modules, f"udl_tf.scenes.{module}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'{package} is not installed: .*"udl_tf\[{extra}\]"'):
        open_scene(tmp_path / name)


def test_suffixes_are_listed_once_each():
    suffixes = scene_suffixes()
    assert len(set(suffixes)) == len(suffixes)
    assert {".npy", ".tif", ".tiff", ".nii.gz", ".dcm", ".zarr"} <= set(suffixes)


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
    with pytest.raises(UserError, match=r"expected a value of the dtype uint8, .* in 0\.\.255"):
        open_scene(tmp_path / "a.npy", nodata)


def test_files_that_are_no_scenes_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_scene(tmp_path / "missing.npy")
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(UserError, match=r"not a scene of a known kind \(NumPy array, "):
        open_scene(tmp_path / "notes.txt")
