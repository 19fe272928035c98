"""Configuration of a run: strict pydantic models, which hold every default."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """Part of a config: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    """Network: its name, scale and further constructor arguments."""

    name: str = Field(default="edsr_s", description="name in udl_tf.models.BACKBONES")
    scale: Literal[2, 3, 4] = Field(default=4, description="upscaling factor")
    options: dict[str, Any] = Field(
        default={}, description="further constructor arguments, such as num_blocks"
    )

    @model_validator(mode="after")
    def _check_options(self) -> "ModelConfig":
        for name in ("name", "scale", "uncertainty"):
            if name in self.options:
                where = f"model.{name}" if name != "uncertainty" else "the loss of a step"
                raise ValueError(f"options contain {name!r}, which {where} sets: remove it")
        return self


class DataConfig(Section):
    """Image folders, and how patches are cut from the images."""

    root: str | None = Field(
        default=None,
        description="folder that contains the datasets; null: use the bundled images",
    )
    train: list[str] = Field(
        default=["DIV2K", "bundled"],
        min_length=1,
        description="training sets, relative to root or absolute; 'bundled' is used only if root is"
        " null",
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
        description="test sets, relative to root or absolute; 'bundled' is used only if root is"
        " null",
    )
    hr_patch_size: int = Field(
        default=192, ge=8, description="side of an HR training patch, pixels"
    )
    batch_size: int = Field(default=64, ge=1, description="global batch size (patches per update)")
    augment: bool = Field(
        default=True, description="random flips and transposition, each with probability 0.5"
    )
    small_images: Literal["error", "skip"] = Field(
        default="error", description="what to do with training images smaller than a patch"
    )
    validation_images: int = Field(
        default=10,
        ge=1,
        description="training images held out for validation (at most a fifth of the set)",
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


class TrainingConfig(Section):
    """Precision, seed, starting weights, and intervals of checkpoints and log lines."""

    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="auto",
        description="auto: mixed_bfloat16 if this machine trains faster in it, else float32",
    )
    cache_uncertainty: bool = Field(
        default=False,
        description="compute s of whole images once, before a step weighted by uncertainty, instead"
        " of running the frozen network on every patch",
    )
    start_from: str | None = Field(
        default=None,
        description="trained model (run folder or preset) of any scale: the first step starts from"
        " its weights, layer by layer where names and shapes agree",
    )
    steps_per_execution: int | None = Field(
        default=None,
        ge=1,
        description="upper limit of updates per device call; the number used always divides the"
        " intervals; null: 1 on CPUs, 25 on GPUs",
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**31,
        description="seed of weights, patches and the choice of held-out images",
    )
    interval: int = Field(
        default=1000, ge=1, description="updates between two checkpoints, each with a validation"
    )
    log_every: int = Field(default=50, ge=1, description="updates between two log lines")


class DistributionConfig(Section):
    """Devices that train."""

    strategy: Literal["auto", "none", "mirrored", "multi_worker"] = Field(
        default="auto",
        description="auto: mirrored over all GPUs if there are several; multi_worker: over the"
        " machines named by the environment variable TF_CONFIG",
    )
    devices: list[str] | None = Field(
        default=None,
        description='devices of "mirrored", such as ["GPU:0", "GPU:1"]; null: all GPUs',
    )
    wait_minutes: float = Field(
        default=30.0,
        gt=0,
        description='how long workers of "multi_worker" wait for each other, minutes',
    )


class EvaluationConfig(Section):
    """Evaluation at the end of a run."""

    figures: int = Field(default=2, ge=0, description="figures per test set")


class QuickConfig(Section):
    """Sizes of a rehearsal, which takes minutes and uses the same network."""

    updates: int = Field(default=200, ge=1, description="updates per step")
    batch_size: int = Field(default=4, ge=1, description="global batch size (patches per update)")
    lr_patch_size: int = Field(default=24, ge=8, description="side of an LR training patch, pixels")
    validation_images: int = Field(default=1, ge=1, description="images held out for validation")


class Config(Section):
    """Complete run, from data to result table."""

    schema_url: str | None = Field(
        default=None, alias="$schema", description="JSON schema, for editors", exclude=True
    )
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: list[StepConfig] = Field(
        default=[
            StepConfig(loss="esu", updates=30_000),
            StepConfig(loss="udl", updates=100_000, weighting=WeightingConfig()),
        ],
        min_length=1,
    )
    training: TrainingConfig = TrainingConfig()
    distribution: DistributionConfig = DistributionConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    quick: QuickConfig = QuickConfig()

    @model_validator(mode="after")
    def _check_consistency(self) -> "Config":
        if self.data.hr_patch_size % self.model.scale:
            raise ValueError(
                f"data.hr_patch_size {self.data.hr_patch_size} is not a multiple of model.scale"
                f" {self.model.scale}"
            )
        if self.data.resident is True and self.distribution.strategy == "multi_worker":
            raise ValueError('data.resident true is not for strategy "multi_worker": set "auto"')
        if self.steps[0].weighting is not None:
            raise ValueError(
                "steps.0.weighting: the first step has no previous network to compute weights:"
                " remove it, or put an 'esu' step first"
            )
        warmup = self.optimizer.warmup
        for index, step in enumerate(self.steps):
            if warmup >= step.updates:
                raise ValueError(f"optimizer.warmup {warmup} >= steps.{index}.updates: lower it")
            if step.loss == "udl" and step.weighting is None:
                raise ValueError(
                    f"steps.{index}: loss 'udl' needs a weighting: add \"weighting\": {{}} for the"
                    " defaults"
                )
            if step.loss != "udl" and step.weighting is not None:
                raise ValueError(
                    f"steps.{index}: loss {step.loss!r} takes no weighting: remove it, or use 'udl'"
                )
        return self

    def rehearsal(self) -> "Config":
        """Returns the run on the bundled images with few updates and small patches: a rehearsal."""
        quick, updates = self.quick, self.quick.updates
        size, images = quick.lr_patch_size * self.model.scale, ["bundled"]
        data = {"root": None, "train": images, "test": images, "hr_patch_size": size}
        data |= {"batch_size": quick.batch_size, "validation_images": quick.validation_images}
        training = {"interval": updates, "log_every": max(1, updates // 10)}
        optimizer = {"warmup": min(self.optimizer.warmup, updates // 10)}
        return self.model_copy(
            update={
                "data": self.data.model_copy(update=data),
                "optimizer": self.optimizer.model_copy(update=optimizer),
                "steps": [s.model_copy(update={"updates": updates}) for s in self.steps],
                "training": self.training.model_copy(update=training),
            }
        )
