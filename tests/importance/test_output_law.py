"""The whole law of outputs, against laws known exactly; signs, atoms, ends, files, bad input."""

import pickle
import warnings

import numpy as np
import pytest
from killed import bits, killed_and_resumed
from scipy import stats
from scipy.special import ndtr

import smcweights as smw

from .cases import quiet

LOGNORMAL = stats.lognorm(1.0)
NORMAL = [stats.norm()] * 4


def lognormal(x):
    return np.exp(x.sum(1) / 2)


@pytest.fixture(scope="module")
def law():
    return smw.output_law(
        lognormal, NORMAL, 6_000, quantiles=(1e-4, 0.05, 0.5, 0.99, 1 - 1e-5),
        expected_shortfall=(0.95, 0.999), tails=(1e-5, 1e-5), seed=4,
    )  # fmt: skip


@pytest.mark.slow
def test_quantiles_probabilities_means_and_shortfalls_of_a_lognormal_law(law):
    """z under 4.5, 14 of them: a false alarm in 10,000; the errors are 2 to 6 %."""
    p = np.array([1e-4, 0.05, 0.5, 0.99, 1 - 1e-5])
    lower, upper = law.quantiles.interval(0.99999)
    assert ((lower < LOGNORMAL.ppf(p)) & (LOGNORMAL.ppf(p) < upper)).all()
    below = law.cdf(LOGNORMAL.ppf(p[:2]))
    above = law.exceedance(LOGNORMAL.ppf(p[2:]))
    for found, exact in ((below, p[:2]), (above, 1 - p[2:])):
        assert (np.abs(np.log(found.value / exact)) < 4.5 * found.relative_error).all()
        assert (found.relative_error < 0.12).all()
    z = stats.norm.isf([0.05, 0.001])
    exact = np.exp(0.5) * ndtr(1 - z) / [0.05, 0.001]
    assert (
        np.abs(law.expected_shortfall.value - exact) < 4.5 * law.expected_shortfall.standard_error
    ).all()
    assert abs(law.mean.value - np.exp(0.5)) < 4.5 * law.mean.standard_error
    assert law.reach[0] < 1e-6 and law.reach[1] < 1e-6 and not law.cautions


def test_all_answers_are_of_one_law(law):
    w, y = law.weighing.coefficients, law.draws[:, 0]
    t = LOGNORMAL.ppf([0.2, 0.4, 0.8])
    assert law.cdf(t).value == pytest.approx([w[y <= one].sum() for one in t], rel=1e-9)
    assert law.cdf(t).value + law.exceedance(t).value == pytest.approx(1.0)
    both = law.cdf(t).apply([1, -1, 0])
    assert both.standard_error < np.hypot(*law.cdf(t).standard_error[:2])
    # P(a < Y <= b) from the joint covariance is that of its own residuals
    inside = ((y <= t[0]) * 1.0 - (y <= t[1]))[:, None]
    assert both.standard_error == pytest.approx(
        np.sqrt((law.weighing.residuals(inside) ** 2).sum()), rel=0.05
    )
    a, b = law.band(LOGNORMAL.ppf([1e-5, 0.5, 1 - 1e-5]))
    assert ((a < [1e-5, 0.5, 1 - 1e-5]) & (b > [1e-5, 0.5, 1 - 1e-5])).all()
    low, high = law.quantile_band(0.5)
    assert low <= law.quantiles.limits[3, 2, 0] and high >= law.quantiles.limits[3, 2, 1]
    assert law.quantile(0.99).value == law.quantiles["q(0.99)"].value
    assert law.quantile([0.5, 0.99]).names == ("q(0.5)", "q(0.99)")
    assert "q(0.99999)" in repr(law) and "shortfall(0.999)" in law._repr_html_()
    assert law.level == 0.95 and law.estimate.sample is not None
    moved = smw.reweight(law.estimate, [stats.norm(0.1, 1)] * 4)
    assert abs(moved.value - np.exp(0.7)) < 4.5 * moved.standard_error


