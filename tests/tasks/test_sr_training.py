"""Training of an SRModel: weights of pixels, unit of theta, heads that suit a loss."""

import keras
import numpy as np
import pytest
from helpers.images import noise_image

from udl_tf.errors import UserError
from udl_tf.losses import GRAMLoss
from udl_tf.models import fused, precision
from udl_tf.models.weights import has_branches
from udl_tf.tasks import PSNR, SSIM, SRModel
from udl_tf.weighting import uncertainty_weight

HR = np.stack([noise_image(24, 24, i) for i in range(3)])
LR = HR[:, ::2, ::2]


def small(**options):
    return SRModel("edsr_s", 2, num_blocks=1, num_filters=4, **options)


def fitted(model, **options):
    history = model.fit(LR, HR, batch_size=3, shuffle=False, verbose=0, **options)
    return history.history["loss"][0]


def evaluated(model, **options):
    return model.evaluate(LR, HR, batch_size=3, verbose=0, **options)


def test_weigh_by_takes_effect_in_the_next_fit_and_evaluate():
    """Compiled functions kept the pixel weights of the first call."""
    first = small()
    student = first.udl_student(floor=1.0)
    student.compile(keras.optimizers.SGD(0.0))
    before = fitted(student), evaluated(student)
    student.weigh_by(first, floor=100.0)
    after = fitted(student), evaluated(student)
    s = first.backbone(LR.astype("float32"))["log_scale"]
    error = np.abs(HR - first.predict(LR, verbose=0)["sr"])
    for floor, losses in ((1.0, before), (100.0, after)):
        expected = float(np.mean(uncertainty_weight(s, floor=floor) * error))
        assert losses == pytest.approx([expected] * 2, rel=1e-4)


@pytest.mark.parametrize("loss", ["l1", "mae"])
@pytest.mark.parametrize("per_pixel", [False, True])
def test_weights_per_image_or_pixel_apply_to_all_channels(loss, per_pixel):
    """With as many images as channels, weights per image were applied per channel."""
    model = small(uncertainty=False)
    model.compile(keras.optimizers.SGD(0.0), loss)
    weights = np.zeros((3, 24, 24) if per_pixel else 3, "float32")
    weights[0] = 3
    error = np.abs(HR - model.predict(LR, verbose=0)["sr"])
    assert evaluated(model, sample_weight=weights) == pytest.approx(error[0].mean(), rel=1e-5)
    assert fitted(model, sample_weight=weights) == pytest.approx(error[0].mean(), rel=1e-5)


def test_compile_alone_leaves_theta_as_it_is():
    """compile changed theta in predict, but not in upscale."""
    model = small(log_scale_activation="linear")
    image = LR[0]
    before = model.predict(LR, verbose=0)["theta"], model.upscale(image).theta
    model.compile(keras.optimizers.SGD(0.0), "gram")
    assert np.array_equal(model.predict(LR, verbose=0)["theta"], before[0])
    assert np.array_equal(model.upscale(image).theta, before[1])
    fitted(model)
    assert (model.theta.unit, model.theta.power) == (127.5, 2.0)
    expected = np.minimum(255, 127.5 * np.sqrt(before[0]))
    assert model.predict(LR, verbose=0)["theta"] == pytest.approx(expected, rel=1e-5)
    assert model.upscale(image).theta == pytest.approx(
        np.minimum(255, 127.5 * np.sqrt(before[1])), rel=1e-4
    )


def test_gram_in_its_released_unit_needs_a_head_without_bounds():
    linear = small(log_scale_activation="linear")
    for model, theta in ((small(), "77.3"), (linear.uncertainty_head(), "28.5")):
        model.compile("adam", "gram")
        evaluated(model)
        with pytest.raises(UserError, match=rf"GRAMLoss .* no theta below {theta} grey levels"):
            fitted(model)
    linear.compile("adam", "gram")
    model.compile("adam", GRAMLoss(unit=1.0, power=1.0))  # as ESU
    assert np.isfinite([fitted(linear), fitted(model)]).all()


def test_fused_networks_keep_their_precision():
    with precision("mixed_bfloat16"):
        network = small(branches=True).backbone
    plain = fused(network)
    assert has_branches(network)
    assert not has_branches(plain)
    assert plain.dtype_policy.name == "mixed_bfloat16"
    assert plain.get_layer("head").compute_dtype == "bfloat16"


@pytest.mark.parametrize(("metric", "side"), [(PSNR(shave=4), 8), (SSIM(shave=2), 14)])
def test_images_too_small_to_shave_are_one_line(metric, side):
    image = np.zeros((1, side, side, 3), "float32")
    with pytest.raises(UserError, match=r"pixels must be left after shaving\. Received: shape"):
        metric.update_state(image, image)


def test_pairs_that_do_not_match_are_one_line():
    model = small()
    for hr, message in (
        (HR[:, :-2], r"pair 0: hr of shape \(22, 24, 3\) with lr .* expected \(24, 24, 3\)"),
        (HR[:2], "3 images in lr and 2 in hr"),
    ):
        with pytest.raises(UserError, match=message):
            model.calibrate((LR, hr))
    model.calibrate([LR, HR])
    assert model.calibration.images == 3
