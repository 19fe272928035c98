import json

import numpy as np
import pytest
from helpers.models import laplace_samples
from PIL import Image

from udl_tf.data.pixels import Pixels
from udl_tf.evaluation.theta_report import assess, write_report
from udl_tf.evaluation.theta_text import report_text
from udl_tf.imaging.value_range import ValueRange
from udl_tf.uncertainty import LEVELS
from udl_tf.uncertainty.fit import Sample, calibrate


@pytest.fixture(scope="module")
def assessed():
    """(calibration, its assessment on unseen images whose theta is half the true one)."""
    samples = laplace_samples(30, lambda s: s - np.log(2))
    for sample in samples:
        sample.baselines["noise"] = np.random.default_rng(1).uniform(size=sample.error.shape)
    calibration = calibrate(samples[:15], "noise (15 images)")
    return calibration, assess("unseen", samples[15:], calibration, seen=False)


def test_a_true_theta_is_as_good_as_the_perfect_one(assessed):
    _, result = assessed
    nll = result["nll"]
    # Half the scale costs 2 - 1 - ln 2 nats.
    assert nll["as trained"] - nll["calibrated"] == pytest.approx(1 - np.log(2), abs=0.02)
    assert nll["calibrated"] == pytest.approx(nll["perfect Laplace"], abs=0.02)
    for kind in ("laplace", "measured"):
        assert np.allclose(result["coverage"][kind], LEVELS, atol=0.01)
    ranking = result["ranking"]
    assert ranking["theta"]["ause"] == pytest.approx(ranking["perfect Laplace"]["ause"], abs=0.01)
    assert ranking["theta"]["ause"] < ranking["noise"]["ause"] - 0.2
    assert ranking["noise"]["spearman"] == pytest.approx(0, abs=0.02)
    assert ranking["theta"]["ause_per_image"] == pytest.approx(ranking["theta"]["ause"], abs=0.02)
    assert result["uce"]["theta"] < 0.3
    assert result["psnr"]["mean_absolute_difference"] < 0.3
    assert (result["images"], result["pixels"]) == (15, 15 * 4000)


def test_conformal_intervals_are_assessed(tmp_path):
    samples = laplace_samples(120, size=300)
    calibration = calibrate(samples[:60], "noise", conformal=(0.1, 0.1))
    own = assess("own", samples[:60], calibration, seen=True)
    result = assess("unseen", samples[60:], calibration, seen=False)
    # Images of one distribution: the share of a Laplace error beyond f.
    expected = np.exp(-calibration.conformal.factor)
    assert result["conformal_misses"] == pytest.approx(expected, abs=0.005)
    assert own["conformal_misses"] is None
    write_report(tmp_path, [own, result], calibration, "mine")
    text = (tmp_path / "report.md").read_text()
    assert f"sr ± {calibration.conformal.factor:.3f} θ'. With probability 0.9 over" in text
    misses = f"{100 * result['conformal_misses']:.1f} % on average"
    assert f"Values outside the conformal intervals: {misses}" in text
    assert "## own: 60 images, each assessed with a fit to the others\n" in text
    assert "## unseen: 60 images\n" in text


def test_images_of_the_fit_are_assessed_with_fits_to_the_others():
    """Each image has its own scale, which fits to the other images cannot know."""
    samples = laplace_samples(5)
    for index, sample in enumerate(samples):
        sample.log_theta[:] = sample.log_theta - index
    calibration = calibrate(samples, "all", "scale")
    own = assess("all", samples, calibration, seen=False)["coverage"]["measured"]
    assert np.allclose(
        own, LEVELS, atol=0.01
    )  # by construction: these quantiles were measured here
    others = assess("all", samples, calibration, seen=True)["coverage"]["measured"]
    assert not np.allclose(others, LEVELS, atol=0.02)


