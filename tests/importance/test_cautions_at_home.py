"""Every public function of the room tells its cautions at the caller's line, under its own name."""

import warnings

import numpy as np
import pytest
from scipy import stats

import smcweights as smw

LAW = [stats.norm()]
NARROW = smw.Precision(relative=1e-6, max_budget=1_000)


def rare(x):
    return x[:, 0] > 3


def concentrated(x):
    return np.exp(5 * x[:, 0]) * x[:, 1]


def drawn_plainly(seed):
    return smw.importance_sampling(lambda x: x[:, 0], LAW, LAW, 5_000, defensive=0, seed=seed)


def reweighted(seed):
    estimate = drawn_plainly(seed)
    return smw.reweight(estimate, {"wide": [stats.norm(0, 3.5)]})


def studied(seed):
    estimate = drawn_plainly(seed)
    return smw.perturbation_study(estimate, LAW, scales=[3.5])


def ratio(seed):
    return smw.adaptive_importance_sampling(
        smw.under_laws(rare, LAW[0], [stats.norm(0, 0.3)]), LAW[0], 300, seed=seed
    )


CALLS = {
    "adaptive_importance_sampling": lambda s: smw.adaptive_importance_sampling(
        rare, LAW, precision=NARROW, seed=s
    ),
    "importance_sampling": lambda s: smw.importance_sampling(
        lambda x: x[:, 0] > 9, LAW, LAW, 100, seed=s
    ),
    "failure_probability": lambda s: smw.failure_probability(
        lambda x: 3 - x[:, 0], LAW, precision=NARROW, seed=s
    ),
    "sobol_indices": lambda s: smw.sobol_indices(concentrated, LAW * 2, 400, method="qmc", seed=s),
    "sobol_from_sample": lambda s: smw.sobol_from_sample(
        np.random.default_rng(s).random((200, 2)), np.random.default_rng(s + 9).random(200), seed=s
    ),
    "reweight": reweighted,
    "perturbation_study": studied,
    "under_laws": ratio,
}
TELLER = {"perturbation_study": "reweight", "under_laws": "adaptive_importance_sampling"}


@pytest.mark.parametrize("name", CALLS)
def test_a_caution_is_told_here_by_its_function_and_stays_with_the_result(name):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        result = CALLS[name](5)
    told = [w for w in seen if issubclass(w.category, smw.PrecisionWarning)]
    assert told
    assert {w.filename for w in told} == {__file__}
    start = f"{TELLER.get(name, name)}: "
    assert all(str(w.message).startswith(start) for w in told)
    cautions = getattr(result, "estimate", result).cautions
    assert {f"{start}{c.text} [{c.code}]" for c in cautions} == {str(w.message) for w in told}


def test_the_second_model_s_equal_caution_is_shown_by_python_s_own_filter():
    """It shows a text once for each line: both models', where both point at the caller's."""

    def first(x):
        return 3 - x[:, 0]

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        smw.failure_probability(first, LAW, precision=NARROW, seed=1)
        smw.failure_probability(first, LAW, precision=NARROW, seed=1)
        smw.adaptive_importance_sampling(rare, LAW, precision=NARROW, seed=1)
        smw.adaptive_importance_sampling(rare, LAW, precision=NARROW, seed=1)
    unreached = [str(w.message) for w in seen if "[precision-not-reached]" in str(w.message)]
    assert len(unreached) == 4
