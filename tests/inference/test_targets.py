"""Files that already exist where results would be written."""

import os

import numpy as np
import pytest
import zarr
from helpers.images import mark_as_result, write_noise
from helpers.upscalers import Repeating

from udl_tf.errors import UserError
from udl_tf.inference.job_runner import run_jobs
from udl_tf.inference.jobs import Job, Options, plan_jobs
from udl_tf.inference.targets import check_targets
from udl_tf.scenes.marks import CREATOR

MAPS = Options(uncertainty="npy")


@pytest.fixture
def job(tmp_path):
    """The job for in/a.png, with a map."""
    (job,) = plan_jobs([write_noise(tmp_path / "in/a.png")], tmp_path / "out", MAPS)
    return job


def test_nothing_is_replaced_where_nothing_exists(job):
    for overwrite in (None, True, False):
        assert check_targets(job, overwrite) is False


def test_earlier_results_are_replaced_unless_forbidden(job):
    mark_as_result(write_noise(job.output))
    assert check_targets(job, None) is True
    np.save(job.maps["theta"], np.zeros((2, 2)))  # belongs to the result beside it
    assert check_targets(job, None) is True
    with pytest.raises(UserError, match=r"out/a\.png: already exists: choose another output"):
        check_targets(job, False)


@pytest.mark.parametrize("kind", ["image", "map"])
def test_other_files_are_replaced_only_if_allowed(job, kind):
    if kind == "image":
        target = write_noise(job.output)
    else:
        target = job.maps["theta"]
        target.parent.mkdir()
        np.save(target, np.zeros((2, 2)))
    with pytest.raises(
        UserError, match=rf"{target.name}: .* not an earlier result of udl_tf"
    ) as error:
        check_targets(job, None)
    assert error.value.argument == "overwrite"
    assert check_targets(job, True) is True


def test_targets_that_cannot_be_files(job, tmp_path):
    job.output.mkdir(parents=True)
    with pytest.raises(UserError, match=r"a\.png: is a folder"):
        check_targets(job, True)
    job.output.rmdir()
    os.link(job.source, job.output)  # as a name that differs in case, where that is one file
    with pytest.raises(UserError, match="would replace its input"):
        check_targets(job, True)
    job.output.unlink()
    os.mkfifo(job.output)
    with pytest.raises(UserError, match="not an earlier result"):
        check_targets(job, None)


def test_folders_are_replaced_by_the_rules_of_files(tmp_path):
    """Those of OME-Zarr, whose mark is an attribute; no other folder is a result."""
    target = tmp_path / "out/a.zarr"
    job = Job(write_noise(tmp_path / "in/a.png"), target, {})
    zarr.create_group(target)
    with pytest.raises(UserError, match="not an earlier result of udl_tf") as error:
        check_targets(job, None)
    assert error.value.argument == "overwrite"
    assert check_targets(job, True) is True
    zarr.open_group(target).attrs["_creator"] = CREATOR
    assert check_targets(job, None) is True
    with pytest.raises(UserError, match=r"a\.zarr: already exists"):
        check_targets(job, False)
    source = Job(target, target, {})
    with pytest.raises(UserError, match="would replace its input"):
        check_targets(source, True)
    (target / "zarr.json").unlink()
    with pytest.raises(UserError, match="is not a folder of OME-Zarr: rename or remove it"):
        check_targets(job, True)
    target.rmdir()
    target.touch()
    with pytest.raises(UserError, match="is not a folder of OME-Zarr: rename or remove it"):
        check_targets(job, True)


def test_names_that_are_too_long_fail_before_computing(tmp_path):
    """The result fits into the 255 bytes of a name; that of the map does not."""
    names = ["é" * 125 + ".png", "b.png"]
    for name in names:
        write_noise(tmp_path / "in" / name)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", MAPS)
    summary = run_jobs(Repeating(2), jobs, MAPS)
    assert summary.done == 1
    expected = "_theta.npy: its name is longer than 255 bytes: rename the input"
    assert str(summary.failed[0]).endswith(expected)
    jobs = plan_jobs([tmp_path / "in" / names[0]], tmp_path / "out", Options())
    assert run_jobs(Repeating(2), jobs, Options()).done == 1


def test_replaced_results_are_counted_and_other_files_kept(tmp_path):
    for name in ("a", "b", "c"):
        write_noise(tmp_path / f"in/{name}.png")
    mark_as_result(write_noise(tmp_path / "out/a.png"))
    (tmp_path / "out/b.png").write_text("something else")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options())
    summary = run_jobs(Repeating(2), jobs, Options())
    assert (summary.done, summary.replaced) == (2, 1)
    assert "b.png: already exists and is not an earlier result" in str(summary.failed[0])
    assert (tmp_path / "out/b.png").read_text() == "something else"
    summary = run_jobs(Repeating(2), jobs, Options(overwrite=True))
    assert (summary.done, summary.replaced) == (3, 3)
