import json
from pathlib import Path

import pytest
from helpers.commands import ROOT, assert_one_line_error, run_command

from udl_tf._support.config_file import load_config, rehearsal
from udl_tf.config import Config
from udl_tf.errors import UserError

CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.json") if p.name != "schema.json")


def write(folder: Path, content) -> Path:
    path = folder / "c.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_shipped_configs_load_and_name_the_schema(path):
    rehearsal(load_config(path))
    assert (path.parent / json.loads(path.read_text())["$schema"]).resolve().name == "schema.json"


def test_every_main_config_has_the_released_recipe():
    for name in ("edsr_s", "edsr", "dpdnn"):
        for scale in (2, 3, 4):
            config = load_config(ROOT / "configs" / f"{name}_x{scale}.json")
            assert (config.model.name, config.model.scale) == (name, scale)
            assert (config.data.hr_patch_size, config.data.batch_size) == (192, 64)
            assert config.optimizer.learning_rate == 1e-4
            paper = load_config(f"paper/{name}_x{scale}")
            assert [s.updates for s in paper.steps] == [30_000, 100_000]
            assert [s.loss for s in paper.steps] == ["esu", "udl"]
            *released, head = config.steps
            assert paper.steps == released
            for section in ("model", "data", "optimizer", "training", "quick"):
                assert getattr(paper, section) == getattr(config, section)
            assert (head.loss, head.train) == ("esu", "uncertainty_head")


