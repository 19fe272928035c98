import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.images import noise_image

from udl_tf.config import OptimizerConfig, WeightingConfig
from udl_tf.losses import LOSSES, ESULoss, L1Loss, UDLLoss
from udl_tf.models import build_model, copy_weights
from udl_tf.tasks.pixel_weights import make_pixel_weight
from udl_tf.training.optimizers import make_optimizer
from udl_tf.training.trainer import Trainer, batch_values
from udl_tf.weighting import error_map_weight, uncertainty_weight

HR = np.stack([noise_image(16, 16, i) for i in range(4)]).astype("float32")
LR = HR[:, ::2, ::2]


def small(**options):
    return build_model("edsr_s", 2, num_blocks=1, num_filters=8, **options)


def weights(network):
    return [w.copy() for w in network.get_weights()]


def one_update(network, loss, pixel_weight=None, rate=1e-3, hr=HR):
    trainer = Trainer(network, loss, pixel_weight)
    trainer.compile(optimizer=keras.optimizers.SGD(rate))
    history = trainer.fit(LR, hr, batch_size=4, epochs=1, shuffle=False, verbose=0)
    return history.history["loss"][0]


def test_udl_step_weights_the_loss_with_the_frozen_network():
    frozen, student = small(), small(uncertainty=False)
    copy_weights(frozen, student)
    before = weights(frozen)
    w = uncertainty_weight(frozen(LR)["log_scale"], floor=1.0)
    expected = float(np.mean(w * np.abs(HR - student(LR)["sr"])))
    start = weights(student)
    weight = make_pixel_weight(WeightingConfig(), frozen, 2)
    loss = one_update(student, UDLLoss(), weight)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, frozen.get_weights(), strict=True))
    assert all(not np.array_equal(a, b) for a, b in zip(start, student.get_weights(), strict=True))


