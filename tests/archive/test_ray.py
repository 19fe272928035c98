"""An archive job on real Ray."""

import pyarrow.parquet as pq
import pytest
from helpers.commands import assert_one_line_error
from helpers.images import fill_folder

from udl_tf.archive import manifest, open_ray


@pytest.mark.slow
def test_a_job_that_stops_on_an_error_resumes_with_more_actors(batch, small_run, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    fill_folder(source, 4)
    (output / "000.png").mkdir(parents=True)
    command = source, "--output", output, "--model", small_run
    with open_ray():
        result = batch(*command)
        assert_one_line_error(result, "000.png")
        assert not list(output.rglob(".*.part"))
        (output / "000.png").rmdir()
        result = batch(*command, "--actors", "2")
    assert result.returncode == 0, result.stderr
    assert "0 failed" in result.stdout
    table = pq.read_table(output / manifest.FILE)
    assert table["source"].to_pylist() == ["000.png", "002.png", "below/001.png", "below/003.png"]
    assert table["error"].null_count == 4
