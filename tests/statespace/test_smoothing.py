"""PaRIS against Kalman and enumeration.

z-tests: bound 5.5 standard errors of repeated runs; a false alarm in 10^5 runs of the file.
"""

import math
import warnings

import numpy as np
import pytest
from killed import bits, killed_and_resumed

import smcweights as smw
from smcweights import _compat
from smcweights.statespace import kernels
from smcweights.statespace.chains import sweep
from smcweights.statespace.cloud import Cloud
from smcweights.statespace.compilation import compiled, compiled_functional
from smcweights.statespace.series import Series
from smcweights.statespace.smoothing import Sums

from . import tiny
from .test_filtering import EXACT, LINEAR, Y

PRODUCTS = (EXACT.means[1:] * EXACT.means[:-1] + EXACT.lag_one_covariances).sum()
SQUARES = (EXACT.means**2 + EXACT.covariances).sum()


@pytest.mark.slow
@pytest.mark.parametrize("backward", ["rejection", "exact", "mcmc"])
def test_backward_draws_agree_with_kalman(backward):
    # large enough that the bias, about T/N, is far below the error
    est = smw.paris(
        LINEAR, Y, smw.functionals.sum_of_products, 400, backward=backward, repeats=12, seed=1
    )
    assert abs(est.value - PRODUCTS) < 5.5 * est.standard_error
    assert est.standard_error < 3


@pytest.mark.slow
def test_all_marginal_means_at_once():
    est = smw.paris(LINEAR, Y, smw.functionals.states, 1_500, repeats=12, seed=2)
    assert est.value.shape == Y.shape and est.names[3] == "x[3]"
    # Student's t with 11 degrees of freedom, 40 components: false alarm 1e-4
    assert (np.abs(est.value - EXACT.means) / est.standard_error).max() < 8


@pytest.mark.slow
def test_several_sums_of_the_users():
    est = smw.paris(
        LINEAR, Y, lambda x_prev, x, t: (x_prev * x, x * x), 1_500,
        initial_functional=lambda x: (0.0, x * x), names=["products", "squares"], repeats=12,
        seed=3,
    )  # fmt: skip
    assert est.names == ("products", "squares")
    z = (est.value - [PRODUCTS, SQUARES]) / est.standard_error
    assert np.abs(z).max() < 5.5
    # sums of one run share its error
    assert est.covariance[0, 1] > 0


def tiny_runs(n, runs, method, scheme="multinomial"):
    sums = compiled_functional(tiny.MODEL, tiny.functional, tiny.initial_functional, 4)[:3]
    rows = tiny.Y[:, None].copy()
    cloud = Cloud(
        Series(tiny.MODEL, rows, False, n, scheme, 1.0), np.random.default_rng(1), depth=4,
        sums=sums, draws=2, method=method, backward_depth=4,
    )  # fmt: skip
    return np.array([sweep(cloud, rows, None, 1, 0).means[0, 0] for _ in range(runs)])


@pytest.mark.slow
@pytest.mark.parametrize("method", [0, 1, 2], ids=["exact", "rejection", "mcmc"])
def test_the_bias_of_a_tiny_run_is_as_published(method):
    # -0.97 with three particles, of the exact backward law: seen to 0.15
    found = tiny_runs(3, 2_500, method) - tiny.TRUTH
    if method < 2:
        assert abs(found.mean() + 0.97) < 5.5 * found.std() / math.sqrt(found.size) + 0.005
    else:
        assert -1.3 < found.mean() < -0.5


