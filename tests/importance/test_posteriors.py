"""What a posterior can do once it is there: draws, comparison, pooling, files, ArviZ."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights import _compat

from .posteriors import regression


@pytest.fixture(scope="module")
def runs():
    log_likelihood, prior, *_ = regression(50)
    return [smw.posterior(log_likelihood, prior, 2_000, seed=seed) for seed in (1, 2)]


def test_models_are_compared_by_their_evidence(runs):
    """Of nested regressions the log Bayes factor is known."""
    log_likelihood, prior, truth, *_ = regression(50)

    def smaller(t):
        return log_likelihood(np.concatenate([np.zeros((len(t), 1)), t], axis=1))

    found = smw.posterior(smaller, list(prior.values())[1:], 2_000, seed=3)
    ratio = runs[0].compare(found)
    assert ratio.names == ("log Bayes factor",)
    assert float(ratio) == pytest.approx(float(runs[0].log_evidence) - float(found.log_evidence))
    assert truth - float(found.log_evidence) == pytest.approx(float(ratio), abs=0.1)
    with pytest.raises(ValueError, match="same seed"):
        runs[0].compare(runs[0])


@pytest.mark.parametrize("shares", [[1.5], "a", 0.5, [0.1, 0.1]])
def test_shares_of_quantiles_are_checked(runs, shares):
    with pytest.raises((TypeError, ValueError), match="shares: "):
        runs[0].with_quantiles(shares)


def test_resampled_draws_follow_the_posterior(runs):
    _, _, _, mean, covariance = regression(50)
    drawn = runs[0].draw(1_000, seed=4)
    assert drawn.shape == (1_000, 3)
    assert (abs(drawn.mean(0) - mean) < 6 * np.sqrt(np.diag(covariance) / 500)).all()
    np.testing.assert_array_equal(drawn, runs[0].draw(1_000, seed=4))


def test_arviz_of_this_generation_takes_the_draws(runs):
    data = runs[0].to_arviz(seed=5)
    assert list(data["posterior"]["b0"].dims) == ["chain", "draw"]
    size = runs[0].diagnostics["effective_sample_size"]
    assert data["posterior"]["b0"].shape == (1, int(size))
    assert float(data["sample_stats"]["weight_ess"][0, 0]) == pytest.approx(size)
    summary = _compat.arviz().summary(data)
    assert summary.loc["b1", "mean"] == pytest.approx(float(runs[0].expectations["b1"]), abs=0.1)


def test_weighted_draws_give_the_same_means_elsewhere(runs):
    run = runs[0]
    again = smw.from_weights(run.draws, run.log_weight, names=run.inputs)
    assert (abs(again.value - run.expectations.value[:3]) < 5 * again.standard_error).all()
    z = smw.from_weights(
        np.ones(len(run.draws)), run.log_weight - run.log_weight.max(), self_normalized=False
    )
    gap = np.log(float(z)) + run.log_weight.max() - float(run.log_evidence)
    assert abs(gap) < 5 * z.standard_error / float(z)


def test_it_is_saved_read_labelled_and_cited(runs, tmp_path):
    runs[0].save(tmp_path / "a.nc")
    again = smw.Posterior.load(tmp_path / "a.nc")
    np.testing.assert_array_equal(again.joint.value, runs[0].joint.value)
    np.testing.assert_array_equal(again.log_weight, runs[0].log_weight)
    assert again.to_xarray()["draws"].dims == ("draw", "input")
    assert set(runs[0].sample) == {"inputs", "log_weight", "log_likelihood", "component"}
    assert any("Cornuet" in source for source in runs[0].references)
    assert "log evidence" in runs[0]._repr_html_()


def test_other_quantiles_need_no_call(runs):
    found = runs[0].with_quantiles([0.1])
    _, _, _, mean, covariance = regression(50)
    truth = mean + stats.norm.ppf(0.1) * np.sqrt(np.diag(covariance))
    assert found.quantiles.names == ("q0.1[b0]", "q0.1[b1]", "q0.1[b2]")
    assert (abs(found.quantiles.value - truth) < 5 * found.quantiles.standard_error).all()
    with pytest.warns(smw.PrecisionWarning, match="too few draws lie beyond"):
        smw.cautions.tell("demo", runs[0].with_quantiles([1e-9]).cautions)
