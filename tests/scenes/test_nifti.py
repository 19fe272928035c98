"""NIfTI as scenes, written and read back by nibabel."""

import gzip

import nibabel
import numpy as np
import pytest
from helpers.scenes import enlarge

from udl_tf.errors import UserError
from udl_tf.scenes import Window, open_scene
from udl_tf.scenes.marks import is_result

# Oblique voxels of 0.8 x 0.9 x 3 mm; columns run to the left.
AFFINE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.1, -0.2, 0.3) @ np.diag([-0.8, 0.9, 3.0]), [90, -50, -70]
)
SUFFIXES = pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".NII.GZ"])


def volume(shape=(5, 4, 3), dtype=np.int16):
    return np.random.default_rng(0).integers(-1000, 2000, shape).astype(dtype)


def save(path, array, kind=nibabel.Nifti1Image, **header):
    image = kind(array, AFFINE)
    image.set_qform(AFFINE, 1)
    image.header.set_xyzt_units("mm", "sec")
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def doubled(array):
    return array.repeat(2, axis=0).repeat(2, axis=1)


@SUFFIXES
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slices_are_planes_and_results_of_the_same_type(tmp_path, suffix, kind):
    array = volume()
    source = save(tmp_path / f"a{suffix}", array, kind, cal_max=500)
    with open_scene(source) as scene:
        assert (scene.planes, scene.height, scene.width, scene.channels) == (3, 4, 5, 1)
        assert scene.notes == ("not a medical device: never use a result for diagnosis",)
        part, valid = scene.read(Window(2, 1, 0, 2, 5))
        np.testing.assert_array_equal(part[..., 0], array[:, 1:3, 2].T)
        assert valid.all()
    result = nibabel.load(enlarge(source, tmp_path / f"b{suffix}", step=3))
    assert (is_result(tmp_path / f"b{suffix}"), is_result(source)) == (True, False)
    assert type(result) is kind
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), doubled(array))
    assert result.get_data_dtype() == np.int16
    np.testing.assert_allclose(result.header.get_zooms(), (0.4, 0.45, 3), rtol=1e-6)
    assert result.header.get_xyzt_units() == ("mm", "sec")
    assert result.header["cal_max"] == 500
    assert (
        b"x2; not a medical device: never use a result for diagnosis"
        in result.header["descrip"].item()
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_corners_of_the_volume_stay_in_place(tmp_path, scale):
    """A shift by half a voxel, were the translation of the affine kept."""
    source = nibabel.load(save(tmp_path / "a.nii", volume()))
    result = nibabel.load(enlarge(tmp_path / "a.nii", tmp_path / "b.nii", scale))
    for corner in [(-0.5, -0.5, 0), (4.5, -0.5, 1), (4.5, 3.5, 2)]:
        fine = [(corner[0] + 0.5) * scale - 0.5, (corner[1] + 0.5) * scale - 0.5, corner[2]]
        for form in ("get_sform", "get_qform"):
            before, code = getattr(source, form)(coded=True)
            after, code_after = getattr(result, form)(coded=True)
            assert code == code_after > 0
            np.testing.assert_allclose(
                nibabel.affines.apply_affine(after, fine),
                nibabel.affines.apply_affine(before, corner),
                atol=1e-4,  # of float32 at 90 mm, and of a quaternion
            )


def test_a_volume_without_a_place_keeps_its_centre(tmp_path):
    nibabel.save(nibabel.Nifti1Image(volume((5, 4, 1)), None), tmp_path / "a.nii")
    result = nibabel.load(enlarge(tmp_path / "a.nii", tmp_path / "b.nii"))
    assert result.header.get_zooms() == (0.5, 0.5, 1)
    np.testing.assert_array_equal(
        nibabel.affines.apply_affine(result.affine, [4.5, 3.5, 0]), [0, 0, 0]
    )


@SUFFIXES
def test_slope_and_intercept_are_applied_and_stored_back(tmp_path, suffix):
    image = nibabel.Nifti1Image(volume(dtype=np.float32) * 0.37, AFFINE)
    image.header.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / f"a{suffix}")
    source = nibabel.load(tmp_path / f"a{suffix}")
    with open_scene(tmp_path / f"a{suffix}") as scene:
        assert scene.dtype == np.float32
        part, _ = scene.read(Window(0, 0, 0, 4, 5))
        np.testing.assert_allclose(part[..., 0], source.get_fdata()[:, :, 0].T, rtol=1e-6)
    result = nibabel.load(enlarge(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"))
    assert result.dataobj.slope == source.dataobj.slope != 1
    assert result.get_data_dtype() == np.int16
    stored = [image.dataobj.get_unscaled() for image in (source, result)]
    np.testing.assert_array_equal(stored[1], doubled(stored[0]))


def test_nan_is_nodata_and_times_are_planes(tmp_path):
    array = volume((5, 4, 3, 2), np.float32)
    array[1, 2] = np.nan
    source = save(tmp_path / "a.nii", array)
    with open_scene(source) as scene:
        assert scene.planes == 6
        part, valid = scene.read(Window(3, 0, 0, 4, 5))  # the first slice of the second time
        np.testing.assert_array_equal(part[..., 0], array[:, :, 0, 1].T)
        np.testing.assert_array_equal(valid, ~np.isnan(part))
    result = nibabel.load(enlarge(source, tmp_path / "b.nii"))
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), doubled(array))


