"""Jobs of scenes."""

import math

from udl_tf.inference.scene_jobs import _consistency_lines
from udl_tf.inference.scene_runner import SceneSummary


def test_channels_without_data_have_no_consistency():
    empty = dict.fromkeys(("mean", "rms", "correlation"), math.nan)
    rows = [empty, {"mean": 0.25, "rms": 1.5, "correlation": 0.75}]
    assert _consistency_lines(SceneSummary(1, 0, rows, [])) == [
        "channel 2: the reduced result differs from the input by +0.25 on average, 1.5 RMS"
        " (correlation 0.750000)"
    ]
