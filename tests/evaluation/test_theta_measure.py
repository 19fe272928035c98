from dataclasses import replace

import numpy as np
import pytest
from helpers.models import SMALL_NETWORKS, plain_calibration

from udl_tf.data.sources import folder_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.evaluation.theta_measure import measure
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