def test_what_is_beyond_reach_has_one_end_and_says_what_would_do():
    with pytest.warns(smw.PrecisionWarning, match=r"About [\d,]+ calls would do \[beyond-reach\]"):
        found = smw.output_law(
            lognormal, NORMAL, 2_000, quantiles=(0.5, 1 - 1e-9), tails=(0.01, 1e-9), seed=1
        )
    lower, upper = found.quantiles.interval()
    assert np.isnan(found.quantiles.value[1]) and upper[1] == np.inf
    assert lower[1] < LOGNORMAL.isf(1e-9)
    with pytest.warns(smw.PrecisionWarning, match=r"P\(Y > 1e\+30\): beyond .*\[beyond-reach\]"):
        far = found.exceedance(1e30)
    assert far.cautions[-1].code == "beyond-reach"
    with pytest.warns(smw.PrecisionWarning, match=r"OutputLaw.quantile: q\(1e-06\): beyond"):
        assert np.isnan(found.quantile([0.5, 1e-6]).value).tolist() == [False, True]
    with pytest.raises(ValueError, match="quantiles: got none; expected one probability or more"):
        smw.output_law(lognormal, NORMAL, 2_000, quantiles=[])
    assert np.isnan(far.value) and far.interval()[0] == 0 and 0 < far.interval()[1] < 1e-2
    a, b = found.band([-1.0, 1e30])
    assert a[0] == 0 and 0 < b[0] < 0.02 and b[1] == 1 and 0.99 < a[1] < 1


@pytest.mark.slow
def test_several_outputs_have_levels_of_their_own():
    def model(x):
        return np.stack([x[:, 0] + x[:, 1], np.exp(-x[:, 1]), 0 * x[:, 0]], axis=1)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = smw.output_law(
            model, [stats.norm()] * 2, 4_000, quantiles=(1e-4, 0.9, 1 - 1e-4),
            names=["sum", "power", "flat"], seed=2,
        )  # fmt: skip
    assert found.quantiles.names[0] == "sum: q(0.0001)" and len(found.quantiles) == 9
    p = np.array([1e-4, 0.9, 1 - 1e-4])
    exact = np.concatenate([stats.norm.ppf(p) * 2**0.5, np.exp(stats.norm.ppf(p))])
    lower, upper = found.quantiles.interval(0.99999)
    assert ((lower[:6] <= exact) & (exact <= upper[:6])).all()
    assert (found.quantiles.value[6:] == 0)[1] and found.cautions[0].code == "constant-output"
    assert any("flat: did not vary" in str(one.message) for one in told)
    assert found.cdf(0.1, "power").value < 0.02 < found.cdf(0.1, output=0).value
    assert found.cdf(1.0, "power").value == pytest.approx(0.5, abs=0.05)
    with pytest.raises(smw.DegeneracyError, match="an output that varies"):
        smw.output_law(lambda x: 0 * x[:, 0], stats.norm(), 1_000, seed=1)


@pytest.mark.slow
def test_atoms_and_bounded_outputs_have_quantiles_among_their_values():
    found = smw.output_law(
        lambda x: np.floor(2 * x[:, 0]),
        [stats.norm()] * 2,
        8_000,
        quantiles=(0.01, 0.45, 0.999),
        seed=5,
    )
    assert found.quantiles.value.tolist() == [-5, -1, 6]
    assert found.cdf(3.0).value == pytest.approx(ndtr(2.0), abs=0.01)
    # the far atoms: P(Y >= 8) = P(Z >= 4)
    above = found.exceedance(7.0)
    assert abs(above.value - ndtr(-4.0)) < 4.5 * above.standard_error < 0.5 * ndtr(-4.0)
    bounded = smw.output_law(
        lambda x: x[:, 0],
        [stats.uniform()],
        4_000,
        quantiles=(1e-3, 1 - 1e-3),
        tails=(1e-3, 1e-3),
        seed=5,
    )
    lower, upper = bounded.quantiles.interval()
    assert lower[0] > 0 and upper[1] < 1 and (lower <= [1e-3, 1 - 1e-3]).all()