@pytest.mark.slow
@pytest.mark.parametrize("cap", [0, 1, 4, 20])
def test_backward_draws_have_the_backward_law_whatever_the_cap(cap):
    """All draws to one state beside their law; cap 0 is the exact draw. False alarm 1e-7."""
    from scipy.stats import chi2

    n, draws, calls = 20, 3, 800
    rng = np.random.default_rng(1)
    before = rng.standard_normal((n, 1))
    log_w = -rng.exponential(size=n)
    log_w[4] = -np.inf
    log_w -= np.log(np.exp(log_w).sum())
    law = np.exp(log_w - 0.5 * (0.8 - 0.9 * before[:, 0]) ** 2)
    acceptance = law.sum()
    law /= acceptance
    now = np.full((n, 1), 0.8)
    functions = compiled(LINEAR, False)
    tally = np.zeros(3, dtype=np.int64)
    report = kernels.Report(tally, np.zeros(4, dtype=np.int64))
    step = kernels.Step(before, log_w, now, np.zeros(n, dtype=np.int32), 1, LINEAR.theta.copy())
    picks, counts = np.zeros((n, draws), dtype=np.int32), np.zeros((2, n))
    for _ in range(calls):
        code = kernels.ready(kernels.backward_draws)(
            functions.pair, functions.bound, functions.reject, rng,
            kernels.HYBRID if cap else kernels.EXACT, cap, step, picks, report,
        )  # fmt: skip
        assert code == kernels.FINE
        counts[0] += np.bincount(picks[:, 0], minlength=n)
        counts[1] += np.bincount(picks.ravel(), minlength=n)
    assert counts[:, 4].max() < 1e-9
    for found, runs in zip(counts, (n * calls, n * calls * draws), strict=True):
        expected = np.delete(law, 4) * runs
        statistic = ((np.delete(found, 4) - expected) ** 2 / expected).sum()
        assert statistic < chi2.isf(1e-8, n - 2)
    # how often all tries fail is known, too
    failure = (1 - acceptance) ** cap
    assert tally[0] == n * calls * draws and tally[1] <= tally[0] * cap
    error = math.sqrt(failure * (1 - failure) / tally[0])
    assert abs(tally[2] / tally[0] - failure) <= 5.5 * error + 1e-4


def leveraged_returns(n_steps, persistence, volatility, leverage, scale):
    rng = np.random.default_rng(1)
    y = np.empty(n_steps)
    x = volatility / math.sqrt(1 - persistence**2) * rng.standard_normal()
    for t in range(n_steps):
        shock, other = rng.standard_normal(2)
        y[t] = scale * math.exp(x / 2) * shock
        x = persistence * x + volatility * (leverage * shock + math.sqrt(1 - leverage**2) * other)
    return y


def leverage_on_a_grid(y, persistence, volatility, leverage, scale):
    """Log likelihood and smoothed means, by sums over a grid of log variances."""
    grid = np.linspace(-7, 7, 1_001)
    step = grid[1] - grid[0]

    def normal(z, sd):
        return np.exp(-0.5 * (z / sd) ** 2) / sd / math.sqrt(2 * math.pi)

    forward, kernels_of, likelihoods = [], [], []
    for t, value in enumerate(y):
        missing = np.isnan(value)
        likelihoods.append(
            np.ones_like(grid) if missing else normal(value, scale * np.exp(grid / 2))
        )
        mean, sd = persistence * grid, volatility
        if not missing:
            mean = mean + volatility * leverage * value / scale * np.exp(-grid / 2)
            sd = volatility * math.sqrt(1 - leverage**2)
        prior = (
            forward[-1] @ kernels_of[-1]
            if t
            else normal(grid, volatility / math.sqrt(1 - persistence**2))
        )
        forward.append(prior * likelihoods[-1])
        kernels_of.append(normal(grid - mean[:, None], sd) * step)
    backward, means = np.ones_like(grid), np.empty(len(y))
    for t in range(len(y) - 1, -1, -1):
        weight = forward[t] * backward
        means[t] = weight @ grid / weight.sum()
        if t:
            backward = kernels_of[t - 1] @ (likelihoods[t] * backward)
    return math.log(forward[-1].sum() * step), means


# made once, compiled once: a model that knows the series has functions of its own
NUMBERS = {"persistence": 0.9, "volatility": 0.4, "leverage": -0.8, "scale": 1.5}
RETURNS = leveraged_returns(40, **NUMBERS)
RETURNS[7] = np.nan
LEVERAGE = smw.models.stochastic_volatility(**NUMBERS, returns=RETURNS)


