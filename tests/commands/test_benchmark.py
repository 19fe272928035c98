"""tools/benchmark.py: every measurement on tiny networks, and its table."""

import json
import os
from argparse import Namespace
from dataclasses import replace
from functools import partial

import pytest
import tensorflow as tf
from benchmark import main
from helpers.commands import ROOT, assert_one_line_error, run_process, run_tool
from helpers.images import noise_image
from helpers.models import make_run
from PIL import Image

from benchmarks import exports, gpu, upscale
from benchmarks.exports import Format, exports_table
from benchmarks.growth import batches_table, run_batches
from benchmarks.load import load_table, run_load
from benchmarks.pipeline import pipeline_table, run_pipeline
from benchmarks.processes import results_of, start
from benchmarks.runtimes import run_runtimes, runtimes_table
from benchmarks.train import RELEASED, STEPS, flop_of, run_train, train_table
from benchmarks.turns import in_turns, median_and_range
from benchmarks.updates import run_updates, updates_table
from benchmarks.upscale import upscale_table
from benchmarks.upscaling_commands import _export_folder
from benchmarks.workers import run_workers, workers_table
from udl_tf.errors import UserError
from udl_tf.export.parity import ParityError
from udl_tf.models import build_model

TINY = {"num_blocks": 1, "num_filters": 4}


def test_contestants_take_turns_and_missing_packages_are_named():
    calls = []

    def missing():
        raise UserError("openvino is not installed")

    contestants = {"a": lambda: partial(calls.append, "a"), "b": lambda: partial(calls.append, "b")}
    results = in_turns({**contestants, "c": missing}, repeats=2)
    assert calls == ["a", "b"] * 3  # the first calls are not timed
    assert [len(results[name]) for name in "ab"] == [2, 2]
    assert results["c"] == "openvino is not installed"


def test_processes_find_their_code_from_anywhere_and_report_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = start(median_and_range, [1.0, 3.0, 2.0]), start(median_and_range, ["x"])
    assert results_of([good]) == ["2.00 (1.00–3.00)"]
    with pytest.raises(RuntimeError, match="Traceback"):
        results_of([bad])


@pytest.mark.slow
def test_exports(small_run, image_folder, tmp_path, monkeypatch):
    def refuse(run, path, **options):
        raise ParityError("differs too much")

    savedmodel, _, float16 = exports.FORMATS[:3]
    monkeypatch.setattr(exports, "FORMATS", (savedmodel, float16, Format("x", "x.onnx", refuse)))
    out = ("--output", tmp_path / "out", "--repeats", 1)
    arguments = ("exports", "--model", small_run, "--data", image_folder, *out)
    result = run_tool("benchmark.py", *arguments)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out/exports.json").read_text())
    *rows, refused = content["results"]["small_x2"]
    assert [row["format"] for row in rows] == ["Keras float32", "SavedModel", "TFLite float16"]
    for row in rows:
        assert len(row["seconds_with_theta"]) == 1
        assert row["psnr_y"] == pytest.approx(rows[0]["psnr_y"], abs=0.01)
    assert refused == {"format": "x", "refused": "differs too much"}
    assert content["machine"]["cores"] >= 1
    assert (tmp_path / "out/exports.md").read_text().count("\n| ") == 6  # header, rule, rows

    # A second call takes the exports, and the refusal, from the folder.
    def fail(*arguments, **options):
        pytest.fail("exported again")

    monkeypatch.setattr(exports, "FORMATS", [replace(f, write=fail) for f in exports.FORMATS])
    (folder,) = (tmp_path / "out/exports").glob("small_x2-*")
    again, _ = exports._export_all(small_run, folder)
    assert [row.get("mb") for row in again] == [row.get("mb") for row in (*rows, refused)]


def test_the_table_of_exports_states_what_int8_loses():
    row = {"format": "TFLite int8", "mb": 1.0, "psnr_y": 30.0, "bound": 0.3, "precision": "int8"}
    row |= {"psnr_loss": 0.05, "theta_median_relative": 0.021}
    row |= {"seconds": [0.1, 0.3, 0.2004], "seconds_with_theta": [2.0]}
    header, cells = exports_table([row], "Set5", 4)
    assert cells == ["TFLite int8", "1.0", "0.05 dB, 2.1%", "30.000", "200 (100–300)",
                     "2000 (2000–2000)"]  # fmt: skip
    assert header[-2] == "ms, 128² → 512²"


