"""What TensorBoard reads from the log of a step."""

import io

import numpy as np
from helpers.images import noise_image
from helpers.runs import curve
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

from udl_tf.training.tensorboard import TensorBoardLog


def test_tensorboard_reads_scalars_and_the_image(tmp_path):
    pixels = noise_image(8, 20)
    board = TensorBoardLog(tmp_path / "step1-l1")
    assert board.step == "step1-l1"
    board.write_scalars({"train/loss": 2.5, "validation/psnr_y": 30.25}, 10)
    board.flush()
    assert curve(tmp_path / "step1-l1", "train/loss") == {10: 2.5}
    board.write_scalars({"train/loss": 0.5}, 20)
    board.write_image("validation/row", pixels, 20)
    board.close()
    assert curve(tmp_path / "step1-l1", "train/loss") == {10: 2.5, 20: 0.5}
    assert curve(tmp_path / "step1-l1", "validation/psnr_y") == {10: 30.25}
    # TensorBoard's own reader, in whose form an image is (width, height, file).
    events = EventAccumulator(str(tmp_path / "step1-l1"), {"tensors": 0})
    events.Reload()
    (image,) = events.Tensors("validation/row")
    width, height, png = image.tensor_proto.string_val
    assert (image.step, width, height) == (20, b"20", b"8")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)
    assert events.SummaryMetadata("validation/row").plugin_data.plugin_name == "images"


def test_steps_share_one_axis(tmp_path):
    for folder, before in (("step1-esu", 0), ("step2-udl", 30)):
        board = TensorBoardLog(tmp_path / folder, before)
        for update in (15, 30):
            board.write_scalars({"validation/psnr_y": 30.0}, update)
        board.close()
    points = [list(curve(tmp_path / f, "validation/psnr_y")) for f in ("step1-esu", "step2-udl")]
    assert points == [[15, 30], [45, 60]]
