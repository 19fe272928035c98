"""tools/reproduce.py and its tables, with tiny runs."""

import json
import sys

import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command, run_tool
from helpers.runs import tiny_config

from benchmarks import reproduce, variants
from benchmarks.reproduce import budget, reproduction_table, run_table
from benchmarks.variants import BASELINE, TABLES
from udl_tf.config import Config, ModelConfig, OptimizerConfig
from udl_tf.errors import Interrupted, UserError


def base(folder, **changes):
    return Config.model_validate(
        {
            **tiny_config(folder),
            "optimizer": {},
            "steps": [
                {"loss": "esu", "updates": 4},
                {"loss": "udl", "updates": 6, "weighting": {}},
            ],
            "training": {"precision": "float32", "interval": 4},
            **changes,
        }
    )


@pytest.mark.parametrize("table", TABLES)
def test_every_variant_has_the_same_budget_and_is_a_valid_config(table, tmp_path):
    config = base(tmp_path)
    for name, variant in variants.variants(table, config).items():
        assert sum(step.updates for step in variant.steps) == 10, name
        assert Config.model_validate(variant.model_dump()) == variant
        assert (variant.data, variant.optimizer) == (config.data, config.optimizer)
    with pytest.raises(UserError, match="has 1 steps; expected 2"):
        variants.variants(table, base(tmp_path, steps=[{"loss": "l1", "updates": 3}]))


def train_here(command):
    """Runs the training command of a table in this process."""
    python, module, name, *arguments = map(str, command)
    assert (python, module, name) == (sys.executable, "-m", "udl_tf.train")
    return run_command("train", *arguments).returncode, False


@pytest.mark.slow
def test_runs_are_trained_once_and_share_first_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_to_its_end", train_here)
    names = (BASELINE, "ESU → L1", "ESU → UDL, floor 1")
    lines, config = [], base(tmp_path)
    record = tmp_path / "record.json"

    def run(config, seed, folder, record=record):
        folder = tmp_path / folder
        return run_table("losses", config, [seed], folder, record, lines.append, names[1:])

    results = run(config, 3, "runs")
    assert list(results) == list(names)
    assert len(lines) == 3
    logs = {path.parent.name: path.read_text() for path in (tmp_path / "runs").glob("*/log.txt")}
    assert "step 1/2 esu: 4 updates" in logs["esu4-l16-seed3"]
    shared = logs["esu4-udl6-uncertainty-floor1-seed3"]
    assert "step 1/2" not in shared
    assert "step 2/2 udl: 6 updates" in shared
    monkeypatch.setattr(reproduce, "run_to_its_end", lambda *_: pytest.fail("trained again"))
    # The record suffices, also on a machine whose data are in another place.
    moved = config.model_copy(update={"data": config.data.model_copy(update={"memory_gb": 1.0})})
    assert run(moved, 3, "none") == results
    runs = json.loads(record.read_text())["runs"]
    assert {run["precision"] for run in runs.values()} == {"float32"}
    bfloat16 = config.training.model_copy(update={"precision": "mixed_bfloat16"})
    mixed = config.model_copy(update={"training": bfloat16})
    with pytest.raises(UserError, match=r"holds runs in float32, but training\.precision is mixed"):
        run(mixed, 4, "none")
    assert set(runs["l14-l16-seed3"]["ssim_y"]) == {"images"}
    other = config.model_copy(update={"optimizer": OptimizerConfig(name="muon")})
    with pytest.raises(UserError, match=r"record\.json: belongs to another config \(optimizer is"):
        run(other, 3, "runs")
    with pytest.raises(UserError, match=r"seed3: holds a run of another config \(optimizer"):
        run(other, 3, "runs", tmp_path / "new.json")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "is not a record of runs: choose another file (--record)"),
        ("[1]", "expected a JSON object {...}, got list: choose another file"),
        ("no JSON", "choose another file"),
    ],
)
def test_a_file_that_is_not_a_record_is_not_changed(tmp_path, text, message):
    record, file = tmp_path / "record.json", tmp_path / "config.json"
    record.write_text(text)
    file.write_text(base(tmp_path).model_dump_json())
    places = ("--output", tmp_path / "runs", "--record", record)
    result = run_tool("reproduce.py", "losses", "--config", file, *places)
    assert_one_line_error(result, f"{record}: ", message)
    assert record.read_text() == text


