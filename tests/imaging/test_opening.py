import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from helpers.images import declared_png
from helpers.upscalers import Repeating
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging import image_size, is_result, read_image, read_rgb
from udl_tf.imaging.opening import MAX_PIXELS, opened


def test_the_limit_of_pixels_is_an_argument(tmp_path):
    """400 megapixels, more than Pillow itself opens."""
    path = tmp_path / "large.png"
    path.write_bytes(declared_png(20_000, 20_000))
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(UserError, match=r"declares 20000x20000 pixels; .*: crop it") as caught:
        image_size(path)
    assert caught.value.argument is None  # there is no argument to change
    with pytest.raises(UserError, match=r"at most 300 megapixels .*: raise the limit") as caught:
        image_size(path, 300_000_000)
    assert caught.value.argument == "max_pixels"
    assert image_size(path, 400_000_000) == (20_000, 20_000)
    assert before == Image.MAX_IMAGE_PIXELS
    assert 2 * before == MAX_PIXELS
    with pytest.raises(Image.DecompressionBombError):  # Pillow's own limit holds outside
        Image.open(path)


def test_threads_with_different_limits(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(declared_png(20_000, 20_000))
    before = Image.MAX_IMAGE_PIXELS

    def open_with(limit):
        try:
            with opened(path, limit) as image:
                return image.width * image.height
        except UserError:
            return None

    limits = [None, 400_000_000, 399_999_999] * 40
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_with, limits)) == [None, 400_000_000, None] * 40
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\x76\x2f\x31\x01" + bytes(20), "OpenEXR is not supported: convert it to TIFF"),
        (bytes(128) + b"DICM", "DICOM is not supported as an image: use it as a scene"),
        (b"\x93NUMPY\x01\0" + bytes(20), "NumPy is not supported as an image: use it as a scene"),
        (b"\0\0\0\x18ftypcrx \0\0\0\0", "camera raw is not supported: develop it"),
        (b"II*\0\x10\0\0\0CR\x02", "camera raw is not supported: develop it"),
        (b"%PDF-1.7", "PDF is not supported: render it to PNG"),
        (b'<?xml version="1.0"?><svg></svg>', "SVG is not supported: render it"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isom", "video is not supported: extract its frames"),
        (b"hello", "not an image"),
    ],
)
def test_a_format_that_is_not_read_is_named_with_a_remedy(tmp_path, content, part):
    """Whatever the suffix says."""
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for read in (read_image, read_rgb, image_size):
        with pytest.raises(UserError, match=f"a.png: {part}") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_opened_is_named_once(tmp_path):
    """Not as damage, with the advice to remove it."""
    with pytest.raises(UserError) as caught:
        read_image(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be opened (Is a directory): check the file"


def test_scenes_that_only_their_names_tell_are_named(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.nii").write_bytes(bytes(344) + b"n+1\0")
    for name, kind in (("a.zarr", "OME-Zarr"), ("a.nii", "NIfTI")):
        with pytest.raises(UserError, match=f"{name}: {kind} is not supported as an image: use it"):
            read_image(tmp_path / name)


def test_a_pipe_and_a_device_are_refused_instead_of_read(tmp_path):
    """Opening a pipe without a writer waits for ever."""
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", "/dev/null"):
        for read in (read_image, read_rgb, image_size, Repeating(2).upscale):
            with pytest.raises(UserError) as caught:
                read(path)
            assert str(caught.value) == (
                f"{path}: not a regular file (a broken link, pipe or device): replace or remove it"
            )
        assert not is_result(path)


def test_a_file_that_ends_in_its_header_is_named_as_cut_off(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n123")
    with pytest.raises(UserError, match=r"a\.png: cannot be decoded \(it is cut off or damaged\)"):
        read_image(path)
