"""The paper's tables at one equal budget: every variant of a run, by several seeds.

All variants of a table have the config's network, data, optimizer and sum of updates. Where two
variants begin with the same step, it is trained once for each seed. A record, one file that can be
kept where the runs cannot, holds what every run reached; a run that it holds is not trained again.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from udl_tf._support.files import complete_folder
from udl_tf._support.json_files import write_json
from udl_tf._support.processes import run_to_its_end
from udl_tf.config import Config, ModelConfig, StepConfig
from udl_tf.errors import Interrupted, UserError
from udl_tf.training.run_folder import RunFolder

Steps = list[dict[str, Any]]
Results = dict[str, list[dict[str, float]]]

BASELINE = "L1 → L1"

POSTER = {("edsr_s", 4): {"EDSR-S ×4, as the poster names it Original (L1)": {"Set5": 31.61}}}
"""By network and scale what of the poster's numbers could be checked; of other data and updates."""

_ELSEWHERE = {  # what may differ from one machine to another
    "data": ("root", "cache_dir", "memory_gb"),
    "training": ("seed", "precision", "interval", "log_every", "steps_per_execution"),
}

_SAME = ("model", "data", "optimizer", "training")  # of two runs whose first steps may be the same


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
    """The configs of a table's rows.

    Args:
        table: a name in TABLES.
        base: network, data, optimizer; its two steps tell the updates of the first and second.

    Raises:
        UserError: if it has not two steps, or they have rates of their own.
    """
    if len(base.steps) != 2:
        raise UserError(f"the config has {len(base.steps)} steps; expected 2, whose updates count")
    if any(step.learning_rate is not None for step in base.steps):
        raise UserError(
            "the config has a learning_rate in a step; expected one for all: set"
            " optimizer.learning_rate instead"
        )
    first, second = (step.updates for step in base.steps)
    made = {}
    for name, steps in TABLES[table].items():
        model = base.model
        if steps(1, 1)[0]["loss"] == "gram":  # whose s is not bounded below
            options = {**model.options, "log_scale_activation": "linear"}
            model = model.model_copy(update={"options": options})
        parsed = [StepConfig.model_validate(step) for step in steps(first, second)]
        made[name] = base.model_copy(update={"model": model, "steps": parsed})
    return made


def run_table(
    table: str,
    base: Config,
    seeds: Sequence[int],
    folder: Path,
    record: Path,
    tell: Callable[[str], None],
) -> Results:
    """Trains what is not there yet, each run in a process of its own.

    Args:
        table, base: as for `variants`.
        seeds: of the runs.
        folder: of all runs.
        record: file of what they reached; the runs of another table with the same config are used
            again, and all are trained in the precision of the first.
        tell: gets a line about each run.

    Returns:
        By row and seed: {data set: PSNR-Y}.

    Raises:
        Interrupted: if a person stopped it.
        UserError: if a run fails, or the record or a run's folder is of another config.
    """
    results: Results = {}
    runs = _read_record(record, base)
    for seed in seeds:
        for name, config in variants(table, base).items():
            run = f"{_slug(config)}-seed{seed}"
            if run not in runs:
                same = {"seed": seed, "precision": _precision(record, runs, base)}
                training = config.training.model_copy(update=same)
                config = config.model_copy(update={"training": training})
                made = _trained(folder / run, config, folder)
                runs = _read_record(record, base) | {run: made}  # others may write it too
                write_json(record, {"config": _comparable(base), "runs": runs})
            psnr = runs[run]["psnr_y"]
            results.setdefault(name, []).append(psnr)
            found = ", ".join(f"{dataset} {value:.3f}" for dataset, value in psnr.items())
            tell(f"seed {seed}, {name}: {found}")
    return results


def reproduction_table(results: Results, model: ModelConfig) -> list[list[str]]:
    """The rows as cells of a Markdown table: mean ± spread of PSNR-Y, and its gain over BASELINE.

    The spread is the standard deviation over seeds. Gains are taken seed by seed. Last come the
    poster's numbers, if it has the model's.
    """
    sets = list(next(iter(results.values()))[0])
    cells = [["PSNR-Y, dB", *(f"{name}{part}" for name in sets for part in ("", ", gain"))]]
    for name, runs in results.items():
        row = [name]
        for dataset in sets:
            values = np.array([run[dataset] for run in runs])
            gain = values - np.array([run[dataset] for run in results[BASELINE]])
            row += [_spread(values, ""), "" if name == BASELINE else _spread(gain, "+")]
        cells.append(row)
    for name, values in POSTER.get((model.name, model.scale), {}).items():
        cells.append([name])
        for dataset in sets:
            cells[-1] += [f"{values[dataset]:.2f}" if dataset in values else "", ""]
    return cells


