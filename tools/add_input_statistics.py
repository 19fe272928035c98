"""Stores statistics of the calibration images in a calibrated model, or replaces them.

python tools/add_input_statistics.py --model edsr_s_x4 --data DATA/train/BSDtest200 ...

Weights and theta stay as they are. --data are the images that theta was calibrated on, --degrade
their degradations.
"""

from collections.abc import Sequence
from pathlib import Path

from udl_tf._support import command_line
from udl_tf.config import Degradation
from udl_tf.data.sources import degraded, folder_datasets
from udl_tf.data.store import read_pair
from udl_tf.errors import UserError
from udl_tf.evaluation.theta_measure import signs_of
from udl_tf.hub import presets
from udl_tf.saved.bundle import chosen_degradations, read_manifest, write_calibration
from udl_tf.uncertainty.inputs import InputStatistics, input_statistics


def add_input_statistics(
    model: Path,
    data: Sequence[Path | str],
    operations: str | Sequence[Degradation] | None = None,
) -> InputStatistics:
    """Stores the statistics of the calibration images in a model.

    Args:
        model: preset or run folder, calibrated.
        data: folders of the HR images of the calibration.
        operations: degradations of their LR images, as for udl_tf.data.sources.degraded.

    Raises:
        UserError: if the model is not calibrated, or on another number of images, or data are
            missing, or the images are too small.
    """
    manifest = read_manifest(model)
    calibration = manifest.calibration
    if calibration is None:
        raise UserError(f"{model}: not calibrated: run udl-tf calibrate on it")
    scale = manifest.architecture.scale
    datasets = [degraded(dataset, operations) for dataset in folder_datasets(data, scale)]
    sources = [source for dataset in datasets for source in dataset.sources]
    if len(sources) != calibration.images:
        raise UserError(
            f"{model}: is calibrated on {calibration.data}; the data are {len(sources)} images:"
            " give those of the calibration",
            argument="data",
        )
    statistics = input_statistics(
        [signs_of(source, read_pair(source, scale)[0], scale) for source in sources]
    )
    if statistics is None:
        raise UserError("the images are too few or too small for statistics: expected at least 10")
    write_calibration(model, calibration.model_copy(update={"inputs": statistics}))
    return statistics


def main(arguments: list[str] | None = None) -> None:
    parser = command_line.make_parser("python tools/add_input_statistics.py", __doc__)
    parser.add_argument("--model", required=True, help="calibrated model")
    parser.add_argument("--data", required=True, nargs="+", help="folders of its HR images")
    command_line.add_degrade(parser)
    options = parser.parse_args(arguments)
    model = presets.find(options.model)
    operations = chosen_degradations(options.degrade, model)
    statistics = add_input_statistics(model, options.data, operations)
    print(f"{options.model}: statistics stored, limit {statistics.limit:.2f} spreads")


if __name__ == "__main__":
    command_line.run(main)
