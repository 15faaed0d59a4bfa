"""Laws fitted to data: parameters there and back, scores and refits against closed forms."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import smcweights as smw
from smcweights.importance.laws import as_law
from smcweights.importance.refits import (
    Fitted,
    by_likelihood,
    checked_data,
    covariance_of,
    law_known,
    parameters_of,
    resampled,
)

LAW = {"a": stats.norm(2, 3), "b": stats.gamma(2.5, scale=1.5), "c": stats.weibull_min(1.7)}
X = np.random.default_rng(2).gamma(2.0, size=(40, 3)) + 0.1


def test_a_law_is_the_same_from_its_parameters_and_from_its_description():
    copula = smw.GaussianCopula(LAW, np.eye(3) * 0.6 + 0.4)
    for given in (LAW, copula):
        law = as_law(given)
        fitted = Fitted.of(law)
        again = fitted.law(fitted.theta)
        assert np.allclose(again.log_density(X), law.log_density(X))
        assert np.allclose(law_known(law.describe()).log_density(X), law.log_density(X))
    assert fitted.labels[:3] == ("a loc", "a scale", "b shape")
    assert fitted.labels[-1] == "correlation b c"
    assert Fitted.of(as_law([smw.Truncated(stats.norm(), 0, 1)])) is None
    with pytest.raises(ValueError, match="not known by name; expected laws="):
        law_known(as_law([smw.Truncated(stats.norm(), 0, 1)]).describe())


def test_scores_are_the_derivatives_of_the_log_density():
    fitted = Fitted.of(as_law(LAW))
    spread = np.full(len(fitted.theta), 0.01)
    spread[[fitted.labels.index(f"{name} loc") for name in "bc"]] = 0
    s = fitted.scores(X, spread)
    z = (X[:, 0] - 2) / 3
    assert np.allclose(s[:, 0], z / 3) and np.allclose(s[:, 1], (z**2 - 1) / 3, rtol=1e-4)
    b = fitted.labels.index("b scale")
    assert np.allclose(s[:, b], X[:, 1] / 1.5**2 - 2.5 / 1.5, rtol=1e-4)
    c = fitted.labels.index("c shape")
    exact = 1 / 1.7 + np.log(X[:, 2]) * (1 - X[:, 2] ** 1.7)
    assert np.allclose(s[:, c], exact, rtol=1e-4, atol=1e-6)
    together = Fitted.of(as_law(smw.GaussianCopula(LAW, np.eye(3) * 0.7 + 0.3)))
    r = together.labels.index("correlation a b")
    spread = np.zeros(len(together.theta))
    spread[r] = 0.01
    up, down = (
        together.law(together.theta + h * (spread > 0)).log_density(X) for h in (1e-5, -1e-5)
    )
    assert np.allclose(together.scores(X, spread)[:, r], (up - down) / 2e-5, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_refits_have_the_covariance_that_fisher_says():
    data = {"a": np.zeros(200) + np.arange(200.0), "c": np.linspace(0.1, 2.0, 100)}
    fitted = Fitted.of(as_law(LAW))
    refit = by_likelihood(fitted, data)
    rng = np.random.default_rng(1)
    found = resampled(fitted, data, refit, 300, "parametric", False, rng)
    whole = covariance_of(found, fitted, data, False)
    # 300 refits tell a variance to 8 %
    assert whole[0, 0] == pytest.approx(9 / 200, rel=0.35)
    assert whole[1, 1] == pytest.approx(9 / 400, rel=0.35)
    b, c = fitted.labels.index("b shape"), fitted.labels.index("c shape")
    assert whole[b, b] == 0 and whole[0, c] == 0 and whole[c, c] > 0
    own = resampled(fitted, data, refit, 60, "nonparametric", False, rng)
    assert np.isfinite(own).all() and own[:, 0].mean() == pytest.approx(99.5, rel=0.05)


def test_data_come_by_name_as_frames_or_as_rows():
    table = np.arange(12.0).reshape(6, 2)
    frame = checked_data(pd.DataFrame(table, columns=["a", "b"]), ["a", "b"])
    rows = checked_data(table, ["a", "b"])
    assert all(np.array_equal(frame[name], rows[name]) for name in "ab")
    for wrong, message in (
        ({"z": table[:, 0]}, r"data: got \['z'\]; expected measurements of a, b"),
        (table[:, :1], r"data: got shape \(6, 1\); expected \(n, 2\)"),
        ({"a": [1.0, 2.0]}, r"data: got shape \(2,\) for 'a'; expected at least 5"),
    ):
        with pytest.raises(ValueError, match=message):
            checked_data(wrong, ["a", "b"])


def test_what_likelihood_cannot_tell_is_refused():
    uniform = Fitted.of(as_law([stats.uniform()]))
    with pytest.raises(ValueError, match="no parameters but its ends"):
        by_likelihood(uniform, {"X1": np.linspace(0, 1, 9)})
    fitted = Fitted.of(as_law([stats.expon()]))
    with pytest.raises(ValueError, match="support moves with X1 loc"):
        fitted.scores(np.array([[0.0001], [2.0]]), np.array([0.1, 0.1]))
    with pytest.raises(ValueError, match="other families"):
        parameters_of(lambda _: [stats.norm()], {}, fitted)

    def broken(_):
        raise RuntimeError("no fit")

    with pytest.raises(RuntimeError, match="no fit"):
        resampled(
            fitted, {"X1": np.ones(9)}, broken, 50, "parametric", False, np.random.default_rng(1)
        )


def test_rows_measured_together_tell_correlations_and_columns_apart_do_not():
    rows = np.random.default_rng(4).multivariate_normal([1, 0], [[1, 0.7], [0.7, 2]], 60)
    data = {"a": rows[:, 0], "b": rows[:, 1]}
    law = smw.GaussianCopula({"a": stats.norm(), "b": stats.norm()}, [[1, 0.3], [0.3, 1]])
    fitted = Fitted.of(as_law(law))
    exact = np.ravel([rows.mean(0), rows.std(0)], order="F")
    # of normal laws, that of the scores is the correlation itself
    for together, r in ((True, np.corrcoef(rows.T)[0, 1]), (False, 0.3)):
        found = by_likelihood(fitted, data, together).parameters(data)
        assert np.allclose(found, [*exact, r])
    b_known = by_likelihood(fitted, {"a": rows[:, 0]}).parameters({"a": rows[:, 0]})
    assert np.allclose(b_known, [*exact[:2], 0, 1, 0.3])