def test_an_unknown_row_is_one_line(tmp_path):
    with pytest.raises(UserError, match="row 'ESU - L1' is unknown, nearest known: ESU → L1"):
        run_table("losses", base(tmp_path), [3], tmp_path, tmp_path / "r", print, ["ESU - L1"])


def test_a_stopped_table_says_how_to_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_to_its_end", lambda *_: (130, True))
    with pytest.raises(Interrupted, match="run the same command again to resume"):
        run_table("losses", base(tmp_path), [3], tmp_path / "runs", tmp_path / "r.json", print)
    assert not (tmp_path / "r.json").exists()


def test_a_failed_run_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_to_its_end", lambda *_: (2, False))
    with pytest.raises(UserError, match="training failed with exit code 2"):
        run_table("losses", base(tmp_path), [3], tmp_path / "runs", tmp_path / "r.json", print)


def test_the_tool_writes_the_table_from_the_record(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_to_its_end", lambda *_: pytest.fail("trained again"))
    config = base(tmp_path)
    runs = {
        f"{variants.run_name(variant)}-seed3": {"precision": "float32", "psnr_y": {"Set5": 30.0}}
        for variant in variants.variants("weightings", config).values()
    }
    record, file = tmp_path / "record.json", tmp_path / "config.json"
    # "auto" in the config, as the tables' configs have it; no row of a table caches.
    uncached = config.changed(training=config.training.changed(cache_uncertainty=False))
    record.write_text(json.dumps({"config": reproduce._comparable(uncached), "runs": runs}))
    file.write_text(config.model_dump_json())
    places = ("--output", tmp_path / "runs", "--record", record)
    result = run_tool("reproduce.py", "weightings", "--config", file, "--seeds", 3, *places)
    assert result.returncode == 0, result.stderr
    table = (tmp_path / "runs/weightings.md").read_text()
    assert table in result.stdout
    assert all(f"| {name} " in table for name in TABLES["weightings"])
    result = run_tool("reproduce.py", "weightings", "--config", file, *places, "--set", "steps")
    assert_one_line_error(result, "expected KEY=VALUE", "(--set)")


@pytest.mark.parametrize("name", ["light_x4", "dpdnn_light_x3"])
def test_the_published_tables_come_from_their_records(name, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "run_to_its_end", lambda *_: pytest.fail("trained again"))
    record = ROOT / f"docs/tables/{name}.json"
    options = ("--config", f"tables/{name}", "--record", record, "--output", tmp_path)
    result = run_tool("reproduce.py", "losses", *options)
    assert result.returncode == 0, result.stderr
    published = " ".join((ROOT / "docs/results.md").read_text().split())
    for line in (tmp_path / "losses.md").read_text().splitlines():
        if "ESU → UDL, floor 1" in line:
            assert " ".join(line.split()) in published


def test_the_budget_names_what_all_rows_share(tmp_path):
    text = budget(base(tmp_path), [3, 4])
    assert "edsr_s ×2 (num_blocks 1, num_filters 4); 4 + 6 updates of 2 patches of 16" in text
    assert text.endswith("; seeds 3, 4\n\n")


def test_gains_are_computed_seed_by_seed():
    results = {BASELINE: [{"Set5": 30.0}, {"Set5": 31.0}], "UDL": [{"Set5": 30.1}, {"Set5": 31.1}]}
    cells = reproduction_table(results, ModelConfig(scale=4))
    assert cells[0] == ["PSNR-Y, dB", "Set5", "Set5, gain"]
    assert cells[1] == [BASELINE, "30.500 ± 0.707", ""]
    assert cells[2] == ["UDL", "30.600 ± 0.707", "+0.100 ± 0.000"]
    assert cells[3][1:] == ["31.61", ""]
    assert len(reproduction_table(results, ModelConfig(scale=2))) == 3
