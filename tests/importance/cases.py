"""Laws, functions and checks that several test files use."""

import re
import warnings

import numpy as np
from scipy import stats

import smcweights as smw
from smcweights.importance.marginals import Truncated

NORMAL = [stats.norm()] * 2


UNIT = [stats.uniform()] * 3


UNIVARIATE = {
    "norm": stats.norm(3.0, 2.0),
    "lognorm": stats.lognorm(0.5, 1.0, 2.0),
    "uniform": stats.uniform(-1.0, 3.0),
    "expon": stats.expon(1.0, 2.0),
    "triang": stats.triang(0.3, 2.0, 5.0),
    "triang left": stats.triang(0.0, 2.0, 5.0),
    "triang right": stats.triang(1.0, 2.0, 5.0),
    "gumbel_r": stats.gumbel_r(1013.0, 558.0),
    "gamma": stats.gamma(2.5, 0.0, 3.0),
    "beta": stats.beta(2.0, 5.0),
    "t": stats.t(4.0),
    "betaprime": stats.betaprime(5.0, 6.0),
    "weibull": stats.weibull_min(1.7),
    "truncated gumbel": Truncated(stats.gumbel_r(1013.0, 558.0), 500.0, 3000.0),
    "truncated tail": Truncated(stats.norm(0.0, 1.0), 9.0, 12.0),
    "new style": stats.Normal(mu=1.0, sigma=0.5),
}


def smooth_and_tail(x):
    s = x.sum(axis=1)
    return np.stack([np.exp(s / 2), s > 3], axis=1)


def square(x):
    return x[:, 0] ** 2


def exponential(x, scale):
    return np.exp(x @ (scale * np.array([0.8, 0.5, 0.2])))


LAW = {"a": stats.norm(), "b": stats.expon()}


def pair(x):
    return np.stack([x[:, 0] ** 2 + x[:, 1], x[:, 0] > 2], axis=1)


def quiet(call, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return call(*args, **kwargs)


def told(match, call, *args, **kwargs):
    """The result of a call, one of whose cautions matches."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", smw.PrecisionWarning)
        result = call(*args, **kwargs)
    assert any(re.search(match, str(w.message)) for w in caught), caught
    return result


def coverage(run, truth, seeds):
    """Shares of seeds whose interval covers, and whose interval covers or which warned."""
    truth = np.atleast_1d(truth)
    covered, told = np.zeros(len(truth)), np.zeros(len(truth))
    for seed in range(seeds):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimate = run(seed)
        assert all(issubclass(w.category, smw.PrecisionWarning) for w in caught)
        lower, upper = map(np.atleast_1d, estimate.interval())
        inside = (lower <= truth) & (truth <= upper)
        covered += inside
        told += inside | bool(caught)
    return covered / seeds, told / seeds


def lower_bound(seeds, error=1e-6):
    """A coverage of 0.95 falls below this with probability ``error``."""
    return stats.binom.ppf(error, seeds, 0.95) / seeds


def bounds(count):
    return stats.binom(count, 0.95).ppf([5e-7, 1 - 5e-7]) / count


def covered(indices, expected):
    lower, upper = indices.interval()
    return (lower <= expected) & (expected <= upper)


def runs(function, law, budget, seeds, **options):
    with warnings.catch_warnings():
        # what is promised is judged over all seeds
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        return [smw.sobol_indices(function, law, budget, seed=s, **options) for s in range(seeds)]
