from pathlib import Path

import pytest

from udl_tf.scenes.result_files import path_beside


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.ome.tif", "a_flags.ome.tif"),
        ("a.b.OME.TIFF", "a.b_flags.OME.TIFF"),
        ("a.nii.gz", "a_flags.nii.gz"),
        ("a.ome.zarr", "a_flags.ome.zarr"),
        ("a.b.dcm", "a.b_flags.dcm"),
    ],
)
def test_names_of_flags_keep_suffixes_of_two_parts(name, expected):
    assert path_beside(Path("x") / name, "flags") == Path("x") / expected
