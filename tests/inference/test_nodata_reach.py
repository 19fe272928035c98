"""Distance from nodata within which filling it changes results."""

import numpy as np
from helpers.upscalers import Repeating

from udl_tf.inference import nodata_reach
from udl_tf.inference.measurements import enlarged
from udl_tf.inference.nodata_reach import measure_reach


class Averaging(Repeating):
    """Averages the rows and columns at most `radius` away, without weights."""

    def __init__(self, radius: int):
        super().__init__(2)
        self.channels, self.radius = 1, radius

    def run(self, lr, *effort):
        padded = np.pad(lr, ((self.radius,) * 2, (self.radius,) * 2, (0, 0)), "edge")
        size = (2 * self.radius + 1,) * 2
        windows = np.lib.stride_tricks.sliding_window_view(padded, size, axis=(0, 1))
        yield from super().run(windows.mean(axis=(-2, -1)).astype(np.float32))


def steps() -> list[np.ndarray]:
    """Returns images of noise, in which filling misses by tens of grey levels."""
    return [np.random.default_rng(i).choice([0.0, 255.0], (96, 100, 1)) for i in range(3)]


def test_a_network_that_sees_one_pixel_has_no_reach():
    assert measure_reach(Averaging(0), steps()) == 0


def test_the_reach_of_an_average_is_its_radius():
    """One of 49 pixels that is off by 100 grey levels changes their mean by two."""
    assert measure_reach(Averaging(3), steps()) == 3


def test_smooth_images_are_filled_so_well_that_nothing_is_noticed():
    image = np.broadcast_to(np.linspace(0, 20, 100)[:, None, None], (100, 96, 1))
    assert measure_reach(Averaging(3), [image]) == 0


def test_holes_are_punched_into_data_only(monkeypatch):
    """What is filled is smooth, and would hide how far filling reaches."""
    given = []

    def sr(model, lr):
        given.append(lr)
        return enlarged(lr, 2)

    monkeypatch.setattr(nodata_reach, "_sr", sr)
    image = steps()[0]
    image[:40] = np.nan
    measure_reach(Averaging(3), [image, np.full_like(image, np.nan)])
    punched, filled = given
    assert (punched != filled)[40:].any()
    assert not (punched != filled)[:40].any()


def test_the_reach_is_stored_with_a_calibration():
    from helpers.models import plain_calibration

    model = Averaging(9)
    assert model.nodata_reach == 5  # as of the presets
    model.calibration = plain_calibration((0.0,), (1.0,)).model_copy(update={"nodata_reach": 7})
    assert model.nodata_reach == 7
    assert Averaging(2).nodata_reach == 2


def test_images_smaller_than_the_distance_of_holes_have_holes_too():
    small = [image[:9, :11] for image in steps()]
    assert measure_reach(Averaging(2), small) == 2