def test_models_of_the_same_name_have_different_folders_for_exports(tmp_path):
    options = Namespace(output=tmp_path, command="runtimes")
    folders = [
        _export_folder(options, make_run(tmp_path / name / "run", "edsr_s", scale, **TINY))
        for name, scale in (("a", 2), ("b", 4))
    ]
    assert len(set(folders)) == 2
    assert all(folder.name.startswith("run-") for folder in folders)
    assert _export_folder(options, "light_x4").name.startswith("light_x4-")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("workers", "--counts", "1", "0"), "--counts 0"),
        (("upscale", "--model", "light_x4", "--sizes", "-1"), "--sizes -1.0"),
        (("train", "--batches", "0"), "--batches 0"),
        (("scene", "--share", "nan"), "--share nan"),
    ],
)
def test_numbers_must_be_positive(arguments, message):
    with pytest.raises(UserError, match=f"{message}: expected a positive number"):
        main(list(arguments))


@pytest.mark.slow
def test_load(served, small_run, tmp_path):
    pytest.importorskip("tensorflow_serving")
    from helpers.serving.grpc_server import start_grpc
    from helpers.serving.models import StandIn
    from helpers.serving.rest_server import start_rest

    models = StandIn({"small": served})
    grpc, port = start_grpc(models, "127.0.0.1:0")
    rest = start_rest(models, "127.0.0.1", 0)
    urls = [f"grpc://127.0.0.1:{port}/small", f"http://127.0.0.1:{rest.server_port}/small"]
    try:
        options = ("--model", small_run, "--pid", os.getpid(), "--requests", 20)
        arguments = ("load", "--url", *urls, *options, "--output", tmp_path)
        result = run_tool("benchmark.py", *arguments)
        assert result.returncode == 0, result.stderr
        plain = run_load(urls[:1], requests=2)
    finally:
        rest.shutdown()
        rest.server_close()
        grpc.stop(grace=None).wait()
    rows = json.loads((tmp_path / "load.json").read_text())["results"]
    assert [(row["url"], row["answered"]) for row in rows] == [(url, 20) for url in urls]
    for row in rows:
        assert row["image_difference"] <= 1
        assert row["theta_difference"] < 1e-2
        assert row["memory_peak_mb"] >= row["memory_end_mb"] > 100
    assert set(plain[0]) == {
        "url", "answered", "requests_per_second", "median_seconds", "p99_seconds"}  # fmt: skip
    assert len(load_table(plain)) == 2
    result = run_tool("benchmark.py", "load", "--url", urls[0], "--pid", 2**22 + 1)
    assert_one_line_error(result, "no such process on this machine (--pid)")


@pytest.mark.slow
def test_pipeline(image_folder, tmp_path):
    for index in range(2):
        Image.fromarray(noise_image(200, 208, index)).save(image_folder / f"large{index}.png")
    rates = run_pipeline([image_folder], 4, tmp_path, repeats=1, seconds=0.2)
    table = pipeline_table(rates)
    assert [row[0] for row in table[1:]] == list(rates)
    degraded = "images in memory, degraded by blur:0.2..0.8 on 20 % + noise:0..4 on 30 % + jpeg"
    for name in ("pack", "images, all decoded in memory", degraded, "images, decoded each time"):
        (found,) = (values for key, values in rates.items() if key.startswith(name))
        assert found[0] > 1


@pytest.mark.slow
def test_train(monkeypatch):
    monkeypatch.delitem(STEPS, "ESU")  # which has no code of its own
    results = run_train(4, batch=1, side=8, repeats=1, policies=["float32"], options=TINY)
    names = ("L1", "UDL", "UDL, uncertainty cached")
    plain, weighted, cached = (results["rows"][f"{name}, float32"]["flop"] for name in names)
    # UDL runs the trunk and the s head of the frozen network, forward only; cached neither.
    network = build_model("edsr_s", 4, **TINY)
    frozen = flop_of(tf.keras.Model(network.input, network.output["log_scale"]), 8)
    assert weighted - plain == pytest.approx(frozen, rel=0.05)
    assert 0 < cached - plain <= 8 * 32 * 32 * 3  # per HR value: s from its level, w from s
    table = train_table(results)
    assert [row[0] for row in table[1:]] == list(results["rows"])
    assert table[1][0] == RELEASED


@pytest.mark.slow
def test_fixed_cost():
    (row,) = run_updates([2], calls=2)
    assert row["count"] == 2
    assert row["seconds"] > 0
    assert row["computing"] > 0
    table = updates_table([{"count": 20, "seconds": 0.0123, "computing": 0.012}])
    assert table[1] == ["20", "12.30", "12.00", "0.30"]


