import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.metrics import psnr_y, ssim_y
from udl_tf.models import build_model
from udl_tf.tasks import PSNRY, SSIMY, SRModel
from udl_tf.weighting import uncertainty_weight

HR = np.stack([noise_image(32, 32, i) for i in range(4)])
LR = HR[:, ::2, ::2]
SMALL = {"num_blocks": 1, "num_filters": 8}


def small(**options):
    return SRModel("edsr_s", 2, **SMALL, **options)


def fit(model, **options):
    return model.fit(LR, HR, batch_size=4, shuffle=False, verbose=0, **options).history


@pytest.fixture(scope="module")
def steps():
    """The models of the three steps, each fitted for an update."""
    first = small()
    first.compile("adam", "esu")
    fit(first)
    student = first.udl_student()
    student.compile("adam", "udl")
    fit(student)
    final = student.uncertainty_head()
    final.compile("adam", "esu", metrics=["psnr_y"])
    fit(final)
    return first, student, final


def test_the_student_starts_from_the_weights_and_is_weighted_by_the_frozen_model():
    first = small()
    student = first.udl_student(floor=1.0)
    student.compile("adam")  # "udl" by default
    w = uncertainty_weight(first.backbone(LR.astype("float32"))["log_scale"], floor=1.0)
    error = np.abs(HR - np.asarray(first.predict(LR, verbose=0)["sr"]))
    before = [w.copy() for w in first.get_weights()]
    assert fit(student)["loss"] == pytest.approx([float(np.mean(w * error))], rel=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, first.get_weights(), strict=True))


def test_the_head_step_trains_the_head_alone(steps):
    _, student, final = steps
    for layer in student.backbone.layers:
        found = final.backbone.get_layer(layer.name).get_weights()
        assert all(np.array_equal(a, b) for a, b in zip(layer.get_weights(), found, strict=True))
    assert {v.path.split("/")[0] for v in final.trainable_variables} <= {"reduce", "reduce_detail",
        "conv0", "conv1", "conv2", "conv3", "last", "log_scale"}  # fmt: skip
    prediction = final.predict(LR, verbose=0)
    assert set(prediction) == {"sr", "theta"}
    assert prediction["theta"].shape == prediction["sr"].shape == (4, 32, 32, 3)


@pytest.mark.parametrize("loss", ["l1", "mse", "eu", "esu", "beta_nll", "gram", "mae",
                                  keras.losses.Huber()])  # fmt: skip
def test_every_loss_trains(loss):
    model = small(log_scale_activation="linear")
    model.compile(keras.optimizers.SGD(1e-6), loss, metrics=["mae"])
    history = fit(model, validation_data=(LR, HR))
    assert np.isfinite([history["loss"], history["val_loss"]]).all()
    assert history["mae"] == pytest.approx([float(np.mean(np.abs(
        HR - small_prediction(model))))], rel=0.05)  # fmt: skip


def small_prediction(model):
    return model.predict(LR, verbose=0)["sr"]


def test_metrics_are_those_of_the_protocol():
    model = small(uncertainty=False)
    model.compile("adam", metrics=["psnr_y", "ssim_y"])
    found = model.evaluate(LR, HR, verbose=0, return_dict=True)
    sr = np.clip(np.floor(small_prediction(model) + 0.5), 0, 255).astype(np.uint8)
    expected = np.mean([(psnr_y(a, b, 2), ssim_y(a, b, 2)) for a, b in zip(sr, HR, strict=True)], 0)
    assert [found["psnr_y"], found["ssim_y"]] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", [PSNRY(2), SSIMY(2)])
def test_metrics_of_equal_images(metric):
    metric.update_state(HR, HR)
    assert float(metric.result()) == pytest.approx({"psnr_y": 100, "ssim_y": 1}[metric.name])


@pytest.mark.slow
def test_a_saved_model_goes_on_in_a_fresh_process(steps, tmp_path):
    final = steps[2]
    final.save(tmp_path / "model.keras")
    np.savez(tmp_path / "expected.npz", **final.predict(LR, verbose=0))
    np.save(tmp_path / "lr.npy", LR)
    code = f"""
import udl_tf, keras, numpy as np
model = keras.saving.load_model(r"{tmp_path / "model.keras"}")
found, expected = model.predict(np.load(r"{tmp_path / "lr.npy"}"), verbose=0), np.load(
    r"{tmp_path / "expected.npz"}")
assert all(np.array_equal(found[key], expected[key]) for key in expected), "other numbers"
assert len(model.trainable_variables) == {len(final.trainable_variables)}
assert int(model.optimizer.iterations) == 1
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_a_loss_of_uncertainty_needs_one():
    model = small(uncertainty=False)
    with pytest.raises(ValueError, match="needs a log scale"):
        model.compile("adam", "esu")


def test_a_backbone_may_be_a_network():
    network = build_model("dpdnn", 2)
    model = SRModel(network)
    assert model.scale == 2
    with pytest.raises(ValueError, match="scale is required"):
        SRModel("edsr_s")
    with pytest.raises(ValueError, match="options are for a backbone given by name"):
        SRModel(network, num_blocks=2)
