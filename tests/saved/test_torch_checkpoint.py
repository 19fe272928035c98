"""Imported checkpoints compute what PyTorch computes with them."""

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.safetensors_files import entry, write_safetensors

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402

from udl_tf.errors import UserError  # noqa: E402
from udl_tf.saved.loading import load_upscaler  # noqa: E402
from udl_tf.saved.torch_checkpoint import import_torch  # noqa: E402

LR = noise_image(13, 18)
MEAN = 255 * torch.tensor([0.4488, 0.4371, 0.4040])


def checkpoint(scale, blocks=2, filters=8, s_head=True, means=False):
    """The state_dict of a random network, with the names of EDSR-PyTorch."""
    random, state = torch.Generator().manual_seed(scale), {}

    def conv(name, inputs, outputs):
        bound = (9 * inputs) ** -0.5
        for part, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            state[f"{name}.{part}"] = bound * (2 * torch.rand(shape, generator=random) - 1)

    if means:
        eye = torch.eye(3)[:, :, None, None]
        state |= {"sub_mean.weight": eye, "sub_mean.bias": -MEAN}
        state |= {"add_mean.weight": eye.clone(), "add_mean.bias": MEAN}
    conv("head.0", 3, filters)
    for block in range(blocks):
        conv(f"body.{block}.body.0", filters, filters)
        conv(f"body.{block}.body.2", filters, filters)
    conv(f"body.{blocks}", filters, filters)
    for index, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
        conv(f"tail.0.{2 * index}", filters, filters * factor**2)
    conv("tail.1", filters, 3)
    if s_head:
        for index, outputs in ((0, filters), (2, filters), (4, 3)):
            conv(f"var_conv.{index}", filters, outputs)
    return state


def forward(state, lr, scale, res_scale=0.1):
    """The output of the released network: sr, and s if it has an s head."""

    def conv(name, x):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)

    x = torch.tensor(lr, dtype=torch.float32).permute(2, 0, 1)[None]
    if "sub_mean.bias" in state:
        x = F.conv2d(x, state["sub_mean.weight"], state["sub_mean.bias"])
    head = x = conv("head.0", x)
    block = 0
    while f"body.{block}.body.0.weight" in state:
        inner = F.relu(conv(f"body.{block}.body.0", x))
        x, block = x + res_scale * conv(f"body.{block}.body.2", inner), block + 1
    features = x = conv(f"body.{block}", x) + head
    for index, factor in enumerate({2: [2], 3: [3], 4: [2, 2]}[scale]):
        x = F.pixel_shuffle(conv(f"tail.0.{2 * index}", x), factor)
    x = conv("tail.1", x)
    if "add_mean.bias" in state:
        x = F.conv2d(x, state["add_mean.weight"], state["add_mean.bias"])
    s = None
    if "var_conv.0.weight" in state:
        s = F.interpolate(features, scale_factor=scale, mode="nearest")
        for index in (0, 2, 4):
            s = F.elu(conv(f"var_conv.{index}", s))
    return [None if y is None else y[0].permute(1, 2, 0).numpy() for y in (x, s)]


def compare(network, output, expected):
    values = network(LR[None].astype(np.float32))[output][0]
    assert np.allclose(values, expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("scale", "means"), [(2, False), (3, False), (4, False), (2, True)])
def test_a_network_computes_what_it_does_in_torch(tmp_path, scale, means):
    state = checkpoint(scale, s_head=not means, means=means)
    torch.save(state, tmp_path / "a.pt")
    import_torch(tmp_path / "a.pt", tmp_path / "run")
    model = load_upscaler(tmp_path / "run")
    sr, s = forward(state, LR, scale, 1.0 if means else 0.1)
    compare(model.networks.mean, "sr", sr)
    if means:
        assert not model.has_uncertainty
    else:
        assert model.networks.uncertainty is model.networks.mean
        compare(model.networks.mean, "log_scale", s)