def test_heavy_tails_cost_the_mean_beyond_but_not_the_quantile():
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = smw.output_law(
            lambda x: np.sign(x[:, 0]) * np.exp(x[:, 0] ** 2), [stats.norm()], 4_000,
            quantiles=(0.5, 0.999), expected_shortfall=[0.99], seed=3,
        )  # fmt: skip
    lower, upper = found.quantiles.interval(0.9999)
    assert lower[1] < np.exp(stats.norm.isf(1e-3) ** 2) < upper[1]
    assert found.expected_shortfall.cautions[0].code == "heavy-tails"
    assert any("heavy-tails" in str(one.message) for one in told)


@pytest.mark.slow
def test_a_precision_is_reached_by_more_draws_of_one_density():
    found = smw.output_law(
        lognormal, NORMAL, quantiles=(0.99,), tails=(0.1, 1e-3),
        precision=smw.Precision(relative=0.04, max_budget=40_000), seed=1,
    )  # fmt: skip
    lower, upper = found.quantiles.interval()
    value = found.quantiles.value
    assert max(upper - value, value - lower) <= 0.04 * value and not found.cautions
    assert abs(value / LOGNORMAL.ppf(0.99) - 1) < 0.1


def failing(x):
    """exp(x1), which fails where x2 > 0.5, and stops where x1 > 2."""
    if (x[:, 0] > 2).any():
        raise ArithmeticError("no solution")
    return np.where(x[:, 1] > 0.5, np.nan, np.exp(x[:, 0]))


RUNS = ndtr(2.0) * ndtr(0.5)
EXCLUDED = {"failed": "exclude", "failed_exceptions": [ArithmeticError]}


@pytest.mark.slow
def test_of_runs_that_fail_the_law_of_the_others_is_told_and_their_share(tmp_path):
    """z under 4.5, 9 of them: a false alarm in 15,000."""
    path, p = tmp_path / "run.npz", np.array([2e-3, 0.3, 0.95])
    asked = {"quantiles": p, "expected_shortfall": [0.9], "tails": (1e-3, 1e-2), "seed": 6}
    with pytest.warns(smw.PrecisionWarning, match=r"of the law fails .* \[failed-runs\]"):
        found = smw.output_law(
            failing, NORMAL[:2], 3_000, checkpoint=path, **EXCLUDED, **asked
        )  # fmt: skip
    exact = np.exp(stats.norm.ppf(p * ndtr(2.0)))
    lower, upper = found.quantiles.interval(0.99999)
    assert ((lower < exact) & (exact < upper)).all() and found.draws[
        ~np.isnan(found.draws)
    ].max() < 7.4
    at = found.cdf(exact)
    assert (np.abs(at.value - p) < 4.5 * at.standard_error).all()
    assert (at.standard_error < 0.2 * p).all()
    said = found.mean.diagnostics["failed_share"]
    share = 1 - RUNS
    assert said["lower"] < share < said["upper"] < 1.2 * share
    assert failing_at(found.mean.diagnostics["first_failed"])
    mean = np.exp(0.5) * ndtr(1.0) / ndtr(2.0)
    assert abs(found.mean.value - mean) < 4.5 * found.mean.standard_error < 0.3 * mean
    cut = stats.norm.ppf(0.9 * ndtr(2.0))
    beyond = np.exp(0.5) * (ndtr(1.0) - ndtr(cut - 1)) / (0.1 * ndtr(2.0))
    told = found.expected_shortfall
    assert abs(told.value[0] - beyond) < 4.5 * told.standard_error[0] < 0.2 * beyond
    assert "given that the model ran" in repr(found)
    with pytest.raises(ValueError, match="some of its runs failed"):
        smw.input_uncertainty(found, {"X1": np.ones(30)})
    # more calls: those of the checkpoint with a larger budget
    more = quiet(found.extend, failing, 1_000)
    again = quiet(
        smw.output_law, failing, NORMAL[:2], 4_000, checkpoint=path, **EXCLUDED, **asked
    )  # fmt: skip
    assert bits(more.quantiles, more.mean) == bits(again.quantiles, again.mean)
    assert np.isnan(more.draws).sum() > np.isnan(found.draws).sum() and len(more.draws) > 2_000


