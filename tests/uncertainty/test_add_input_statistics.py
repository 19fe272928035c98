"""tools/add_input_statistics.py: statistics of a calibration of an earlier version."""

import pytest
from add_input_statistics import add_input_statistics
from helpers.images import noise_image
from helpers.models import make_run

from udl_tf.errors import UserError
from udl_tf.imaging import imresize, write_rgb
from udl_tf.saved import bundle
from udl_tf.uncertainty.inputs import input_statistics, measure_sizes


@pytest.fixture
def images(tmp_path):
    """Ten HR images in a folder, by path."""
    found = {tmp_path / f"set/{seed}.png": noise_image(52, 64, seed) for seed in range(10)}
    for path, image in found.items():
        write_rgb(path, image)
    return found


def test_statistics_are_added_and_theta_stays(tmp_path, images):
    run = make_run(tmp_path / "run", "edsr_s", 2)
    with pytest.raises(UserError, match=r"calibrated on nothing; the data are 10 images: give"):
        add_input_statistics(run, [tmp_path / "set"])
    before = bundle.read_manifest(run).calibration.changed(images=10)
    bundle.write_calibration(run, before)
    add_input_statistics(run, [tmp_path / "set"])
    after = bundle.read_manifest(run).calibration
    small = (imresize(image, 1 / 2) for image in images.values())
    expected = input_statistics([measure_sizes(image) for image in small])
    assert after == before.changed(inputs=expected)
    assert bundle.read_networks(run).calibration == after
    compressed = add_input_statistics(run, [tmp_path / "set"], "jpeg:30")
    assert (expected.degraded, compressed.degraded) == (False, True)
    assert compressed.sizes[0].centres[0] > expected.sizes[0].centres[0] + 0.1
    assert bundle.read_manifest(run).calibration.inputs == compressed


def test_only_calibrated_models_get_statistics(tmp_path, images):
    run = make_run(tmp_path / "run", "edsr_s", 2, calibrated=False)
    with pytest.raises(UserError, match="not calibrated: run udl-tf calibrate on it"):
        add_input_statistics(run, [tmp_path / "set"])
    run = make_run(tmp_path / "large", "edsr_s", 4)
    bundle.write_calibration(run, bundle.read_manifest(run).calibration.changed(images=10))
    with pytest.raises(UserError, match="too few or too small for statistics"):
        add_input_statistics(run, [tmp_path / "set"])
