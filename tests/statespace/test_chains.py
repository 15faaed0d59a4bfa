"""Conditional filters leave the smoothing law alone.

z-tests: bound 5.5 standard errors from batch means; a false alarm in 10^5 runs of the file.
"""

import collections
import itertools
import math

import numba
import numpy as np
import pytest
from scipy.stats import chi2

import smcweights as smw
from smcweights.statespace import kernels
from smcweights.statespace.chains import sweep
from smcweights.statespace.cloud import Cloud
from smcweights.statespace.compilation import compiled_functional
from smcweights.statespace.series import Series

from . import tiny

H = smw.functionals.sum_of_products


def stationary_sweeps(n, scheme, threshold, method, sweeps, way=0, redraw=False, seed=1):
    """Means of PaRIS and paths along a chain that starts at an exact draw of the tiny model."""
    sums = compiled_functional(tiny.MODEL, tiny.functional, tiny.initial_functional, 4)[:3]
    rng = np.random.default_rng(seed)
    path = tiny.PATHS[rng.choice(16, p=tiny.JOINT / tiny.LIKELIHOOD)]
    cloud = Cloud(
        Series(tiny.MODEL, tiny.Y[:, None].copy(), False, n, scheme, threshold), rng, depth=4,
        sums=sums, draws=2, method=method, backward_depth=4,
    )  # fmt: skip
    cloud.options[kernels.REDRAW] = redraw
    found = sweep(cloud, tiny.Y[:, None].copy(), path, sweeps, way, keep=True)
    return found.means[:, 0], found.paths[..., 0]


def z_score(series, truth, batch=500):
    means = series[: len(series) // batch * batch].reshape(-1, batch).mean(axis=1)
    return (means.mean() - truth) / (means.std(ddof=1) / math.sqrt(len(means)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "scheme", "threshold", "method", "sweeps"),
    [
        (2, "systematic", 1.0, 0, 200_000),
        (3, "systematic", 0.7, 1, 1_000_000),
        (3, "stratified", 1.0, 1, 1_000_000),
        (5, "stratified", 0.5, 2, 200_000),
        (5, "multinomial", 0.5, 2, 200_000),
    ],
)
def test_sweeps_leave_the_tiny_chain_alone_sees_0_025(n, scheme, threshold, method, sweeps):
    # strata that don't turn with the frozen particle are off by 0.035; the law of the ancestors
    # themselves is tested more sharply below
    means, paths = stationary_sweeps(n, scheme, threshold, method, sweeps)
    error = means.reshape(-1, 500).mean(axis=1).std(ddof=1) / math.sqrt(sweeps / 500)
    assert 5.5 * error < (0.025 if sweeps > 500_000 else 0.08)
    assert abs(z_score(means, tiny.TRUTH)) < 5.5
    h = paths.sum(axis=1) + (paths[:, 1:] * paths[:, :-1]).sum(axis=1)
    assert abs(z_score(h, tiny.TRUTH)) < 5.5


def offspring_laws(weights, scheme):
    """Probability of every vector of offspring numbers, by what the scheme says.

    Systematic and stratified teeth start anywhere; between two offsets at which a tooth or the
    edge of a stratum meets a cumulative weight, each probability is a polynomial of the offset, so
    that Gauss's rule is exact.
    """
    n, cumulative = weights.size, np.concatenate([[0.0], np.cumsum(weights)])
    law = collections.defaultdict(float)

    def spread(shares, probability):
        # shares[k, l]: that tooth k falls to particle l
        for picks in itertools.product(range(n), repeat=n):
            p = probability * math.prod(shares[k, pick] for k, pick in enumerate(picks))
            if p > 0:
                law[tuple(np.bincount(picks, minlength=n))] += p

    if scheme == "multinomial":
        spread(np.tile(weights, (n, 1)), 1.0)
        return law
    edges = np.unique(np.concatenate([[0.0, 1.0], n * cumulative % 1.0]))
    nodes, rule = np.polynomial.legendre.leggauss(n)
    for low, high in itertools.pairwise(edges):
        for node, mass in zip(nodes, rule, strict=True):
            offset = low + (high - low) * (node + 1) / 2
            starts = (offset + np.arange(n)) / n
            shares = np.empty((n, n))
            for k, prev in itertools.product(range(n), repeat=2):
                a, b = cumulative[prev], cumulative[prev + 1]
                if scheme == "systematic":
                    shares[k, prev] = a <= starts[k] < b
                else:
                    shares[k, prev] = n * sum(
                        max(0.0, min(b, starts[k] + 1 / n - turn) - max(a, starts[k] - turn))
                        for turn in (0.0, 1.0)
                    )
            spread(shares, (high - low) * mass / 2)
    return law


@numba.njit
def conditional_counts(rng, scheme, weights, slot, runs):
    """How often the frozen particle was l and the offspring numbers had each code."""
    n = weights.size
    found = np.zeros((n, (n + 1) ** n), dtype=np.int64)
    out = np.empty(n, dtype=np.int32)
    cumulative = np.cumsum(weights)
    for _ in range(runs):
        frozen = kernels.find(cumulative, rng.random() * cumulative[-1])
        kernels.resample_around(rng, scheme, weights, slot, frozen, out)
        if out[slot] != frozen:
            return found * 0
        code = 0
        for i in range(n):
            code += (n + 1) ** out[i]
        found[frozen, code] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("slot", [0, 2])
@pytest.mark.parametrize("scheme", ["multinomial", "stratified", "systematic"])
def test_conditional_resampling_is_the_conditional_of_its_scheme(scheme, slot):
    """10^6 draws beside enumeration: P(offspring o, frozen l) = P(o) o_l / N. False alarm 1e-7.

    A systematic scheme with one slot overwritten, or strata that don't turn, fail by far.
    """
    weights, runs = np.array([0.43, 0.07, 0.28, 0.22]), 1_000_000
    code = ["multinomial", "stratified", "systematic"].index(scheme)
    found = conditional_counts(np.random.default_rng(1), code, weights, slot, runs)
    law = offspring_laws(weights, scheme)
    assert sum(law.values()) == pytest.approx(1, abs=1e-12)
    expected = np.zeros_like(found, dtype=float)
    for offspring, p in law.items():
        column = sum(5**prev * number for prev, number in enumerate(offspring))
        # (n + 1)^l summed over the ancestors l
        expected[:, column] += p * np.array(offspring) / 4 * runs
    assert found[expected < 1e-9].sum() == 0
    often = expected > 10
    statistic = ((found[often] - expected[often]) ** 2 / expected[often]).sum()
    assert statistic < chi2.isf(1e-8, often.sum() - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "redraw"), [(1, False), (1, True), (2, False)])
def test_path_updates_leave_the_tiny_chain_alone(way, redraw):
    _, paths = stationary_sweeps(3, "systematic", 1.0, 0, 100_000, way=way, redraw=redraw)
    h = paths.sum(axis=1) + (paths[:, 1:] * paths[:, :-1]).sum(axis=1)
    assert abs(z_score(h, tiny.TRUTH)) < 5.5
    # the whole law, not only a mean: every path's frequency
    codes = (paths @ [8, 4, 2, 1]).astype(int)
    for code in range(16):
        truth = tiny.JOINT[code] / tiny.LIKELIHOOD
        if truth > 0.01:
            assert abs(z_score((codes == code).astype(float), truth)) < 5.5