def test_udl_update_is_plain_descent_on_the_weighted_error():
    frozen, student, by_hand = small(), small(uncertainty=False), small(uncertainty=False)
    copy_weights(frozen, student)
    copy_weights(frozen, by_hand)
    w = uncertainty_weight(frozen(LR)["log_scale"], floor=0.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(w * tf.abs(HR - by_hand(LR)["sr"]))
    gradients = tape.gradient(loss, by_hand.trainable_variables)
    for variable, gradient in zip(by_hand.trainable_variables, gradients, strict=True):
        variable.assign(variable - 0.01 * gradient)
    weight = make_pixel_weight(WeightingConfig(floor=0.0), frozen, 2)
    one_update(student, UDLLoss(), weight, rate=0.01)
    for a, b in zip(student.get_weights(), by_hand.get_weights(), strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_the_frozen_network_is_not_part_of_the_trainer():
    frozen, student = small(), small(uncertainty=False)
    trainer = Trainer(student, UDLLoss(), make_pixel_weight(WeightingConfig(), frozen, 2))
    assert len(trainer.trainable_variables) == len(student.trainable_variables)
    assert len(trainer.variables) == len(student.variables)


def test_batches_of_uint8_train_as_those_of_float32():
    results = []
    for lr, hr in ((LR, HR), (LR.astype("uint8"), HR.astype("uint8"))):
        keras.utils.set_random_seed(0)
        network = small(uncertainty=False)
        trainer = Trainer(network, L1Loss())
        trainer.compile(optimizer=keras.optimizers.SGD(1e-2))
        batches = tf.data.Dataset.from_tensors((lr, hr))
        trainer.fit(batches, epochs=2, shuffle=False, verbose=0)
        results.append(weights(network))
    assert all(np.array_equal(a, b) for a, b in zip(*results, strict=True))


def test_values_of_a_batch_are_those_of_numpy_to_the_bit():
    levels = np.arange(256, dtype="uint8").repeat(3).reshape(1, 16, 16, 3)
    a, b = np.float32([[[[-0.731]]]]), np.float32([[[[0.01317]]]])
    lr, hr, s = batch_values(levels[:, ::2, ::2], levels, levels, a, b)
    assert np.array_equal(lr, levels[:, ::2, ::2].astype("float32"))
    assert np.array_equal(hr, levels.astype("float32"))
    assert np.array_equal(s, a + b * levels.astype("float32"))
    assert len(batch_values(levels, levels)) == 2


@pytest.mark.parametrize("source", ["error_map", "hr_gradient", "lr_gradient"])
def test_the_other_sources_of_weights(source):
    frozen = small()
    weight = make_pixel_weight(WeightingConfig(source=source), frozen, 2)(LR, HR)
    assert weight.shape == HR.shape
    if source == "error_map":
        expected = error_map_weight(HR, frozen(LR)["sr"], floor=1.0)
        assert np.allclose(weight, expected, atol=1e-5)


@pytest.mark.slow
def test_esu_step_learns_where_the_error_is_large():
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    noisy = random.random((32, 16, 16, 3)) < 0.5
    lr = np.full((32, 8, 8, 3), 60, "float32")
    lr[:, :, 4:] = 190
    hr = lr.repeat(2, axis=1).repeat(2, axis=2)
    hr[:, :, 8:] += np.where(noisy, 20, -20)[:, :, 8:]  # the bright half cannot be predicted
    network = small(shift=127.5, divide=127.5)
    trainer = Trainer(network, ESULoss())
    trainer.compile(optimizer=keras.optimizers.Adam(3e-3))
    batches = tf.data.Dataset.from_tensor_slices((lr, hr)).batch(8).repeat()
    trainer.fit(batches, steps_per_epoch=320, shuffle=False, verbose=0)
    s = np.asarray(network(lr)["log_scale"])
    # ESU's optimum is ln(20 / 2) = 2.3 in the bright half and the floor of -1 in the dark one.
    assert s[:, :, 10:].mean() == pytest.approx(np.log(10), abs=0.3)
    assert s[:, :, :6].mean() < 1


def test_training_ends_with_the_moving_average():
    network = small(uncertainty=False)
    trainer = Trainer(network, L1Loss())
    config = OptimizerConfig(name="sgd", schedule="constant", learning_rate=0.1, ema=0.5)
    trainer.compile(optimizer=make_optimizer(config, 3))
    plain = small(uncertainty=False)
    copy_weights(network, plain)
    twin = Trainer(plain, L1Loss())
    twin.compile(optimizer=keras.optimizers.SGD(0.1))
    trainer.fit(LR, HR, batch_size=4, epochs=3, shuffle=False, verbose=0)
    average = None
    for _ in range(3):
        twin.fit(LR, HR, batch_size=4, epochs=1, shuffle=False, verbose=0)
        now = weights(plain)
        average = now if average is None else [
            0.5 * a + 0.5 * b for a, b in zip(average, now, strict=True)
        ]  # fmt: skip
    for a, b in zip(network.get_weights(), average, strict=True):
        assert np.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("weighted", [False, True])
def test_pixels_without_data_have_no_influence(weighted):
    """The loss is the mean over the others, and updates are those of any values in the hole."""
    hr = HR.copy()
    hr[:, 4:8, 4:10] = np.nan
    frozen, network, other = small(), small(uncertainty=False), small(uncertainty=False)
    copy_weights(frozen, network)
    copy_weights(frozen, other)
    weight = make_pixel_weight(WeightingConfig(normalize=True), frozen, 2) if weighted else None
    valid = np.isfinite(hr)
    w = np.ones(hr.shape)
    if weight is not None:
        w = np.asarray(weight(LR, hr, valid=valid))
    error = np.abs(np.where(valid, hr, 0) - np.asarray(network(LR)["sr"]))
    expected = (w * error)[valid].mean()
    loss = UDLLoss() if weighted else L1Loss()
    assert one_update(network, loss, weight, 1e-2, hr) == pytest.approx(expected, rel=1e-5)
    # By hand: descent on that mean.
    start = [v.numpy() for v in other.trainable_variables]
    with tf.GradientTape() as tape:
        sr = other(LR)["sr"]
        total = (
            tf.reduce_sum(tf.where(valid, w * tf.abs(np.nan_to_num(hr) - sr), 0.0)) / valid.sum()
        )
    gradients = tape.gradient(total, other.trainable_variables)
    for now, before, gradient in zip(network.trainable_variables, start, gradients, strict=True):
        np.testing.assert_allclose(now, before - 1e-2 * np.asarray(gradient), rtol=1e-4, atol=1e-5)


def test_all_losses_and_their_gradients_stay_finite_with_nodata():
    hr = HR.copy()
    hr[0, :8] = np.nan
    frozen, network = small(), small()
    for name, kind in LOSSES.items():
        weight = make_pixel_weight(WeightingConfig(), frozen, 2) if name == "udl" else None
        lr, filled, w = Trainer(network, kind(), weight)._weighted((LR, hr))
        with tf.GradientTape() as tape:
            loss = kind()(filled, network(lr), w)
        gradients = tape.gradient(loss, network.trainable_variables)
        assert np.isfinite(loss), name
        assert all(np.isfinite(gradient).all() for gradient in gradients if gradient is not None)
