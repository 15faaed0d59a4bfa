"""Conditional filters leave the smoothing law alone, chains give intervals that cover.

z-tests: bound 5.5 standard errors from batch means; a false alarm in 10^5 runs of the file.
"""

import collections
import itertools
import math
import warnings

import numba
import numpy as np
import pytest
from scipy.stats import binom, chi2

import smcweights as smw
from smcweights.statespace import kernels
from smcweights.statespace.chains import sweep
from smcweights.statespace.cloud import Cloud
from smcweights.statespace.model import compiled_functional
from smcweights.statespace.series import Series

from . import tiny
from .test_filtering import LINEAR, Y
from .test_smoothing import PRODUCTS

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
    cloud.options[9] = redraw
    found = sweep(cloud, tiny.Y[:, None].copy(), path, sweeps, way, keep=True)
    return found["means"][:, 0], found["paths"][..., 0]


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


def test_the_estimate_agrees_with_kalman_where_paris_is_biased():
    est = smw.parisian_particle_gibbs(LINEAR, Y, H, 40, 240, seed=1)
    assert abs(est.value - PRODUCTS) < 6 * est.standard_error
    assert est.standard_error < 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        start = smw.paris(LINEAR, Y, H, 40, repeats=400, seed=2)
    # some ten standard errors; of the 8 starts of the chains it is 1.3
    assert start.value - PRODUCTS < -5.5 * start.standard_error
    error = est.diagnostics["starting_bias"] - (start.value - est.value)
    assert abs(error) < 5.5 * start.standard_error * math.sqrt(400 / 8)
    assert est.diagnostics["burn_in"] == 60
    assert (est.diagnostics["update_rate"] > 0.5).all()
    assert est.degrees_of_freedom == 7
    assert est.diagnostics["r_hat"].max() < 1.1


def likelihood(seed):
    return smw.particle_filter(LINEAR, Y[:8], 200, repeats=8, seed=seed).log_likelihood


def chains_of(seed):
    return smw.parisian_particle_gibbs(LINEAR, Y[:8], H, 10, 30, seed=seed)


def coupled(seed):
    return smw.unbiased_smoothing(LINEAR, Y[:8], H, 16, 4, first=3, last=9, seed=seed)


@pytest.mark.parametrize("method", [chains_of, coupled, likelihood])
def test_intervals_cover_200_runs_sees_shortfall_of_9_points(method):
    """Nominal 95 %, binomial bounds of 200 at false alarm 1e-3; 86 % is seen in 9 of 10 runs."""
    exact = smw.kalman_smoother(LINEAR, Y[:8])
    truth = (exact.means[1:] * exact.means[:-1] + exact.lag_one_covariances).sum()
    if method is likelihood:
        truth = exact.log_likelihood
    z = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        for seed in range(200):
            est = method(seed)
            lower, upper = est.interval()
            z.append((est.value - truth) / (upper - lower) * 2)
    inside = (np.abs(z) <= 1).sum()
    assert binom.ppf(5e-4, 200, 0.95) <= inside <= binom.isf(5e-4, 200, 0.95)


@pytest.mark.parametrize("method", ["chains", "precision", "pairs"])
def test_a_checkpoint_is_taken_up(method, tmp_path, monkeypatch):
    from smcweights.statespace import parisian, unbiased

    def call(**others):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            if method == "pairs":
                return smw.unbiased_smoothing(LINEAR, Y[:10], H, 30, 20, **others)
            goal = {"budget": 60} if method == "chains" else {"precision": smw.Precision(0.6)}
            return smw.parisian_particle_gibbs(LINEAR, Y[:10], H, 30, **goal, **others)

    whole = call(seed=1)
    home, name = (unbiased, "_pair_of_chains") if method == "pairs" else (parisian, "_chain")
    ours, calls = getattr(home, name), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return ours(*arguments)

    monkeypatch.setattr(home, name, interrupted)
    path = tmp_path / "kept.npz"
    with pytest.raises(KeyboardInterrupt):
        call(seed=1, checkpoint=path)
    again = call(checkpoint=path)
    assert again.value == whole.value and again.variance == whole.variance
    assert again.provenance["seed"] == whole.provenance["seed"]
    done = len(calls)
    assert call(checkpoint=path).value == whole.value and len(calls) == done


