"""Evaluation on test sets, assessment of theta, and their tables and figures."""

from typing import TYPE_CHECKING

from udl_tf._support.lazy import lazy_names

if TYPE_CHECKING:
    from udl_tf.evaluation.protocol import evaluate as evaluate
    from udl_tf.evaluation.protocol import results_table as results_table
    from udl_tf.evaluation.theta_measure import measure as measure
    from udl_tf.evaluation.theta_report import assess as assess

__all__ = ["assess", "evaluate", "measure", "results_table"]

__getattr__ = lazy_names(
    __name__,
    {
        "assess": "theta_report",
        "evaluate": "protocol",
        "measure": "theta_measure",
        "results_table": "protocol",
    },
)
