import numpy as np
import pytest
from helpers.models import laplace_samples
from pydantic import ValidationError

from udl_tf.data.sources import bundled_dataset, degraded
from udl_tf.data.store import read_pair
from udl_tf.hub import presets
from udl_tf.imaging.degradation_signs import SIGNS
from udl_tf.saved.bundle import read_manifest
from udl_tf.uncertainty import inputs
from udl_tf.uncertainty.fit import calibrate
from udl_tf.uncertainty.inputs import (
    InputStatistics,
    SizeStatistics,
    above_limit,
    input_statistics,
    measure_sizes,
)

FIRST = np.array([0, 1, 0, 0, 0])  # number of pixels and signs


def measured(count: int) -> list:
    """Returns signs of images whose first sign is 0, 1, 2 ... at all sizes, and the others 0."""
    sizes = np.array([[1000, 0, 0, 0, 0], [4000, 0, 0, 0, 0], [10_000, 0, 0, 0, 0]], float)
    return [np.stack([sizes + index * FIRST] * 2) for index in range(count)]


def test_statistics_are_quantiles():
    found = input_statistics(measured(101))
    assert found is not None
    assert [size.pixels for size in found.sizes] == [1000, 4000, 10_000]
    # Of 0..100, the median is 50 and the 95 % quantile 95; equal signs have the smallest spread.
    assert found.sizes[0].centres == [50, 0, 0, 0]
    assert found.sizes[0].spreads == [45, 0.01, 0.01, 0.01]
    assert found.limit == pytest.approx(3 * (1 + 5 / 101))
    assert not found.degraded


def test_at_most_one_of_200_calibration_images_exceeds_the_limit_in_a_sign():
    images = measured(400)
    images[:4] = [image + 1000 * FIRST for image in images[:4]]  # 1 per cent
    images[4:6] = [image + FIRST[[0, 2, 1, 3, 4]] for image in images[4:6]]
    found = input_statistics(images)
    assert found is not None
    signs = np.array([image[0, -1, 1:] for image in images])
    far = (signs - found.sizes[-1].centres) / found.sizes[-1].spreads > found.limit
    assert far.sum(axis=0).tolist() == [2, 2, 0, 0]
    # Other signs keep their spreads.
    assert found.sizes[-1].spreads[2:] == [0.01, 0.01]


def test_degraded_images_move_the_centre_and_leave_the_spread():
    images = measured(101)
    for index in range(0, 101, 2):  # half of them, with equal signs
        images[index][0, :, 1] = 500
    found = input_statistics(images)
    assert found is not None
    assert found.degraded
    assert found.sizes[0].centres == [500 - 45, 0, 0, 0]
    assert found.sizes[0].spreads == [45, 0.01, 0.01, 0.01]


def test_few_images_have_no_statistics():
    assert input_statistics([*measured(9), None]) is None
    found = input_statistics(measured(10))
    assert found is not None
    assert found.limit == pytest.approx(4.5)  # 3 (1 + 5/10)


def test_deviations_depend_on_the_size(monkeypatch):
    sizes = [
        SizeStatistics(pixels=1000, centres=[1, 0, 0, 0], spreads=[2, 1, 1, 1]),
        SizeStatistics(pixels=4000, centres=[0] * 4, spreads=[1] * 4),
    ]
    statistics = InputStatistics(sizes=sizes, limit=2)
    monkeypatch.setattr(inputs, "measure_signs", lambda image: np.array([5.0, -1, 1, 2]))
    for height, expected in ((10, 1.0), (25, 1.0), (50, 1.5), (100, 2.5), (1000, 2.5)):
        # Between the sizes linear in ln(pixels): at 2000 pixels (5 - 0.5) / 1.5 / 2.
        found = statistics.deviations(np.zeros((height, 40, 3), np.float32))
        assert found is not None
        assert tuple(found) == SIGNS
        assert [*found.values()] == pytest.approx([expected, -0.5, 0.5, 1])
    monkeypatch.setattr(inputs, "measure_signs", lambda image: None)
    assert statistics.deviations(np.zeros((2, 2, 3), np.float32)) is None


def test_the_line_names_signs_and_the_effect_on_theta():
    statistics = input_statistics(measured(10))
    assert statistics is not None
    both = {"compression blocks": 1.5, "noise": 0.9, "blur": 2.0}
    assert above_limit(both) == ("blur", "compression blocks")
    assert statistics.warnings_of(both) == [
        "unlike the training images (blur, compression blocks): theta may be too small"
    ]
    (line,) = statistics.warnings_of({**both, "noise": 3.0})
    assert line.endswith("theta may be too large")
    assert statistics.warnings_of({"noise": 1.0}) == []
    compressed = {"compression blocks": 1.5}
    assert statistics.warnings_of(compressed) == [
        "unlike the training images (compression blocks): theta may be too small; for compressed"
        " images use a photo preset, such as photo_x4"
    ]
    of_photo_preset = statistics.changed(degraded=True)
    assert of_photo_preset.warnings_of(compressed) == [
        "unlike the training images (compression blocks): theta may be too small"
    ]


@pytest.mark.parametrize("damage", [{"spreads": [1, 0, 1, 1]}, {"centres": [1]}, {"pixels": 0}])
def test_damaged_statistics_are_refused(damage):
    good = {"pixels": 1000.0, "centres": [0.0] * 4, "spreads": [1.0] * 4}
    InputStatistics.model_validate({"sizes": [good], "limit": 3.0})
    with pytest.raises(ValidationError):
        InputStatistics.model_validate({"sizes": [{**good, **damage}], "limit": 3.0})


def test_a_calibration_stores_the_statistics_of_its_samples():
    samples = laplace_samples(12, size=50)
    assert calibrate(samples, "noise").inputs is None
    for sample, signs in zip(samples, measured(12), strict=True):
        object.__setattr__(sample, "signs", signs)
    assert calibrate(samples, "noise").inputs == input_statistics(measured(12))


def test_measured_squares_are_central():
    image = np.random.default_rng(0).uniform(0, 255, (60, 150, 3)).astype(np.float32)
    found = measure_sizes(image)
    assert found is not None
    assert found[0, :, 0].tolist() == [32 * 32, 60 * 64, 60 * 128]
    assert np.array_equal(found[1], found[0])
    clean = image.copy()
    image[:14] = image[46:] = 0  # outside the central 32 rows
    again = measure_sizes(image, clean)
    assert again is not None
    assert np.array_equal(again[0, 0], found[0, 0])
    assert not np.array_equal(again[0, 1], found[0, 1])
    assert np.array_equal(again[1], found[0])
    assert measure_sizes(image[:, :20]) is None


@pytest.mark.parametrize("name", presets.names())
def test_presets_find_what_they_do_not_know_and_nothing_in_other_images(name):
    manifest = read_manifest(name)
    statistics, scale = manifest.calibration.inputs, manifest.architecture.scale
    photo = name.startswith("photo")
    assert statistics.degraded == photo
    known, unknown = ("jpeg:60", "jpeg:5") if photo else (None, "jpeg:30")
    alarms = {
        operation: [
            above_limit(statistics.deviations(read_pair(source, scale)[0]))
            for source in degraded(bundled_dataset("train"), operation).sources
        ]
        for operation in (None, known, unknown)
    }
    assert not any(alarms[None] + alarms[known])
    assert sum(map(bool, alarms[unknown])) >= (6 if photo else 8)  # of 8
    compressed = "strong compression" if photo else "compression blocks"
    assert sum(compressed in signs for signs in alarms[unknown]) >= (5 if photo else 8)