def test_a_checkpoint_of_other_arguments_is_refused(tmp_path):
    path = tmp_path / "kept.npz"

    def call(functional, y=Y[:10], n=30):
        return smw.parisian_particle_gibbs(
            LINEAR, y, functional, n, 60, seed=1, checkpoint=path, progress=False
        )

    def total(factor):
        return lambda x_prev, x, t: factor * x

    call(total(2.0))
    # the same name and code, another number in the closure
    with pytest.raises(ValueError, match="other arguments: functional"):
        call(total(3.0))
    with pytest.raises(ValueError, match="other arguments: n_particles"):
        call(total(2.0), n=31)
    with pytest.raises(ValueError, match="other arguments: y"):
        call(total(2.0), Y[1:11])


def test_executors_give_the_same_numbers():
    y = Y[:10]
    here = smw.parisian_particle_gibbs(LINEAR, y, smw.functionals.states, 50, 300, seed=2)
    there = smw.parisian_particle_gibbs(
        LINEAR, y, smw.functionals.states, 50, 300, seed=2, executor="threads:2"
    )
    np.testing.assert_array_equal(here.value, there.value)
    np.testing.assert_array_equal(here.covariance, there.covariance)


def test_a_chain_goes_on_from_its_path_and_a_precision_is_reached():
    y = Y[:10]
    first = smw.parisian_particle_gibbs(LINEAR, y, H, 50, 200, seed=3)
    paths = first.diagnostics["paths"]
    assert paths.shape == (8, 10)
    on = smw.parisian_particle_gibbs(LINEAR, y, H, 50, 200, burn_in=0, initial_path=paths, seed=4)
    assert "starting_bias" not in on.diagnostics
    assert abs(on.value - first.value) < 6 * math.hypot(on.standard_error, first.standard_error)
    precise = smw.parisian_particle_gibbs(
        LINEAR, y, H, 50, precision=smw.Precision(absolute=0.3), seed=5
    )
    lower, upper = precise.interval()
    assert (upper - lower) / 2 <= 0.3
    with pytest.warns(smw.PrecisionWarning, match="max_budget of 80 sweeps"):
        smw.parisian_particle_gibbs(
            LINEAR, y, H, 50, precision=smw.Precision(absolute=0.01, max_budget=80), seed=5
        )


def test_stuck_chains_warn_with_the_time():
    y = Y.copy()
    y[20] = 40.0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        smw.parisian_particle_gibbs(LINEAR, y, H, 5, 100, seed=6)
    assert any("x at time" in str(w.message) for w in caught)


def test_a_state_on_a_lattice_that_is_known_does_not_warn():
    model = smw.models.finite_hmm([0.5, 0.5], [[0.99, 0.01], [0.01, 0.99]], [0.0, 6.0], [1.0, 1.0])
    y = np.array([0.1, -0.4, 0.3, 5.8, 6.3, 6.1])
    exact = smw.forward_backward(model, y).probabilities
    assert exact[:3, 0].min() > 1 - 1e-3 and exact[3:, 1].min() > 1 - 1e-3
    with warnings.catch_warnings():
        warnings.simplefilter("error", smw.PrecisionWarning)
        est = smw.parisian_particle_gibbs(model, y, H, 50, 60, seed=1)
    assert est.diagnostics["update_rate"].max() < 0.1
    truth = smw.forward_backward(model, y).pair_probabilities[:, 1, 1].sum()
    assert abs(est.value - truth) < max(12 * est.standard_error, 1e-3)


def test_coupled_chains_meet_and_are_unbiased():
    est = smw.unbiased_smoothing(LINEAR, Y[:20], H, 40, 40, seed=1)
    exact = smw.kalman_smoother(LINEAR, Y[:20])
    truth = (exact.means[1:] * exact.means[:-1] + exact.lag_one_covariances).sum()
    assert abs(est.value - truth) < 5.5 * est.standard_error
    assert est.standard_error < 1.0
    assert est.diagnostics["meeting_times"].max() < 100


