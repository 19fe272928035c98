"""Uploads of all kinds: what is shown of them, and what is refused."""

import numpy as np
import pytest
import tifffile
from helpers.images import declared_png, noise_image
from helpers.web import Gated
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging import read_image
from udl_tf.imaging.compression import Compression
from udl_tf.web.uploads import EXAMPLE, open_upload
from udl_tf.web.upscaling import upscale_upload
from udl_tf.web.words import upload_words


def upload_of(path, pixels, **options):
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, **options)
    else:
        Image.fromarray(pixels).save(path, **options)
    return open_upload(path)


NOISE = noise_image(6, 8)
KINDS = {
    "cmyk.tif": (np.dstack([NOISE, NOISE[..., :1]]), {"photometric": "separated"}),
    "sixteen.png": (NOISE[..., 0].astype(np.uint16) * 257, {}),
    "transparent.png": (np.dstack([NOISE, NOISE[..., :1]]), {}),
    "gray.bmp": (NOISE[..., 0], {}),
    "one.png": (NOISE[:1, :1], {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_images_of_all_kinds(name, tmp_path):
    pixels, options = KINDS[name]
    upload = upload_of(tmp_path / name, pixels, **options)
    assert (upload.height, upload.width) == pixels.shape[:2]
    assert upload.shown.shape == (*pixels.shape[:2], 3)
    (tmp_path / "out").mkdir()
    result = upscale_upload(Gated(2), upload, 2.0, tmp_path / "out", lambda *_: None)
    assert read_image(result.image).pixels.shape[:2] == tuple(2 * n for n in pixels.shape[:2])
    assert (result.whole.after == result.comparison.whole().after).all()
    assert tifffile.imread(result.theta.values).mean() == pytest.approx(result.theta.mean)


def test_the_first_frame_of_an_animation_is_upscaled(tmp_path):
    frames = [Image.fromarray(noise_image(6, 8, seed)).quantize(8) for seed in (0, 1)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    upload = open_upload(tmp_path / "a.gif")
    assert any("frame" in note for note in upload.notes)


def test_another_size_is_resampled(tmp_path):
    upload = upload_of(tmp_path / "a.png", NOISE)
    result = upscale_upload(Gated(2), upload, 3.0, tmp_path, lambda *_: None)
    assert result.comparison.size == (24, 18)


def test_what_is_refused_names_the_file_without_its_folder(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(UserError, match=r"^text\.png: not an image"):
        open_upload(tmp_path / "text.png")
    (tmp_path / "large.png").write_bytes(declared_png(8200, 5000))
    with pytest.raises(UserError, match=r"^large\.png: 8200 x 5000 pixels are 41\.0 megapixels"):
        open_upload(tmp_path / "large.png")


def test_the_example_can_be_opened():
    assert open_upload(EXAMPLE).width == 320


def test_compression_is_known_and_what_it_means_for_a_model(tmp_path):
    jpeg = upload_of(tmp_path / "a.jpg", NOISE, quality=60)
    assert jpeg.compression == Compression("JPEG", 60)
    text = upload_words(jpeg, 2.0, "photo_x2", knows_compression=True)
    assert "JPEG of quality 60: photo_x2 was trained on such images" in text
    text = upload_words(jpeg, 2.0, "edsr_s_x2", knows_compression=False)
    assert "expect larger errors than θ says" in text
    png = upload_of(tmp_path / "a.png", NOISE)
    assert png.compression is None
    assert "trained" not in upload_words(png, 2.0, "edsr_s_x2", knows_compression=False)
