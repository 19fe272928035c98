from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from udl_tf.errors import UserError
from udl_tf.inference.jobs import Options, plan_jobs


def write_file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(path)
    return path


def names(jobs, output: Path) -> list[str]:
    return [str(target.relative_to(output)) for job in jobs for target in job.targets]


def test_folders_keep_their_structure_without_hidden_and_other_files(tmp_path):
    for name in ("in/a.png", "in/sub/b.jpg", "in/sub/deep/c.gif", "in/.hidden/d.png", "in/.e.png"):
        write_file(tmp_path / name)
    (tmp_path / "in/notes.txt").write_text("hello")
    output = tmp_path / "out"
    jobs = plan_jobs([tmp_path / "in"], output, Options())
    assert names(jobs, output) == ["a.png", "sub/b.jpg", "sub/deep/c.png"]
    jobs = plan_jobs([tmp_path / "in"], output, Options(format="webp", uncertainty="npy"))
    assert names(jobs, output)[:2] == ["a.webp", "a_theta.npy"]
    maps = plan_jobs([tmp_path / "in/a.png"], output, Options(uncertainty="png", ensemble=True))
    assert names(maps, output) == ["a.png", "a_theta.png", "a_spread.png", "a_total.png"]


def test_results_of_the_same_name(tmp_path):
    write_file(tmp_path / "in/a.png")
    write_file(tmp_path / "in/a.jpg")
    write_file(tmp_path / "in/b.gif")
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options(format="png"))
    assert names(jobs, tmp_path / "out") == ["a.jpg.png", "a.png", "b.png"]
    maps = plan_jobs([tmp_path / "in"], tmp_path / "out", Options(uncertainty="npy"))
    assert names(maps, tmp_path / "out") == [
        "a.jpg", "a.jpg_theta.npy", "a.png", "a.png_theta.npy", "b.png", "b_theta.npy"]  # fmt: skip
    assert maps.notes == (
        "results of .gif images are .png (1 of 3 images)",
        "names of results contain the image's suffix where images would share a result or map,"
        f" such as {tmp_path / 'out/a.jpg_theta.npy'} (2 of 3 images)",
    )
    other = write_file(tmp_path / "other/a.png")
    with pytest.raises(UserError, match=r"would both become .*a\.png"):
        plan_jobs([tmp_path / "in/a.png", other], tmp_path / "out", Options())
    # The same file twice is one job.
    assert len(plan_jobs([other, other], tmp_path / "out", Options())) == 1


def test_names_in_full_collide_with_no_other_name(tmp_path):
    for name in ("a.png", "a.gif", "a.gif.png", "b.png", "b_theta.png"):
        write_file(tmp_path / "in" / name)
    jobs = plan_jobs([tmp_path / "in"], tmp_path / "out", Options(uncertainty="png"))
    found = names(jobs, tmp_path / "out")
    assert len(set(found)) == 10
    assert found[-4:] == ["b.png", "b.png_theta.png", "b_theta.png", "b_theta.png_theta.png"]


def test_inputs_are_never_replaced_and_results_never_upscaled_again(tmp_path):
    write_file(tmp_path / "a.png")
    with pytest.raises(UserError, match="would replace an input"):
        plan_jobs([tmp_path / "a.png"], tmp_path, Options())
    write_file(tmp_path / "out/a.png")
    jobs = plan_jobs([tmp_path], tmp_path / "out", Options())
    assert [job.source.name for job in jobs] == ["a.png"]
    assert jobs[0].source.parent == tmp_path


def test_missing_inputs_and_empty_folders_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        plan_jobs([tmp_path / "gone"], tmp_path / "out", Options())
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        plan_jobs([tmp_path / "empty"], tmp_path / "out", Options())
    with pytest.raises(UserError, match="uncertainty 'gif': of images, expected one of none"):
        Options(uncertainty="gif")