def test_the_verdict_names_a_theta_that_does_not_rank_the_errors(assessed):
    calibration, result = assessed
    aurg, inside = result["ranking"]["theta"]["aurg"], 100 * result["coverage"]["measured"][89]
    good = f"Verdict: θ ranks the errors better than a random order (AURG {aurg:.3f});"
    assert f"{good} 90 % intervals cover {inside:.1f} % of the values.\n" in report_text(
        [result], calibration, "mine"
    )
    reversed_ = assess("reversed", laplace_samples(5, lambda s: -s), calibration, seen=False)
    assert reversed_["ranking"]["theta"]["aurg"] < -0.1
    (line,) = [
        line
        for line in report_text([reversed_], calibration, "mine").splitlines()
        if line.startswith("Verdict")
    ]
    assert "θ does not rank the errors better than a random order: do not rely on it here" in line


def test_the_report_consists_of_text_json_and_figures(assessed, tmp_path):
    calibration, result = assessed
    alone = assess("one", laplace_samples(1), calibration, seen=True)
    write_report(tmp_path, [result, {**alone, "dataset": "a + b/c"}], calibration, "mine")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "a_b_c.png", "report.json", "report.md", "unseen.png"]  # fmt: skip
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["calibration"]["method"] == "scale"
    assert content["sets"][0]["ranking"]["theta"]["ause"] == result["ranking"]["theta"]["ause"]
    text = (tmp_path / "report.md").read_text()
    assert "θ' = c θ, c = 2." in text
    assert "## a + b/c: 1 image, also used for the fit\n" in text
    assert "PSNR (RGB) predicted from θ' alone, without the HR image: mean absolute error" in text
    assert "rank correlation" in text
    line = next(line for line in text.splitlines() if line.startswith("| Laplace intervals"))
    values = [float(cell) for cell in line.split("|")[2:-1]]
    assert values == pytest.approx([50, 80, 90, 95], abs=1)
    with Image.open(tmp_path / "unseen.png") as figure:
        assert min(figure.size) > 600


def test_measurements_are_reported_in_the_unit_of_their_files_and_by_band_and_group():
    """Band 2 has ten times the range of band 1; errors are of Laplace, twice theta in class 3."""
    random, n = np.random.default_rng(0), 20_000
    log_theta = random.normal(0, 0.5, (n, 2)).astype(np.float32)
    error = np.abs(random.laplace(scale=np.exp(log_theta))).astype(np.float32)
    members = np.arange(n) < n // 4
    error[members] *= 2
    samples = [
        Sample(
            *(name, error[i::2], log_theta[i::2]),
            baselines={"θ": np.exp(log_theta[i::2])},
            key=i,
            groups={"class 3": members[i::2], "class 4": np.zeros(n // 2, bool)},
        )
        for i, name in enumerate("ab")
    ]
    calibration = calibrate(samples, "tests", "scale")
    pixels = Pixels(2, ValueRange((0, 0), (255, 2550)))
    result = assess("tests", samples, calibration, seen=False, pixels=pixels)
    first, second = result["bands"]
    assert first["mean_error"] == pytest.approx(error[:, 0].mean(), rel=1e-5)
    assert second["mean_error"] == pytest.approx(10 * error[:, 1].mean(), rel=1e-5)
    at = result["coverage"]["levels"].index(0.8)
    assert [band["measured"][at] for band in (first, second)] == pytest.approx([0.8] * 2, abs=1e-3)
    group = result["groups"]["class 3"]
    assert group["share"] == 0.25
    assert set(result["groups"]) == {"class 3"}  # no pixel of class 4 was drawn
    # Calibration by a factor leaves the order as it is, also between the bands.
    ranking = result["ranking"]
    assert ranking["θ"]["ause"] == pytest.approx(ranking["theta"]["ause"], rel=0.02)
    ratio = error[members] / np.exp(calibration.apply(log_theta[members]))
    expected = np.mean(ratio <= calibration.quantile(0.8))
    assert group["measured"][at] == pytest.approx(expected, abs=1e-3)
    assert 0.5 < expected < 0.75
    text = report_text([result], calibration, "model")
    assert "(band 1)" in text
    assert "Errors and θ are in units of the files" in text
    assert f"| class 3 | 25.0     | {100 * np.mean(ratio <= calibration.quantile(0.5)):.1f}" in text
    without = assess("tests", samples, calibration, seen=False)
    assert "bands" not in without
