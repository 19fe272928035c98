"""Sections of a config on how a run is executed, and the whole config."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator, model_validator

from udl_tf.config.base import Section
from udl_tf.config.degradations import parse_degradations
from udl_tf.config.sections import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    StepConfig,
    WeightingConfig,
)
from udl_tf.errors import UserError


class TrainingConfig(Section):
    """Precision, seed, starting weights, and intervals of checkpoints and log lines."""

    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="auto",
        description="auto: mixed_bfloat16 if this machine trains faster in it, else float32",
    )
    cache_uncertainty: Literal["auto"] | bool = Field(
        default="auto",
        description="compute s of whole images once, before a step weighted by uncertainty, instead"
        " of running the frozen network on every patch; auto: if that is less work, and disk and"
        " memory suffice",
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

    strategy: Literal["auto", "none", "mirrored", "data_parallel", "multi_worker"] = Field(
        default="auto",
        description="auto: uses the given devices, or else all GPUs if there are several, as"
        " mirrored under TensorFlow and as data_parallel under JAX; multi_worker: uses the machines"
        " named by the environment variable TF_CONFIG",
    )
    devices: list[str] | None = Field(
        default=None,
        description='devices of "auto", "mirrored" and "data_parallel", such as ["GPU:0", "GPU:1"];'
        " null: all GPUs",
    )
    wait_minutes: float = Field(
        default=30.0,
        gt=0,
        description='how long workers of "multi_worker" wait for each other, minutes',
    )


def check_bands(bands: Sequence[int], channels: int) -> None:
    """Checks that figures can show these channels, counted from 1, of a model with `channels`.

    Raises:
        UserError: if the model has not all of them; those with up to three show what they have.
    """
    if channels > 3 and not all(1 <= band <= channels for band in bands):
        raise UserError(
            f"bands {list(bands)}: expected three numbers in 1..{channels}, the channels of the"
            " model",
            argument="bands",
        )


class EvaluationConfig(Section):
    """Evaluation at the end of a run."""

    figures: int = Field(default=2, ge=0, description="figures per test set")
    bands: list[int] = Field(
        default=[1, 2, 3],
        min_length=3,
        max_length=3,
        description="channels, counted from 1, that figures show as red, green and blue if there"
        " are more than three",
    )
    crop: int | None = Field(
        default=None,
        ge=32,
        description="side of the central square of each test and held-out image to use, HR pixels;"
        " null: whole images, as in published results",
    )
    degrade: str | None = Field(
        default=None,
        description="degradations of the LR images of test sets, such as blur:1.2+noise:5+jpeg:75;"
        " null: none, as in published results",
    )

    @field_validator("degrade")
    @classmethod
    def _check_degrade(cls, text: str | None) -> str | None:
        if text is not None:
            parse_degradations(text)
        return text


class QuickConfig(Section):
    """Sizes of a rehearsal, which takes minutes and uses the same network."""

    updates: int = Field(default=120, ge=1, description="updates per step")
    batch_size: int = Field(default=4, ge=1, description="global batch size (patches per update)")
    lr_patch_size: int = Field(default=16, ge=8, description="side of an LR training patch, pixels")
    validation_images: int = Field(default=1, ge=1, description="images held out for validation")
    crop: int = Field(
        default=192,
        ge=32,
        description="side of the central square of each test and held-out image, HR pixels",
    )


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

    @property
    def measured(self) -> bool:
        """Whether the images are measurements; otherwise they are 8-bit RGB."""
        return self.model.channels != 3 or self.data.value_range is not None

    @model_validator(mode="after")
    def _check_measurements(self) -> "Config":
        check_bands(self.evaluation.bands, self.model.channels)
        if self.model.channels == 3 and self.data.value_range in ([0, 255], [[0, 255]]):
            raise ValueError(
                "data.value_range [0, 255] of three channels stands for 8-bit RGB: remove it if the"
                " files are of that kind, or state another range, such as [0, 256]: values outside"
                " a range are kept"
            )
        degradations = {
            "data.degradations": self.data.degradations,
            "evaluation.degrade": self.evaluation.degrade,
        }
        for key, wanted in degradations.items():
            if wanted and self.measured:
                raise ValueError(
                    f"{key} is for 8-bit RGB images, and model.channels or data.value_range declare"
                    " measurements: remove it"
                )
        return self

    @model_validator(mode="after")
    def _check_int8(self) -> "Config":
        for index, step in enumerate(self.steps):
            if step.quantize and self.model.name == "dpdnn":  # it subtracts nearly equal images
                raise ValueError(
                    f"steps.{index}.quantize: int8 is too coarse for the network dpdnn: remove it"
                )
            if step.quantize and self.data.value_range is not None:
                raise ValueError(
                    f"steps.{index}.quantize: int8 has too few values for data.value_range: remove"
                    " it"
                )
        return self

    @model_validator(mode="after")
    def _check_consistency(self) -> "Config":
        if self.data.hr_patch_size % self.model.scale:
            raise ValueError(
                f"data.hr_patch_size {self.data.hr_patch_size} is not a multiple of model.scale"
                f" {self.model.scale}"
            )
        if self.data.resident is True and self.distribution.strategy == "multi_worker":
            raise ValueError(
                'data.resident true is not supported by distribution.strategy "multi_worker": set'
                ' "auto"'
            )
        if self.training.cache_uncertainty is True and self.data.degradations:
            raise ValueError(
                "training.cache_uncertainty true is not supported with data.degradations, which"
                ' change the patches at random: set "auto" or false'
            )
        if self.steps[0].weighting is not None:
            raise ValueError(
                "steps.0.weighting: the first step has no previous network to compute weights:"
                " remove it, or put an 'esu' step first"
            )
        if self.steps[0].train == "uncertainty_head" and self.training.start_from is None:
            raise ValueError(
                "steps.0.train: an uncertainty head needs a trained network: set"
                " training.start_from, or put the steps that train the network first"
            )
        warmup = self.optimizer.warmup
        for index, step in enumerate(self.steps):
            if warmup >= step.updates:
                raise ValueError(
                    f"optimizer.warmup is {warmup}, but steps.{index} has only {step.updates}"
                    " updates: lower it"
                )
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