@pytest.mark.slow
def test_leverage_agrees_with_a_grid():
    model, y = LEVERAGE, RETURNS
    log_likelihood, means = leverage_on_a_grid(y, **NUMBERS)
    smw.check_model(model, y, n_draws=4_000, seed=1)
    found = smw.particle_filter(model, y, 2_000, repeats=12, seed=1).log_likelihood
    assert abs(found.value - log_likelihood) < 5.5 * found.standard_error
    assert found.standard_error < 0.1
    est = smw.paris(model, y, smw.functionals.states, 1_000, repeats=12, seed=2)
    # Student's t with 11 degrees of freedom, 40 components: false alarm 1e-4
    assert (np.abs(est.value - means) / est.standard_error).max() < 8
    mirrored = leverage_on_a_grid(y, **{**NUMBERS, "leverage": 0.8})[1]
    assert (np.abs(mirrored - means) / est.standard_error).max() > 20
    for other in (y[::-1], np.append(y, 0.3)):
        with pytest.raises(smw.ModelError, match="y: not the returns that the model was made with"):
            smw.particle_filter(model, other, 50, seed=1)


@pytest.mark.slow
def test_densities_that_know_the_series_are_differentiated():
    from smcweights.statespace.learning.differentiation import gradients

    found = gradients(LEVERAGE, RETURNS[:, None].copy(), False)
    x = np.linspace(-1, 1, 40)[:, None, None]
    seen = ~np.isnan(RETURNS)
    y = np.where(seen, RETURNS, 0.0)[:, None]

    def log_joint(theta):
        return float(found.log_joint(theta, x, y, seen)[0])

    with _compat.enable_x64():
        slope = np.asarray(found.mean_score(LEVERAGE.theta, x, y, seen))
        for k in range(4):
            step = np.eye(4)[k] * 1e-5
            difference = log_joint(LEVERAGE.theta + step) - log_joint(LEVERAGE.theta - step)
            assert slope[k] == pytest.approx(difference / 2e-5, rel=1e-5)


def test_one_observation_at_a_time_is_the_same_as_all_at_once():
    whole = smw.paris(LINEAR, Y, smw.functionals.sum_of_squares, 1_500, repeats=3, seed=4)
    smoother = smw.OnlineSmoother(LINEAR, smw.functionals.sum_of_squares, 1_500, repeats=3, seed=4)
    for y_t in Y[:20]:
        est = smoother.update(y_t)
    assert est.value.shape == () and smoother.t == 20
    smoother.extend(Y[20:])
    assert smoother.estimate().value == whole.value
    assert smoother.log_likelihood == pytest.approx(whole.diagnostics["log_likelihood"])
    held = sum(a.nbytes for cloud in smoother._clouds for a in cloud.particles)
    assert held < 3 * 1_500 * 100


