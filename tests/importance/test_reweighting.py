"""Other laws from a stored sample, against closed forms; |z| < 5 fails once in a million."""

import warnings

import numpy as np
import openturns as ot
import pytest
from scipy import stats
from sequential import repeated

import smcweights as smw

from .cases import LAW


def agrees(estimate, truth):
    return bool((np.abs(estimate.value - truth) < 5 * estimate.standard_error).all())


@pytest.mark.slow
def test_several_named_laws_at_once(stored):
    laws = {
        "same": LAW,
        "moved": [stats.norm(0.5, 1), stats.expon()],
        "narrow": [stats.norm(0, 0.8), stats.gamma(1.5)],
    }
    est = smw.reweight(stored, laws)
    truth = [2.0, stats.norm.sf(2), 2.25, stats.norm.sf(1.5), 0.64 + 1.5, stats.norm.sf(2 / 0.8)]
    assert agrees(est, truth)
    assert est.names[:3] == ("mean | same", "tail | same", "mean | moved")
    assert est.diagnostics["law_effective_sample_size"].shape == (3,)
    assert (est.relative_error < 0.05).all()
    # under the first law it is the estimate again, but for what its own controls bought
    same = est[["mean | same", "tail | same"]]
    assert (np.abs(same.value - stored.value) < 5 * same.standard_error).all()


@pytest.mark.slow
def test_one_law_keeps_the_names(stored):
    est = smw.reweight(stored, [stats.norm(0.2, 1), stats.expon()])
    assert est.names == stored.names
    scalar = smw.adaptive_importance_sampling(lambda x: x[:, 0], stats.norm(), 2_000, seed=2)
    moved = smw.reweight(scalar, stats.norm(0.3, 1))
    assert moved.value.shape == ()
    assert agrees(moved, 0.3)
    # in one dimension two laws in a list are two laws
    assert smw.reweight(scalar, [stats.norm(0.3, 1), stats.norm(0, 0.5)]).value.shape == (2,)


def test_a_constant_stays_exact(stored):
    with pytest.warns(smw.PrecisionWarning, match="E1: every draw gave the same value"):
        one = smw.importance_sampling(
            lambda x: np.stack([np.full(len(x), 3.0), x[:, 0]], axis=1),
            stats.norm(),
            stats.norm(0.5, 1),
            2_000,
            seed=3,
        )
    est = smw.reweight(one, stats.norm(0.2, 1))
    assert est.value[0] == pytest.approx(3, abs=1e-9)


@pytest.mark.slow
def test_intervals_cover_in_300_runs():
    """As 300 runs: sees 0.80 with probability 0.998; an alarm in 500,000."""

    def moved(seed):
        est = smw.adaptive_importance_sampling(
            lambda x: np.stack([x[:, 0] ** 2, x[:, 0] > 2], axis=1), stats.norm(), 1_000, seed=seed
        )
        return smw.reweight(est, stats.norm(0.5, 1))

    repeated(moved, [1.25, stats.norm.sf(1.5)], 300)


@pytest.mark.slow
def test_failure_probabilities_under_another_law():
    law = [stats.norm(), stats.norm()]
    est = smw.failure_probability(lambda x: 4 - x[:, 0], law, 10_000, seed=4)
    moved = smw.reweight(est, [stats.norm(0.3, 1), stats.norm()])
    assert agrees(moved, stats.norm.sf(3.7))
    assert moved.relative_error < 0.1


def test_a_law_too_far_is_refused_by_name(stored):
    with pytest.raises(smw.DegeneracyError, match=r"laws: 'far': got stored draws worth"):
        smw.reweight(stored, {"far": [stats.norm(12, 0.1), stats.expon()]})