@pytest.mark.slow
def test_single_sums_of_coupled_chains_are_unbiased_on_the_tiny_chain_sees_0_5():
    """First = last = 0: nothing but corrections; PaRIS alone is off by -0.55 with 5 particles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", smw.PrecisionWarning)
        est = smw.unbiased_smoothing(
            tiny.MODEL, tiny.Y, tiny.functional, 5, 2_000,
            initial_functional=tiny.initial_functional, first=0, last=0, seed=2,
        )  # fmt: skip
    assert abs(est.value - tiny.TRUTH) < 4.5 * est.standard_error
    assert est.standard_error < 0.11


def test_coupled_indices_have_their_laws():
    from smcweights.statespace import kernels

    rng = np.random.default_rng(1)
    w, v = np.array([0.5, 0.3, 0.0, 0.2]), np.array([0.1, 0.3, 0.4, 0.2])
    common, rest, other = np.empty(4), np.empty(4), np.empty(4)
    kernels.fill_coupled(w, v, common, rest, other)
    runs = 40_000
    both = np.zeros(2, dtype=np.int64)
    draws = np.empty((runs, 2), dtype=int)
    for r in range(runs):
        kernels.draw_coupled(rng, common, rest, other, both)
        draws[r] = both
    for k, law in enumerate((w, v)):
        counts = np.bincount(draws[:, k], minlength=4) / runs
        assert (np.abs(counts - law) < 5.5 * np.sqrt(law / runs) + 1e-12).all()
    same = np.mean(draws[:, 0] == draws[:, 1])
    assert abs(same - 0.6) < 5.5 * np.sqrt(0.24 / runs)


@pytest.mark.parametrize("backward", ["sampling", "ancestor"])
def test_particle_gibbs_draws_have_the_smoothing_law(backward):
    y = Y[:15]
    exact = smw.kalman_smoother(LINEAR, y)
    found = smw.particle_gibbs(LINEAR, y, 30, 1_500, backward=backward, seed=7)
    x = found["posterior"]["x"].values
    assert x.shape == (4, 1_500, 15)
    assert found["warmup_posterior"]["x"].shape == (4, 750, 15)
    means = x.reshape(40, 150, 15).mean(axis=1)
    error = means.std(axis=0, ddof=1) / math.sqrt(40)
    assert (np.abs(means.mean(axis=0) - exact.means) / error).max() < 5.5
    np.testing.assert_allclose(x.var(axis=(0, 1)), exact.covariances, rtol=0.2)
    assert (found["sample_stats"]["update_rate"].values > 0.5).all()


def test_parameters_by_metropolis_agree_with_the_kalman_likelihood():
    """Posterior mean of the persistence under a flat prior, beside quadrature."""
    _, y = LINEAR.simulate(60, seed=9)
    grid = np.linspace(-0.5, 0.999, 300)
    theta = LINEAR.theta.copy()

    def at(a):
        return smw.kalman_smoother(LINEAR.with_theta([a, *theta[1:]]), y).log_likelihood

    log_p = np.array([at(a) for a in grid])
    p = np.exp(log_p - log_p.max())
    truth = (grid * p).sum() / p.sum()
    update = smw.random_walk_metropolis(
        LINEAR, lambda t: 0.0 if -0.5 < t[0] < 0.999 else -np.inf, [0.15, 0, 0, 0, 0, 0]
    )
    found = smw.particle_gibbs(LINEAR, y, 30, 500, parameters=update, chains=4, seed=8)
    draws = found["posterior"]["transition_matrix"].values
    means = draws.reshape(20, 100).mean(axis=1)
    error = means.std(ddof=1) / math.sqrt(20)
    assert abs(means.mean() - truth) < 5.5 * error
    assert error < 0.02
    assert (found["posterior"]["transition_covariance"].values == 1.0).all()


def test_recommendation_prefers_no_absurd_number():
    found = smw.recommend_particles(LINEAR, Y[:10], H, 20_000, candidates=(5, 50, 500), seed=1)
    assert set(found) == {5, 50}
    with pytest.raises(ValueError, match="budget: got 100"):
        smw.recommend_particles(LINEAR, Y[:10], H, 100, seed=1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="exactly one of budget and precision"):
        smw.parisian_particle_gibbs(LINEAR, Y, H, 10)
    with pytest.raises(ValueError, match="budget: got 2"):
        smw.parisian_particle_gibbs(LINEAR, Y, H, 10, 2)
    with pytest.raises(ValueError, match="burn_in: got 50"):
        smw.parisian_particle_gibbs(LINEAR, Y, H, 10, 50, burn_in=50)
    with pytest.raises(ValueError, match="chains: got 1"):
        smw.parisian_particle_gibbs(LINEAR, Y, H, 10, 50, chains=1)
    with pytest.raises(ValueError, match="initial_path: got shape"):
        smw.parisian_particle_gibbs(LINEAR, Y, H, 10, 50, initial_path=[0.0])
    with pytest.raises(ValueError, match="resampling: got 'residual'"):
        smw.parisian_particle_gibbs(LINEAR, Y, H, 10, 50, resampling="residual")
    with pytest.raises(ValueError, match="backward: got 'best'"):
        smw.particle_gibbs(LINEAR, Y, 10, 5, backward="best")
    with pytest.raises((ValueError, smw.ModelError)):
        smw.parisian_particle_gibbs(
            smw.models.finite_hmm([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]], [0.0, 0.0], [1.0, 1e-200]),
            [1.0, 1.0], smw.functionals.sum_of_states, 5, 20, initial_path=[1.0, 1.0],
        )  # fmt: skip


def test_a_proposal_leaves_chains_unbiased_where_a_bootstrap_filter_cannot_follow():
    # three components seen with little noise; eight particles
    a, q, r = 0.9 * np.eye(3), np.eye(3), 0.1 * np.eye(3)
    model = smw.models.linear_gaussian(a, q, np.eye(3), r)
    _, y = model.simulate(30, seed=1)
    gain, spread = 1.0 / 1.1, math.sqrt(0.1 / 1.1)
    first_gain = 1.0 / (1.0 + 0.1 * 0.19)
    first_spread = math.sqrt(0.1 * first_gain)

    def sample(rng, x_prev, y, t, theta):
        x = np.empty(3)
        for j in range(3):
            mean = 0.9 * x_prev[j] + gain * (y[j] - 0.9 * x_prev[j])
            x[j] = mean + spread * rng.standard_normal()
        return x

    def logpdf(x_prev, x, y, t, theta):
        total = -3.0 * np.log(spread) - 1.5 * np.log(2.0 * np.pi)
        for j in range(3):
            mean = 0.9 * x_prev[j] + gain * (y[j] - 0.9 * x_prev[j])
            total -= 0.5 * ((x[j] - mean) / spread) ** 2
        return total

    def initial_sample(rng, y, theta):
        x = np.empty(3)
        for j in range(3):
            x[j] = first_gain * y[j] + first_spread * rng.standard_normal()
        return x

    def initial_logpdf(x, y, theta):
        total = -3.0 * np.log(first_spread) - 1.5 * np.log(2.0 * np.pi)
        for j in range(3):
            total -= 0.5 * ((x[j] - first_gain * y[j]) / first_spread) ** 2
        return total

    proposal = smw.Proposal(sample, logpdf, initial_sample, initial_logpdf)
    truth = smw.kalman_smoother(model, y).means.sum(axis=0)
    found, rates = [], []
    for given in (proposal, None):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            est = smw.parisian_particle_gibbs(
                model, y, smw.functionals.sum_of_states, 8, 100, proposal=given, seed=1
            )
        found.append(est)
        rates.append(est.diagnostics["update_rate"].min())
    # Student's, 7 degrees of freedom: one false alarm in 300,000
    assert (np.abs(found[0].value - truth) < 12 * found[0].standard_error).all()
    assert (3 * found[0].standard_error < found[1].standard_error).all()
    assert rates[0] > 0.3 > 3 * rates[1]
    with pytest.raises(TypeError, match="proposal"):
        smw.parisian_particle_gibbs(model, y, smw.functionals.sum_of_states, 8, 20, proposal=1)
