"""Searches that a test kills in a process of its own and takes up in another."""

import numpy as np

import smcweights as smw

MODEL = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
Y = MODEL.simulate(12, seed=1)[1]


def ascent(**others):
    fit = smw.maximum_likelihood(
        MODEL, Y, None, 8, 220, free=[0], chains=2, information=False, **others
    )
    return fit.iterates


def log_density(z):
    return -0.5 * (z[0] - 1.0) ** 2


def climb(**others):
    return smw.markov_score_climbing(log_density, [0.0, 0.0], 5, 220, chains=2, **others).iterates


def log_prior(theta):
    return -0.5 * np.log(theta[1]) ** 2


def marginal(**others):
    draws = smw.particle_marginal_metropolis_hastings(
        MODEL, Y, log_prior, 20, 150, free=[1], chains=2, **others
    )
    return draws["posterior"]["transition_covariance"].values


# the file that each lives in, and its job
SEARCHES = {
    "likelihood": ("_ascent", ascent),
    "score_climbing": ("_climb", climb),
    "marginal": ("_chain", marginal),
}
