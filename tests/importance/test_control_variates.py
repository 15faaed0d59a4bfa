"""Control variates: the error of an estimated mean is counted."""

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.importance.control_variates import prepare_controls
from smcweights.importance.laws import as_law
from smcweights.importance.proposals import working_space


@pytest.mark.slow
def test_the_error_of_a_surrogate_s_mean_is_counted():
    """The surrogate is the model, so what is left is the error of its mean on 20 n cheap draws."""
    law = [stats.expon()]
    runs = [
        smw.adaptive_importance_sampling(
            lambda x: x[:, 0], law, 400, control_variates=lambda x: x[:, 0], seed=seed
        )
        for seed in range(200)
    ]
    z = np.array([(run.value - 1) / run.standard_error for run in runs])
    # a chi-square of 200: 0.56 to 1.6 but for one in a million
    assert 0.56 < (z**2).mean() < 1.6
    assert np.median([run.standard_error for run in runs]) == pytest.approx(8_000**-0.5, rel=0.15)


def controls(asked, budget=2_000):
    space = working_space(as_law([stats.norm(), stats.uniform()]), np.random.default_rng(0))
    return prepare_controls(asked, space, budget, np.random.SeedSequence(1)), space


def test_functions_have_mean_zero_under_the_law_and_degrees_make_sense_alone():
    made, space = controls(["polynomial", lambda x: x[:, :1] ** 2, True])
    u = space.sample(np.random.default_rng(2), 40_000)
    z = made.values(u, space.to_inputs(u))
    assert made.components
    assert z.shape == (40_000, made.prefixes[-1])
    assert list(made.prefixes) == sorted(made.prefixes)
    # |z| < 5.5 for some hundred functions: one false alarm in a million; high degrees are heavy
    light = (z**4).mean(0) < 100
    assert light.sum() > 10
    assert (np.abs(z.mean(0)) / z.std(0) * 200 < 5.5)[light].all()
    # the square's mean is estimated on 40,000 draws: variance 2 each
    assert made.mean_covariance[-1, -1] == pytest.approx(2 / 40_000, rel=0.1)
    assert not made.mean_covariance[:-1].any()


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ([], ValueError, "empty list"),
        ("polynomials", ValueError, "expected True, False, 'polynomial'"),
        (3, TypeError, "got int; expected True"),
        (lambda x: x[0], smw.ModelError, "the surrogate: returned shape"),
    ],
)
def test_what_is_no_control_variate_is_refused(asked, error, said):
    with pytest.raises(error, match=said):
        controls(asked)
