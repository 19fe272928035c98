"""Calibrates theta and measures its quality: functions of arrays.

Throughout, e = hr - sr is the error in grey levels and theta its predicted Laplace scale:
p(e) = 1/(2 theta) exp(-|e|/theta).
"""

from udl_tf.uncertainty.conformal import (
    conformal_factor,
    fewest_images,
    hoeffding_bentkus,
    risk_bound,
)
from udl_tf.uncertainty.fit import Sample, calibrate
from udl_tf.uncertainty.laplace import (
    LEVELS,
    coverage,
    expected_psnr,
    fit_affine,
    fit_scale,
    laplace_factor,
    laplace_nll,
    measured_factors,
)
from udl_tf.uncertainty.ranking import (
    FRACTIONS,
    aurg,
    ause,
    ence,
    reliability,
    sparsification,
    spearman,
    uce,
)
from udl_tf.uncertainty.record import Calibration, Conformal

__all__ = [
    "FRACTIONS",
    "LEVELS",
    "Calibration",
    "Conformal",
    "Sample",
    "aurg",
    "ause",
    "calibrate",
    "conformal_factor",
    "coverage",
    "ence",
    "expected_psnr",
    "fewest_images",
    "fit_affine",
    "fit_scale",
    "hoeffding_bentkus",
    "laplace_factor",
    "laplace_nll",
    "measured_factors",
    "reliability",
    "risk_bound",
    "sparsification",
    "spearman",
    "uce",
]