@pytest.mark.slow
def test_a_refused_observation_leaves_no_trace_in_a_smoother():
    model = smw.models.stochastic_volatility(0.9, 0.5, 1.0)

    def smoother(repeats=8):
        return smw.OnlineSmoother(model, smw.functionals.sum_of_states, 3, repeats=repeats, seed=0)

    # squares overflow unless a particle of the run has a large state: the first run goes on, and
    # another one refuses
    many, spared, first = smoother(), smoother(), smoother(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        with pytest.raises(smw.DegeneracyError, match="time 0"):
            many.update(1e200)
        for y_t in (0.3, -0.1, np.nan, 0.2):
            for one in (many, spared, first):
                one.update(y_t)
        assert first.update(1e154).value < np.inf
        for refused in ([1e154], [0.3, 1e200], [0.1, 0.2, 0.3, 1e200]):
            with pytest.raises(smw.DegeneracyError):
                many.extend(refused)
            assert many.t == spared.t
            assert many.estimate().value == spared.estimate().value
        many.extend(Y[:5])
        spared.extend(Y[:5])
        a, b = many.estimate(), spared.estimate()
    assert a.value == b.value and a.standard_error == b.standard_error
    assert many.log_likelihood == spared.log_likelihood
    for name in ("smallest_ess", "tries_per_draw"):
        assert a.diagnostics[name] == b.diagnostics[name]


@pytest.mark.slow
def test_a_long_series_neither_drifts_nor_underflows():
    model = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    _, y = model.simulate(10_000, seed=1)
    exact = smw.kalman_smoother(model, y)
    smoother = smw.OnlineSmoother(model, smw.functionals.sum_of_states, 60, repeats=2, seed=5)
    smoother.extend(y)
    with pytest.warns(smw.PrecisionWarning, match="effective sample size|bias"):
        est = smoother.estimate()
    # bias T/N and error of 2 runs are below 0.02 per step
    assert abs(est.value - exact.means.sum()) < 0.02 * len(y)
    assert abs(smoother.log_likelihood - exact.log_likelihood) < 0.05 * len(y)


def test_bias_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        est = smw.paris(LINEAR, Y, smw.functionals.sum_of_products, 20, repeats=16, seed=1)
    assert any("bias" in text for text in est.diagnostics["warnings"])
    assert "bias_estimate" in est.diagnostics


def test_a_single_run_has_no_error():
    with pytest.warns(smw.PrecisionWarning, match="no standard error"):
        est = smw.paris(LINEAR, Y[:10], smw.functionals.sum_of_states, 2_000, repeats=1, seed=1)
    assert np.isnan(est.standard_error)


@pytest.mark.slow
def test_intervals_cover():
    """Nominal 95 % over 60 seeds at negligible bias; binomial bounds 0.83 to 1, alarm 1e-3."""
    y = Y[:12]
    exact = smw.kalman_smoother(LINEAR, y)
    truth = exact.means.sum()
    inside = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        for seed in range(60):
            est = smw.paris(LINEAR, y, smw.functionals.sum_of_states, 500, seed=seed)
            lower, upper = est.interval()
            inside += lower <= truth <= upper
    assert inside >= 50


@pytest.mark.slow
def test_a_functional_that_is_no_number_is_told_with_its_time():
    functions = {
        r"functional: nan at time 1": (lambda x_prev, x, t: np.log(-1.0) * x, None),
        r"functional: inf at time 5": (lambda x_prev, x, t: np.inf if t > 4 else x, None),
        r"initial_functional: inf at time 0": (lambda x_prev, x, t: x, lambda x: np.inf),
    }
    for match, (functional, initial) in functions.items():
        for call in (
            lambda *a, **b: smw.paris(*a, 50, **b),
            lambda *a, **b: smw.parisian_particle_gibbs(*a, 10, 10, **b),
            lambda *a, **b: smw.unbiased_smoothing(*a, 10, 4, **b),
        ):
            with pytest.raises(smw.ModelError, match=match):
                call(LINEAR, Y[:8], functional, initial_functional=initial, seed=1)
    smoother = smw.OnlineSmoother(LINEAR, functions["functional: inf at time 5"][0], 50, seed=1)
    smoother.extend(Y[:5])
    with pytest.raises(smw.ModelError, match=r"functional: sum of \[inf\] up to time 5"):
        smoother.update(Y[5])


def test_an_online_smoother_warns_once_for_each_cause():
    total = smw.functionals.sum_of_states
    alone = smw.OnlineSmoother(LINEAR, total, 2_000, repeats=1, seed=1)
    many = smw.OnlineSmoother(LINEAR, total, 2_000, seed=1)
    for smoother, cause, first in ((alone, "no standard error", 0), (many, "at time 2", 2)):
        told = []
        for y_t in [0.0, 0.1, 0.2 if smoother is alone else 60.0, 0.3, 0.1]:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                est = smoother.update(y_t)
            told.append(any(cause in str(w.message) for w in caught))
        assert told == [t == first for t in range(5)]
        assert any(cause in text for text in est.diagnostics["warnings"])


def test_bad_arguments():
    with pytest.raises(TypeError, match="functional: expected a function"):
        smw.paris(LINEAR, Y, lambda x: x, 10)
    with pytest.raises(smw.ModelError, match="initial_functional: returned shape"):
        smw.paris(LINEAR, Y, lambda a, b, t: a, 10, initial_functional=lambda x: (x, x))
    with pytest.raises(
        ValueError, match=r"initial_functional: got .*; expected None with a ready functional"
    ):
        smw.paris(LINEAR, Y, smw.functionals.states, 10, initial_functional=lambda x: x)
    with pytest.raises(ValueError, match="its size grows with T"):
        smw.OnlineSmoother(LINEAR, smw.functionals.states, 10)
    with pytest.raises(ValueError, match="no observation yet"):
        smw.OnlineSmoother(LINEAR, smw.functionals.sum_of_states, 10).estimate()
    with pytest.raises(TypeError, match="y: got texts"):
        smw.OnlineSmoother(LINEAR, smw.functionals.sum_of_states, 10).update("b")
    unbounded = smw.StateSpaceModel(
        LINEAR.initial_sample, LINEAR.initial_logpdf, LINEAR.transition_sample,
        LINEAR.transition_logpdf, LINEAR.observation_logpdf, theta=LINEAR.theta,
    )  # fmt: skip
    with pytest.raises(ValueError, match="rejection needs"):
        smw.paris(unbounded, Y, smw.functionals.sum_of_states, 10, backward="rejection")


def repeated(**others):
    h = smw.functionals.sum_of_states
    return bits(smw.paris(LINEAR, Y[:20], h, 2_000, repeats=5, seed=1, **others))


@pytest.mark.slow
def test_killed_runs_go_on_to_the_same_bits(tmp_path):
    killed_and_resumed(repeated, tmp_path)


def carried(fewest, n, runs=1, y=None, seed=5):
    """Sums of states of runs of PaRIS, and the share of times with backward draws."""
    rows = (Y if y is None else y)[:, None]
    series, rng = Series(LINEAR, rows, False, n), np.random.default_rng(seed)
    sums = np.empty(runs)
    for r in range(runs):
        told = Sums(smw.functionals.sum_of_states, None, 2, "rejection", 1.0)
        cloud = told.cloud(series, rng)
        cloud.options[kernels.FEWEST] = fewest
        cloud.advance(series.rows)
        sums[r] = cloud.sums[0]
    return sums, cloud.report.tally[0] / (2 * n * (len(rows) - 1))


def test_backward_draws_at_every_time_are_those_that_few_ancestors_ask_for():
    always, share = carried(0, 100)
    np.testing.assert_array_equal(always, carried(101, 100)[0])
    never, none = carried(1, 100)
    assert share == 1.0
    assert none == 0.0
    assert never != always
    assert 0.1 < carried(30, 100)[1] < 0.9


@pytest.mark.slow
def test_fewer_backward_draws_cost_no_variance_sees_half_as_much_again():
    y = LINEAR.simulate(100, seed=3)[1]
    rare, share = carried(60, 200, 300, y)
    often, _ = carried(0, 200, 300, y, seed=6)
    # the ratio of two variances of 300 draws each has a standard deviation of .12
    assert rare.var() < 1.55 * often.var()
    error = np.sqrt((rare.var() + often.var()) / 300)
    assert abs(rare.mean() - often.mean()) < 5.5 * error
    assert share < 0.7


def test_backward_ess_is_a_share():
    with pytest.raises(ValueError, match="backward_ess: got 0; expected a number above 0"):
        smw.paris(LINEAR, Y, smw.functionals.sum_of_states, 10, backward_ess=0)
    with pytest.raises(ValueError, match="backward_ess: got 1"):
        smw.OnlineSmoother(LINEAR, smw.functionals.sum_of_states, 10, backward_ess=1.5)
