from dataclasses import replace

import numpy as np
import pytest
from helpers.measurements import field, slices, write_heights, write_stack
from helpers.models import SMALL_NETWORKS, plain_calibration
from PIL import Image

from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import read_pair, read_pair_with_holes
from udl_tf.errors import UserError
from udl_tf.evaluation import theta_measure
from udl_tf.evaluation.theta_measure import measure, nodata_reach, with_coverage
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
from udl_tf.inference.upscaler import BORDER
from udl_tf.models import build_model


@pytest.fixture(scope="module")
def model():
    network = build_model("edsr_s", 2, **SMALL_NETWORKS["edsr_s"])
    return KerasUpscaler(Networks(2, network, network))


def test_samples_are_the_errors_of_the_results_of_upscale(model, image_folder):
    sources = folder_dataset(image_folder, 2).sources[:2]
    calibrated = KerasUpscaler(replace(model.networks, calibration=plain_calibration(a=[1, 1, 1])))
    calls = []
    samples = measure(calibrated, sources, progress=lambda *call: calls.append(call))
    assert calls == [(1, 2, "image0.png"), (2, 2, "image1.png")]
    assert [sample.name for sample in samples] == ["image0.png", "image1.png"]
    lr, hr = read_pair(sources[0], 2)
    result = model.upscale(lr.astype(np.float32))
    error = np.abs(hr - result.image).reshape(-1, 3)
    assert np.allclose(np.sort(samples[0].error, axis=0), np.sort(error, axis=0), atol=1e-2)
    raw = np.log(result.theta).reshape(-1, 3)
    assert np.allclose(np.sort(samples[0].log_theta, axis=0), np.sort(raw, axis=0), atol=1e-3)
    spread = model.upscale(lr.astype(np.float32), self_ensemble=True).spread.reshape(-1, 3)
    found = samples[0].baselines["self-ensemble spread"]
    assert np.allclose(np.sort(found, axis=0), np.sort(spread, axis=0), atol=1e-2)
    assert measure(model, sources[:1], baselines=False)[0].baselines == {}
    assert samples[0].key != samples[1].key


def test_consistent_results_have_their_own_errors(model, image_folder):
    sources = folder_dataset(image_folder, 2).sources[:1]
    (sample,) = measure(model, sources, baselines=False, consistent=True)
    lr, hr = read_pair(sources[0], 2)
    result = model.upscale(lr.astype(np.float32), consistent=True)
    error = np.abs(hr - result.image).reshape(-1, 3)
    assert np.allclose(np.sort(sample.error, axis=0), np.sort(error, axis=0), atol=1e-2)
    (plain,) = measure(model, sources, baselines=False)
    assert np.array_equal(sample.log_theta, plain.log_theta)
    assert sample.error.mean() < 0.9 * plain.error.mean()  # of an untrained network