def test_heavy_weights_are_said():
    est = smw.importance_sampling(
        lambda x: x[:, 0], stats.norm(), stats.norm(), 5_000, defensive=0, seed=5
    )
    with pytest.warns(smw.PrecisionWarning, match="k-hat of the weights"):
        smw.reweight(est, stats.norm(0, 3.5))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda e: smw.reweight(3, LAW), TypeError, "estimate: got int"),
        (lambda e: smw.reweight(smw.Estimate(1.0, 0.1), LAW), ValueError, "has no sample"),
        (lambda e: smw.reweight(e, 3), TypeError, "laws: got int"),
        (lambda e: smw.reweight(e, []), ValueError, "laws: got none"),
        (lambda e: smw.reweight(e, {"x": [stats.norm()]}), ValueError, "'x' has 1 inputs"),
        (
            lambda e: smw.perturbation_study(e, LAW, shifts=[0], scales=[1]),
            ValueError,
            "got shifts, too",
        ),
        (lambda e: smw.perturbation_study(e, LAW, scales=[0]), ValueError, "positive factors"),
        (
            lambda e: smw.perturbation_study(e, LAW, inputs=["c"]),
            ValueError,
            "inputs: got 'c'",
        ),
        (lambda e: smw.Perturbed(stats.norm(), scale=-1), ValueError, "a number above 0"),
    ],
    ids=["type", "sample", "laws", "none", "inputs", "both", "zero", "unknown", "scale"],
)
def test_bad_arguments_are_told(stored, call, error, said):
    with pytest.raises(error, match=said):
        call(stored)


def ishigami_truth(half):
    """First and total indices of sin x + 7 sin^2 y + 0.1 z^4 sin x on [-half, half]^3, by grids."""
    node, weight = np.polynomial.legendre.leggauss(60)
    x, w = half * node, weight / 2
    y = (
        np.sin(x)[:, None, None] * (1 + 0.1 * x[None, None, :] ** 4)
        + 7 * np.sin(x)[None, :, None] ** 2
    )
    joint = w[:, None, None] * w[None, :, None] * w[None, None, :]
    mean = (joint * y).sum()
    variance = (joint * (y - mean) ** 2).sum()
    first, total = [], []
    for i in range(3):
        others = [w if k != i else np.ones_like(w) for k in range(3)]
        inner = np.einsum("abc,a,b,c->" + "abc"[i], y, *others)
        first.append((w * (inner - mean) ** 2).sum() / variance)
        outer = np.tensordot(y, w, axes=(i, 0))
        total.append(1 - ((w[:, None] * w[None, :]) * (outer - mean) ** 2).sum() / variance)
    return np.array([*first, *total])


@pytest.mark.parametrize("method", ["qmc", pytest.param("importance", marks=pytest.mark.slow)])
def test_sobol_indices_under_another_law(method):
    """Uniform inputs on narrower ranges; four seeds, 24 z-values."""
    model = smw.problems.ishigami().function
    law = [stats.uniform(-np.pi, 2 * np.pi)] * 3
    half = 2.5
    narrow = [stats.uniform(-half, 2 * half)] * 3
    truth, z = ishigami_truth(half), []
    for seed in range(4):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            found = smw.sobol_indices(model, law, 10_000, method=method, seed=seed)
            moved = smw.reweight(found, {"same": law, "narrow": narrow})
        assert moved.names[0] == "first X1 | same"
        z.append((moved.value[6:] - truth) / moved.standard_error[6:])
        gap = moved.value[:6] - found.indices.value
        assert (np.abs(gap) < 6 * found.indices.standard_error + 1e-9).all()
    assert np.abs(z).max() < 6
    assert np.sqrt(np.mean(np.square(z))) < 1.6


def test_sobol_indices_under_laws_that_do_not_fit():
    model = smw.problems.ishigami().function
    law = [stats.uniform(-1, 2)] * 3
    found = smw.sobol_indices(model, law, 2_000, seed=1)
    with pytest.raises(ValueError, match="expected a law on the same support"):
        smw.reweight(found, [stats.uniform(-2, 4)] * 3)
    with pytest.raises(smw.DegeneracyError, match="worth"):
        smw.reweight(found, [stats.uniform(0.9, 0.01)] * 3)
    with pytest.raises(ValueError, match="keeps no model calls"):
        import dataclasses

        smw.reweight(dataclasses.replace(found, pairs=None), law)


