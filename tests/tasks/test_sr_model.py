import importlib.util
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.commands import JAX, run_process
from helpers.images import noise_image
from helpers.models import plain_calibration

from udl_tf.errors import UserError
from udl_tf.inference.upscaler import BORDER
from udl_tf.metrics import psnr, psnr_y, ssim, ssim_y
from udl_tf.models import build_model, precision
from udl_tf.tasks import PSNR, PSNRY, SSIM, SSIMY, SRModel
from udl_tf.weighting import uncertainty_weight

HR = np.stack([noise_image(32, 32, i) for i in range(4)])
LR = HR[:, ::2, ::2]
SMALL = {"num_blocks": 1, "num_filters": 8, "shift": 127.5, "divide": 127.5}


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


def test_a_model_that_another_one_uses_can_still_be_trained():
    first = small()
    first.compile("adam", "esu")
    count = len(first.trainable_variables)
    student = first.udl_student()
    student.compile("adam", "udl")
    fit(student)
    paper = SRModel(student.backbone, uncertainty_backbone=first.backbone)
    assert len(paper.trainable_variables) == len(student.trainable_variables)
    assert len(paper.variables) == len(student.variables) + len(first.variables)
    assert len(paper.non_trainable_variables) == len(first.variables)
    assert len(first.trainable_variables) == count
    before = [weight.copy() for weight in first.get_weights()]
    fit(first)
    assert not any(map(np.array_equal, before, first.get_weights()))
    fit(student)  # is still weighted by `first`


def test_a_further_head_is_new(steps):
    first, *_ = steps
    again = first.uncertainty_head("released")
    for name in ("head", "log_scale_conv1"):
        kernels = (model.backbone.get_layer(name).get_weights()[0] for model in (first, again))
        assert np.array_equal(*kernels) == (name == "head")


def test_unknown_choices_name_the_known_ones(steps):
    with pytest.raises(UserError, match="uncertainty head 'lite' is unknown, nearest known: light"):
        steps[1].uncertainty_head("lite")
    with pytest.raises(UserError, match=r"train 'head' is unknown, .*uncertainty_head"):
        small(train="head")


def test_regularizers_of_a_network_are_part_of_the_loss():
    lr = keras.Input((None, None, 3))
    decay = keras.regularizers.L2(1e3)
    sr = keras.layers.Conv2DTranspose(3, 2, strides=2, kernel_regularizer=decay)(lr)
    network = keras.Model(lr, {"sr": sr})
    model = SRModel(network)
    model.compile(keras.optimizers.SGD(0.0), "l1")
    error = np.mean(np.abs(HR - np.asarray(network(LR.astype("float32"))["sr"])))
    expected = error + 1e3 * np.sum(np.square(network.get_weights()[0]))
    assert fit(model)["loss"] == pytest.approx([expected], rel=1e-5)
    assert model.evaluate(LR, HR, verbose=0) == pytest.approx(expected, rel=1e-5)


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
    needs = isinstance(loss, str) and loss in ("eu", "esu", "beta_nll", "gram")
    model = small(log_scale_activation="linear") if needs else small(uncertainty=False)
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


@pytest.mark.parametrize("metric", [PSNR(2), SSIM(2), PSNRY(2), SSIMY(2)])
def test_metrics_of_equal_images(metric):
    metric.update_state(HR, HR)
    assert float(metric.result()) == pytest.approx(
        {"psnr": 100, "ssim": 1}[metric.name.removesuffix("_y")]
    )


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