@pytest.mark.slow
def test_gpu(monkeypatch):
    """Tiny, on the CPU; PyTorch is as if it were not installed."""

    def missing(*arguments):
        raise UserError("torch is not installed")

    monkeypatch.setattr(gpu, "_peer", missing)
    lines = []
    results = gpu.run_gpu(replace(gpu.TINY, batches=[1]), lines.append)
    assert [row["name"] for row in results["rows"]] == [*gpu.STEPS, *gpu.PEERS]
    own, peers = results["rows"][: len(gpu.STEPS)], results["rows"][len(gpu.STEPS) :]
    for row in own:
        assert row["seconds"] > 0
        assert row["computing"] > 0
    plain, _, weighted, cached = (row["flop"] for row in own)
    assert weighted > cached == pytest.approx(plain, rel=0.05)
    assert all(row["missing"] == "torch is not installed" for row in peers)
    assert len(lines) == 1 + len(results["rows"])
    # 10 updates per second of 2 patches, 4 TFLOP each, on 100 TFLOP/s; 0.1 s, of which 0.08 alone.
    row = {"name": "L1", "batch": 2, "seconds": 0.1, "computing": 0.08, "flop": 4e12}
    cells = gpu.gpu_table({"peak": 1e14, "rows": [row]})[1]
    assert cells == ["L1", "2", "10.0", "20", "40%", "20%"]
    late = gpu.run_gpu(replace(gpu.TINY, batches=[1], seconds=-1), lines.append)
    assert {row["missing"] for row in late["rows"]} == {"no time left"}


@pytest.mark.slow
def test_batches(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = run_batches(4, side=8, batches=[1, 2], replicas=[2], options=TINY)
    assert [(row["replicas"], row["batch"]) for row in rows] == [(2, 2)]
    assert all(row["seconds"] > 0 and row["peak_mb"] > row["rest_mb"] > 100 for row in rows)
    assert len(batches_table(rows)) == 2


@pytest.mark.slow
def test_workers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # With fewer filters, what gRPC adds to the gradients would count.
    options = {"num_blocks": 1, "num_filters": 16}
    (row,) = run_workers(4, side=8, batch=2, counts=[2], options=options)
    assert row["workers"] == 2
    assert row["seconds"] > 0
    assert row["bytes"] == pytest.approx(row["ring_bytes"], rel=0.1)
    assert len(workers_table([row])) == 2


@pytest.mark.slow
def test_upscale(tmp_path):
    """In a process of its own: TensorFlow, PyTorch and OpenVINO in one that does more may crash."""
    run = make_run(tmp_path / "run", "edsr_s", 4, **TINY)
    options = ("--model", run, "--repeats", 1, "--side", 16, "--sizes", 0.01)
    arguments = ("upscale", *options, "--output", tmp_path)
    result = run_process("benchmark", *arguments, PYTHONPATH=str(ROOT / "tools"))
    assert result.returncode == 0, result.stderr
    results = json.loads((tmp_path / "upscale.json").read_text())["results"]
    row = results["rows"]["networks, float32"]
    assert 1 < row["with_theta_flop"] / row["alone_flop"] < 4
    assert results["sizes"][0]["peak_mb"] > 100


@pytest.mark.slow
def test_files(tmp_path):
    run = make_run(tmp_path / "run", "edsr_s", 4, **TINY)
    options = ("--model", run, "--repeats", 1, "--count", 3, "--side", 16)
    result = run_tool("benchmark.py", "files", *options, "--output", tmp_path)
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "files.json").read_text())["results"]
    assert [row["uncertainty"] for row in rows] == ["none", "npy", "png"]
    assert all(row[name][0] > 0 for row in rows for name in ("networks", "run_jobs"))


def test_the_table_of_upscaling_states_the_rate_of_each_row(monkeypatch):
    """128x128 LR pixels x4 in 0.5 s are 0.52 megapixels/s; on a GPU, a large image is added."""
    seconds = {"side": 128, "alone": [0.25], "with_theta": [0.5]}
    rows = {"upscale, float32": seconds, "PyTorch float32": {"side": 128, "alone": "missing"}}
    results = {"rows": rows, "scale": 4, "limit": {}}
    header, row, missing = upscale_table(results)
    assert row[header.index("Mpx/s with θ")] == "0.52"
    assert len(missing) == len(header)
    assert upscale._large_contestants({"float32": None}, theta=True) == {}
    monkeypatch.setattr(upscale, "has_gpu", lambda: True)
    assert list(upscale._large_contestants({"float32": None}, theta=True)) == [
        "upscale, 1024², float32"
    ]


@pytest.mark.slow
def test_runtimes(tmp_path):
    """Of one network; OpenVINO's row says what is missing where it is not installed."""
    pytest.importorskip("tf2onnx")
    run = make_run(tmp_path / "run", "edsr_s", 4, **TINY)
    rows = run_runtimes(run, tmp_path, repeats=1)
    assert list(rows) == ["ONNX Runtime", "LiteRT", "OpenVINO"]
    assert rows["LiteRT"]["with_theta"][0] > 0
    assert rows["LiteRT"]["difference"] < 1e-2
    assert len(runtimes_table(rows)) == 4
