"""Jobs over an archive before any image is upscaled."""

from dataclasses import replace

from udl_tf.archive.job import ArchiveJob


def test_a_name_is_the_preset_even_if_a_folder_of_that_name_exists(work, tmp_path, monkeypatch):
    """The folder was used, although the command checks the preset."""
    monkeypatch.chdir(tmp_path)
    for name in ("light_x4", "own"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("udl_tf.archive.settings.fingerprint", lambda model: None)
    for model, expected in (
        ("light_x4", "light_x4"),
        ("hf://someone/bird", "hf://someone/bird"),
        ("grpc://localhost:8500/bird", "grpc://localhost:8500/bird"),
        ("./light_x4", str(tmp_path / "light_x4")),
        ("own", str(tmp_path / "own")),
    ):
        assert ArchiveJob(replace(work, model=model))._settings["model"] == expected