def test_a_large_set_is_sampled_evenly(model, image_folder, monkeypatch):
    monkeypatch.setattr("udl_tf.evaluation.theta_measure._MOST_PIXELS", 6 * 48 * 56 // 4)
    samples = measure(model, folder_dataset(image_folder, 2).sources, baselines=False)
    assert [len(sample.error) for sample in samples] == [48 * 56 // 4] * 6


def test_a_model_without_uncertainty_is_one_line(model, image_folder):
    plain = KerasUpscaler(replace(model.networks, uncertainty=None))
    with pytest.raises(UserError, match="no uncertainty to calibrate"):
        measure(plain, folder_dataset(image_folder, 2).sources)


@pytest.fixture(scope="module")
def heights(tmp_path_factory):
    """A network of one channel, whose 0..255 are 900..1100 m, and a folder of elevations."""
    network = build_model("edsr_s", 2, 1, **SMALL_NETWORKS["edsr_s"])
    networks = Networks(2, network, network, value_range=ValueRange((900,), (1100,)))
    return KerasUpscaler(networks), write_heights(tmp_path_factory.mktemp("heights") / "hr", 2)


def test_pixels_without_data_are_not_sampled_and_results_are_not_clipped(heights):
    model, folder = heights
    sources = folder_dataset(folder, 2, Pixels.seen_by(model)).sources
    holes, whole = measure(model, sources)
    assert len(holes.error) == 40 * 44 - 8 * 14
    assert len(whole.error) == 40 * 44
    assert np.isfinite(holes.error).all()
    assert 0 < holes.groups["near nodata"].mean() < 1
    assert whole.groups == {}
    lr, hr = read_pair(sources[1], 2)
    error = np.abs(hr - model.predict(lr, BORDER)[0]).ravel()
    assert np.array_equal(np.sort(whole.error[:, 0]), np.sort(error))


def test_pixels_within_the_measured_reach_are_near_nodata(heights, monkeypatch):
    """5 pixels, the default, were assumed although the calibration measured the reach."""
    model, folder = heights
    sources = folder_dataset(folder, 2, Pixels.seen_by(model)).sources
    seen = []
    monkeypatch.setattr(
        theta_measure, "measure_reach", lambda model, images: seen.extend(images) or 3
    )
    reach = nodata_reach(model, sources)
    assert [np.isnan(image).sum() for image in seen] == [4 * 7, 0]
    (sample,) = measure(model, sources[:1], baselines=False, reach=reach)
    # The hole has the LR rows 2..5 and columns 3..9; the image ends at row 0.
    near = 4 * ((6 + 3) * (7 + 2 * 3) - 4 * 7)
    assert sample.groups["near nodata"].sum() == near
    (default,) = measure(model, sources[:1], baselines=False)
    assert default.groups["near nodata"].sum() == 4 * ((6 + 5) * (3 + 7 + 5) - 4 * 7)


def test_pixels_that_upscale_has_no_data_for_are_not_sampled(heights, tmp_path):
    """LR files may have holes of their own."""
    model, _ = heights
    for name, size in (("HR", (24, 24)), ("LR", (12, 12))):
        (tmp_path / name).mkdir()
        metres = 900 + 200 * field(*size, 1)
        metres[7, 8] = np.nan
        np.save(tmp_path / name / "a.npy", metres)
    sources = folder_dataset(tmp_path, 2, Pixels.seen_by(model)).sources
    (sample,) = measure(model, sources, baselines=False, reach=1)
    assert len(sample.error) == 24 * 24 - 1 - 4
    assert sample.groups["near nodata"].sum() == 4 * 8


def test_coverage_is_that_of_the_intervals_of_upscale(heights):
    """The first image has nodata, and counts for fewer values than the second."""
    model, folder = heights
    calibration = plain_calibration(a=[3.0], b=[0.5])
    calibrated = KerasUpscaler(replace(model.networks, calibration=calibration))
    dataset = folder_dataset(folder, 2, Pixels.seen_by(model))
    (result,) = with_coverage([{"images": 2}], calibrated, [dataset])
    inside = []
    for source in dataset.sources:
        lr, hr = (model.value_range.from_network(i) for i in read_pair_with_holes(source, 2))
        low, high = calibrated.upscale(lr).interval(0.8)
        inside.append(((low <= hr) & (hr <= high))[np.isfinite(hr)])
    assert 0.1 < result["coverage_80"] < 0.9
    expected = np.concatenate(inside).mean()
    assert result == {"images": 2, "coverage_80": pytest.approx(expected, abs=1e-3)}
    assert with_coverage([{"images": 2}], model, [dataset]) == [{"images": 2}]


def test_classes_of_label_images_become_groups(heights, tmp_path):
    model, folder = heights
    labels = np.zeros((40, 44), np.uint8)
    labels[:, 30:] = 7
    labels[0, 0] = 200
    for name in "01":
        Image.fromarray(labels).save(tmp_path / f"{name}.png")
    sources = folder_dataset(folder, 2, Pixels.seen_by(model)).sources
    whole = measure(model, sources, baselines=False, classes=tmp_path)[1]
    counts = {name: int(mask.sum()) for name, mask in whole.groups.items()}
    assert counts == {"class 0": 40 * 30 - 1, "class 7": 40 * 14, "class 200": 1}
    Image.fromarray(labels[:20]).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png: 44x20 pixels, .* expected an 8-bit grey image"):
        measure(model, sources, baselines=False, classes=tmp_path)
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match=r"holds no label image for .*1\.npy"):
        measure(model, sources, baselines=False, classes=tmp_path)


def test_planes_of_a_file_are_one_sample(heights, tmp_path):
    """They are no independent images, which cross-validation and conformal intervals need."""
    model, _ = heights
    write_stack(tmp_path / "hr/a.ome.tif", 900 + slices(2) // 5)
    labels = np.zeros((2, 16, 20), np.uint8)
    labels[1] = 3
    write_stack(tmp_path / "labels/a.ome.tif", labels)
    sources = folder_dataset(tmp_path / "hr", 2, Pixels.seen_by(model)).sources
    (whole,) = measure(model, sources, classes=tmp_path / "labels")
    assert whole.name == "a.ome.tif"
    assert whole.error.shape == whole.log_theta.shape == (2 * 16 * 20, 1)
    assert whole.groups["class 0"].tolist() == [True] * 320 + [False] * 320
    assert whole.groups["class 3"].tolist() == [False] * 320 + [True] * 320
    second = measure(model, sources[1:], baselines=False)[0]
    assert np.sort(whole.error[320:], axis=0) == pytest.approx(np.sort(second.error, axis=0))
