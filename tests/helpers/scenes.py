"""Results of scenes that need no network."""

import numpy as np

from udl_tf.scenes import Window, open_scene


def repeated(part, scale):
    """Returns (h, w, c) with each pixel repeated `scale` times along rows and columns."""
    return part.repeat(scale, axis=0).repeat(scale, axis=1)


def enlarge(source, target, scale=2, theta=None, flags=False, step=None, nodata=None):
    """Writes a result that repeats each pixel, with a theta of 0.5, in windows of `step` rows."""
    with (
        open_scene(source, nodata) as scene,
        scene.create(target, scale, theta, flags) as result,
    ):
        step = step or scene.height
        corners = [
            (plane, top) for plane in range(scene.planes) for top in range(0, scene.height, step)
        ]
        for plane, top in corners:
            window = Window(plane, top, 0, min(step, scene.height - top), scene.width)
            values, valid = (repeated(part, scale) for part in scene.read(window))
            half = np.where(valid, 0.5, np.nan).astype(np.float32) if theta else None
            marks = np.where(valid.all(axis=2), 0, 2).astype(np.uint8) if flags else None
            place = Window(plane, top * scale, 0, *values.shape[:2])
            result.write(place, values.astype(np.float64), valid, half, marks)
    return target
