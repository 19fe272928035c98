import numpy as np
import pytest
from helpers.images import noise_image
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.imaging import image_size, read_image, read_rgb

RGB = noise_image(5, 7)
DEEP = RGB.astype(np.uint16) * 257


@pytest.mark.parametrize("white", [65535, 4095, 1023, 300])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("is_text", [False, True])
def test_16_bits_are_kept_and_scaled_to_white(tmp_path, white, channels, is_text):
    values = np.round(RGB[..., :channels] / 255 * white).astype(int)
    kind = (2 if channels == 1 else 3) + (0 if is_text else 3)
    body = " ".join(map(str, values.flat)).encode() if is_text else values.astype(">u2").tobytes()
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P%d\n# a comment 1 2 3\n7\t5 %d\n" % (kind, white) + body)
    pixels = read_image(path).pixels
    assert pixels.dtype == np.uint16
    expected = np.floor(values * 65535 / white + 0.5)
    assert np.array_equal(pixels.reshape(values.shape), expected)
    assert image_size(path) == (5, 7)


@pytest.mark.parametrize("suffix", [".ppm", ".pgm", ".pbm"])
def test_8_bits(tmp_path, suffix):
    image = {".ppm": RGB, ".pgm": RGB[..., 0], ".pbm": RGB[..., 0] > 99}[suffix]
    Image.fromarray(image).save(tmp_path / f"a{suffix}")
    expected = image * 255 if suffix == ".pbm" else image
    assert np.array_equal(read_image(tmp_path / f"a{suffix}").pixels, expected)


def test_cut_and_too_large_files(tmp_path):
    path = tmp_path / "a.ppm"
    path.write_bytes(b"P6 7 5 65535\n" + DEEP.tobytes()[:-1])
    with pytest.raises(UserError, match="cannot be decoded"):
        read_image(path)
    path.write_bytes(b"P6 70000 50000 65535\n")
    with pytest.raises(UserError, match="declares 70000x50000 pixels"):
        read_image(path)
    with pytest.raises(UserError, match="declares 70000x50000 pixels"):
        read_rgb(path)
