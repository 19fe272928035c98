import numpy as np
import onnx
import pytest
from helpers.images import noise_image
from helpers.models import LIGHT_FUSED

from udl_tf.export.onnx import export_onnx
from udl_tf.saved.loading import load_upscaler


def assert_parity(card):
    assert max(card.parity["sr"], card.parity["theta"]) <= 1e-3


def test_equals_keras_with_two_networks(small_onnx, small_run, assert_same):
    path, card = small_onnx
    assert_parity(card)
    assert_same(small_run, path, 1e-3)


# As in test_tflite.py: with small_run (EDSR-S x2) each network, scale and upsampling.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scale", "options"),
    [
        ("edsr", 3, {"num_blocks": 1, "num_filters": 4}),
        ("edsr_s", 4, {"num_blocks": 1, "num_filters": 4}),
        ("dpdnn", 4, {"num_stages": 1, "num_filters": 4}),
        ("edsr_s", 3, {"num_blocks": 1, "num_filters": 4, **LIGHT_FUSED}),
        ("span", 4, {"num_blocks": 1, "num_filters": 4}),
    ],
)
def test_equals_keras(name, scale, options, make_single, hr_images, assert_same, tmp_path):
    run = make_single(name, scale, **options)
    assert_parity(export_onnx(run, tmp_path / "model.onnx", images=hr_images))
    assert_same(run, tmp_path / "model.onnx", 1e-3)


# Only DPDNN has slices whose ends overflow in float16.
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edsr_s", {"num_blocks": 2, "num_filters": 8}),
        pytest.param("dpdnn", {"num_stages": 1, "num_filters": 8}, marks=pytest.mark.slow),
    ],
)
def test_float16_stays_within_a_level(name, options, make_single, hr_images, assert_same, tmp_path):
    run, path = make_single(name, 2, **options), tmp_path / "model.onnx"
    card = export_onnx(run, path, "float16", images=hr_images)
    assert card.parity["bound"] == 1.0
    assert 1e-3 < card.parity["sr"] <= 1.0
    assert_same(run, path, 1.0)
    arrays = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
    assert {str(a.dtype) for a in arrays if a.dtype.kind == "f" and a.size > 100} == {"float16"}


@pytest.fixture(scope="module")
def opset_17(tiny_run, hr_images, tmp_path_factory):
    """(path, card) of a file of opset 17."""
    path = tmp_path_factory.mktemp("opset") / "model.onnx"
    return path, export_onnx(tiny_run, path, opset=17, images=hr_images)


@pytest.mark.parametrize(("export", "opset"), [("small_onnx", 18), ("opset_17", 17)])
def test_a_file_accepts_any_batch_and_size(export, opset, request):
    path, card = request.getfixturevalue(export)
    graph = onnx.load(path)
    assert [o.version for o in graph.opset_import if o.domain in ("", "ai.onnx")] == [opset]
    assert [i.name for i in graph.graph.input] == ["lr"]
    assert [o.name for o in graph.graph.output] == ["sr", "theta"]
    shape = graph.graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape] == [0, 0, 0, 3]  # 0: any
    assert [d.dim_param for d in shape][:3] == ["batch", "height", "width"]
    shape = graph.graph.output[0].type.tensor_type.shape.dim
    assert [d.dim_param for d in shape][:3] == ["batch", "2 height", "2 width"]
    batch = np.stack([noise_image(9, 14, seed) for seed in range(3)]).astype(np.float32)
    model = load_upscaler(path)
    together = model.forward(batch, card.outputs)
    for index, lr in enumerate(batch):
        alone = model.forward(lr[None], card.outputs)
        assert np.allclose(together["sr"][index], alone["sr"][0], atol=1e-3)


def test_networks_that_are_one_are_exported_once(opset_17, tiny_run):
    model = load_upscaler(tiny_run)
    assert model.networks.mean is model.networks.uncertainty
    _, card = opset_17
    assert card.parameters == model.networks.mean.count_params()


def test_without_uncertainty(tiny_run, hr_images, tmp_path):
    path = tmp_path / "model.onnx"
    card = export_onnx(tiny_run, path, uncertainty=False, images=hr_images)
    assert card.outputs == ["sr"]
    model = load_upscaler(path)
    assert not model.has_uncertainty
    assert model.upscale(noise_image(9, 9)).theta is None


def convolutions_of(graph) -> tuple[list[str], list[str]]:
    """Returns the names of all convolutions of a graph, and of those in int8."""
    producers = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    in_int8 = [
        node.name
        for node in convolutions
        if {producers.get(name) for name in node.input[:2]} == {"DequantizeLinear"}
    ]
    return [node.name for node in convolutions], in_int8


def test_a_light_head_stays_in_float_in_int8(make_single, hr_images, tmp_path):
    path = tmp_path / "model.onnx"
    export_onnx(make_single("edsr_s", 2), path, "int8", images=hr_images)
    convolutions, in_int8 = convolutions_of(onnx.load(path).graph)
    assert sum("log_scale" in name for name in convolutions) == 7
    assert in_int8
    assert not [name for name in in_int8 if "log_scale" in name]


def test_int8_has_integer_convolutions_and_is_upscaled_with_like_other_exports(
    transparent_run, hr_images, tmp_path
):
    """Each pixel is repeated: 256 levels at input and output are the grey levels."""
    path = tmp_path / "model.onnx"
    card = export_onnx(transparent_run, path, "int8", images=hr_images)
    assert abs(card.parity["psnr_loss"]) < 0.1
    graph = onnx.load(path).graph
    convolutions, in_int8 = convolutions_of(graph)
    # Those of the residual block and the one after it. (Equal kernels are stored once, so that
    # another convolution may read a kernel in int8.)
    assert len(in_int8) == 3 < len(convolutions), in_int8
    assert all("_trunk" in name for name in in_int8)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}
    assert [tensor.name for tensor in graph.output] == ["sr", "theta"]
    model, image = load_upscaler(path), noise_image(9, 14)
    assert not model.eight_bit  # the first and the last convolution are in float32
    result = model.upscale(image)
    expected = load_upscaler(transparent_run).upscale(image)
    assert np.abs(result.image.astype(int) - expected.image).max() <= 4
    assert np.allclose(result.theta, 1.0, atol=0.02)