def test_theta_and_flags_are_volumes_of_their_own(tmp_path):
    source = save(tmp_path / "a.nii.gz", volume())
    enlarge(source, tmp_path / "b.nii.gz", theta=tmp_path / "t.nii.gz", flags=True)
    theta = nibabel.load(tmp_path / "t.nii.gz")
    assert (theta.get_data_dtype(), theta.header.get_intent()[::2]) == (
        np.float32,
        ("estimate", "theta"),
    )
    assert np.all(np.asanyarray(theta.dataobj) == 0.5)
    flags = nibabel.load(tmp_path / "b_flags.nii.gz")
    assert (flags.shape, flags.get_data_dtype(), flags.get_fdata().any()) == (
        *((10, 8, 3), np.uint8, False),
    )


def test_theta_in_the_same_file_is_a_second_component(tmp_path):
    source = save(tmp_path / "a.nii", volume())
    result = nibabel.load(enlarge(source, tmp_path / "b.nii", theta=tmp_path / "b.nii"))
    assert result.shape == (10, 8, 3, 1, 2)
    np.testing.assert_array_equal(result.get_fdata()[..., 0, 0], doubled(volume()))
    assert np.all(result.get_fdata()[..., 1] == 0.5)


def test_slices_that_are_not_written_are_nan(tmp_path):
    source = save(tmp_path / "a.nii", volume(dtype=np.float32))
    ones = np.ones((8, 10, 1))
    with (
        open_scene(source) as scene,
        scene.create(tmp_path / "b.nii", 2, None, flags=False) as result,
    ):
        result.write(Window(1, 0, 0, 8, 10), ones, ones > 0)
    written = nibabel.load(tmp_path / "b.nii").get_fdata()
    np.testing.assert_array_equal(np.isnan(written).all(axis=(0, 1)), [True, False, True])


def hounsfield(path):
    """Writes integers n that stand for the values n - 1024."""
    image = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), AFFINE)
    image.header.set_slope_inter(1, -1024)
    image.to_filename(path)
    return path


def test_slices_that_are_not_written_are_the_given_nodata(tmp_path):
    source, ones = hounsfield(tmp_path / "a.nii"), np.ones((8, 10, 1))
    with (
        open_scene(source, nodata=-2000) as scene,
        scene.create(tmp_path / "b.nii", 2, None, flags=False) as result,
    ):
        result.write(Window(1, 0, 0, 8, 10), ones, ones > 0)
    stored = nibabel.load(tmp_path / "b.nii").dataobj.get_unscaled()
    assert set(stored[..., 0].ravel()) == {-2000 + 1024}
    with open_scene(tmp_path / "b.nii", nodata=-2000) as scene:
        read = [scene.read(Window(plane, 0, 0, 8, 10))[1] for plane in range(3)]
    assert [(valid.any(), valid.all()) for valid in read] == [
        *((False, False), (True, True), (False, False)),
    ]


def test_valid_values_do_not_become_nodata_by_rounding(tmp_path):
    values = np.full((8, 10, 1), -1023.7)  # the number 0.3, whose neighbour 0 means nodata
    with (
        open_scene(hounsfield(tmp_path / "a.nii"), nodata=-1024) as scene,
        scene.create(tmp_path / "b.nii", 2, None, flags=False) as result,
    ):
        assert scene.read(Window(0, 0, 0, 4, 5))[1].sum() == 19  # all but the number 0
        result.write(Window(0, 0, 0, 8, 10), values, values > -1e4)
    with open_scene(tmp_path / "b.nii", nodata=-1024) as scene:
        part, valid = scene.read(Window(0, 0, 0, 8, 10))
    assert valid.all()
    np.testing.assert_array_equal(part, -1023)


@pytest.mark.parametrize("nodata", [-1024.5, 70000, np.nan])
def test_nodata_that_no_integer_stands_for_is_refused(tmp_path, nodata):
    message = rf"nodata {nodata:g}; expected -1024 \+ 1 n with a whole number n in -32768..32767"
    with pytest.raises(UserError, match=message) as error:
        open_scene(hounsfield(tmp_path / "a.nii"), nodata)
    assert error.value.argument == "nodata"


def test_damage_is_one_line(tmp_path):
    source = save(tmp_path / "a.nii", volume())
    source.write_bytes(source.read_bytes()[:-10])
    with open_scene(source) as scene, pytest.raises(UserError, match=r"a\.nii: cannot be read"):
        scene.read(Window(0, 0, 0, 4, 5))
    data = gzip.compress(source.read_bytes())
    (tmp_path / "b.nii.gz").write_bytes(data[:-20])
    with pytest.raises(UserError, match=r"b\.nii\.gz: cannot be read"):
        open_scene(tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").write_bytes(data[:10] + bytes(range(200)))
    assert not is_result(tmp_path / "b.nii.gz")
    with pytest.raises(UserError, match=r"b\.nii\.gz: cannot be read"):
        open_scene(tmp_path / "b.nii.gz")
    (tmp_path / "b.nii.gz").unlink()
    save(tmp_path / "c.nii", volume((5, 4, 3, 1, 2, 2)))
    with pytest.raises(UserError, match="has 6 axes; expected 2 to 5"):
        open_scene(tmp_path / "c.nii")
