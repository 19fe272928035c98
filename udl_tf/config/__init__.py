"""Configuration of a run: strict pydantic models, which hold every default."""

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
    Section,
    StepConfig,
    WeightingConfig,
)

__all__ = [
    "Config",
    "DataConfig",
    "DistributionConfig",
    "EvaluationConfig",
    "LogScaleHead",
    "ModelConfig",
    "OptimizerConfig",
    "QuickConfig",
    "Section",
    "StepConfig",
    "TrainingConfig",
    "WeightingConfig",
]
