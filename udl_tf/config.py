"""What a run is, as strict pydantic models. Every default lives here and only here."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A part of a config: unknown keys and wrong types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelConfig(Section):
    """Which network: a name in BACKBONES, its scale and its constructor's other arguments."""

    name: str = Field(default="edsr_s", description="a name in udl_tf.BACKBONES")
    scale: Literal[2, 3, 4] = Field(default=4, description="upscaling factor")
    options: dict[str, Any] = Field(
        default={}, description="further constructor arguments, such as num_blocks"
    )

    @model_validator(mode="after")
    def _leaves_the_rest_to_others(self) -> "ModelConfig":
        for name in ("name", "scale", "uncertainty"):
            if name in self.options:
                where = (
                    "follows from a step's loss" if name == "uncertainty" else f"is model.{name}"
                )
                raise ValueError(f"options hold {name!r}, which {where}: remove it")
        return self


class DataConfig(Section):
    """Where the pictures are and how patches are cut from them."""

    root: str | None = Field(
        default=None,
        description="folder that holds the datasets; null: the bundled images are used",
    )
    train: list[str] = Field(
        default=["DIV2K", "bundled"],
        min_length=1,
        description="training sets below root (or absolute); 'bundled' stands in without a root",
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
        description="test sets below root (or absolute); 'bundled' stands in without a root",
    )
    hr_patch_size: int = Field(
        default=192, ge=8, description="side of an HR training patch, pixels"
    )
    batch_size: int = Field(default=64, ge=1, description="patches an update, over all replicas")
    augment: bool = Field(
        default=True, description="random flips and transposes, each with p = 0.5"
    )
    small_images: Literal["error", "skip"] = Field(
        default="error", description="what to do with training images smaller than a patch"
    )
    validation_images: int = Field(
        default=10, ge=1, description="training images held out (at most a fifth of the set)"
    )
    memory_gb: float = Field(default=10.0, gt=0, description="decoded images kept in memory, GB")
    cache_dir: str | None = Field(
        default=None,
        description="where LR images made on the fly are kept; null: the user's cache folder",
    )


class OptimizerConfig(Section):
    """How weights are updated. Each step of a run starts its own optimizer and schedule."""

    name: Literal["adam", "adamw", "muon", "sgd"] = Field(
        default="adam", description="muon learns faster from few updates"
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="initial learning rate")
    schedule: Literal["halving", "cosine", "constant"] = "halving"
    halve_every: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of a step's updates after which 'halving' halves",
    )
    beta_1: float = Field(default=0.9, ge=0, lt=1)
    beta_2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: float = Field(default=1e-8, gt=0)
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
        description="momentum of the moving average of weights; null: none",
    )


class WeightingConfig(Section):
    """Where the pixel weights w of a UDL step come from."""

    source: Literal["uncertainty", "error_map", "hr_gradient", "lr_gradient"] = "uncertainty"
    floor: float = Field(
        default=1.0, ge=0, description="w's minimum: 0 = poster, 1 = released code"
    )
    normalize: bool = Field(default=False, description="divide w by its mean over each image")
    quantile: float = Field(
        default=0.0, ge=0, lt=1, description="of s, in place of its minimum; 0: the minimum"
    )


class StepConfig(Section):
    """One step of training. It starts from the weights of the step before it."""

    loss: str = Field(description="a name in udl_tf.losses.LOSSES")
    loss_options: dict[str, Any] = Field(default={}, description="the loss class' arguments")
    updates: int = Field(ge=1, description="number of weight updates")
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="this step's own initial learning rate; null: the optimizer's",
    )
    weighting: WeightingConfig | None = Field(
        default=None, description="pixel weights, made by the frozen network of the step before"
    )


class TrainingConfig(Section):
    """Precision, seed and rhythm."""

    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="auto", description="auto: bfloat16 where this machine trains faster in it"
    )
    cache_uncertainty: bool = Field(
        default=False,
        description="make s of whole images once before a step weighted by uncertainty, instead of"
        " running the frozen network on every patch",
    )
    start_from: str | None = Field(
        default=None,
        description="a trained model (run folder or preset), perhaps of another scale: the first"
        " step starts from its weights, layer by layer where names and shapes agree",
    )
    steps_per_execution: int | None = Field(
        default=None,
        ge=1,
        description="most updates in one call of the device, where they divide the intervals;"
        " null: 1 on processors, 10 on GPUs",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="of weights, patches and the held-out images"
    )
    interval: int = Field(
        default=1000, ge=1, description="updates between checkpoints, each with a validation"
    )
    log_every: int = Field(default=50, ge=1, description="updates between log lines")


class DistributionConfig(Section):
    """Which devices train."""

    strategy: Literal["auto", "none", "mirrored", "multi_worker"] = Field(
        default="auto",
        description="auto: mirrored over all GPUs where there are several; multi_worker: over the"
        " machines that the environment's TF_CONFIG names",
    )
    devices: list[str] | None = Field(
        default=None,
        description='devices of "mirrored", such as ["GPU:0", "GPU:1"]; null: all GPUs',
    )
    wait_minutes: float = Field(
        default=30.0, gt=0, description='how long workers of "multi_worker" wait for one another'
    )


class EvaluationConfig(Section):
    """What a run leaves to look at."""

    figures: int = Field(default=2, ge=0, description="figures a test set")


class QuickConfig(Section):
    """What --quick changes so that a rehearsal ends in minutes: never the network."""

    updates: int = Field(default=200, ge=1, description="updates a step")
    batch_size: int = Field(default=4, ge=1)
    lr_patch_size: int = Field(default=24, ge=8)
    validation_images: int = Field(default=1, ge=1)


class Config(Section):
    """A whole run, from data to result table."""

    schema_url: str | None = Field(
        default=None, alias="$schema", description="for editors", exclude=True
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
    def _fits_together(self) -> "Config":
        if self.data.hr_patch_size % self.model.scale:
            raise ValueError(
                f"data.hr_patch_size {self.data.hr_patch_size} is no multiple of model.scale"
                f" {self.model.scale}"
            )
        if self.steps[0].weighting is not None:
            raise ValueError(
                "steps.0.weighting needs a network to make weights, and no step comes before the"
                " first: remove it, or put an 'esu' step first"
            )
        for index, step in enumerate(self.steps):
            if (step.loss == "udl") != (step.weighting is not None):
                raise ValueError(
                    f"steps.{index}: loss 'udl' and 'weighting' go together; got loss"
                    f" {step.loss!r} {'without' if step.weighting is None else 'with'} weighting"
                )
        return self

    def rehearsal(self) -> "Config":
        """The same run on the bundled images with few updates and small patches (--quick)."""
        quick = self.quick
        return self.model_copy(
            update={
                "data": self.data.model_copy(
                    update={
                        "root": None,
                        "train": ["bundled"],
                        "test": ["bundled"],
                        "hr_patch_size": quick.lr_patch_size * self.model.scale,
                        "batch_size": quick.batch_size,
                        "validation_images": quick.validation_images,
                    }
                ),
                "steps": [s.model_copy(update={"updates": quick.updates}) for s in self.steps],
                "training": self.training.model_copy(
                    update={"interval": quick.updates, "log_every": max(1, quick.updates // 10)}
                ),
            }
        )
