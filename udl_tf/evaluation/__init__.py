"""Evaluation on test sets, calibration of theta on images, and their tables and figures."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.evaluation.protocol import evaluate as evaluate
    from udl_tf.evaluation.protocol import results_table as results_table
    from udl_tf.evaluation.theta_fit import calibrate as calibrate
    from udl_tf.evaluation.theta_fit import measure as measure
    from udl_tf.evaluation.theta_report import assess as assess

__all__ = ["assess", "calibrate", "evaluate", "measure", "results_table"]

__getattr__ = lazy_names(
    __name__,
    {
        "assess": "theta_report",
        "calibrate": "theta_fit",
        "evaluate": "protocol",
        "measure": "theta_fit",
        "results_table": "protocol",
    },
)
