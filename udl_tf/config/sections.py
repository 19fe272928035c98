"""Sections of a config on the network, the data and the steps of training."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from udl_tf.config.base import Section
from udl_tf.config.degradations import Degradation

ValueRanges = list[float] | list[list[float]]
"""[low, high] of all channels, or one such pair per channel."""

LogScaleHead = Literal["released", "light"]
"""Kinds of uncertainty heads, see udl_tf.models.heads."""


class ModelConfig(Section):
    """Network: its name, scale and further constructor arguments."""

    name: str = Field(default="edsr_s", description="name in udl_tf.models.BACKBONES")
    scale: Literal[2, 3, 4] = Field(default=4, description="upscaling factor")
    channels: int = Field(default=3, ge=1, le=64, description="channels of the images")
    options: dict[str, Any] = Field(
        default={}, description="further constructor arguments, such as num_blocks"
    )
    log_scale_head: LogScaleHead = Field(
        default="light",
        description="uncertainty head of a step that trains only that head: 'light' works at LR"
        " size, 'released' at HR size; a step that trains the whole network with a loss of"
        " uncertainty (such as esu) has the released one",
    )

    def without_branches(self) -> "ModelConfig":
        """Returns the same network with plain convolutions in place of branches."""
        plain = {key: value for key, value in self.options.items() if key != "branches"}
        return self.changed(options=plain)

    @model_validator(mode="after")
    def _check_options(self) -> "ModelConfig":
        for name in ("name", "scale", "channels", "log_scale_head", "uncertainty"):
            if name in self.options:
                where = f"model.{name}" if name != "uncertainty" else "the loss of a step"
                raise ValueError(f"options contain {name!r}, which {where} sets: remove it")
        return self


class DataConfig(Section):
    """Image folders, and how patches are cut from the images."""

    root: str | None = Field(
        default=None,
        description="folder that contains the datasets; null: absolute paths, or bundled images",
    )
    train: list[str] = Field(
        default=["DIV2K", "bundled"],
        min_length=1,
        description="training sets, relative to root or absolute; 'bundled' is used only if it is"
        " the only name, or if root is null and no name is an absolute path",
    )
    test: list[str] = Field(
        default=[
            "benchmark/Set5",
            "benchmark/Set14",
            "benchmark/BSD100",
            "benchmark/Urban100",
            "benchmark/Manga109",
            "bundled",
        ],
        description="test sets, relative to root or absolute; 'bundled' is used only if it is"
        " the only name, or if root is null and no name is an absolute path",
    )
    value_range: ValueRanges | Literal["percentile"] | None = Field(
        default=None,
        description="values that the network sees as 0 and 255: [low, high], or one such pair per"
        " channel; percentile: those between which 99.8 % of the training set's values lie; null:"
        " black and white of 8-bit images",
    )
    nodata_share: float = Field(
        default=0.25,
        ge=0,
        lt=1,
        description="largest share of pixels without data in a training patch",
    )
    hr_patch_size: int = Field(
        default=192, ge=8, description="side of an HR training patch, pixels"
    )
    batch_size: int = Field(default=64, ge=1, description="global batch size (patches per update)")
    augment: bool = Field(
        default=True, description="random flips and transposition, each with probability 0.5"
    )
    degradations: list[Degradation] = Field(
        default=[],
        description="degradations of the LR image, in this order; those of training patches are"
        " drawn separately for each, those of held-out images once; [] for none",
    )
    small_images: Literal["error", "skip"] = Field(
        default="error", description="what to do with training images smaller than a patch"
    )
    validation_images: int = Field(
        default=10,
        ge=1,
        description="training images held out for validation (at most a fifth of the set; stacks as"
        " a whole)",
    )
    memory_gb: float = Field(default=10.0, gt=0, description="memory for decoded images, GB")
    resident: Literal["auto"] | bool = Field(
        default="auto",
        description="whether the training images stay on the device, which then also cuts the"
        " patches; auto: on a GPU, if they fit into a quarter of its free memory",
    )
    cache_dir: str | None = Field(
        default=None,
        description="folder for LR images computed from HR images; null: the user's cache folder",
    )

    @field_validator("root")
    @classmethod
    def _check_root(cls, root: str | None) -> str | None:
        if root == "":  # as an unset variable of a shell yields it
            raise ValueError("expected a folder; null: the bundled images")
        return root


class OptimizerConfig(Section):
    """Optimizer and learning rate schedule; each step of a run starts its own."""

    name: Literal["adam", "adamw", "muon", "sgd"] = Field(
        default="adam", description="optimizer; muon learns faster in short runs"
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="initial learning rate")
    schedule: Literal["halving", "cosine", "constant"] = Field(
        default="halving", description="learning rate schedule over the updates of a step"
    )
    halve_every: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="'halving' halves the learning rate each time this fraction of a step's updates"
        " is done",
    )
    warmup: int = Field(
        default=0,
        ge=0,
        description="updates during which the learning rate rises linearly; the schedule runs over"
        " the remaining updates of the step",
    )
    beta_1: float = Field(default=0.9, ge=0, lt=1, description="decay rate of the first moment")
    beta_2: float = Field(default=0.999, ge=0, lt=1, description="decay rate of the second moment")
    epsilon: float = Field(default=1e-8, gt=0, description="added to the denominator of an update")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled weight decay of adamw and muon"
    )
    clip_norm: float | None = Field(
        default=None,
        gt=0,
        description="largest global gradient norm; null: no clipping",
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="momentum of the moving average of the weights; null: no average",
    )


class WeightingConfig(Section):
    """Source and scale of the pixel weights w of a UDL step."""

    source: Literal["uncertainty", "error_map", "hr_gradient", "lr_gradient"] = Field(
        default="uncertainty", description="what the weights are computed from"
    )
    floor: float = Field(
        default=1.0, ge=0, description="minimum of w: 0 as on the poster, 1 as in the released code"
    )
    normalize: bool = Field(
        default=False, description="whether to divide w by its mean over each patch"
    )
    quantile: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="quantile of s to subtract instead of its minimum; 0: the minimum",
    )


class StepConfig(Section):
    """One step of training; it starts from the weights of the previous step."""

    loss: str = Field(description="name in udl_tf.losses.LOSSES")
    loss_options: dict[str, Any] = Field(
        default={}, description="constructor arguments of the loss"
    )
    train: Literal["network", "uncertainty_head"] = Field(
        default="network",
        description="what is trained; uncertainty_head: only a new uncertainty head, on the errors"
        " of the previous step's network, which stays as it is",
    )
    quantize: bool = Field(
        default=False,
        description="whether to train in simulated int8, a last short step for exports in int8; the"
        " network then has no branches, and is trained in float32",
    )
    updates: int = Field(ge=1, description="number of weight updates")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="initial learning rate of this step; null: that of the optimizer section",
    )
    weighting: WeightingConfig | None = Field(
        default=None,
        description="pixel weights, most of them from the frozen network of the previous step",
    )

    @property
    def weighted_by_uncertainty(self) -> bool:
        """Whether the pixel weights are computed from s of the frozen network."""
        return self.weighting is not None and self.weighting.source == "uncertainty"