def failing_at(x):
    return x[0] > 2 or x[1] > 0.5


@pytest.mark.slow
def test_runs_that_fail_count_as_the_least_and_as_the_largest(tmp_path):
    """Ends of 99.999 % by three errors of either law: a third of the runs fail, which is more."""
    ran, share, high = stats.lognorm(1.0), 1 - RUNS, 20.0

    def model(x):
        y = np.where((x[:, 0] > 2) | (x[:, 1] > 0.5), np.nan, np.exp(x[:, 0]))
        return np.stack([y, -y], axis=1)

    p = np.array([0.2, 0.5, 0.9, 0.99])
    asked = {"quantiles": p, "expected_shortfall": [0.9], "tails": (1e-3, 1e-3), "seed": 6}
    kinds = {"failed": "bounds", "bounds": ([0, -high], [high, 0])}
    said = (
        r"fails .*, the first time at input \[-?[\d.]+, -?[\d.]+\]: these runs count as "
        r"\[0.0, -20.0\] and as \[20.0, 0.0\]"
    )
    with pytest.warns(smw.PrecisionWarning, match=said):
        found = smw.output_law(model, NORMAL[:2], 4_000, **kinds, **asked)
    # P(Y <= t, ran) is that of the lognormal law times this
    scale = RUNS / ndtr(2.0)

    def ends(p):
        least = np.where(p > share, ran.ppf(np.maximum(p - share, 1e-9) / scale), 0)
        return least, np.where(p < RUNS, ran.ppf(np.minimum(p / scale, 0.9)), high)

    lower, upper = np.reshape(found.quantiles.interval(0.99999), (2, 2, 4))
    # the second output is the first upside down
    for low, high_, at in ((lower[0], upper[0], p), (-upper[1], -lower[1], 1 - p)):
        least, most = ends(at)
        assert ((low <= least) & (most <= high_)).all()
        assert (low >= 0.5 * least).all() and (high_ <= np.minimum(1.5 * most, high)).all()
    least, most = ends(p)
    value = found.quantiles.value[:4]
    assert value == pytest.approx((least + most) / 2, rel=0.1)
    assert found.quantiles.standard_error[1] == pytest.approx((most - least)[1] / 3.92, rel=0.3)
    for t in (0.5, 3.0):
        f = ran.cdf(t) * scale
        (low, high_), at = found.cdf([t]).interval(0.99999), found.band([t])
        assert max(at[0], low) < f < f + share < min(at[1], high_) < f + 1.2 * share + 0.02
        assert found.exceedance(t).value == pytest.approx(1 - f - share / 2, abs=0.03)
        middle = found.middle(np.array([t]), 0, True)
        assert middle == pytest.approx(found.exceedance([t]).value)
    mean = np.exp(0.5) * ndtr(1.0) * RUNS / ndtr(2.0)
    (low, *_), (high_, *_) = found.mean.interval()
    assert 0.8 * mean < low < mean and mean + high * share < high_ < 1.1 * (mean + high * share)
    low, high_ = np.transpose(found.expected_shortfall.interval())[0]
    cut = stats.norm.ppf((1 - 0.1 / RUNS) * ndtr(2.0))
    beyond = np.exp(0.5) * (ndtr(1.0) - ndtr(cut - 1)) * scale / 0.1
    assert 0.8 * beyond < low < beyond and high_ == high and "between both values" in repr(found)
    found.save(tmp_path / "law.nc")
    read = smw.OutputLaw.load(tmp_path / "law.nc")
    assert bits(read.quantile(p), read.cdf(1.0)) == bits(found.quantile(p), found.cdf(1.0))
    with pytest.raises(ValueError, match=r"returned -.*, which is outside \[0, 20\]"):
        smw.output_law(model, NORMAL[:2], 4_000, failed="bounds", bounds=(0, high))