def test_step_2_has_the_image_of_one_network_and_theta_of_the_other(tmp_path):
    frozen, student = checkpoint(3), checkpoint(3)
    student = {key: 1.1 * value for key, value in student.items()}
    state = {f"EDSR_var.{key}": value for key, value in frozen.items()}
    torch.save(state | {f"EDSR_U.{key}": v for key, v in student.items()}, tmp_path / "a.pt")
    import_torch(tmp_path / "a.pt", tmp_path / "run")
    model = load_upscaler(tmp_path / "run")
    compare(model.networks.mean, "sr", forward(student, LR, 3)[0])
    compare(model.networks.uncertainty, "log_scale", forward(frozen, LR, 3)[1])


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"epoch": torch.zeros(1)}, "unknown key epoch"),
        ({"var_conv.6.weight": torch.zeros(1)}, "unknown key var_conv.6.weight"),
        ({"tail.1.bias": None}, "key tail.1.bias is missing"),
        ({"head.0.weight": None}, "key head.0.weight is missing"),
        ({"var_conv.2.weight": torch.zeros(8, 8, 1, 1)}, "var_conv.2.weight has shape"),
        (
            {"tail.0.0.weight": torch.zeros(40, 8, 3, 3), "tail.0.0.bias": torch.zeros(40)},
            "multiplies the channels by 5, expected 4 or 9",
        ),
        ({"tail.0.0.weight": torch.zeros(32)}, r"tail.0.0.weight has shape \(32,\)"),
        ({"head.0.weight": torch.tensor(1.0)}, r"head.0.weight has shape \(\)"),
        ({"head.0.weight": torch.zeros(0, 3, 3, 3)}, r"head.0.weight has shape \(0, 3, 3, 3\)"),
        ({"tail.0.0.weight": torch.tensor(1.0)}, r"tail.0.0.weight has shape \(\)"),
        ({0: torch.zeros(1)}, "expected a dict of tensors"),
        ({"EDSR_var.head.0.weight": torch.zeros(1)}, "unknown key"),
        ({"sub_mean.weight": torch.zeros(3, 3, 1, 1)}, "sub_mean is incomplete"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path, change, part):
    state = {key: v for key, v in (checkpoint(2) | change).items() if v is not None}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(UserError, match=part) as caught:
        import_torch(tmp_path / "a.pt", tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("frozen", "part"),
    [
        (checkpoint(2, s_head=False), r"keys EDSR_var\.\*: key var_conv\.0\.weight is missing"),
        (checkpoint(4), "its size or scale differs from the student's"),
        (checkpoint(2, blocks=3), "its size or scale differs from the student's"),
    ],
)
def test_two_networks_that_do_not_belong_together_are_one_line(tmp_path, frozen, part):
    state = {f"EDSR_var.{key}": value for key, value in frozen.items()}
    state |= {f"EDSR_U.{key}": torch.nn.Parameter(v) for key, v in checkpoint(2).items()}
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(UserError, match=part):
        import_torch(tmp_path / "a.pt", tmp_path / "run")


def test_safetensors_of_a_wrapped_network_compute_the_same(tmp_path):
    state = checkpoint(2)
    entries, data = {}, b""
    for name, tensor in state.items():
        start, data = len(data), data + tensor.numpy().tobytes()
        offsets = [start, len(data)]
        entries[f"module.{name}"] = entry("F32", [*tensor.shape], *offsets)
    write_safetensors(tmp_path / "a.safetensors", entries, data)
    import_torch(tmp_path / "a.safetensors", tmp_path / "run")
    compare(load_upscaler(tmp_path / "run").networks.mean, "sr", forward(state, LR, 2)[0])


def test_an_output_that_exists_is_not_replaced(tmp_path):
    with pytest.raises(UserError, match="already exists: choose another output"):
        import_torch(tmp_path / "gone.pt", tmp_path)
