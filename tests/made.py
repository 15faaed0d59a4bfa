"""A result of every kind, made by hand: nothing is computed for it."""

import dataclasses
import math

import numpy as np
import xarray
from estimates import example

import smcweights as smw

RNG = np.random.default_rng(7)
CAUTION = smw.Caution("heavy-tails", "k-hat is 0.9")
ROOT = np.random.SeedSequence(2**100 + 1, spawn_key=(3,))


def scalar(value, error=0.1, **more):
    return smw.Estimate(value, error**2, **more)


def sobol():
    names = ["first a", "first bü", "total a", "total bü"]
    value, spread = [0.5, -0.001, 0.6, 0.2], np.diag([1e-4, 4e-6, 1e-4, 9e-4])
    indices = smw.Estimate(value, spread, names=names, cautions=[CAUTION], cost={"evaluations": 64})
    first, total = (indices[at].revised(names=["a", "bü"]) for at in (slice(0, 2), slice(2, 4)))
    mean, variance = scalar(3.5, names="Y"), scalar(13.8, names="Y")
    return smw.SobolIndices(
        indices, first, total, None, mean, variance, ("a", "bü"), ("Y",), "demo", object()
    )


def shapley():
    effects = smw.Estimate([0.3, 0.7], np.eye(2) / 400, names=["a", "bü"], cost={"evaluations": 90})
    mean, variance = scalar(3.5, names="mean"), scalar(13.8, names="variance")
    return smw.ShapleyEffects(effects, mean, variance, ("a", "bü"), ("Y",))


def filtered(store=True):
    x, shape = RNG.standard_normal((4, 5, 2)), (4, 5)
    kept = (x, np.full(shape, -math.log(5)), RNG.integers(0, 5, shape, dtype=np.int32))
    return smw.FilterResult(
        scalar(-12.5, method="particle_filter"),
        x.mean(1),
        x.var(1),
        np.full(4, 5.0),
        np.array([-3.0, np.nan, -3.25, -np.inf]),
        *(kept if store else (None,) * 3),
        model=len,
        y=RNG.standard_normal((4, 1)),
        root=ROOT,
    )


def fitted():
    theta = example(method="maximum_likelihood", cautions=[CAUTION])
    return smw.Fit(
        theta,
        theta.revised(covariance=theta.covariance / 9),
        len,
        RNG.standard_normal((2, 30, 3)),
        information=theta.revised(method="observed information"),
        transforms=("identity", "identity", "log"),
        diagnostics={"averaged": 15, "paths": (np.zeros((2, 4)),), "newton_step": np.float64(0.1)},
    )


def sequences(log_evidence=True):
    return smw.WeightedSequences(
        [(0, 2, 1), (), (2,), (1, 1)],
        np.array([-1.5, -np.inf, 0.0, -0.25]),
        scalar(-0.5, 0.02, names="log evidence", bounds=(-math.inf, 0.0)) if log_evidence else None,
        "ok" if log_evidence else "dead",
        {
            "ess": np.array([[2.0, 1.5, 1.0], [2.0, 2.0, 2.0]]),
            "dead": np.array([[0, 0, 1], [0, 0, 0]]),
            "ancestors": np.array([[0, 0], [0, 1]]),
            "deaths": np.zeros((2, 3, 4), np.int64),
        },
        2,
        {"evaluations": 12, "seconds": 0.5},
        {"method": "constrained sequences", "seed": {"entropy": 2**100, "spawn_key": []}},
        [(0,)],
    )


def drawn(sets=False):
    pair = (np.array([4, 7]), np.array([-2.0, -2.5])) if sets else None
    return smw.WeightedDraw(4, -1.25, (-3.0, -0.5), 9, 4, 5, "ok", math.nan, pair)


def dead():
    none = (-math.inf, -math.inf)
    return smw.WeightedDraw(-1, -math.inf, none, 9, 0, 9, "dead", math.nan)


def flow(traced=True):
    t = 3 if traced else 0
    return smw.SlicedFlow(
        RNG.standard_normal((6, 2)).astype(np.float32),
        np.arange(t),
        np.linspace(1.0, 0.1, t),
        RNG.standard_normal((t, 6, 2)),
        {"method": "sliced_gradient_flow", "seed": {"entropy": 5}},
    )


def two_samples():
    permuted = RNG.gamma(2.0, size=99)
    return smw.SlicedTest(4.5, 0.04, permuted, (20, 30), (0.5, math.nan), (CAUTION,))


def by_columns():
    names, table = (
        ("a", "bü", "c"),
        {"distance": RNG.random(3), "p_value": np.array([0.01, 0.5, 1])},
    )
    return dataclasses.replace(two_samples(), names=names, by_column=table)


def climbed():
    return smw.MaxSliced(1.5, np.array([0.6, -0.8]), np.array([1.5, 1.4, 1.5e-3]))


def sloped():
    value = RNG.standard_normal((5, 2))
    distance = scalar(1.5, method="sliced Wasserstein distance", degrees_of_freedom=4)
    return smw.SlicedGradient(value, np.abs(value) / 10, distance)


def perturbed():
    grid, names = np.array([-0.5, 0.5]), [f"{i} {g} {e}" for i in "ab" for g in "-+" for e in "xy"]
    value = smw.Estimate(np.arange(8.0), np.eye(8) / 100, names=names, method="reweighting")
    return smw.PerturbationStudy(value, ("a", "b"), "shift", grid, ("x", "y"))


