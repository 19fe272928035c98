"""Exports beside the networks in Keras, and what becomes of those that differ."""

import json
import zipfile

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import BuiltinOperator, Model
from helpers.images import noise_image
from helpers.models import SMALL_NETWORKS, make_run

from udl_tf.errors import UserError
from udl_tf.export import parity
from udl_tf.export.onnx import export_onnx
from udl_tf.export.savedmodel import export_savedmodel
from udl_tf.export.tflite import export_tflite
from udl_tf.inference.upscaler import BORDER
from udl_tf.saved.card import CARD
from udl_tf.saved.exported import WindowRunner
from udl_tf.saved.loading import load

CASES = [(name, scale) for name in SMALL_NETWORKS for scale in (2, 3, 4)]
# One stage of DPDNN: each makes the graph, which is converted twice for the two networks, longer.
WHOLE = {**SMALL_NETWORKS, "dpdnn": {"num_stages": 1, "num_filters": 8}}


def assert_same(run, path, bound):
    """On a picture of a size that the tool's own check does not have."""
    trained, exported = load(run), load(path)
    lr = noise_image(27, 38, seed=5)
    for made, expected in zip(exported.predict(lr), trained.predict(lr, BORDER), strict=True):
        assert np.abs(made - np.clip(expected, 0, 255)).max() <= bound
        assert np.ptp(made) > 1e-3  # it is not constant


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_tflite_equals_keras(name, scale, tmp_path):
    run = make_run(tmp_path / "run", name, scale, **WHOLE[name])
    card = export_tflite(run, tmp_path / "model.tflite")
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    assert card.parity["sizes"][0] == (card.smallest, card.smallest)
    assert_same(run, tmp_path / "model.tflite", 1e-3)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_onnx_equals_keras(name, scale, tmp_path):
    run = make_run(tmp_path / "run", name, scale, **WHOLE[name])
    card = export_onnx(run, tmp_path / "model.onnx")
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    assert_same(run, tmp_path / "model.onnx", 1e-3)


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_a_savedmodel_upscales_exactly_as_the_trained_model(name, scale, tmp_path):
    run = make_run(tmp_path / "run", name, scale)
    # So little memory that the graph has to compute in tiles, and stages in tiles of these.
    folder, card = export_savedmodel(run, tmp_path / "model", warmup=False, memory_gb=5e-4)
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3
    trained, served = load(run), load(folder)
    for size in ((1, 1), (3, 17), (41, 29)):
        image = noise_image(*size, seed=3)
        expected, made = trained.upscale(image), served.upscale(image)
        assert np.abs(made.image.astype(int) - expected.image).max() <= 1  # a tie of rounding
        assert np.mean(made.image != expected.image) < 0.001
        assert np.abs(made.theta - expected.theta).max() <= 1e-3


@pytest.mark.parametrize("name", ["edsr_s", "dpdnn"])
def test_float16_stays_within_a_level(name, tmp_path):
    run = make_run(tmp_path / "run", name, 2, **WHOLE[name])
    for export, path in (
        (export_tflite, tmp_path / "m.tflite"),
        (export_onnx, tmp_path / "m.onnx"),
    ):
        card = export(run, path, "float16")
        assert card.parity["bound"] == 1.0
        assert 1e-3 < card.parity["sr"] <= 1.0
        assert_same(run, path, 1.0)
    arrays = map(onnx.numpy_helper.to_array, onnx.load(tmp_path / "m.onnx").graph.initializer)
    assert {str(a.dtype) for a in arrays if a.dtype.kind == "f" and a.size > 100} == {"float16"}
    tensors = Interpreter(model_path=str(tmp_path / "m.tflite")).get_tensor_details()
    kernels = [t for t in tensors if len(t["shape"]) == 4 and t["shape"][1] == 3]
    assert np.float16 in {t["dtype"] for t in kernels}


