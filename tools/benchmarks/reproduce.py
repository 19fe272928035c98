"""The paper's tables with the same budget for every row: variants of one run, with several seeds.

All variants of a table share the config's network, data, optimizer and total number of updates. A
first step that several variants share is trained once per seed. The record, one small file that can
be kept when the runs are deleted, holds the results of every run; runs in it are not trained again.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.variants import BASELINE, run_name, variants
from udl_tf._support.files import complete_folder
from udl_tf._support.json_files import read_json, write_json
from udl_tf._support.processes import run_to_its_end
from udl_tf.config import Config, ModelConfig
from udl_tf.errors import Interrupted, UserError, nearest
from udl_tf.training.run_folder import RunFolder

Results = dict[str, list[dict[str, float]]]

POSTER = {("edsr_s", 4): {'poster: EDSR-S ×4 "Original" (L1)': {"Set5": 31.61}}}
"""By network and scale, the numbers of the paper's poster that could be verified.

They were trained on other data, with more updates."""

_MAY_DIFFER = {  # between the runs of a record, such as on another machine
    "data": ("root", "cache_dir", "memory_gb"),
    "training": ("seed", "precision", "interval", "log_every", "steps_per_execution"),
}

_SHARED = ("model", "data", "optimizer", "training")  # sections of runs that share a first step


def run_table(
    table: str,
    base: Config,
    seeds: Sequence[int],
    folder: Path,
    record: Path,
    report: Callable[[str], None],
    rows: Sequence[str] = (),
) -> Results:
    """Trains the runs that the record lacks, each in a process of its own.

    Args:
        table, base: as for `variants`.
        seeds: random seeds, one run each.
        folder: for all runs.
        record: file with the results of every run. Runs of another table with the same config are
            reused, and all are trained in the precision of the first.
        report: called with a line about each run.
        rows: rows of the table to compare with BASELINE; none: all.

    Returns:
        By row, for each seed: {test set: PSNR-Y}.

    Raises:
        Interrupted: if a person stopped it.
        UserError: if the table has no such row, a run fails, or the record or a run folder belongs
            to another config.
    """
    if base.training.cache_uncertainty == "auto":  # all rows compute their weights the same way
        base = base.changed(training=base.training.changed(cache_uncertainty=False))
    configs = variants(table, base)
    if unknown := [row for row in rows if row not in configs]:
        raise UserError(f"row {unknown[0]!r} is unknown, {nearest(unknown[0], configs)}")
    if rows:
        configs = {name: config for name, config in configs.items() if name in {BASELINE, *rows}}
    results: Results = {}
    runs = _read_record(record, base)
    for seed in seeds:
        for name, config in configs.items():
            run = f"{run_name(config)}-seed{seed}"
            if run not in runs:
                same = {"seed": seed, "precision": _precision(record, runs, base)}
                training = config.training.model_copy(update=same)
                config = config.model_copy(update={"training": training})
                result = _train(folder / run, config, folder)
                runs = _read_record(record, base) | {run: result}  # others may have written it
                write_json(record, {"config": _comparable(base), "runs": runs})
            psnr = runs[run]["psnr_y"]
            results.setdefault(name, []).append(psnr)
            found = ", ".join(f"{dataset} {value:.3f}" for dataset, value in psnr.items())
            report(f"seed {seed}, {name}: {found}")
    return results


def reproduction_table(results: Results, model: ModelConfig) -> list[list[str]]:
    """Returns the cells of a Markdown table, header first: PSNR-Y and its gain over BASELINE.

    Both are mean ± standard deviation over seeds; the gain is computed seed by seed. The last rows
    are those of the poster, if it has the model.
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
    """Describes in one paragraph what all rows of a table share."""
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
    fix = "choose another file"
    content = read_json(record, fix)
    if not {"config", "runs"} <= set(content):
        raise UserError(f"{record}: is not a record of runs: {fix}", argument="record")
    ours, defaults = _comparable(base), _comparable(Config())
    for section in ours:
        theirs = content["config"].get(section)
        if isinstance(theirs, dict):  # older records lack newer keys
            theirs = defaults[section] | theirs
        if theirs != ours[section]:
            raise UserError(
                f"{record}: belongs to another config ({section} is {theirs} there and"
                f" {ours[section]} now): {fix}",
                argument="record",
            )
    return content["runs"]


def _precision(record: Path, runs: dict[str, Any], base: Config) -> str:
    """Returns the precision to train in: that of the runs in the record, if it has any."""
    wanted = base.training.precision
    for precision in {run["precision"] for run in runs.values()}:
        if wanted not in ("auto", precision):
            raise UserError(
                f"{record}: holds runs in {precision}, but training.precision is {wanted}: set"
                " it to auto, or choose another file",
                argument="record",
            )
        wanted = precision
    return wanted


def _comparable(base: Config) -> dict[str, Any]:
    """Returns the parts of a config that all runs of a record share."""
    content = base.model_dump(include={"model", "data", "optimizer", "training"})
    for section, keys in _MAY_DIFFER.items():
        for key in keys:
            del content[section][key]
    return content | {"updates": [step.updates for step in base.steps]}


def _train(run: Path, config: Config, folder: Path) -> dict[str, Any]:
    """Trains a run, unless it has finished, and returns its entry of the record."""
    RunFolder(run, config)  # fails if the folder holds a run of another config
    metrics = run / "metrics.json"
    results = _read_if_exists(metrics).get("results")
    if results is None:
        _copy_first_step(run, config, folder)
        file = folder / f"{run.name}.json"
        write_json(file, config.model_dump())
        command = [sys.executable, "-m", "udl_tf.train", "--config", file, "--output", run]
        code, stopped = run_to_its_end(command)
        if stopped:
            raise Interrupted("stopped: run the same command again to resume")
        if code:
            raise UserError(f"{run}: training failed with exit code {code}; its error is above")
        results = read_json(metrics)["results"]
    scores = {
        key: {result["dataset"]: round(result[key], 5) for result in results}
        for key in ("psnr_y", "ssim_y")
    }
    return {"precision": read_json(run / "versions.json")["precision"], **scores}


def _copy_first_step(run: Path, config: Config, folder: Path) -> None:
    """Starts a new run from the finished first step of another run, if one shares it."""
    if run.exists() or len(config.steps) < 2:
        return
    wanted = config.model_dump()
    for file in sorted(folder.glob("*/config.json")):
        theirs = read_json(file)
        same = all(theirs[key] == wanted[key] for key in _SHARED)
        weights = sorted((file.parent / "weights").glob("step1-*.weights.h5"))
        notes = _read_if_exists(file.parent / "metrics.json").get("steps")
        if same and theirs["steps"][0] == wanted["steps"][0] and weights and notes:
            with complete_folder(run) as new:
                (new / "weights").mkdir()
                shutil.copy2(weights[0], new / "weights")
                write_json(new / "metrics.json", {"steps": notes[:1]})
                write_json(new / "config.json", wanted)
            return


def _read_if_exists(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}
