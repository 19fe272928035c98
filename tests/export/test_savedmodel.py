import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import assert_one_line_error, run_command
from helpers.images import noise_image
from helpers.models import LIGHT_FUSED, make_run
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.saved.loading import load_upscaler


# Each network and each scale; in the test of versions below EDSR-S x2. Only the first has two
# networks, only DPDNN stages that read the LR image too, and windows that start at multiples.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale", "options", "single"),
    [
        ("edsr_s", 4, {"num_blocks": 1, "num_filters": 4}, False),
        ("edsr", 3, {"num_blocks": 1, "num_filters": 4}, True),
        ("dpdnn", 4, {"num_stages": 2, "num_filters": 4}, True),
        ("edsr_s", 2, {"num_blocks": 1, "num_filters": 4, **LIGHT_FUSED}, True),
        ("span", 3, {"num_blocks": 1, "num_filters": 4}, True),
    ],
)
def test_upscales_exactly_as_the_trained_model(
    name, scale, options, single, make_single, hr_images, tmp_path
):
    make = make_single if single else lambda *args, **kw: make_run(tmp_path / "run", *args, **kw)
    run = make(name, scale, **options)
    # So little memory that the graph computes in tiles, and stages in tiles of these.
    folder, card = export_savedmodel(
        run, tmp_path / "model", warmup=False, memory_gb=5e-4, max_pixels=50 * 50, images=hr_images
    )
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    trained, served = load_upscaler(run), load_upscaler(folder)
    for size in ((1, 1), (3, 17), (41, 29)):
        image = noise_image(*size, seed=3)
        expected, result = trained.upscale(image), served.upscale(image)
        assert np.abs(result.image.astype(int) - expected.image).max() <= 1  # a tie of rounding
        assert np.mean(result.image != expected.image) < 0.001
        assert np.abs(result.theta - expected.theta).max() <= 1e-3


@pytest.mark.slow
def test_float_images_and_half_precision_theta(tiny_run, hr_images, tmp_path):
    folder, card = export_savedmodel(
        tiny_run,
        tmp_path / "m",
        warmup=False,
        image_dtype="float32",
        theta_dtype="float16",
        max_pixels=32 * 32,
        images=hr_images,
    )
    assert (card.image_dtype, card.theta_dtype) == ("float32", "float16")
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    image = noise_image(9, 12).astype(np.float32) + 0.25
    image = np.minimum(image, 255)
    outputs = serve(image=tf.constant(image[None]))
    expected = load_upscaler(tiny_run).upscale(image)
    assert np.abs(outputs["sr"][0].numpy() - expected.image).max() <= 0.5 + 1e-3
    assert outputs["theta"].dtype == tf.float16
    assert np.allclose(outputs["theta"][0], expected.theta, rtol=1e-3)
    for bad in (np.nan, np.inf, -0.5, 255.5):
        image[0, 0, 0] = bad
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"values outside 0\.\.255 or NaN"):
            serve(image=tf.constant(image[None]))


@pytest.mark.slow
def test_self_ensemble(tiny_run, hr_images, tmp_path):
    folder, card = export_savedmodel(
        tiny_run,
        tmp_path / "m",
        warmup=False,
        self_ensemble=True,
        memory_gb=1e-3,
        max_pixels=32 * 32,
        images=hr_images,
    )
    assert card.self_ensemble
    image, trained = noise_image(15, 22), load_upscaler(tiny_run)
    result = load_upscaler(folder).upscale(image)
    expected = trained.upscale(image, self_ensemble=True)
    plain = trained.upscale(image)
    assert np.abs(result.image.astype(int) - expected.image).max() <= 1
    assert np.mean(result.image != expected.image) < 0.001 < np.mean(result.image != plain.image)
    assert np.allclose(result.theta, expected.theta, atol=1e-3)


def test_versions_and_limits_of_pixels_out_of_range_are_one_line(small_run, tmp_path):
    for options, message in (
        ({"version": 10**30}, r"expected 1\.\.9223372036854775807"),
        ({"version": 0}, r"version 0; expected 1"),
        ({"max_pixels": 10**20}, r"max_pixels 10+; expected 1\.\."),
    ):
        with pytest.raises(UserError, match=message):
            export_savedmodel(small_run, tmp_path / "m", warmup=False, **options)
    assert not list(tmp_path.rglob("1*"))


@pytest.mark.slow
def test_warm_up_requests_stay_within_the_limit_of_pixels(tiny_run, hr_images, tmp_path):
    """Requests of 32x32 would be refused, and the server would not load the model."""
    pytest.importorskip("tensorflow_serving")
    from tensorflow_serving.apis import prediction_log_pb2

    folder, _ = export_savedmodel(tiny_run, tmp_path / "m", max_pixels=500, images=hr_images)
    file = folder / "assets.extra/tf_serving_warmup_requests"
    records = list(tf.data.TFRecordDataset(str(file)))
    assert len(records) == 4  # one per signature
    for record in records:
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for tensor in log.predict_log.request.inputs.values():
            image = tf.make_ndarray(tensor)
            if image.dtype == object:
                image = tf.io.decode_png(image[0]).numpy()[None]
            assert image.shape[1:3] == (22, 22)


@pytest.mark.slow
def test_versions_count_up_and_limits_below_three_margins(tiny_run, hr_images, tmp_path):
    """Tiles may use fewer pixels than they overlap by; a limit that leaves none is an error."""
    trained, image = load_upscaler(tiny_run), noise_image(40, 33)
    margin = max(one.runner.radius for one in trained._passes(uncertainty=False))
    limits = (2 * margin) ** 2, (2 * margin + 3) ** 2
    for expected, limit in zip(("1", "2"), limits, strict=True):
        folder, _ = export_savedmodel(
            tiny_run,
            tmp_path / "m",
            uncertainty=False,
            warmup=False,
            max_pixels=limit,
            images=hr_images,
        )
        assert folder.name == expected
    with pytest.raises(UserError, match=r"m/2: already exists: choose another version"):
        export_savedmodel(tiny_run, tmp_path / "m", version=2)
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["1", "2"]
    latest = load_upscaler(tmp_path / "m")
    assert latest.card.outputs == ["sr"]
    assert np.array_equal(latest.upscale(image).image, trained.upscale(image).image)
    message = rf"the server accepts {limits[0]} pixels .* max_pixels at least {(4 * margin) ** 2}"
    with pytest.raises(UserError, match=message):
        load_upscaler(tmp_path / "m/1").upscale(image)


def test_exported_models_in_the_commands(served, tmp_path):
    (tmp_path / "in").mkdir()
    for index in range(2):
        write_rgb(tmp_path / f"in/{index}.png", noise_image(40, 44, index))
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "in/deep.png")
    out = ("--output", tmp_path / "out")
    result = run_command(
        "upscale", tmp_path / "in", "--model", served, *out, "--uncertainty", "npy"
    )
    assert result.returncode == 0, result.stderr
    assert "deep.png: 16-bit pixels computed in 8 bits" in result.stdout
    assert np.load(tmp_path / "out/0_theta.npy").shape == (80, 88, 3)
    (tmp_path / "in/deep.png").unlink()
    result = run_command("evaluate", "--model", served, "--data", tmp_path / "in", "--figures", "0")
    assert result.returncode == 0, result.stderr
    assert (served.parent / "small_x2_evaluation/results.md").is_file()
    arguments = ("--model", served, "--data", tmp_path / "in")
    assert_one_line_error(run_command("calibrate", *arguments), "expected a preset or a run folder")