def test_int8_takes_and_gives_bytes_and_tells_its_loss(transparent_run, tmp_path):
    path = tmp_path / "model.tflite"
    card = export_tflite(transparent_run, path, "int8")
    assert abs(card.parity["psnr_loss"]) < 0.1
    assert card.parity["patches"] == 11  # the bundled pictures
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner()
    tensors = [*runner.get_input_details().values(), *runner.get_output_details().values()]
    assert {t["dtype"] for t in tensors} == {np.uint8}
    assert runner.get_input_details()["lr"]["quantization"] == (1.0, 0)
    inside = {t["dtype"] for t in interpreter.get_tensor_details() if len(t["shape"]) == 4}
    assert np.float32 not in inside
    lr = noise_image(20, 30)
    made, expected = load(path).upscale(lr), load(transparent_run).upscale(lr)
    assert np.abs(made.image.astype(int) - expected.image).max() <= 4
    assert np.allclose(made.theta, 1.0, atol=0.02)


def test_an_int8_network_that_loses_too_much_is_not_written(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(parity, "INT8_BOUND", -9.0)  # an untrained network has little to lose
    with pytest.raises(UserError, match=r"int8 loses .* dB of PSNR-Y on 11 real patches; at most"):
        export_tflite(small_run, tmp_path / "model.tflite", "int8")
    assert list(tmp_path.iterdir()) == []


def test_an_export_beyond_the_bound_leaves_nothing(small_run, tmp_path, monkeypatch):
    monkeypatch.setitem(parity.BOUNDS, "float32", 1e-9)
    exports = {"a.tflite": export_tflite, "a.onnx": export_onnx, "a": export_savedmodel}
    for name, export in exports.items():
        with pytest.raises(UserError, match=r"differs from the Keras networks by sr .*, theta"):
            export(small_run, tmp_path / name)
        assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_name_by_which_an_export_would_not_be_known(small_run, tmp_path):
    for export, suffix in ((export_tflite, ".tflite"), (export_onnx, ".onnx")):
        with pytest.raises(UserError, match=rf"model\.bin: expected a name that ends in \{suffix}"):
            export(small_run, tmp_path / "model.bin")


def test_a_difference_that_is_no_number_is_beyond_every_bound():
    assert parity.largest_difference(np.array([np.nan, 0.0]), np.zeros(2)) == np.inf


def test_only_builtin_operators_named_tensors_and_a_card(small_run, tmp_path):
    path = tmp_path / "model.tflite"
    export_tflite(small_run, path, licence="CC0")
    model = Model.GetRootAs(path.read_bytes())
    codes = {model.OperatorCodes(i).BuiltinCode() for i in range(model.OperatorCodesLength())}
    assert BuiltinOperator.CONV_2D in codes
    assert BuiltinOperator.CUSTOM not in codes
    (signature,) = Interpreter(model_path=str(path)).get_signature_list().values()
    assert signature == {"inputs": ["lr"], "outputs": ["sr", "theta"]}
    with zipfile.ZipFile(path) as archive:
        card = json.loads(archive.read(CARD))
    assert (card["scale"], card["range"], card["licence"]) == (2, [0, 255], "CC0")
    assert card["parity"]["sr"] <= 1e-3
    assert card["calibration"]["b"] == [1.0, 0.9, 1.1]


@pytest.mark.parametrize("opset", [17, 18])
def test_an_onnx_file_of_any_batch_and_size(small_run, tmp_path, opset):
    path = tmp_path / "model.onnx"
    card = export_onnx(small_run, path, opset=opset)
    graph = onnx.load(path)
    assert [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")] == [opset]
    assert [i.name for i in graph.graph.input] == ["lr"]
    assert [o.name for o in graph.graph.output] == ["sr", "theta"]
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape] == [0, 0, 0, 3]  # 0: any
    batch = np.stack([noise_image(9, 14, seed) for seed in range(3)]).astype(np.float32)
    together = load(path).forward(batch, card.outputs)
    for index, lr in enumerate(batch):
        alone = load(path).forward(lr[None], card.outputs)
        assert np.allclose(together["sr"][index], alone["sr"][0], atol=1e-3)


def test_without_uncertainty(small_run, tmp_path):
    for export, path in ((export_tflite, "m.tflite"), (export_onnx, "m.onnx")):
        card = export(small_run, tmp_path / path, uncertainty=False)
        assert card.outputs == ["sr"]
        model = load(tmp_path / path)
        assert not model.has_uncertainty
        assert model.upscale(noise_image(9, 9)).theta is None
    network = load(small_run).networks.mean
    assert card.parameters < network.count_params()  # no s head in it


def test_a_fixed_tile_upscales_pictures_of_any_size(small_run, tmp_path):
    path = tmp_path / "tile.tflite"
    card = export_tflite(small_run, path, tile=32)
    assert (card.tile, card.border, card.margin) == (32, 0, card.radius)
    details = Interpreter(model_path=str(path)).get_input_details()[0]
    assert (list(details["shape"]), list(details["shape_signature"])) == ([1, 32, 32, 3],) * 2
    trained, exported = load(small_run), load(path)
    for size in ((50, 77), (32, 33), (64, 20)):
        image = noise_image(*size)
        made, expected = exported.upscale(image), trained.upscale(image)
        inner = slice(8, -8)  # below 32 pixels the mirrored border goes on further than Keras'
        difference = np.abs(made.image.astype(int) - expected.image)[inner, inner]
        assert difference.max() <= 1
    assert exported.upscale(noise_image(1, 1)).image.shape == (2, 2, 3)
    with pytest.raises(UserError, match="tile 8: this file computes tiles of 32 pixels only"):
        exported.upscale(noise_image(9, 9), tile=8)


def test_a_tile_too_small_for_its_overlap(small_run, tmp_path):
    with pytest.raises(UserError, match=r"tile 16: tiles of small_x2 overlap by 8 pixels .* so 17"):
        export_tflite(small_run, tmp_path / "tile.tflite", tile=16)


def test_a_short_margin_makes_seams_that_are_told(small_run, tmp_path):
    card = export_tflite(small_run, tmp_path / "tile.tflite", tile=24, margin=1)
    assert card.margin == 1
    assert 0 < card.parity["seam"] < 255
    assert "seams of tiles" in card.summary()


def test_a_picture_within_the_smallest_window_is_computed_whole(small_run, tmp_path):
    path = tmp_path / "model.tflite"
    card = export_tflite(small_run, path)
    asked = []

    def forward(images, outputs):
        asked.append(images.shape[1:3])
        return {
            name: np.zeros((len(images), *(2 * np.array(images.shape[1:3])), 3)) for name in outputs
        }

    runner = WindowRunner(card, forward, ["sr"])
    small, large = (noise_image(side, side) for side in (3 * card.margin, 4 * card.margin))
    list(runner.run(small, budget=1))
    assert asked == [small.shape[:2]]
    list(runner.run(large, budget=1))
    assert len(asked) > 2


def test_networks_that_are_one_are_exported_once(transparent_run, tmp_path):
    model = load(transparent_run)
    assert model.networks.mean is model.networks.uncertainty
    card = export_onnx(transparent_run, tmp_path / "model.onnx")
    assert card.parameters == model.networks.mean.count_params()


def test_exports_need_the_tensorflow_backend(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(UserError, match="KERAS_BACKEND=jax: exports are made with the TensorFlow"):
        export_onnx(small_run, tmp_path / "model.onnx")


def test_files_that_are_none_of_ours(tmp_path):
    for name, content, message in (
        ("a.tflite", b"no model", "holds no model card; expected what tools/export_tflite"),
        ("a.onnx", b"no model", r"a\.onnx: cannot be loaded"),
        ("a.txt", b"text", r"expected a preset, a run folder or a file ending in \.tflite \.onnx"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            load(tmp_path / name)
