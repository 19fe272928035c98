"""Imported checkpoints of SPAN compute what spandrel 0.4 computes with them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.runs import tiny_config

from udl_tf.config import Config
from udl_tf.errors import UserError
from udl_tf.saved.loading import load_upscaler
from udl_tf.saved.torch_checkpoint import import_torch
from udl_tf.training.run import train

torch = pytest.importorskip("torch")
SCRIPT = Path(__file__).parents[1] / "helpers" / "span_in_torch.py"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("spandrel") is None, reason="spandrel is not installed")
@pytest.mark.parametrize(
    ("scale", "filters", "norm"), [(2, 48, True), (4, 48, True), (4, 52, True), (2, 48, False)]
)
def test_span_computes_what_it_does_in_torch(tmp_path, scale, filters, norm):
    command = [sys.executable, SCRIPT, tmp_path, scale, filters, norm]
    subprocess.run([str(part) for part in command], check=True)
    manifest = import_torch(tmp_path / "span.pt", tmp_path / "run")
    assert (manifest.architecture.name, manifest.architecture.scale) == ("span", scale)
    assert "branches" not in manifest.architecture.options
    network = load_upscaler(tmp_path / "run").networks.mean
    with np.load(tmp_path / "images.npz") as file:
        images = dict(file)
    sr = network(images["lr"][None].astype(np.float32))["sr"][0]
    assert np.ptp(images["sr"]) > 10  # grey levels
    assert np.abs(sr - images["sr"]).max() <= 1e-3


def checkpoint(scale=2, filters=6, blocks=1):
    """The state_dict of a random SPAN of one block, with the names of the released code."""
    generator, state = torch.Generator().manual_seed(0), {}

    def conv(name, inputs, outputs, size):
        for part, shape in (("weight", (outputs, inputs, size, size)), ("bias", (outputs,))):
            state[f"{name}.{part}"] = torch.rand(shape, generator=generator) - 0.5

    def branches(name, inputs):
        conv(f"{name}.sk", inputs, filters, 1)
        conv(f"{name}.conv.0", inputs, 2 * inputs, 1)
        conv(f"{name}.conv.1", 2 * inputs, 2 * filters, 3)
        conv(f"{name}.conv.2", 2 * filters, filters, 1)
        conv(f"{name}.eval_conv", inputs, filters, 3)

    branches("conv_1", 3)
    for block in range(blocks):
        for index in range(3):
            branches(f"block_{block + 1}.c{index + 1}_r", filters)
    branches("conv_2", filters)
    conv("conv_cat", 4 * filters, filters, 1)
    conv("upsampler.0", filters, 3 * scale**2, 3)
    return state


def test_branches_are_summed_as_they_train(tmp_path):
    """Border included: convolutions of an image that is padded with zeros once, before them all."""
    state = checkpoint()
    torch.save(state, tmp_path / "span.pt")
    import_torch(tmp_path / "span.pt", tmp_path / "run")
    layer = load_upscaler(tmp_path / "run").networks.mean.get_layer("head")
    x = torch.rand((1, 3, 5, 4), generator=torch.Generator().manual_seed(1))
    conv2d, expected = torch.nn.functional.conv2d, torch.nn.functional.pad(x, (1, 1, 1, 1))
    for part in ("conv.0", "conv.1", "conv.2"):
        expected = conv2d(expected, state[f"conv_1.{part}.weight"], state[f"conv_1.{part}.bias"])
    expected += conv2d(x, state["conv_1.sk.weight"], state["conv_1.sk.bias"])
    result = layer(x.permute(0, 2, 3, 1).numpy())
    assert np.allclose(result, expected.permute(0, 2, 3, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"epoch": torch.zeros(1)}, "unknown key epoch"),
        ({"conv_1.sk.weight": None}, "key conv_1.sk.weight is missing"),
        ({"conv_2.conv.1.bias": None}, "key conv_2.conv.1.bias is missing"),
        ({"conv_cat.weight": torch.zeros(6, 18, 1, 1)}, r"conv_cat.weight has shape \(6, 18, 1, 1"),
        ({"conv_2.conv.0.weight": torch.zeros(12, 5, 1, 1)}, "conv_2.conv do not fit together"),
        (
            {"upsampler.0.weight": torch.zeros(9, 6, 3, 3), "upsampler.0.bias": torch.zeros(9)},
            "upsampler.0 has 9 outputs, expected 12, 27 or 48",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path, change, part):
    state = {key: v for key, v in (checkpoint() | change).items() if v is not None}
    torch.save({"params": state}, tmp_path / "span.pt")
    with pytest.raises(UserError, match=part) as caught:
        import_torch(tmp_path / "span.pt", tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_span_has_no_residual_factor(tmp_path):
    torch.save(checkpoint(), tmp_path / "span.pt")
    with pytest.raises(UserError, match=r"res_scale 0\.1 is given, which SPAN does not have"):
        import_torch(tmp_path / "span.pt", tmp_path / "run", res_scale=0.1)


@pytest.mark.slow
def test_a_head_step_adds_theta_to_an_imported_network(tmp_path):
    """The head step of docs/networks.md: the image stays that of the published weights."""
    torch.save(checkpoint(), tmp_path / "span.pt")
    manifest = import_torch(tmp_path / "span.pt", tmp_path / "imported")
    config = tiny_config(tmp_path)
    config["model"] = {"name": "span", "scale": 2, "options": manifest.architecture.options}
    config["data"]["hr_patch_size"] = 32
    config["steps"] = [{"loss": "esu", "train": "uncertainty_head", "updates": 2}]
    config["training"]["start_from"] = str(tmp_path / "imported")
    train(Config.model_validate(config), tmp_path / "run")
    imported, trained = load_upscaler(tmp_path / "imported"), load_upscaler(tmp_path / "run")
    assert not imported.has_uncertainty
    image = noise_image(15, 12)
    result = trained.upscale(image)
    assert np.array_equal(result.image, imported.upscale(image).image)
    assert np.isfinite(result.theta).all()
    assert trained.calibration is not None
