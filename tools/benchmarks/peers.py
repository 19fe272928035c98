"""EDSR-S with its s head in PyTorch and OpenVINO, to compare speed with.

It does what the authors' released code does, running both networks completely, in a few lines of
our own. Weights are fresh, because only speed is compared.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np

from udl_tf.config import DataConfig
from udl_tf.data.store import ImageStore
from udl_tf.errors import needs_extra

with needs_extra("bench"):
    import torch
    from torch import nn
    from torch.nn import functional as F


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class _Block(nn.Module):
    def __init__(self, filters: int):
        super().__init__()
        self.conv0, self.conv1 = _conv(filters, filters), _conv(filters, filters)

    def forward(self, x):
        return x + 0.1 * self.conv1(F.relu(self.conv0(x)))


class TorchEDSR(nn.Module):
    """EDSR-S: lr (n, 3, h, w) -> sr, or with uncertainty -> (sr, s).

    Args:
        scale: 2, 3 or 4.
        uncertainty: whether the network also predicts s.
        options: num_blocks and num_filters, as for edsr_s, whose defaults they have; others are
            ignored, because they hardly change speed.
    """

    def __init__(self, scale: int, uncertainty: bool, options: Mapping[str, Any]):
        super().__init__()
        blocks, filters = options.get("num_blocks", 16), options.get("num_filters", 64)
        self.scale, self.uncertainty = scale, uncertainty
        self.head = _conv(3, filters)
        self.body = nn.Sequential(
            *(_Block(filters) for _ in range(blocks)), _conv(filters, filters)
        )
        up: list[nn.Module] = []
        for factor in {2: [2], 3: [3], 4: [2, 2]}[scale]:
            up += [_conv(filters, filters * factor**2), nn.PixelShuffle(factor)]
        self.tail = nn.Sequential(*up, _conv(filters, 3))
        self.var = nn.Sequential(
            _conv(filters, filters), nn.ELU(), _conv(filters, filters), nn.ELU(),
            _conv(filters, 3), nn.ELU(),
        )  # fmt: skip

    def forward(self, lr):
        x = self.head(lr)
        x = x + self.body(x)
        sr = self.tail(x)
        if not self.uncertainty:
            return sr
        return sr, self.var(F.interpolate(x, scale_factor=self.scale, mode="nearest"))


def _memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _in_format(network: nn.Module, form: torch.memory_format) -> nn.Module:
    return network.to(memory_format=form)  # pyright: ignore[reportCallIssue]


def torch_step2(
    lr: np.ndarray,
    hr: np.ndarray,
    scale: int,
    options: Mapping[str, Any],
    channels_last: bool,
    bfloat16: bool,
) -> Callable[[], float]:
    """Returns a function that does one update of step 2 on a batch, and returns the loss.

    Args:
        lr, hr: float32 (n, h, w, 3) in 0..255.
        scale: HR size divided by LR size.
        options: of the network, see TorchEDSR.
        channels_last: memory format.
        bfloat16: whether to compute in mixed precision.
    """
    update = torch_update(lr, hr, scale, options, True, channels_last, bfloat16)
    return lambda: float(update())


def torch_update(
    lr: np.ndarray,
    hr: np.ndarray,
    scale: int,
    options: Mapping[str, Any],
    weighted: bool,
    channels_last: bool,
    bfloat16: bool,
    compiled: bool = False,
) -> Callable[[], torch.Tensor]:
    """Returns a function that does one update on a GPU, or else the CPU, and returns its loss.

    Args:
        lr, hr, scale, options, channels_last, bfloat16: as for torch_step2.
        weighted: whether it is the released step 2, with both networks complete, or L1.
        compiled: whether to use torch.compile.
    """
    form = _memory_format(channels_last)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    student = _in_format(TorchEDSR(scale, weighted, options), form).to(device)
    frozen = _in_format(TorchEDSR(scale, True, options), form).to(device) if weighted else None
    optimizer = torch.optim.Adam(student.parameters(), 1e-4)
    y, x = (
        torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=form).to(device)
        for a in (lr, hr)
    )

    def loss() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16) if bfloat16 else nullcontext():
            if frozen is None:
                return (x - student(y).float()).abs().mean()
            with torch.no_grad():
                _, s = frozen(y)
            sr, _ = student(y)
        s = s.float()
        w = s - s.amin((2, 3), keepdim=True) + 1
        return (w * (x - sr.float()).abs()).mean()

    compute = torch.compile(loss) if compiled else loss

    def update() -> torch.Tensor:
        optimizer.zero_grad()
        value = compute()
        value.backward()
        optimizer.step()
        return value.detach()

    return update


def torch_upscale(
    lr: np.ndarray,
    scale: int,
    uncertainty: bool,
    options: Mapping[str, Any],
    channels_last: bool,
    bfloat16: bool,
) -> Callable[[], Any]:
    """Returns a function that runs the network on an image, float32 (h, w, 3) in 0..255."""
    form = _memory_format(channels_last)
    network = _in_format(TorchEDSR(scale, uncertainty, options).eval(), form)
    y = torch.from_numpy(lr[None]).permute(0, 3, 1, 2).contiguous(memory_format=form)

    def run() -> Any:
        context = torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()
        with torch.inference_mode(), context:
            return network(y)

    return run


def openvino_upscale(
    lr: np.ndarray, scale: int, uncertainty: bool, options: Mapping[str, Any], bfloat16: bool
) -> Callable[[], Any]:
    """Returns a function that runs the same network in OpenVINO, converted from PyTorch."""
    with needs_extra("bench"):
        import openvino  # pyright: ignore[reportMissingImports]

    y = np.ascontiguousarray(lr[None].transpose(0, 3, 1, 2))
    network = TorchEDSR(scale, uncertainty, options).eval()
    model = openvino.convert_model(network, example_input=torch.from_numpy(y))
    model.reshape(y.shape)
    kind = "bf16" if bfloat16 else "f32"
    hints = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    return lambda: compiled(y)


class _Patches(torch.utils.data.Dataset):
    """Random patches as PyTorch projects read them: decode both files, crop, rotate, to tensors."""

    def __init__(self, store: ImageStore, config: DataConfig, length: int):
        self.store, self.config, self.length = store, config, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        random = np.random.default_rng(number)
        lr, hr = self.store.pair(int(random.integers(len(self.store))))
        scale = self.store.scale
        side = self.config.hr_patch_size // scale
        top, left = (int(random.integers(length - side + 1)) for length in lr.shape[:2])
        turns = int(random.integers(4))
        tensors = []
        for image, factor in ((lr, 1), (hr, scale)):
            rows, columns = (slice(p * factor, (p + side) * factor) for p in (top, left))
            patch = np.ascontiguousarray(np.rot90(image[rows, columns], turns).transpose(2, 0, 1))
            tensors.append(torch.from_numpy(patch).float())
        return tuple(tensors)


def torch_batches(store: ImageStore, config: DataConfig, workers: int) -> Iterator[Any]:
    """Returns the batches of a DataLoader with worker processes; `store` should cache nothing."""
    patches = _Patches(store, config, 10**9)
    loader = torch.utils.data.DataLoader(
        patches,
        config.batch_size,
        sampler=range(10**9),
        num_workers=workers,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    return iter(loader)
