"""What a user would run instead: EDSR-S with its s head in PyTorch, and the step-2 iteration.

It does what the code that the authors released does, both networks complete, in a few lines of our
own; weights are fresh, for speed alone.
"""

from collections.abc import Callable, Iterator
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

FILTERS, BLOCKS = 64, 16


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv0, self.conv1 = _conv(FILTERS, FILTERS), _conv(FILTERS, FILTERS)

    def forward(self, x):
        return x + 0.1 * self.conv1(F.relu(self.conv0(x)))


class TorchEDSR(nn.Module):
    """EDSR-S: lr (n, 3, h, w) -> sr; with `uncertainty` -> (sr, s)."""

    def __init__(self, scale: int, uncertainty: bool):
        super().__init__()
        self.scale, self.uncertainty = scale, uncertainty
        self.head = _conv(3, FILTERS)
        self.body = nn.Sequential(*(_Block() for _ in range(BLOCKS)), _conv(FILTERS, FILTERS))
        steps = {2: [2], 3: [3], 4: [2, 2]}[scale]
        up: list[nn.Module] = []
        for step in steps:
            up += [_conv(FILTERS, FILTERS * step**2), nn.PixelShuffle(step)]
        self.tail = nn.Sequential(*up, _conv(FILTERS, 3))
        self.var = nn.Sequential(
            _conv(FILTERS, FILTERS), nn.ELU(), _conv(FILTERS, FILTERS), nn.ELU(),
            _conv(FILTERS, 3), nn.ELU(),
        )  # fmt: skip

    def forward(self, lr):
        x = self.head(lr)
        x = x + self.body(x)
        sr = self.tail(x)
        if not self.uncertainty:
            return sr
        return sr, self.var(F.interpolate(x, scale_factor=self.scale, mode="nearest"))


def _in_form(network: nn.Module, form: torch.memory_format) -> nn.Module:
    return network.to(memory_format=form)  # pyright: ignore[reportCallIssue]


def torch_step2(
    lr: np.ndarray, hr: np.ndarray, scale: int, channels_last: bool, bfloat16: bool
) -> Callable[[], float]:
    """One update of step 2 on a batch, NHWC in 0..255; returns the loss, so that it is done."""
    form = torch.channels_last if channels_last else torch.contiguous_format
    frozen, student = (_in_form(TorchEDSR(scale, True), form) for _ in range(2))
    optimizer = torch.optim.Adam(student.parameters(), 1e-4)
    y, x = (
        torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=form) for a in (lr, hr)
    )

    def update() -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
            with torch.no_grad():
                _, s = frozen(y)
            sr, _ = student(y)
        s = s.float()
        w = s - s.amin((2, 3), keepdim=True) + 1
        loss = (w * (x - sr.float()).abs()).mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return update


def torch_picture(
    lr: np.ndarray, scale: int, uncertainty: bool, channels_last: bool, bfloat16: bool
) -> Callable[[], Any]:
    """The network on a picture (h, w, 3) in 0..255."""
    form = torch.channels_last if channels_last else torch.contiguous_format
    network = _in_form(TorchEDSR(scale, uncertainty).eval(), form)
    y = torch.from_numpy(lr[None]).permute(0, 3, 1, 2).contiguous(memory_format=form)

    def run() -> Any:
        context = torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()
        with torch.inference_mode(), context:
            return network(y)

    return run


def openvino_picture(
    lr: np.ndarray, scale: int, uncertainty: bool, bfloat16: bool
) -> Callable[[], Any]:
    """The same network in OpenVINO, converted from PyTorch."""
    with needs_extra("bench"):
        import openvino  # pyright: ignore[reportMissingImports]

    y = np.ascontiguousarray(lr[None].transpose(0, 3, 1, 2))
    network = TorchEDSR(scale, uncertainty).eval()
    model = openvino.convert_model(network, example_input=torch.from_numpy(y))
    model.reshape(y.shape)
    kind = "bf16" if bfloat16 else "f32"
    options = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(model, "CPU", options)
    return lambda: compiled(y)


class _Patches(torch.utils.data.Dataset):
    """What PyTorch projects do: decode both files, crop, flip, make tensors."""

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
        made = []
        turns = int(random.integers(4))
        for image, factor in ((lr, 1), (hr, scale)):
            rows, columns = (slice(p * factor, (p + side) * factor) for p in (top, left))
            patch = np.ascontiguousarray(np.rot90(image[rows, columns], turns).transpose(2, 0, 1))
            made.append(torch.from_numpy(patch).float())
        return tuple(made)


def torch_batches(store: ImageStore, config: DataConfig, workers: int) -> Iterator[Any]:
    """Batches of a DataLoader with so many worker processes; `store` should keep nothing."""
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