def test_ablations_have_equal_totals_and_one_network():
    """The row of UDL, and of its weights from uncertainty, is the paper's config."""
    rows = {p.stem: load_config(p) for p in CONFIGS if p.parent.name == "ablations"}
    assert set(rows) == {
        *("l1", "mse", "eu", "esu", "gram"),
        *(f"weight_{w}" for w in ("error_map", "hr_gradient", "lr_gradient")),
    }
    main = load_config("paper/edsr_s_x4")
    assert main.steps[1].weighting.source == "uncertainty"
    for row in (main, *rows.values()):
        assert sum(step.updates for step in row.steps) == 130_000
        assert (row.model.name, row.model.scale) == ("edsr_s", 4)
        assert row.data == main.data
        assert row.optimizer == main.optimizer


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"optimiser": {}}, ["unknown key optimiser", "nearest known: optimizer"]),
        ({"optimizer": {"learning_rat": 1}}, ["optimizer.learning_rat", "learning_rate"]),
        ({"steps": [{"loss": "esu", "updates": 1, "wieghting": 1}]}, ["steps.0", "weighting"]),
        ({"data": {"batch_size": "16"}}, ["data.batch_size", '"16"', "integer"]),
        ({"data": {"batch_size": 0}}, ["data.batch_size", "greater than or equal to 1"]),
        ({"model": {"scale": 5}}, ["model.scale", "2, 3 or 4"]),
        ({"steps": [{"updates": 3}]}, ["steps.0.loss is missing"]),
        ({"data": {"hr_patch_size": 190}}, ["190", "is not a multiple of model.scale 4"]),
        (
            {"steps": [{"loss": "udl", "updates": 3, "weighting": {}}]},
            ["first step has no previous network"],
        ),
        (
            {"steps": [{"loss": "esu", "updates": 3}, {"loss": "udl", "updates": 3}]},
            ["steps.1: loss 'udl' needs a weighting: add \"weighting\": {} for the defaults"],
        ),
        (
            {
                "steps": [
                    {"loss": "esu", "updates": 3},
                    {"loss": "l1", "updates": 3, "weighting": {}},
                ]
            },
            ["steps.1: loss 'l1' takes no weighting: remove it"],
        ),
        (
            {"steps": [{"loss": "esu", "train": "uncertainty_head", "updates": 3}]},
            [
                "steps.0.train: an uncertainty head needs a trained network",
                "set training.start_from",
            ],
        ),
        (
            {"data": {"degradations": [{"kind": "jpg", "quality": [30, 95]}]}},
            ["data.degradations.0.kind 'jpg' is unknown, nearest known: jpeg"],
        ),
        (
            {"data": {"degradations": [{"quality": [30, 95]}]}},
            ["data.degradations.0.kind is missing"],
        ),
        (
            {"data": {"degradations": [{"kind": "jpeg", "quality": [30, 95], "sigma": [0, 1]}]}},
            ["unknown key data.degradations.0.sigma, known: kind, probability, quality"],
        ),
        (
            {"data": {"degradations": [{"kind": "noise", "sigma": [4, 0]}]}},
            ["data.degradations.0.sigma: got [4, 0]; expected [lowest, highest]"],
        ),
        (
            {"data": {"degradations": [{"kind": "webp", "quality": [30, 101]}]}},
            ["data.degradations.0.quality.1: got 101", "less than or equal to 100"],
        ),
        (
            {
                "data": {"degradations": [{"kind": "noise", "sigma": [0, 4]}]},
                "training": {"cache_uncertainty": True},
            },
            [
                "training.cache_uncertainty true is not supported with data.degradations",
                'set "auto" or false',
            ],
        ),
        ({"data": {"root": ""}}, ['data.root: got ""; expected a folder; null: the bundled']),
        (
            {"model": {"name": "dpdnn"}, "steps": [{"loss": "l1", "updates": 2, "quantize": True}]},
            ["steps.0.quantize: int8 is too coarse for the network dpdnn"],
        ),
        (
            {"evaluation": {"degrade": "jpg:75"}},
            ["evaluation.degrade", "'jpg' is unknown, nearest known: jpeg", "such as blur:1.2+"],
        ),
        (
            {"optimizer": {"learning_rate": float("inf")}},
            ["Infinity is not a JSON value: line 1 column 33"],
        ),
        ({"model": {"options": {"scale": 3}}}, ["options contain 'scale', which model.scale sets"]),
        ("{", ["not valid JSON"]),
        (
            '{"data": {"batch_size": 3, "batch_size": 4}}',
            ["key data.batch_size is given more than once"],
        ),
        (
            '{"model": {"options": {"shift": NaN}}}',
            ["NaN is not a JSON value: line 1 column 33"],
        ),
        ("[]", ["expected a JSON object"]),
    ],
)
def test_a_bad_config_is_one_clear_line(tmp_path, content, parts):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        load_config(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_set_overrides_any_key(tmp_path):
    path = write(tmp_path, {"model": {"scale": 2}})
    config = load_config(
        path,
        ["optimizer.learning_rate=2e-4", "data.train=[\"a\", \"b\"]", "data.root=here",
         "steps.1.updates=7", "model.options.num_blocks=3"],
    )  # fmt: skip
    assert config.optimizer.learning_rate == 2e-4
    assert config.data.train == ["a", "b"]
    assert config.data.root == "here"
    assert [s.updates for s in config.steps] == [30_000, 7]
    assert config.model.options == {"num_blocks": 3}
    assert config.model.scale == 2
    for bad, message in (
        ("nonsense", "expected KEY=VALUE"),
        ("steps.9.updates=1", r"steps has 2 entries \(0 to 1\), got 9"),
        ("data.root.x=1", "data.root is a value and has no key x"),
        ("optimizer.nme=1", "nearest known: name"),
    ):
        with pytest.raises(UserError, match=message):
            load_config(path, [bad])


def test_warm_up_is_shorter_than_each_step_and_than_a_rehearsal():
    steps = [{"loss": "l1", "updates": 500}, {"loss": "l1", "updates": 300}]
    config = Config.model_validate({"steps": steps, "optimizer": {"warmup": 299}})
    assert rehearsal(config).optimizer.warmup == 12  # of 120 updates
    message = r"optimizer\.warmup is 300, but steps\.1 has only 300 updates: lower it"
    with pytest.raises(ValueError, match=message):
        Config.model_validate({"steps": steps, "optimizer": {"warmup": 300}})


def test_resident_data_are_not_for_several_workers():
    distribution = {"strategy": "multi_worker"}
    Config.model_validate({"distribution": distribution})
    with pytest.raises(ValueError, match=r"data\.resident true is not supported by"):
        Config.model_validate({"distribution": distribution, "data": {"resident": True}})


def test_rehearsal_keeps_the_network_and_uses_bundled_images():
    config = load_config(ROOT / "configs/edsr_x2.json", ["data.root=/somewhere"])
    quick = rehearsal(config)
    assert quick.model == config.model
    assert quick.data.root is None
    assert quick.data.train == ["bundled"]
    assert [s.loss for s in quick.steps] == ["esu", "udl", "esu"]
    assert [s.train for s in quick.steps] == ["network", "network", "uncertainty_head"]
    assert max(s.updates for s in quick.steps) == config.quick.updates
    assert quick.evaluation.crop == config.quick.crop


def test_set_takes_precedence_in_a_rehearsal():
    overrides = ["quick.updates=5", "data.batch_size=3", "steps.1.updates=7"]
    config = load_config(ROOT / "configs/edsr_s_x4.json", overrides, quick=True)
    assert config.data.batch_size == 3
    assert [step.updates for step in config.steps] == [5, 7, 5]
    assert config.data.train == ["bundled"]


@pytest.mark.parametrize(
    "config", [Config(), load_config("presets/photo_x4").changed(schema_url=None)]
)
def test_a_dumped_config_is_the_same_config(config):
    assert Config.model_validate(json.loads(json.dumps(config.model_dump()))) == config


def test_print_config_and_misspelt_key_as_commands():
    result = run_command("train", "--config", "configs/edsr_s_x4.json", "--print-config",
        "--set", "optimizer.learning_rate=2e-4",
    )  # fmt: skip
    assert result.returncode == 0
    assert json.loads(result.stdout)["optimizer"]["learning_rate"] == 2e-4
    bad = run_command("train", "--config", "configs/edsr_s_x4.json", "--set", "optimiser.x=1")
    assert_one_line_error(bad, "configs/edsr_s_x4.json", "optimiser", "nearest known: optimizer")


def test_the_schema_file_is_up_to_date(tmp_path):
    from write_schema import main

    main(["--output", str(tmp_path / "schema.json")])
    assert (tmp_path / "schema.json").read_text() == (ROOT / "configs/schema.json").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"channels": 5}, "evaluation": {"bands": [6, 2, 1]}}, "three numbers in 1..5"),
        (
            {"data": {"value_range": [0, 1], "degradations": [{"kind": "noise", "sigma": [0, 5]}]}},
            "data.degradations is for 8-bit RGB images",
        ),
        (
            {"model": {"channels": 1}, "evaluation": {"degrade": "noise:5"}},
            "evaluation.degrade is for 8-bit RGB images",
        ),
        # Models do not state more than the range: it would be one of images.
        ({"data": {"value_range": [0, 255]}}, "stands for 8-bit RGB: remove it"),
    ],
)
def test_sections_that_do_not_suit_measurements_are_errors(content, message):
    with pytest.raises(ValueError, match=message):
        Config.model_validate(content)


def test_a_rehearsal_on_measurements_keeps_their_folders():
    config = load_config("science/satellite_x2", quick=True)
    assert (config.data.root, config.data.train) == ("data/satellite", ["train"])
    assert config.steps[0].updates == config.quick.updates
