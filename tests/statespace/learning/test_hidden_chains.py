"""Hidden Markov models are fitted as Baum and Welch do it, with the errors of their likelihood."""

import numpy as np
import pytest

import smcweights as smw

from .truths import agrees

FIRST = np.array([0.6, 0.4])


def forward(y, matrix, means, scales):
    """Filtered laws, their normalising constants, and densities of the observations."""
    densities = np.exp(-0.5 * ((y[:, None] - means) / scales) ** 2) / scales / np.sqrt(2 * np.pi)
    laws, constants, law = np.empty_like(densities), np.empty(len(y)), FIRST
    for t, own in enumerate(densities):
        law = (law @ matrix if t else law) * own
        constants[t] = law.sum()
        law = laws[t] = law / constants[t]
    return laws, constants, densities


def baum_welch(y, matrix, means, scales):
    """The maximum from a start, by expectations of moves and states."""
    for _ in range(400):
        laws, constants, densities = forward(y, matrix, means, scales)
        later, moves = np.ones_like(laws), np.zeros_like(matrix)
        for t in range(len(y) - 2, -1, -1):
            right = densities[t + 1] * later[t + 1] / constants[t + 1]
            moves += np.outer(laws[t], right) * matrix
            later[t] = matrix @ right
        share = laws * later / (laws * later).sum(axis=0)
        matrix, means = moves / moves.sum(axis=1, keepdims=True), y @ share
        scales = np.sqrt(((y[:, None] - means) ** 2 * share).sum(axis=0))
    return matrix, means, scales


def of_numbers(v):
    """Two rows of probabilities, means and scales by six numbers."""
    return np.array([[v[0], 1 - v[0]], [v[1], 1 - v[1]]]), v[2:4], v[4:6]


@pytest.mark.slow
def test_a_fit_is_the_maximum_of_baum_and_welch_with_the_errors_of_its_curvature():
    kinds = ("transition_matrix", "emission_means", "emission_scales")
    model = smw.models.finite_hmm(FIRST, [[0.85, 0.15], [0.3, 0.7]], [-1.0, 1.5], [0.6, 0.9])
    _, y = model.simulate(150, seed=4)
    start = smw.models.finite_hmm(FIRST, [[0.7, 0.3], [0.4, 0.6]], [-0.5, 1.0], [1.0, 1.0])
    fit = smw.maximum_likelihood(start, y, None, 40, 120, free=kinds, seed=1)
    matrix, means, scales = baum_welch(
        y, *(np.array(part) for part in start.exact.system(start.theta)[1:])
    )
    assert agrees(fit.maximiser, np.concatenate([matrix.ravel(), means, scales]))
    assert (fit.maximiser.standard_error < 0.01).all()

    def log_likelihood(v):
        return np.log(forward(y, *of_numbers(v))[1]).sum()

    centre, steps = np.concatenate([matrix[:, 0], means, scales]), 1e-4 * np.eye(6)
    second = [
        [
            log_likelihood(centre + a + b) - log_likelihood(centre + a - b)
            - log_likelihood(centre - a + b) + log_likelihood(centre - a - b)
            for a in steps
        ]
        for b in steps
    ]  # fmt: skip
    error = np.sqrt(np.linalg.inv(-np.array(second) / 4e-8).diagonal())
    stated = fit.diagnostics["statistical_error"]
    # both probabilities of a row have the same
    np.testing.assert_allclose(stated[[0, 2, *range(4, 8)]], error, rtol=0.05)
    np.testing.assert_allclose(stated[[1, 3]], error[:2], rtol=0.05)