def budget(base: Config, seeds: Sequence[int]) -> str:
    """What all rows of a table have in common, as a paragraph."""
    model, data, optimizer = base.model, base.data, base.optimizer
    options = ", ".join(f"{key} {value}" for key, value in model.options.items())
    first, second = (step.updates for step in base.steps)
    return (
        f"{model.name} ×{model.scale} ({options or 'as published'}); {first:,} + {second:,} updates"
        f" of {data.batch_size} patches of {data.hr_patch_size}, or as many in one step;"
        f" {optimizer.name} from {optimizer.learning_rate:g}, {optimizer.schedule};"
        f" {', '.join(data.train)}; seeds {', '.join(map(str, seeds))}\n\n"
    )


def _spread(values: np.ndarray, sign: str) -> str:
    spread = f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{spread}"


def _read_record(record: Path, base: Config) -> dict[str, Any]:
    if not record.exists():
        return {}
    try:
        content = _read(record)
        theirs, runs = content["config"], content["runs"]
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{record}: holds something else than a record of runs: choose another --record"
        ) from None
    mine = _comparable(base)
    for section in mine:
        if theirs.get(section) != mine[section]:
            raise UserError(
                f"{record}: is of another config ({section} is {theirs.get(section)} there and"
                f" {mine[section]} now): choose another --record"
            )
    return runs


def _precision(record: Path, runs: dict[str, Any], base: Config) -> str:
    """In which to train, so that all runs of a record are alike in it too."""
    wanted = base.training.precision
    for precision in {run["precision"] for run in runs.values()}:
        if wanted not in ("auto", precision):
            raise UserError(
                f"{record}: holds runs in {precision}, and training.precision is {wanted}: leave it"
                ' "auto", or choose another --record'
            )
        wanted = precision
    return wanted


def _comparable(base: Config) -> dict[str, Any]:
    """What all runs of a record have in common."""
    content = base.model_dump(include={"model", "data", "optimizer", "training"})
    for section, keys in _ELSEWHERE.items():
        for key in keys:
            del content[section][key]
    return content | {"updates": [step.updates for step in base.steps]}


def _trained(run: Path, config: Config, folder: Path) -> dict[str, Any]:
    RunFolder(run, config)  # it may hold another run
    metrics = run / "metrics.json"
    results = _read(metrics).get("results")
    if results is None:
        _take_first_step(run, config, folder)
        file = folder / f"{run.name}.json"
        write_json(file, config.model_dump())
        command = [sys.executable, "-m", "udl_tf.train", "--config", file, "--run-dir", run]
        code, stopped = run_to_its_end(command)
        if stopped:
            raise Interrupted("stopped: the same command goes on")
        if code:
            raise UserError(f"{run}: training ended with exit code {code}: see above")
        results = _read(metrics)["results"]
    scores = {
        key: {result["dataset"]: round(result[key], 5) for result in results}
        for key in ("psnr_y", "ssim_y")
    }
    return {"precision": _read(run / "versions.json")["precision"], **scores}


def _take_first_step(run: Path, config: Config, folder: Path) -> None:
    """Copies the first step of another run that trained the same, if this run is new."""
    if run.exists() or len(config.steps) < 2:
        return
    wanted = config.model_dump()
    for file in sorted(folder.glob("*/config.json")):
        theirs = _read(file)
        alike = all(theirs[key] == wanted[key] for key in _SAME)
        weights = sorted((file.parent / "weights").glob("step1-*.weights.h5"))
        notes = _read(file.parent / "metrics.json").get("steps")
        if alike and theirs["steps"][0] == wanted["steps"][0] and weights and notes:
            with complete_folder(run) as made:
                (made / "weights").mkdir()
                shutil.copy2(weights[0], made / "weights")
                write_json(made / "metrics.json", {"steps": notes[:1]})
                write_json(made / "config.json", wanted)
            return


def _slug(config: Config) -> str:
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


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
