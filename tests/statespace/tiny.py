"""A chain of two states and four times that can be enumerated: all truths by hand."""

import itertools

import numpy as np

from smcweights import StateSpaceModel

Y = np.array([1.0, 0.0, 1.0, 1.0])


def initial_sample(rng, theta):
    return 1.0 if rng.random() < 0.3 else 0.0


def initial_logpdf(x, theta):
    return np.log(0.3) if x == 1.0 else np.log(0.7)


def transition_sample(rng, x_prev, t, theta):
    return 1.0 if rng.random() < (0.9 if x_prev == 1.0 else 0.2) else 0.0


def transition_logpdf(x_prev, x, t, theta):
    p = 0.9 if x_prev == 1.0 else 0.2
    return np.log(p) if x == 1.0 else np.log(1 - p)


def observation_logpdf(y, x, t, theta):
    p = 0.9 if x == 1.0 else 0.15
    return np.log(p) if y == 1.0 else np.log(1 - p)


def transition_logpdf_bound(t, theta):
    return np.log(0.9)


def functional(x_prev, x, t):
    return x + x_prev * x


def initial_functional(x):
    return x


MODEL = StateSpaceModel(
    initial_sample,
    initial_logpdf,
    transition_sample,
    transition_logpdf,
    observation_logpdf,
    transition_logpdf_bound,
)


def enumerate_paths():
    """All 16 paths, their joint probabilities with Y, and h of each."""
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=4)))
    joint, sums = [], []
    for path in paths:
        total = initial_logpdf(path[0], None) + observation_logpdf(Y[0], path[0], 0, None)
        h = initial_functional(path[0])
        for t in range(1, 4):
            total += transition_logpdf(path[t - 1], path[t], t, None)
            total += observation_logpdf(Y[t], path[t], t, None)
            h += functional(path[t - 1], path[t], t)
        joint.append(np.exp(total))
        sums.append(h)
    return paths, np.array(joint), np.array(sums)


PATHS, JOINT, SUMS = enumerate_paths()
LIKELIHOOD = JOINT.sum()
TRUTH = JOINT @ SUMS / LIKELIHOOD
