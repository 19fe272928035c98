"""Draws the ROC of the alarm for images unlike the calibration images, for docs/uncertainty.md.

python tools/make_alarm_figure.py --model edsr_light_x4 --data DATA/benchmark/BSD100 ...

Prints the share of images with an alarm, per test set and degradation, and draws the ROC of the
first set.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from udl_tf._support import command_line
from udl_tf._support.tables import markdown_table
from udl_tf.data.sources import Dataset, degraded, folder_datasets
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.saved.bundle import read_manifest
from udl_tf.uncertainty.inputs import InputStatistics

DOCS = Path(__file__).parents[1] / "docs"
OPERATIONS = (
    *("jpeg:10", "jpeg:20", "jpeg:30", "jpeg:50", "jpeg:75", "jpeg:90", "webp:50"),
    *("noise:2", "noise:5", "noise:10", "blur:0.6", "blur:1.2", "blur:2"),
)
_DRAWN = ("jpeg:30", "jpeg:75", "jpeg:90", "noise:2", "noise:5", "blur:0.6", "blur:1.2")


def largest_deviations(dataset: Dataset, scale: int, statistics: InputStatistics) -> np.ndarray:
    """Returns the largest deviation of each LR image that is large enough; alarms are above 1."""
    found = (statistics.deviations(read_pair(source, scale)[0]) for source in dataset.sources)
    return np.array([max(deviations.values()) for deviations in found if deviations is not None])


def roc(clean: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the shares of clean and of other images with an alarm, over all limits."""
    limits = np.sort(np.concatenate([clean, other]))[::-1]
    return tuple((scores[:, None] >= limits).mean(axis=0) for scores in (clean, other))


def draw(clean: np.ndarray, others: dict[str, np.ndarray], title: str, path: Path) -> None:
    """Draws the ROC of each degradation."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for operation in _DRAWN:
        false, true = roc(clean, others[operation])
        area = np.trapezoid([0, *true], [0, *false])
        axes.plot([0, *false], [0, *true], label=f"{operation} (area {area:.3f})")
    axes.plot([0, 1], [0, 1], ":", color="grey", label="chance (area 0.500)")
    axes.set(xlabel="clean images with an alarm", ylabel="degraded images with an alarm")
    axes.set(title=title, xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=110, pil_kwargs={"quality": 85})


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/make_alarm_figure.py", __doc__)
    parser.add_argument("--model", required=True, help="calibrated model")
    parser.add_argument("--data", required=True, nargs="+", help="folders of HR images")
    parser.add_argument(
        "--output", type=Path, default=DOCS / "alarm_roc.webp", help="default: docs/alarm_roc.webp"
    )
    options = parser.parse_args(arguments)
    manifest = read_manifest(options.model)
    statistics = manifest.calibration and manifest.calibration.inputs
    if statistics is None:
        raise UserError(f"{options.model}: has no statistics of inputs: run udl-tf calibrate on it")
    scale, rows = manifest.architecture.scale, [["LR images", "clean", *OPERATIONS]]
    for index, dataset in enumerate(folder_datasets(options.data, scale)):
        clean, *others = (
            largest_deviations(degraded(dataset, operation), scale, statistics)
            for operation in (None, *OPERATIONS)
        )
        alarms = (f"{(scores > 1).sum()}" for scores in (clean, *others))
        rows.append([f"{dataset.name} ({len(clean)})", *alarms])
        if index == 0:
            found = dict(zip(OPERATIONS, others, strict=True))
            draw(clean, found, f"{dataset.name}, ×{scale}", options.output)
    print(markdown_table(rows), end="")
    print(f"written: {options.output}")


if __name__ == "__main__":
    command_line.run(main)
