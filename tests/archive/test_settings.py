"""The settings of a job: which outputs it may resume."""

import json
import shutil
from dataclasses import replace

import pytest

from udl_tf.archive import settings
from udl_tf.archive.storage import Storage
from udl_tf.errors import UserError
from udl_tf.inference.jobs import Options

# job.json as udl_tf 0.1 wrote it, without input, model and fingerprint.
OF_0_1 = """{
 "policy": "%s",
 "options": {
  "format": "same", "outscale": null, "size": null, "uncertainty": "none", "self_ensemble": false,
  "ensemble": false, "tile": null, "memory_gb": null, "theta": true
 }
}"""


def settings_of(work):
    return settings.settings_of(work, Storage(work.input))


def test_a_changed_model_is_another_one(work, small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    work, output = replace(work, model=str(run)), Storage(work.output)
    settings.write_settings(output, settings_of(work))
    settings.check_owner(output, settings_of(work))
    (run / "model.json").write_text((run / "model.json").read_text() + " ")
    with pytest.raises(UserError, match=r"another job \(fingerprint of the model is"):
        settings.check_owner(output, settings_of(work))


def test_other_options_are_another_job_but_a_limit_of_pixels_is_not(work):
    output = Storage(work.output)
    settings.write_settings(output, settings_of(work))
    settings.check_owner(
        output, settings_of(replace(work, options=Options(theta=True, max_pixels=9)))
    )
    for other, key in (
        (replace(work, options=Options(theta=True, tile=16)), "options"),
        (replace(work, dtype="bfloat16"), "dtype"),
    ):
        with pytest.raises(UserError, match=rf"another job \({key} is"):
            settings.check_owner(output, settings_of(other))


@pytest.mark.parametrize(
    ("policy", "dtype"), [("float32", "float32"), ("mixed_bfloat16", "bfloat16")]
)
def test_a_job_of_version_0_1_resumes(policy, dtype, work):
    work, output = replace(work, dtype=dtype), Storage(work.output)
    current = settings_of(work)
    same = {key: current[key] for key in ("input", "fingerprint of the model", "model")}
    output.write(settings.FILE, json.dumps(same | json.loads(OF_0_1 % policy)).encode())
    settings.check_owner(output, current)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[dtype]
    with pytest.raises(UserError, match=f"dtype is {dtype} there and {other} now"):
        settings.check_owner(output, settings_of(replace(work, dtype=other)))


def test_a_job_from_before_an_option_existed_resumes_with_its_default(work):
    output, current = Storage(work.output), settings_of(work)
    old = json.loads(json.dumps(current))
    del old["options"]["tile"]
    settings.write_settings(output, old)
    settings.check_owner(output, current)
    with pytest.raises(UserError, match=r"another job \(options is"):
        settings.check_owner(output, settings_of(replace(work, options=Options(tile=16))))


def test_an_output_that_holds_other_files_is_refused_unless_allowed(work, tmp_path):
    output = Storage(work.output)
    settings.check_owner(output, settings_of(work))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.hidden").touch()
    settings.check_owner(output, settings_of(work))
    (tmp_path / "out/photo.png").touch()
    with pytest.raises(UserError, match=r"out: holds other files, such as photo\.png") as error:
        settings.check_owner(output, settings_of(work))
    assert error.value.argument == "overwrite"
    settings.check_owner(output, settings_of(work), overwrite=True)


def test_a_damaged_file_is_one_line(work):
    output = Storage(work.output)
    output.write(settings.FILE, b"{")
    with pytest.raises(UserError, match=r"out/job\.json: not valid JSON"):
        settings.check_owner(output, settings_of(work))