def calibrated():
    held = RNG.random((20, 2, 3)) < 0.9
    numbers, levels, truth = RNG.random((20, 2)), np.array([0.5, 0.9, 0.95]), np.ones(2)
    warned, seeds = RNG.random(20) < 0.2, np.arange(20)
    return smw.Calibration(("a", "bü"), truth, levels, seeds, numbers, numbers, held, warned)


def known(d=2):
    """Laws of two times as Kalman and forward-backward give them."""
    means, covariances = RNG.standard_normal((2, d)), np.array([np.eye(d), 2 * np.eye(d)])
    if d == 1:
        means, covariances = means[:, 0], covariances[:, 0, 0]
    return means, covariances


def kalman_filtered():
    return smw.GaussianFiltering(*known(), *known(), -3.5)


def kalman_smoothed():
    means, covariances = known(1)
    return smw.GaussianSmoothing(means, covariances, covariances[:1] / 2, -3.5)


def kalman_ahead():
    return smw.GaussianForecast(*known(), *known(1))


def finite():
    return smw.FiniteSmoothing(np.array([[0.25, 0.75], [0.5, 0.5]]), np.full((1, 2, 2), 0.25), -1.5)


def posterior(quantiles=True):
    names = ["log evidence", "a", "bü", "sd[a]", "sd[bü]"]
    joint = smw.Estimate(
        [-3.5, 0.1, 2.0, 1.0, 0.5], np.eye(5) / 100, names=names, method="posterior"
    )
    at = scalar([0.1, 2.0], np.eye(2), names=["q0.5[a]", "q0.5[bü]"]) if quantiles else None
    draws, logs = RNG.standard_normal((9, 2)), RNG.standard_normal(9)
    told = {"beta": 1.0, "stages": [{"kind": "prior", "draws": 9}]}
    return smw.Posterior(
        joint, at, ("a", "bü"), draws, logs, logs - 1, logs - 2, np.array([[-np.inf] * 2, [3, 4]]),
        np.arange(9) % 2, (CAUTION,), told,
    )  # fmt: skip


def selected():
    both = scalar([2.5, 2.0], np.eye(2), names=["raw", "selected"], method="importance resampling")
    gain = both.apply([1.0, -1.0], names="KL reduction")
    return smw.Selection(np.array([0, 3]), RNG.standard_normal(5), gain, both)


def whole_law():
    weights, z = RNG.gamma(20.0, 0.05, 300), RNG.standard_normal((300, 2))
    names = ["a: q(0.5)", "b: q(0.5)"]
    limits = np.linspace(1, 2, 6)[:, None, None] * np.tile([-1.0, 1.0], (2, 1))
    quantiles = smw.Estimate([0.1, 0.0], np.eye(2), names=names, limits=limits, method="output law")
    mean = smw.Estimate(
        [0.1, 0.2], np.eye(2), names=["mean of a", "mean of b"], method="output law"
    )
    sample = {"values": (("draw", "expectation"), RNG.standard_normal((30, 2)))}
    mean = mean.revised(cost={"evaluations": 500}, sample=sample)
    return smw.OutputLaw(
        quantiles,
        None,
        mean,
        ("a", "b"),
        RNG.standard_normal((300, 2)),
        weights,
        (z - z.mean(0)) / 10,
        np.array([0.01, -0.02]),
        np.array([200, 100]),
        np.sort(RNG.gamma(9.0, 1 / 3, (2, 50))),
        0.9,
        (CAUTION,),
    )


def fitted_inputs():
    total = scalar(0.01, method="input uncertainty", cautions=[CAUTION])
    shares = smw.Estimate([0.2, 0.8], np.eye(2) / 100, names=["computation", "a"])
    return smw.InputUncertainty(
        total, scalar(0.01, 0.02), scalar(0.01, 0.09), shares, ("a",), (30,)
    )


def foreseen():
    names = ["y[4]", "y[5]"]
    two, four = scalar([0.5, 1.0], np.eye(2), names=names), scalar(np.arange(4.0), np.eye(4))
    draws = xarray.Dataset({"x": (("draw", "horizon"), RNG.standard_normal((3, 2)))})
    draws = draws.assign_coords(horizon=[4, 5])
    return smw.Forecast(two, four, two, four, (0.1, 0.9), draws)


def checked():
    p_values = {"correlation": 0.5, "spread": 0.25, "law": 0.125}
    return smw.PredictiveCheck(RNG.random(15), RNG.standard_normal(15), p_values, 0.375)


MAKERS = {
    "Selection": [selected],
    "Forecast": [foreseen],
    "PredictiveCheck": [checked],
    "Posterior": [posterior, lambda: posterior(False)],
    "Calibration": [calibrated],
    "ShapleyEffects": [shapley],
    "SobolIndices": [sobol],
    "FilterResult": [filtered, lambda: filtered(False)],
    "Fit": [fitted],
    "WeightedSequences": [sequences, lambda: sequences(False)],
    "WeightedDraw": [drawn, lambda: drawn(True), dead],
    "SlicedFlow": [flow, lambda: flow(False)],
    "SlicedTest": [two_samples, by_columns],
    "MaxSliced": [climbed],
    "SlicedGradient": [sloped],
    "PerturbationStudy": [perturbed],
    "GaussianFiltering": [kalman_filtered],
    "GaussianSmoothing": [kalman_smoothed],
    "GaussianForecast": [kalman_ahead],
    "FiniteSmoothing": [finite],
    "OutputLaw": [whole_law],
    "InputUncertainty": [fitted_inputs],
}
CASES = [(kind, make) for kind, makers in MAKERS.items() for make in makers]