def test_inputs_are_known_by_name():
    e = smw.adaptive_importance_sampling(
        lambda x: x[:, 0] ** 2, {"a": stats.norm(), "b": stats.norm()}, 4_000, seed=1
    )
    moved = {"a": stats.norm(1, 0.8), "b": stats.norm()}
    turned = {"b": stats.norm(), "a": stats.norm(1, 0.8)}
    assert smw.reweight(e, turned).value == smw.reweight(e, moved).value
    assert agrees(smw.reweight(e, moved), 1.64)
    assert smw.reweight(e, list(moved.values())).value == smw.reweight(e, moved).value
    copula = smw.GaussianCopula(turned, [[1, 0.2], [0.2, 1]])
    assert agrees(smw.reweight(e, copula), 1.64)
    unnamed = ot.JointDistribution([ot.Normal(1, 0.8), ot.Normal()])
    assert agrees(smw.reweight(e, unnamed), 1.64)
    with pytest.raises(ValueError, match="laws: has the inputs 'q', 'r'; expected 'a', 'b'"):
        smw.reweight(e, {"q": stats.norm(1, 0.8), "r": stats.norm()})
    wide = {"a": stats.norm(0, 1.5), "b": stats.norm(0, 1.2)}
    proposals = [
        smw.importance_sampling(
            lambda x: x[:, 0] ** 2, {"a": stats.norm(), "b": stats.norm()}, one, 600, seed=1
        )
        for one in (wide, dict(reversed(wide.items())))
    ]
    assert proposals[0].value == proposals[1].value


@pytest.mark.parametrize("centre", [1.5, 2.0])
def test_a_law_with_a_small_share_of_its_mass_outside_is_refused(centre):
    law = {"a": stats.expon(scale=2), "b": stats.norm()}
    estimate = smw.adaptive_importance_sampling(lambda x: x[:, 0] < 0.5, law, 1_000, seed=1)
    beyond = stats.norm.cdf(0, centre, 1)
    with pytest.raises(ValueError, match=f"{beyond:.3g} of input 'a' lies outside"):
        smw.reweight(estimate, {"a": stats.norm(centre, 1), "b": stats.norm()})
    with pytest.raises(ValueError, match="lies outside"):
        smw.under_laws(lambda x: x[:, 0], law, [{"a": stats.norm(centre, 1), "b": stats.norm()}])


def test_a_perturbation_study_of_shifts_and_scales(stored):
    study = smw.perturbation_study(stored, LAW, shifts=[-0.5, 0, 0.5])
    value, lower, upper = study.table()
    assert value.shape == (2, 3, 2)
    truth = 1 + np.array([0.25, 0, 0.25]) + 1
    half = (upper - lower)[0, :, 0] / 2
    assert (np.abs(value[0, :, 0] - truth) < 2.6 * half).all()
    # the tail of a doesn't depend on b
    assert (np.abs(value[1, :, 1] - stats.norm.sf(2)) < 2.6 * (upper - lower)[1, :, 1] / 2).all()
    assert len(study.summary()) == 12
    wider = smw.perturbation_study(stored, LAW, scales=[0.8, 1.1], inputs=["a"])
    value, lower, upper = wider.table()
    half = (upper - lower)[0, :, 0] / 2
    assert (np.abs(value[0, :, 0] - (1 + np.array([0.64, 1.21]))) < 2.6 * half).all()
    import matplotlib.pyplot as plt

    ax = smw.plots.perturbation(study, expectation=1)
    assert len(ax.lines) == 2
    plt.close(ax.figure)
    with pytest.raises(ValueError, match="expectation: got 2"):
        study.plot(expectation=2)


def test_a_study_is_of_the_law_that_the_estimate_was_made_with():
    law = {"a": stats.expon(scale=2), "b": stats.norm()}
    estimate = smw.adaptive_importance_sampling(lambda x: x[:, 0], law, 1_000, seed=1)
    with pytest.raises(ValueError, match="law: is not the one"):
        smw.perturbation_study(
            estimate, {"a": stats.expon(scale=1.3), "b": stats.norm()}, shifts=[0.0]
        )
    unnamed = smw.perturbation_study(estimate, list(law.values()), shifts=[0.0])
    assert unnamed.inputs == ("a", "b")
