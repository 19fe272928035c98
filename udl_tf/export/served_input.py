"""Inputs of a served graph: images as numbers or files; others are refused with InvalidArgument."""

import tensorflow as tf

_HEAD = 32  # bytes of a file that identify its format and, in a PNG, contain its size

_PNG_KIND = 25  # byte of a PNG that states what the channels are
_PNG_KINDS = {1: (b"\0", "grey"), 4: (b"\6", "RGB and alpha")}


def check_images(image, max_pixels: int, in_gray_levels: bool = True):
    """Returns images (n, h, w, c) as float32, if their size and values are valid.

    Args:
        image: uint8 or float32.
        max_pixels: largest image.
        in_gray_levels: whether values must be in 0..255, not only finite.
    """
    shape = tf.shape(image)
    checks = [
        tf.debugging.Assert(
            tf.reduce_all(shape > 0), ["image of zero size: expected at least one pixel", shape]
        ),
        _check_size(shape[1], shape[2], max_pixels),
    ]
    if image.dtype == tf.float32:
        if in_gray_levels:
            valid = (image >= 0.0) & (image <= 255.0)  # false for NaN
            message = "image with values outside 0..255 or NaN: expected values in 0..255"
        else:
            valid = tf.math.is_finite(image)
            message = "image with NaN or infinite values: expected finite values"
        checks.append(tf.debugging.Assert(tf.reduce_all(valid), [message]))
    with tf.control_dependencies(checks):
        return tf.cast(tf.identity(image), tf.float32)


def _check_size(height, width, max_pixels: int):
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    message = (
        f"image too large: at most {max_pixels} pixels are accepted, send it in parts; its size:"
    )
    return tf.debugging.Assert(pixels <= max_pixels, [message, height, width])


def decode_image(data, max_pixels: int, channels: int = 3):
    """Returns the image in a file, uint8 (h, w, channels).

    Args:
        data: the file: PNG, JPEG or WebP for RGB, of which alpha is dropped; a grey PNG for one
            channel, and one of RGB and alpha for four.
        max_pixels: largest image.
        channels: 1, 3 or 4.
    """
    heads = tf.strings.join([data, b"\0" * _HEAD])  # substr requires this length
    png = tf.equal(tf.strings.substr(heads, 0, 8), b"\x89PNG\r\n\x1a\n")
    jpeg = tf.equal(tf.strings.substr(heads, 0, 3), b"\xff\xd8\xff")
    webp = tf.equal(tf.strings.substr(heads, 8, 4), b"WEBP")
    long_enough = tf.strings.length(data) >= _HEAD
    if channels == 3:
        is_known, expected = png | jpeg | webp, "not an image: expected a PNG, JPEG or WebP file"
    else:
        kind, name = _PNG_KINDS[channels]
        is_known = png & tf.equal(tf.strings.substr(heads, _PNG_KIND, 1), kind)
        expected = f"other than a PNG file of {name}: expected {channels} channels"
    known = tf.debugging.Assert(long_enough & is_known, [expected])
    with tf.control_dependencies([known]):
        data = tf.identity(data)
    # The size that the file declares is checked first, because decoding allocates that much memory.
    # A WebP file cannot declare more than 2^28 pixels.
    jpeg_size = tf.cond(
        jpeg,
        lambda: tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64),
        lambda: tf.ones(2, tf.int64),
    )
    size = tf.where(png, _png_size(data), jpeg_size)
    with tf.control_dependencies([_check_size(size[0], size[1], max_pixels)]):
        image = tf.io.decode_image(data, channels=channels, expand_animations=False)
    shape = tf.shape(image)
    with tf.control_dependencies([_check_size(shape[0], shape[1], max_pixels)]):
        return tf.ensure_shape(tf.identity(image), (None, None, channels))


def _png_size(data):
    """Returns (height, width) as a PNG declares them: width and height are bytes 16 to 23."""
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.uint8), tf.int64)
    place_values = tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64)
    return tf.reduce_sum(tf.reshape(digits, (2, 4)) * place_values, axis=1)[::-1]
