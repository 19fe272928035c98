"""Configuration of a run: strict pydantic models, which hold every default."""

from udl_tf.config.base import Section
from udl_tf.config.degradations import (
    Blur,
    Degradation,
    Jpeg,
    Noise,
    Poisson,
    Webp,
    degradations_text,
    parse_degradations,
)
from udl_tf.config.run import (
    Config,
    DistributionConfig,
    EvaluationConfig,
    QuickConfig,
    TrainingConfig,
)
from udl_tf.config.sections import (
    DataConfig,
    LogScaleHead,
    ModelConfig,
    OptimizerConfig,
    StepConfig,
    ValueRanges,
    WeightingConfig,
)

__all__ = [
    "Blur",
    "Config",
    "DataConfig",
    "Degradation",
    "DistributionConfig",
    "EvaluationConfig",
    "Jpeg",
    "LogScaleHead",
    "ModelConfig",
    "Noise",
    "OptimizerConfig",
    "Poisson",
    "QuickConfig",
    "Section",
    "StepConfig",
    "TrainingConfig",
    "ValueRanges",
    "Webp",
    "WeightingConfig",
    "degradations_text",
    "parse_degradations",
]
