import json
import zipfile

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import BuiltinOperator, Model
from helpers.images import noise_image
from helpers.models import LIGHT_FUSED

from udl_tf.errors import UserError
from udl_tf.export import parity
from udl_tf.export.tflite import export_tflite
from udl_tf.saved.card import CARD
from udl_tf.saved.loading import load_upscaler


def assert_parity(card):
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    assert card.parity["sizes"][0] == (card.smallest, card.smallest)


def test_equals_keras_with_two_networks(small_tflite, small_run, assert_same):
    path, card = small_tflite
    assert_parity(card)
    assert_same(small_run, path, 1e-3)


# With small_run (EDSR-S x2) each network, scale and upsampling: pixel shuffle by 2, by 3, by 2
# twice, and DPDNN's transposed convolutions and bicubic operators.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale", "options"),
    [
        ("edsr_s", 3, {"num_blocks": 1, "num_filters": 4}),
        ("edsr", 4, {"num_blocks": 1, "num_filters": 4}),
        ("dpdnn", 3, {"num_stages": 1, "num_filters": 4}),
        ("edsr_s", 4, {"num_blocks": 1, "num_filters": 4, **LIGHT_FUSED}),
        ("span", 2, {"num_blocks": 1, "num_filters": 4}),
    ],
)
def test_equals_keras(name, scale, options, make_single, hr_images, assert_same, tmp_path):
    run = make_single(name, scale, **options)
    assert_parity(export_tflite(run, tmp_path / "model.tflite", images=hr_images))
    assert_same(run, tmp_path / "model.tflite", 1e-3)


def test_only_builtin_operators_named_tensors_and_a_card(small_tflite):
    path, _ = small_tflite
    model = Model.GetRootAs(path.read_bytes())
    codes = {model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())}
    assert BuiltinOperator.CONV_2D in codes
    assert BuiltinOperator.CUSTOM not in codes
    interpreter = Interpreter(model_path=str(path))
    (signature,) = interpreter.get_signature_list().values()
    assert signature == {"inputs": ["lr"], "outputs": ["sr", "theta"]}
    # The same for runtimes that do not know signatures; they used to get theta first.
    assert [tensor["name"] for tensor in interpreter.get_input_details()] == ["lr"]
    assert [tensor["name"] for tensor in interpreter.get_output_details()] == ["sr", "theta"]
    with zipfile.ZipFile(path) as archive:
        card = json.loads(archive.read(CARD))
    assert (card["scale"], card["range"], card["licence"]) == (2, [0, 255], "CC0")
    assert card["parity"]["sr"] <= 1e-3
    assert card["calibration"]["b"] == [1.0, 0.9, 1.1]


def test_float16_weights_stay_within_a_level(small_run, hr_images, assert_same, tmp_path):
    path = tmp_path / "model.tflite"
    card = export_tflite(small_run, path, "float16", images=hr_images)
    assert card.parity["bound"] == 1.0
    assert 1e-3 < card.parity["sr"] <= 1.0
    assert_same(small_run, path, 1.0)
    tensors = Interpreter(model_path=str(path)).get_tensor_details()
    kernels = [t for t in tensors if len(t["shape"]) == 4 and t["shape"][1] == 3]
    assert np.float16 in {t["dtype"] for t in kernels}


@pytest.mark.slow
def test_int8_has_uint8_tensors_and_states_its_loss(int8_tflite, transparent_run):
    path, card = int8_tflite
    assert abs(card.parity["psnr_loss"]) < 0.1
    assert card.parity["patches"] == 11  # the bundled images
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner()
    tensors = [*runner.get_input_details().values(), *runner.get_output_details().values()]
    assert {t["dtype"] for t in tensors} == {np.uint8}
    assert [t["name"] for t in interpreter.get_output_details()] == ["sr", "theta"]
    assert runner.get_input_details()["lr"]["quantization"] == (1.0, 0)
    inside = {t["dtype"] for t in interpreter.get_tensor_details() if len(t["shape"]) == 4}
    assert np.float32 not in inside
    lr = noise_image(20, 30)
    exported = load_upscaler(path)
    assert exported.eight_bit
    result, expected = exported.upscale(lr), load_upscaler(transparent_run).upscale(lr)
    assert np.abs(result.image.astype(int) - expected.image).max() <= 4
    assert np.allclose(result.theta, 1.0, atol=0.02)