class Batches(keras.utils.PyDataset):
    """LR and HR in batches of two."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        part = slice(2 * index, 2 * index + 2)
        return LR[part], HR[part]


def generator():
    while True:
        yield LR, HR


def tf_dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((LR, HR)).batch(2)


@pytest.mark.parametrize("make", [Batches, generator, tf_dataset])
def test_every_kind_of_dataset_trains_student_and_model(make):
    model = small()
    model.compile("adam", "esu", steps_per_execution=2)
    model.fit(make(), steps_per_epoch=2, shuffle=False, verbose=0)
    student = model.udl_student()
    student.compile("adam", "udl")
    history = student.fit(make(), steps_per_epoch=2, epochs=2, shuffle=False, verbose=0).history
    assert len(history["loss"]) == 2
    assert np.isfinite(history["loss"]).all()


def test_given_weights_multiply_those_of_the_student():
    first = small()
    losses = []
    for weight in (None, np.full((4, 32, 32, 3), 2.0, "float32")):
        student = first.udl_student()
        student.compile(keras.optimizers.SGD(0.0), "udl")
        losses += fit(student, sample_weight=weight)["loss"]
    assert losses[1] == pytest.approx(2 * losses[0], rel=1e-5)


def test_a_student_with_a_loss_of_keras_is_weighted_in_evaluate_too():
    student = small().udl_student()
    student.compile(keras.optimizers.SGD(0.0), "mae")
    trained = fit(student)["loss"]
    assert student.evaluate(LR, HR, verbose=0) == pytest.approx(trained[0], rel=1e-5)
    twice = student.evaluate(LR, HR, verbose=0, sample_weight=np.full((4, 32, 32, 3), 2.0, "f4"))
    assert twice == pytest.approx(2 * trained[0], rel=1e-5)


def test_mixed_precision_keeps_heads_and_losses_in_float32():
    with precision("mixed_bfloat16"):
        model = small()
    model.compile("adam", "esu")
    assert np.isfinite(fit(model)["loss"]).all()
    assert model.backbone.dtype_policy.name == model.dtype_policy.name == "mixed_bfloat16"
    assert {str(v.dtype) for v in model.predict(LR, verbose=0).values()} == {"float32"}
    assert {v.dtype for v in model.trainable_variables} == {"float32"}


def test_the_loss_is_scaled_and_the_optimizer_saved_as_the_backbone_computes(tmp_path):
    with precision("mixed_float16"):
        network = small(uncertainty=False).backbone
    model = SRModel(network)
    model.compile("adam")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    model.optimizer.inner_optimizer.iterations.assign(7)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert int(loaded.optimizer.inner_optimizer.iterations) == 7


def test_callbacks_save_the_best_model(tmp_path):
    model = small()
    model.compile("adam", "esu", metrics=["psnr_y"])
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="val_psnr_y", mode="max", save_best_only=True
    )
    fit(model, validation_data=(LR, HR), callbacks=[best])
    loaded = keras.saving.load_model(tmp_path / "best.keras", compile=False)
    assert np.array_equal(
        loaded.predict(LR, verbose=0)["theta"], model.predict(LR, verbose=0)["theta"]
    )
    assert not loaded.compiled


def test_a_loaded_student_needs_the_model_that_weighs_the_pixels(tmp_path):
    first = small()
    student = first.udl_student()
    student.compile("adam", "udl")
    expected = fit(student)["loss"]
    fresh = first.udl_student()
    fresh.compile("adam", "udl")
    fresh.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    with pytest.raises(ValueError, match=r"call weigh_by\(model\) first"):
        fit(loaded)
    loaded.weigh_by(first)
    assert fit(loaded)["loss"] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"needs a log scale, but .* has none"):
        student.weigh_by(student)


def test_calibration_changes_theta_and_is_saved(tmp_path):
    model = small()
    before = model.predict(LR, verbose=0)["theta"]
    image = noise_image(16, 16)
    as_trained = model.upscale(image).theta
    model.calibrate((LR, HR), "noise")
    a = np.array(model.calibration.a, "float32")
    assert model.calibration.images == 4
    expected = np.minimum(255, np.exp(a + np.log(before)))
    assert np.allclose(model.predict(LR, verbose=0)["theta"], expected, rtol=1e-5)
    assert np.allclose(
        model.upscale(image).theta, np.minimum(255, np.exp(a) * as_trained), rtol=1e-4
    )
    model.calibrate(Batches(), "noise")
    assert model.calibration.a == pytest.approx(a, rel=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.calibration == model.calibration
    low, high = loaded.upscale(image).interval(0.9)
    assert (low <= high).all()
    with pytest.raises(UserError, match="no uncertainty to calibrate"):
        small(uncertainty=False).calibrate((LR, HR))


def test_training_ends_a_calibration_and_theta_is_read_as_the_loss_trains_it(caplog):
    model = small(log_scale_activation="linear")
    model.compile("adam", "gram")
    fit(model)
    gram = model.theta.unit, model.theta.power
    assert gram == (127.5, 2.0)
    model.compile("adam", "mae")  # to evaluate sr
    assert (model.theta.unit, model.theta.power) == gram
    model.calibrate((LR, HR))
    as_trained = model.calibration
    model.compile("adam", "esu")
    model.evaluate(LR, HR, verbose=0)
    assert (model.theta.unit, model.theta.power) == gram
    assert model.calibration == as_trained
    fit(model)
    assert "training ends the calibration of theta" in caplog.text
    assert (model.theta.unit, model.theta.power) == (1.0, 1.0)
    assert model.calibration is None


def test_measurements_are_calibrated_without_clipping_and_without_nodata():
    model = small(channels=1, value_range=[0, 1])
    lr = LR[..., :1] + np.float32(1000)  # so that sr is far outside 0..255
    hr = np.stack([sum(model.upscaler.predict(image, BORDER)) for image in lr])
    hr[0], hr[1, 5:9] = np.nan, np.nan
    model.calibrate((lr, hr))
    # hr is sr + theta: each error is theta, whose scale needs no correction.
    assert model.calibration.a == pytest.approx([0], abs=1e-6)
    assert model.calibration.images == 3
    lr[2, 3, 4], lr[3] = np.nan, np.nan
    model.calibrate((lr, hr))
    assert np.isfinite(model.calibration.a).all()


def test_upscale_follows_the_weights():
    model = small(uncertainty=False)
    image = noise_image(16, 16)
    before = model.upscale(image)
    assert model.upscaler is model.upscaler  # built once
    model.compile(keras.optimizers.SGD(1e-3), "l1")
    fit(model)
    after = model.upscale(image)
    assert not np.array_equal(before.image, after.image)
    expected = SRModel.from_networks(model.networks).upscale(image)
    assert np.array_equal(after.image, expected.image)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="exports need TensorFlow")
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras for tf2onnx
@pytest.mark.parametrize("format", ["tf_saved_model", "onnx", "litert", "openvino"])
def test_exports_of_keras_agree_with_predict(format, tmp_path):
    package = {"litert": "ai_edge_litert"}.get(format, format)
    if format != "tf_saved_model":
        pytest.importorskip(package)
    model = small()
    model.calibrate((LR, HR), "noise")
    path = str(
        tmp_path / {"litert": "m.tflite", "onnx": "m.onnx", "openvino": "m.xml"}.get(format, "m")
    )
    model.export(path, format=format, verbose=False)
    expected = model.predict(LR, verbose=0)
    found = run_export(format, path, LR.astype("float32"))
    assert np.allclose(found["sr"], expected["sr"], atol=1e-3)
    assert np.allclose(found["theta"], expected["theta"], rtol=1e-4)


def run_export(format, path, lr):
    """Returns {"sr", "theta"} of an exported file."""
    if format == "tf_saved_model":
        import tensorflow as tf

        loaded = tf.saved_model.load(path)
        return {name: values.numpy() for name, values in loaded.serve(lr).items()}
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, {session.get_inputs()[0].name: lr}), strict=True))
    if format == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=path)
        interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], lr.shape)
        return interpreter.get_signature_runner()(lr=lr)
    import openvino

    # Where the processor has bfloat16, OpenVINO would compute in it by default.
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = openvino.Core().compile_model(path, "CPU", settings)(lr)
    return {name: value for output, value in found.items() for name in output.names}


@pytest.mark.slow
@pytest.mark.skipif(
    keras.backend.backend() == "jax" or importlib.util.find_spec("jax") is None,
    reason="needs jax (pip install .[jax])",
)
def test_the_same_under_jax():
    """But for losses and metrics, whose numbers tests/test_backends.py and test_metrics compare."""
    others = "not every_loss and not metric and not other_channels"
    result = run_process(
        *("pytest", "-q", "-p", "no:cacheprovider", "-k", others, os.path.abspath(__file__)),
        **JAX,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_model_of_other_channels(tmp_path):
    channels, random = 4, np.random.default_rng(0)
    hr = random.uniform(0, 255, (2, 32, 32, channels)).astype(np.float32)
    lr = hr[:, ::2, ::2]
    model = small(channels=channels, value_range=[0, 4000])
    model.compile("adam", "esu", metrics=["psnr", "ssim"])
    model.fit(lr, hr, batch_size=2, verbose=0)
    found = model.evaluate(lr, hr, verbose=0, return_dict=True)
    sr = model.predict(lr, verbose=0)["sr"]
    inside = np.s_[2:-2, 2:-2]
    pairs = [(a[inside], b[inside]) for a, b in zip(sr, hr, strict=True)]
    assert found["psnr"] == pytest.approx(np.mean([psnr(*pair) for pair in pairs]), rel=1e-5)
    assert found["ssim"] == pytest.approx(np.mean([ssim(*pair) for pair in pairs]), abs=1e-5)
    final = model.udl_student().uncertainty_head()
    final.calibrate((lr, hr))
    assert final.calibration.channels == channels
    result = final.upscale(lr[0] * 4000 / 255)
    assert result.value_range == (0, 4000)  # also in the models of later steps
    assert result.theta.shape == (32, 32, channels)
    assert result.interval(0.8)[0].shape == (32, 32, channels)
    final.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for key, value in final.predict(lr, verbose=0).items():
        assert np.array_equal(value, loaded.predict(lr, verbose=0)[key])


def test_the_luma_of_other_channels_is_one_line():
    with pytest.raises(UserError, match="psnr_y and ssim_y of 4 channels: expected RGB: use psnr"):
        PSNRY(2).update_state(np.zeros((1, 8, 8, 4)), np.zeros((1, 8, 8, 4)))


def test_a_calibration_of_other_channels_is_one_line():
    with pytest.raises(UserError, match="a calibration of 3 channels: expected 4, those of the"):
        SRModel("edsr_s", 2, channels=4, calibration=plain_calibration(), **SMALL)
