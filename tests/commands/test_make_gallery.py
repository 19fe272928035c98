"""The gallery: its crops and figures are those that the tool makes."""

import numpy as np
import pytest
from helpers.commands import ROOT
from helpers.upscalers import Repeating
from make_gallery import CROPS, SIDE, add_row

from udl_tf.data import bundled_dataset
from udl_tf.imaging import read_rgb

GALLERY = ROOT / "docs/gallery"


@pytest.mark.parametrize("subject", CROPS)
def test_a_row_compares_a_result_with_bicubic_interpolation(subject, tmp_path):
    """Bicubic interpolation needs no network: the published images and figures are reproduced."""
    (image,) = (s.hr for s in bundled_dataset("test").sources if s.hr.stem == subject)
    figures, *cells = add_row(image, "repeated", Repeating(4), tmp_path)
    published = (GALLERY.parent / "gallery.md").read_text()
    assert figures.startswith("repeated: ")
    assert figures.split(" dB ")[1] in published  # (bicubic 25.41)
    names = ("bicubic_x4", "repeated", "hr", "repeated_theta")
    for name, cell in zip(names, cells, strict=True):
        file = f"{subject}_{name}.webp"
        assert cell.endswith(f"]({tmp_path.name}/{file})")
        pixels = read_rgb(tmp_path / file)
        assert pixels.shape == (SIDE, SIDE, 3)
        if "repeated" not in name:
            np.testing.assert_array_equal(pixels, read_rgb(GALLERY / file))


def test_the_gallery_names_its_files_and_no_others():
    published = (GALLERY.parent / "gallery.md").read_text()
    files = {file.name for file in GALLERY.iterdir()}
    assert {name for name in files if f"(gallery/{name})" in published} == files
    assert published.count("(gallery/") == 3 * 4 * 4  # images, presets, columns
    assert sum(file.stat().st_size for file in GALLERY.iterdir()) < 1e6
