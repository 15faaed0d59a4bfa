"""Sobol' indices as a result: tables, texts, joint errors."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sequential import repeated

import smcweights as smw
from smcweights import Estimate, problems
from smcweights.importance.indices import from_means

from .cases import NORMAL, quiet


@pytest.mark.slow
def test_joint_covariance_gives_the_error_of_a_sum():
    problem = problems.ishigami()
    expected = sum(problem.truth["first"])
    # as 200 runs, which see 0.79 with probability 0.99
    repeated(
        lambda seed: smw.sobol_indices(
            problem.function, problem.law, 2_560, method="qmc", seed=seed
        ).first.apply([1.0, 1.0, 1.0]),
        expected,
        200,
    )


def test_tables_are_laid_out_as_salibs():
    from SALib.analyze import sobol
    from SALib.sample import sobol as points

    problem = problems.ishigami()
    salib = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[-np.pi, np.pi]] * 3}
    y = problem.function(points.sample(salib, 64, seed=1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sobol.analyze(salib, y, num_resamples=10, seed=1).to_df()
    ours = smw.sobol_indices(
        problem.function, salib, 1_280, order=("first", "total", "second"), seed=1
    ).to_df()
    for a, b in zip(ours, theirs, strict=True):
        assert list(a.columns) == list(b.columns)
        assert list(a.index) == list(b.index)


def test_negative_estimates_stay_and_are_explained():
    problem = problems.ishigami()
    seen = []
    for seed in range(4):
        found = smw.sobol_indices(problem.function, problem.law, 320, method="qmc", seed=seed)
        if found.first.value[2] < 0:
            seen.append(repr(found))
    assert seen
    assert any("more calls would narrow" in text for text in seen)
    assert all("a true index is never negative" in text for text in seen)
    names = found.indices.names
    for value, said in ((-3e-17, False), (-3e-9, True)):  # rounding is nothing to explain
        made = found.indices.revised(value=np.full(len(names), value))
        assert ("never negative" in repr(replace(found, indices=made))) is said


def test_every_part_of_two_runs_can_be_pooled():
    """Each run has draws and a centre of its own: nothing of them is in what is compared."""
    problem = problems.ishigami()
    a, b = (smw.sobol_indices(problem.function, problem.law, 640, seed=s) for s in (1, 2))
    for part in ("indices", "first", "total", "mean", "variance"):
        one, two = getattr(a, part), getattr(b, part)
        pooled = smw.combine([one, two])
        assert np.all(pooled.standard_error <= np.maximum(one.standard_error, two.standard_error))


@pytest.mark.slow
def test_independent_runs_are_pooled_whole():
    problem = problems.ishigami()
    runs_ = [smw.sobol_indices(problem.function, problem.law, 640, seed=s) for s in (1, 2, 3)]
    pooled = smw.combine(runs_)
    assert isinstance(pooled, smw.SobolIndices) and pooled.pairs is None
    for name in ("indices", "first", "total", "mean", "variance"):
        parts = [getattr(run, name) for run in runs_]
        np.testing.assert_allclose(getattr(pooled, name).value, smw.combine(parts).value)
        assert getattr(pooled, name).names == parts[0].names
    np.testing.assert_allclose(
        pooled.total.variance, smw.combine([run.total for run in runs_]).variance
    )
    assert pooled.indices.cost["evaluations"] == sum(r.indices.cost["evaluations"] for r in runs_)
    other = smw.sobol_indices(problem.function, problem.law, 640, groups=["a", "a", "b"], seed=4)
    with pytest.raises(ValueError, match="expected runs on the same inputs"):
        smw.combine([runs_[0], other])


def curved(x):
    return x[:, 0] ** 2 + 2 * x[:, 1] + x[:, 0] * x[:, 1]


@pytest.mark.slow
def test_more_scramblings_give_the_same_however_they_were_divided(tmp_path):
    options = {"method": "qmc", "seed": 1}
    first = smw.sobol_indices(curved, NORMAL, 400, **options)
    twice = first.extend(curved, 192).extend(curved, 256)
    once = first.extend(curved, 448)
    np.testing.assert_array_equal(twice.indices.value, once.indices.value)
    np.testing.assert_array_equal(twice.indices.covariance, once.indices.covariance)
    assert first.indices.cost["evaluations"] < once.indices.cost["evaluations"] <= 848
    path = tmp_path / "run.npz"
    smw.sobol_indices(curved, NORMAL, 400, **options, checkpoint=path)
    grown = smw.sobol_indices(curved, NORMAL, 848, **options, checkpoint=path)
    np.testing.assert_array_equal(grown.indices.value, once.indices.value)
    with pytest.raises(ValueError, match="budget"):
        first.extend(curved, 10)
    with pytest.raises(ValueError, match="model"):
        first.extend(np.sum, 400)
    first.save(tmp_path / "kept.nc")
    second = smw.sobol_indices(curved, NORMAL, 400, method="qmc", seed=2)
    kept, sent = smw.SobolIndices.load(tmp_path / "kept.nc"), pickle.loads(pickle.dumps(first))
    for other in (kept, sent, smw.combine([first, second])):
        with pytest.raises(ValueError, match="extend"):
            other.extend(curved, 400)


def test_runs_that_fail_leave_the_indices_of_a_truncated_law():
    """|z| < 6 with 30 degrees of freedom for six numbers: false alarm 1e-5 in all.

    Without the division by the share that runs, the variance would be off by 10 standard errors.
    """

    def model(x):
        return np.where(x[:, 0] > 1, np.nan, curved(x))

    with pytest.warns(smw.PrecisionWarning, match="of the law fails"):
        found = smw.sobol_indices(model, NORMAL, 8_000, seed=2, failed="exclude")
    m = [float(stats.truncnorm(-np.inf, 1).moment(k)) for k in range(5)]
    own, other, both = m[4] - m[2] ** 2, 4 + 4 * m[1] + m[1] ** 2, m[2] - m[1] ** 2
    whole = own + other + both
    truth = np.array([own, other, own + both, other + both]) / whole
    assert (np.abs(found.indices.value - truth) < 6 * found.indices.standard_error).all()
    assert abs(found.mean.value - m[2]) < 6 * found.mean.standard_error
    assert abs(found.variance.value - whole) < 6 * found.variance.standard_error
    assert found.variance.standard_error < 0.05 * whole
    share = found.indices.diagnostics["failed_share"]
    assert share["lower"] < stats.norm.sf(1) < share["upper"] < 0.2
    assert found.indices.diagnostics["first_failed"][0] > 1
    with pytest.raises(ValueError, match="failed"):
        smw.reweight(found, NORMAL)
    with pytest.raises(smw.ModelError):
        smw.sobol_indices(model, NORMAL, 1_000, seed=2)


@pytest.mark.slow
def test_indices_with_failed_runs_cover_60_runs_sees_shortfall_of_25_points():
    """After extension; binomial bound with a false alarm of 1e-7."""

    def model(x):
        return np.where(x[:, 0] > 1.5, np.nan, x[:, 0] + x[:, 1])

    one = float(stats.truncnorm(-np.inf, 1.5).var())
    hits = 0
    for seed in range(60):
        first = quiet(
            smw.sobol_indices, model, NORMAL, 300, method="qmc", seed=seed, failed="exclude"
        )
        found = quiet(first.extend, model, 600)
        lower, upper = found.first.interval()
        hits += lower[0] < one / (1 + one) < upper[0]
    assert hits >= stats.binom.ppf(1e-7, 60, 0.95)


@pytest.mark.slow
def test_aggregated_indices_share_out_the_sum_of_all_variances():
    """y = (x1 + 2 x2, 3 x3, 1): 1/14, 4/14 and 9/14; and the error of a plain delta method."""

    def model(x):
        return np.stack([x[:, 0] + 2 * x[:, 1], 3 * x[:, 2], np.ones(len(x))], axis=1)

    law = [stats.uniform()] * 3
    found = quiet(smw.sobol_indices, model, law, 200, order=("first", "total", "second"), seed=1)
    assert found.aggregated.names[:4] == ("first X1", "first X2", "first X3", "total X1")
    exact = np.array([1, 4, 9]) / 14
    np.testing.assert_allclose(found.aggregated.value, [*exact, *exact, 0, 0, 0], atol=1e-6)
    assert smw.sobol_indices(lambda x: x[:, 0], law, 200, seed=1).aggregated is None
    noisy = quiet(smw.sobol_indices, model, law, 800, method="qmc", seed=1)
    means = noisy.pairs.terms().mean(1)
    spread = (means - means.mean(0)).T / np.sqrt(len(means) * (len(means) - 1))

    def totals(v):
        m = v.reshape(3, -1)[:2]
        return m[:, 6:9].sum(0) / (m[:, 1] - m[:, 0] ** 2).sum()

    by_hand = smw.Estimate(means.mean(0), factor=spread).apply(totals)
    part = noisy.aggregated[3:]
    np.testing.assert_allclose(part.value, by_hand.value, rtol=1e-9)
    np.testing.assert_allclose(part.covariance, by_hand.covariance, rtol=1e-5, atol=1e-12)


def test_an_index_of_rounding_alone_is_not_told_to_bend():
    """Shares of a variance known to a half bend, which matters of those that are not nothing."""
    defined = np.zeros(3, bool)
    for share, told in ((0.5, ["few-calls"]), (0.0, [])):
        means = Estimate([1e-17, share, 1.0], np.diag(np.square([1e-19, 1e-19, 0.5])))
        names = ["first a", "first b"]
        found = from_means(means, defined, lambda v: v[:2] / v[2], names, "few")
        assert [caution.code for caution in found.cautions] == told
        assert not any("first a" in caution.text for caution in found.cautions)
