"""Estimates that tests of several files share."""

import numpy as np
import scipy.stats

from smcweights.estimate import Estimate

# asymmetric on purpose: no two components, variances or covariances are alike
VALUE = np.array([2.0, -0.5, 3.0])
COVARIANCE = np.array([[0.04, 0.01, -0.02], [0.01, 0.09, 0.03], [-0.02, 0.03, 0.25]])
NAMES = ("mean", "lowest", "third")
FACTOR = np.linalg.cholesky(COVARIANCE)


def example(**changes):
    arguments = {"names": NAMES, "method": "demo", "cost": {"evaluations": 100}} | changes
    if "factor" not in arguments:
        arguments.setdefault("covariance", COVARIANCE)
    return Estimate(arguments.pop("value", VALUE), arguments.pop("covariance", None), **arguments)


def coverage_bounds(n, level, false_alarm=1e-7):
    return scipy.stats.binom.interval(1 - false_alarm, n, level)
