from itertools import product

import numpy as np
import pytest
from helpers.images import noise_image
from helpers.measurements import write_heights

from udl_tf.data.pixels import Pixels
from udl_tf.data.sources import cropped, degraded, folder_dataset
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.evaluation import protocol
from udl_tf.evaluation.figures import comparison_figure
from udl_tf.evaluation.protocol import evaluate, results_table
from udl_tf.imaging.resize import imresize
from udl_tf.imaging.rgb_files import write_rgb
from udl_tf.imaging.value_range import ValueRange
from udl_tf.inference.upscaler import Upscaler
from udl_tf.metrics import psnr_y
from udl_tf.saved.loading import load_upscaler


class Bicubic(Upscaler):
    """A stand-in whose sr is bicubic interpolation: its row must equal the bicubic row."""

    calibration = None
    has_uncertainty = True
    scale = 2

    def _passes(self, uncertainty, bordered=False):
        raise NotImplementedError

    def predict(self, lr, border=0, **ways):
        sr = imresize(lr, self.scale).astype(np.float32)
        return sr, np.ones_like(sr)


def test_a_bicubic_model_scores_as_the_bicubic_row(image_folder, tmp_path):
    model = Bicubic()
    (row,) = evaluate(model, [folder_dataset(image_folder, 2)], tmp_path / "figures", count=1)
    assert row["psnr_y"] == row["bicubic_psnr_y"]
    assert row["ssim_y"] == row["bicubic_ssim_y"]
    assert row["images"] == len(row["per_image"]) == 6
    assert row["psnr_y"] == pytest.approx(np.mean([i["psnr_y"] for i in row["per_image"]]))
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["images_image0.png"]
    table = results_table([row], "mine").splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["bicubic", "mine"]
    assert f"{row['psnr_y']:.3f} / {row['ssim_y']:.4f}" in table[3]


def test_other_models_are_compared(image_folder, tmp_path, monkeypatch):
    class Nearest(Bicubic):
        def predict(self, lr, border=0, **ways):
            sr = lr.repeat(self.scale, axis=0).repeat(self.scale, axis=1).astype(np.float32)
            return sr, np.ones_like(sr)

    model, other = Bicubic(), Nearest()
    dataset = folder_dataset(image_folder, 2)
    figures = []

    def recording(path, title, images, error, theta, name, level, top):
        assert top == 20
        figures.append(([label.split()[0] for label in images], name))
        comparison_figure(path, title, images, error, theta, name, level, top)

    monkeypatch.setattr(protocol, "comparison_figure", recording)
    (row,) = evaluate(model, [dataset], tmp_path / "figures", 1, {"nearest": other}, "mine")
    (alone,) = evaluate(other, [dataset])
    assert row["beside"]["nearest"] == {key: alone[key] for key in ("psnr_y", "ssim_y")}
    assert row["psnr_y"] > alone["psnr_y"]
    table = results_table([row], "mine").splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == ["bicubic", "nearest", "mine"]
    assert "beside" not in alone
    assert figures == [(["bicubic", "nearest", "mine", "HR"], "mine")]
    assert [p.name for p in (tmp_path / "figures").iterdir()] == ["images_image0.png"]


def test_self_ensembles_average_the_eight_flips_and_rotations(small_run, image_folder):
    model, dataset = load_upscaler(small_run), folder_dataset(image_folder, 2)
    (row,) = evaluate(model, [dataset], self_ensemble=True)
    lr, hr = read_pair(dataset.sources[0], 2)
    members = []
    for turns, flip in product(range(4), (False, True)):
        turned = np.rot90(lr[:, ::-1] if flip else lr, turns)
        back = np.rot90(model.predict(turned)[0], -turns)
        members.append(back[:, ::-1] if flip else back)
    mean = np.clip(np.mean(members, axis=0).round(), 0, 255).astype(np.uint8)
    assert row["per_image"][0]["psnr_y"] == pytest.approx(psnr_y(mean, hr, 2), abs=0.01)
    assert row["self_ensemble"]
    assert "self_ensemble" not in evaluate(model, [dataset])[0]


def test_the_scale_of_maps_of_measurements_follows_the_errors(tmp_path, monkeypatch):
    folder = write_heights(tmp_path / "heights", 1)
    dataset = folder_dataset(folder, 2, Pixels(1, ValueRange.of([900, 1100])))
    tops = []
    monkeypatch.setattr(protocol, "comparison_figure", lambda *given: tops.append(given[-1]))
    evaluate(Bicubic(), [dataset], tmp_path / "figures", 1)
    assert 0 < tops[0] < 20  # of photographs


def test_a_table_of_crops_says_so(image_folder):
    dataset = folder_dataset(image_folder, 2)
    (row,) = evaluate(Bicubic(), [cropped(dataset, 32)])
    (whole,) = evaluate(Bicubic(), [dataset])
    assert row["crop"] == 32
    assert "crop" not in whole
    assert row["psnr_y"] != whole["psnr_y"]
    note = "Only the central 32x32 pixels of each image: not comparable with published results."
    assert results_table([row], "mine").splitlines()[-1] == note
    assert note not in results_table([whole], "mine")


def test_degraded_test_images(image_folder):
    """The bicubic row is computed from the degraded LR images too, the same in each call."""
    plain = folder_dataset(image_folder, 2)
    dataset = degraded(plain, "noise:10+jpeg:40")
    (clean,), (row,) = evaluate(Bicubic(), [plain]), evaluate(Bicubic(), [dataset])
    assert row["degrade"] == "noise:10 + jpeg:40"
    assert row["psnr_y"] == row["bicubic_psnr_y"] < clean["psnr_y"] - 1
    assert evaluate(Bicubic(), [dataset]) == [row]
    title = "| PSNR-Y dB / SSIM-Y, LR degraded by noise:10 + jpeg:40 |"
    assert results_table([row], "mine").startswith(title)
    assert "degrade" not in clean
    assert "degraded" not in results_table([clean], "mine")


def test_an_image_too_small_for_the_protocol_is_one_line(image_folder):
    write_rgb(image_folder / "a.png", noise_image(14, 40))
    with pytest.raises(
        UserError, match=r"a\.png: 40x14 pixels; evaluation at x2 needs at least 15 pixels per side"
    ):
        evaluate(Bicubic(), [folder_dataset(image_folder, 2)])