@pytest.mark.slow
def test_more_calls_join_those_there_are(law, tmp_path):
    more = law.extend(lognormal, 6_000)
    assert len(more.draws) - len(law.draws) == pytest.approx(6_000, abs=200)
    assert np.isin(law.draws, more.draws).all()
    error = more.quantile(0.5).standard_error, law.quantile(0.5).standard_error
    assert error[0] < 0.85 * error[1]
    assert more.mean.cost["evaluations"] == law.mean.cost["evaluations"] + len(more.draws) - len(
        law.draws
    )
    assert more.mean.provenance["arguments"]["extended"] == [6_000]
    law.save(tmp_path / "law.nc")
    kept, sent = smw.OutputLaw.load(tmp_path / "law.nc"), pickle.loads(pickle.dumps(law))
    for other in (kept, sent):
        with pytest.raises(ValueError, match="extend: this law can't go on"):
            other.extend(lognormal, 1_000)
    with pytest.raises(ValueError, match="model: is not the one"):
        law.extend(failing, 1_000)
    with pytest.raises(ValueError, match="budget: got 10"):
        law.extend(lognormal, 10)


@pytest.mark.slow
def test_a_tail_of_four_regions_is_reached():
    """One region in each input; climbs that fitted two of them ended short of 1e-6."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = smw.output_law(
            lambda x: x.max(1), [stats.norm()] * 4, 10_000, quantiles=(0.5, 1 - 1e-6), seed=7
        )
    lower, upper = found.quantiles.interval(0.9999)
    truth = stats.norm.ppf(np.array([0.5, 1 - 1e-6]) ** 0.25)
    assert ((lower < truth) & (truth < upper)).all()
    assert found.quantiles.standard_error[1] < 0.004 * truth[1]


@pytest.mark.slow
def test_a_tail_in_all_directions_is_reached():
    # standard errors of normal laws alone are 7 %
    t, held = stats.chi2(5).isf(1e-6), []
    for seed in range(10):
        found = smw.output_law(lambda x: (x**2).sum(1), [stats.norm()] * 5, 10_000, seed=seed)
        beyond = found.exceedance(t)
        low, high = beyond.interval()
        held.append(low < 1e-6 < high)
        assert beyond.standard_error < 0.05 * 1e-6 and not found.cautions
    # of 10 intervals of 95 % fewer than 6 hold it once in 15,000 times
    assert sum(held) >= 6


@pytest.mark.slow
def test_kernel_densities_and_laws_without_a_map():
    data = np.random.default_rng(1).normal(size=(2, 60))
    kde = stats.gaussian_kde(data)
    found = smw.output_law(
        lambda x: x[:, 0], kde, 4_000, quantiles=(0.5, 0.99), tails=(0.01, 0.01), seed=1
    )
    lower, upper = found.quantiles.interval(0.9999)
    below, above = (
        ndtr((end[:, None] - data[0]) / np.sqrt(kde.covariance[0, 0])).mean(1)
        for end in (lower, upper)
    )
    assert ((below < [0.5, 0.99]) & (above > [0.5, 0.99])).all()
    law = stats.multivariate_t([0, 0], np.eye(2), df=5)
    with pytest.warns(smw.PrecisionWarning, match="q.0.01., .* fewer than 10 times"):
        smw.output_law(lambda x: x[:, 0], law, 2_000, seed=1)
    # none of a quantile that the law's own draws tell
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smw.output_law(lambda x: x[:, 0], law, 2_000, quantiles=(0.1, 0.9), seed=1)


@pytest.mark.slow
def test_same_bits_by_any_executor_and_after_a_kill(tmp_path):
    def call(**how):
        found = smw.output_law(lognormal, NORMAL, 2_000, vectorized=True, seed=7, **how)
        return bits(found.quantiles, found.mean) + found.maxima.tobytes()

    killed_and_resumed(call, tmp_path)


@pytest.mark.slow
def test_intervals_and_bands_cover_as_often_as_they_say():
    """60 runs: binomial bounds of 1e-5, which see a band that holds in fewer than 3 of 4."""
    p = 1 / (1 + np.exp(-np.linspace(-11, 11, 23)))
    t, held, inside = LOGNORMAL.ppf(p), 0, []
    for seed in range(60):
        found = smw.output_law(
            lognormal, NORMAL, 3_000, quantiles=(0.5,), tails=(1e-5, 1e-5), seed=seed
        )
        lower, upper = found.band(t)
        held += ((lower <= p) & (p <= upper)).all()
        lower, upper = quiet(found.cdf, t).interval()
        inside.append((lower <= p) & (p <= upper))
    assert held >= stats.binom.ppf(1e-5, 60, 0.95)
    assert 0.92 < np.mean(inside) < 0.98


@pytest.mark.slow
def test_laws_given_that_the_model_ran_cover_as_often_as_they_say():
    """40 runs: binomial bounds of 1e-5, which see a band that holds in 2 of 3."""
    p = 1 / (1 + np.exp(-np.linspace(-9, 9, 19)))
    t, held, shares, inside = np.exp(stats.norm.ppf(p * ndtr(2.0))), 0, 0, []
    for seed in range(40):
        found = quiet(
            smw.output_law, failing, NORMAL[:2], 3_000, quantiles=(0.5,), tails=(1e-4, 1e-4),
            seed=seed, **EXCLUDED,
        )  # fmt: skip
        lower, upper = found.band(t)
        held += ((lower <= p) & (p <= upper)).all()
        lower, upper = quiet(found.cdf, t).interval()
        inside.append((lower <= p) & (p <= upper))
        said = found.mean.diagnostics["failed_share"]
        shares += said["lower"] < 1 - RUNS < said["upper"]
    assert min(held, shares) >= stats.binom.ppf(1e-5, 40, 0.95)
    assert 0.91 < np.mean(inside) < 0.985


@pytest.mark.parametrize(
    ("argument", "given", "message"),
    [
        ("quantiles", [0.5, 1e-7], r"quantiles: got 1e-07, beyond tails=\(1e-06, 1e-06\)"),
        ("quantiles", [0.5, 0.5], "quantiles: got .*; expected different numbers"),
        ("quantiles", 1.0, "quantiles: got 1.0; expected numbers between 0 and 1"),
        ("expected_shortfall", [1 - 1e-9], "expected_shortfall: got 0.999999999, beyond"),
        ("tails", (1e-6,), "tails: got .*; expected two probabilities"),
        ("tails", (1e-6, 0.5), "tails: got .*; expected two probabilities"),
        ("body", 1.0, "body: got 1.0; expected a number between 0 and 1"),
        ("budget", 900, "budget: got 900; expected at least 1,200 calls for 4 inputs"),
        ("names", ["a", "b"], "names: got 2; expected 1"),
        ("failed", "bounds", "bounds: got None; expected .* with failed='bounds'"),
        ("failed", "safe", "failed: got 'safe'; expected"),
    ],
)
def test_bad_arguments_say_what_and_what_was_expected(argument, given, message):
    with pytest.raises(ValueError, match=message):
        smw.output_law(lognormal, NORMAL, **({"budget": 2_000} | {argument: given}))


def test_questions_that_have_no_answer_are_refused(law):
    with pytest.raises(ValueError, match="output: got 'other'; expected one of"):
        law.cdf(1.0, "other")
    with pytest.raises(ValueError, match="t: got shape"):
        law.cdf(np.zeros(2_000))
    with pytest.raises(ValueError, match="t: got NaN"):
        law.band([np.nan])
    with pytest.raises(ValueError, match="p: got"):
        law.quantile([0.5, 1.5])
    with pytest.raises(smw.ModelError, match="expected at most 20"):
        smw.output_law(lambda x: np.tile(x, 30), stats.norm(), 1_000, seed=1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_means_on_the_line_are_as_far_off_as_they_say():
    # many components span it all but exactly; finer cut-offs were off by 2.4 of their errors
    runs = (smw.output_law(lambda x: x[:, 0], stats.norm(), 3_000, seed=s) for s in range(16))
    z = [run.mean.value / run.mean.standard_error for run in runs]
    assert np.mean(np.square(z)) < stats.chi2(16).isf(0.005) / 16
