"""Variants of a run that share its budget: the rows of the paper's tables."""

from collections.abc import Callable
from typing import Any

from udl_tf.config import Config, StepConfig
from udl_tf.errors import UserError

Steps = list[dict[str, Any]]

BASELINE = "L1 → L1"


def _one(loss: str, **options: Any) -> Callable[[int, int], Steps]:
    return lambda first, second: [{"loss": loss, "updates": first + second, **options}]


def _two(loss: str, then: str, **weighting: Any) -> Callable[[int, int], Steps]:
    extra = {"weighting": weighting} if weighting else {}
    return lambda first, second: [
        {"loss": loss, "updates": first},
        {"loss": then, "updates": second, **extra},
    ]


_UDL = _two("esu", "udl", source="uncertainty", floor=1.0)
_UDL_FLOOR_0 = _two("esu", "udl", source="uncertainty", floor=0.0)

TABLES: dict[str, dict[str, Callable[[int, int], Steps]]] = {
    "losses": {
        "L1": _one("l1"),
        "MSE": _one("mse"),
        "EU": _one("eu"),
        "ESU": _one("esu"),
        "GRAM": _one("gram"),
        BASELINE: _two("l1", "l1"),
        "ESU → L1": _two("esu", "l1"),
        "ESU → UDL, floor 0": _UDL_FLOOR_0,
        "ESU → UDL, floor 1": _UDL,
    },
    "weightings": {
        BASELINE: _two("l1", "l1"),
        "uncertainty": _UDL,
        "error map": _two("esu", "udl", source="error_map", floor=1.0),
        "HR gradient": _two("esu", "udl", source="hr_gradient", floor=1.0),
        "LR gradient": _two("esu", "udl", source="lr_gradient", floor=1.0),
    },
    "variants": {
        BASELINE: _two("l1", "l1"),
        "UDL, floor 1": _UDL,
        "UDL, floor 0": _UDL_FLOOR_0,
        "UDL, normalised": _two("esu", "udl", source="uncertainty", normalize=True),
        "UDL, minimum = 5 % quantile": _two("esu", "udl", source="uncertainty", quantile=0.05),
        "UDL, step 1 halved": lambda first, second: _UDL(first // 2, second + first - first // 2),
        "UDL, steps exchanged": lambda first, second: _UDL(second, first),
        "beta-NLL 1": _one("beta_nll", loss_options={"beta": 1.0}),
        "beta-NLL 1.25": _one("beta_nll", loss_options={"beta": 1.25}),
    },
}


def variants(table: str, base: Config) -> dict[str, Config]:
    """Returns the config of each row of a table.

    Args:
        table: a name in TABLES.
        base: config with network, data, optimizer, and two steps, of which only the numbers of
            updates count.

    Raises:
        UserError: if `base` does not have two steps, or a step has its own learning rate.
    """
    if len(base.steps) != 2:
        raise UserError(
            f"the config has {len(base.steps)} steps; expected 2, whose numbers of updates count"
        )
    if any(step.learning_rate is not None for step in base.steps):
        raise UserError(
            "the config has a learning_rate in a step; expected one for all steps: set"
            " optimizer.learning_rate instead"
        )
    first, second = (step.updates for step in base.steps)
    configs = {}
    for name, steps in TABLES[table].items():
        model = base.model
        if steps(1, 1)[0]["loss"] == "gram":  # its s has no lower bound
            options = {**model.options, "log_scale_activation": "linear"}
            model = model.model_copy(update={"options": options})
        parsed = [StepConfig.model_validate(step) for step in steps(first, second)]
        configs[name] = base.model_copy(update={"model": model, "steps": parsed})
    return configs


def run_name(config: Config) -> str:
    """Returns the name of a variant's runs, without the seed."""
    parts = []
    for step in config.steps:
        parts.append(f"{step.loss}{step.updates}")
        parts += [f"{value:g}" for value in step.loss_options.values()]
        weighting = step.weighting
        if weighting is not None:
            parts.append(f"{weighting.source}-floor{weighting.floor:g}")
            parts += ["normalized"] * weighting.normalize
            parts += [f"quantile{weighting.quantile:g}"] * (weighting.quantile > 0)
    return "-".join(parts)
