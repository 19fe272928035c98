"""What a served graph takes: pictures as numbers or files, refused with a clear InvalidArgument."""

import tensorflow as tf

from udl_tf.inference.upscaler import BORDER


def checked(image, max_pixels: int):
    """The pictures as float32, or InvalidArgument."""
    shape = tf.shape(image)
    checks = [
        tf.debugging.Assert(
            tf.reduce_all(shape > 0), ["image of zero size: expected one pixel at least", shape]
        ),
        _fits(shape[1], shape[2], max_pixels),
    ]
    if image.dtype == tf.float32:
        inside = tf.reduce_all((image >= 0.0) & (image <= 255.0))  # NaN is not
        message = "image with values outside 0..255, or not numbers: expected RGB in 0..255"
        checks.append(tf.debugging.Assert(inside, [message]))
    with tf.control_dependencies(checks):
        return tf.cast(tf.identity(image), tf.float32)


def _fits(height, width, max_pixels: int):
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    message = (
        f"image too large: at most {max_pixels} pixels are served, send it in parts; its size:"
    )
    return tf.debugging.Assert(pixels <= max_pixels, [message, height, width])


_HEAD = 32  # bytes of a file that tell its kind and, in a PNG, its size


def decoded(data, max_pixels: int):
    """The picture of a PNG, JPEG or WebP file, uint8 RGB without alpha, or InvalidArgument."""
    heads = tf.strings.join([data, b"\0" * _HEAD])  # of a stump, too
    png = tf.equal(tf.strings.substr(heads, 0, 8), b"\x89PNG\r\n\x1a\n")
    jpeg = tf.equal(tf.strings.substr(heads, 0, 3), b"\xff\xd8\xff")
    webp = tf.equal(tf.strings.substr(heads, 8, 4), b"WEBP")
    long_enough = tf.strings.length(data) >= _HEAD
    known = tf.debugging.Assert(
        long_enough & (png | jpeg | webp), ["not an image: expected a PNG, JPEG or WebP file"]
    )
    with tf.control_dependencies([known]):
        data = tf.identity(data)
    # What a file declares is checked before so much is decoded; WebP declares 2^28 at most.
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 16, 8), tf.uint8), tf.int64)
    declared = tf.reduce_sum(
        tf.reshape(digits, (2, 4)) * tf.constant([1 << 24, 1 << 16, 1 << 8, 1], tf.int64), axis=1
    )[::-1]
    jpeg_shape = tf.cond(
        jpeg,
        lambda: tf.cast(tf.image.extract_jpeg_shape(data)[:2], tf.int64),
        lambda: tf.ones(2, tf.int64),
    )
    size = tf.where(png, declared, jpeg_shape)
    with tf.control_dependencies([_fits(size[0], size[1], max_pixels)]):
        image = tf.io.decode_image(data, channels=3, expand_animations=False)
    with tf.control_dependencies([_fits(tf.shape(image)[0], tf.shape(image)[1], max_pixels)]):
        return tf.ensure_shape(tf.identity(image), (None, None, 3))


def mirrored(lr):
    """BORDER pixels mirrored outwards, the edge repeated, whatever the picture's size."""
    for axis in (1, 2):
        length = tf.shape(lr)[axis]
        index = tf.range(-BORDER, length + BORDER) % (2 * length)
        lr = tf.gather(lr, tf.minimum(index, 2 * length - 1 - index), axis=axis)
    return lr
