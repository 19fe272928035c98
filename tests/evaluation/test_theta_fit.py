from dataclasses import replace

import numpy as np
import pytest
from helpers.models import SMALL_NETWORKS, laplace_samples, plain_calibration

from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.evaluation.theta_fit import calibrate, measure
from udl_tf.inference.keras_upscaler import KerasUpscaler, Networks
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


def test_a_large_set_is_sampled_evenly(model, image_folder, monkeypatch):
    monkeypatch.setattr("udl_tf.evaluation.theta_fit._MOST_PIXELS", 6 * 48 * 56 // 4)
    samples = measure(model, folder_dataset(image_folder, 2).sources, baselines=False)
    assert [len(sample.error) for sample in samples] == [48 * 56 // 4] * 6


def test_auto_chooses_the_scale_unless_the_affine_form_is_better():
    halved = calibrate(laplace_samples(10, lambda s: s - np.log(2)), "noise")
    assert halved.method == "scale"
    assert np.exp(halved.a) == pytest.approx([2, 2, 2], rel=0.03)
    assert halved.b == [1, 1, 1]
    bent = calibrate(laplace_samples(10, lambda s: (s - 0.4) / 1.5), "noise")
    assert bent.method == "affine"
    assert bent.a == pytest.approx([0.4] * 3, abs=0.03)
    assert bent.b == pytest.approx([1.5] * 3, abs=0.03)
    assert bent.quantile(0.9) == pytest.approx([np.log(10)] * 3, rel=0.05)
    assert (bent.images, bent.data, bent.conformal) == (10, "noise", None)
    forced = calibrate(laplace_samples(10, lambda s: s - np.log(2)), "noise", "affine")
    assert forced.method == "affine"


def test_one_image_is_enough_for_a_fit():
    fit = calibrate(laplace_samples(1, lambda s: s / 100), "noise")
    assert (fit.images, fit.method) == (1, "scale")


def test_channels_are_fitted_separately():
    factors = np.log([1.0, 2.0, 4.0])
    fit = calibrate(laplace_samples(6, lambda s: s - factors), "noise", "scale")
    assert np.exp(fit.a) == pytest.approx([1, 2, 4], rel=0.03)


def test_conformal_intervals_need_enough_distinct_images():
    samples = laplace_samples(60, size=200)
    fit = calibrate(samples, "noise", conformal=(0.1, 0.1))
    assert (fit.conformal.alpha, fit.conformal.delta, fit.conformal.images) == (0.1, 0.1, 60)
    # Images of one distribution: little wider than the interval of 90 % of a Laplace error.
    assert np.log(10) < fit.conformal.factor < 2 * np.log(10)
    copies = [replace(sample, key=0) for sample in samples]
    with pytest.raises(UserError, match=r"1 distinct images are too few .*give at least 50"):
        calibrate(copies, "noise", conformal=(0.1, 0.1))


def test_no_error_and_no_uncertainty_are_one_line(model, image_folder):
    flat = [replace(s, error=np.zeros_like(s.error)) for s in laplace_samples(2)]
    with pytest.raises(UserError, match="flat: the error is zero everywhere in a colour channel"):
        calibrate(flat, "flat")
    plain = KerasUpscaler(replace(model.networks, uncertainty=None))
    with pytest.raises(UserError, match="no uncertainty to calibrate"):
        measure(plain, folder_dataset(image_folder, 2).sources)