@pytest.mark.slow
def test_int8_adds_detail_to_the_grey_levels_of_the_lr_image(tmp_path):
    path = tmp_path / "model.tflite"
    card = export_tflite("light_x4", path, "int8", uncertainty=False)
    assert card.parity["psnr_loss"] < 0.14
    interpreter = Interpreter(model_path=str(path))
    levels = {t["index"]: t["quantization"] for t in interpreter.get_tensor_details()}
    sums = [op["inputs"] for op in interpreter._get_ops_details() if op["op_name"] == "ADD"]
    assert any((1.0, -128) in [levels[index] for index in inputs] for inputs in sums)


@pytest.mark.slow
def test_int8_keeps_small_theta_of_a_network_without_anchor(tmp_path):
    card = export_tflite("edsr_light_x4", tmp_path / "model.tflite", "int8")
    assert card.parity["theta_median_relative"] < 0.1


def test_an_int8_network_that_loses_too_much_is_not_written(
    tiny_run, hr_images, tmp_path, monkeypatch
):
    monkeypatch.setattr(parity, "INT8_BOUND", -9.0)  # an untrained network has little to lose
    with pytest.raises(UserError, match=r"int8 loses .* dB of PSNR-Y on 1 real patches; at most"):
        export_tflite(tiny_run, tmp_path / "model.tflite", "int8", images=hr_images)
    assert list(tmp_path.iterdir()) == []


def test_without_uncertainty(tiny_run, hr_images, tmp_path):
    path = tmp_path / "model.tflite"
    card = export_tflite(tiny_run, path, uncertainty=False, images=hr_images)
    assert card.outputs == ["sr"]
    model = load_upscaler(path)
    assert not model.has_uncertainty
    assert model.upscale(noise_image(9, 9)).theta is None
    network = load_upscaler(tiny_run).networks.mean
    assert card.parameters < network.count_params()  # without the s head


@pytest.mark.slow
def test_a_fixed_tile_upscales_images_of_any_size(small_run, hr_images, tmp_path):
    path = tmp_path / "tile.tflite"
    card = export_tflite(small_run, path, tile=32, images=hr_images)
    assert (card.tile, card.border, card.margin) == (32, 0, card.radius)
    details = Interpreter(model_path=str(path)).get_input_details()[0]
    assert (list(details["shape"]), list(details["shape_signature"])) == ([1, 32, 32, 3],) * 2
    trained, exported = load_upscaler(small_run), load_upscaler(path)
    for size in ((50, 77), (32, 33), (64, 20)):
        image = noise_image(*size)
        result, expected = exported.upscale(image), trained.upscale(image)
        inner = slice(8, -8)  # smaller images are mirrored further than by the Keras upscaler
        difference = np.abs(result.image.astype(int) - expected.image)[inner, inner]
        assert difference.max() <= 1
    assert exported.upscale(noise_image(1, 1)).image.shape == (2, 2, 3)
    with pytest.raises(UserError, match="tile 8: this model accepts tiles of 32 pixels only"):
        exported.upscale(noise_image(9, 9), tile=8)


def test_a_tile_too_small_for_its_overlap(small_run, tmp_path):
    message = r"tile 16: tiles of small_x2 overlap by 8 pixels .* a tile of at least 17,"
    with pytest.raises(UserError, match=message):
        export_tflite(small_run, tmp_path / "tile.tflite", tile=16)


def test_a_tile_above_the_limit_is_one_line(small_run, tmp_path):
    with pytest.raises(UserError, match=r"export of small_x2: .*tile: got 20000; .* 16384"):
        export_tflite(small_run, tmp_path / "tile.tflite", tile=20_000)


def test_int8_of_the_smallest_tile_is_compared(tiny_run, hr_images, tmp_path):
    """Shaving left no pixel of the tile."""
    card = export_tflite(
        tiny_run, tmp_path / "a.tflite", "int8", tile=18, margin=1, images=hr_images
    )
    assert card.parity["patches"] > 0


def test_the_seams_of_a_short_margin_are_stated(tiny_run, hr_images, tmp_path):
    card = export_tflite(tiny_run, tmp_path / "tile.tflite", tile=24, margin=1, images=hr_images)
    assert card.margin == 1
    assert 0 < card.parity["seam"] < 255
    assert "seams of tiles" in card.summary()
