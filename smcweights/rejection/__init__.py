"""Adaptive weighted rejection sampling, and sequences under constraints.

`weighted_rejection` draws one item of a finite distribution under an expensive yes/no constraint,
with a weight whose expectation is the probability of the constraint.
`constraint_probability` estimates that probability from items inspected in the same way, each
given all answers before it.
`constrained_sequences` uses it inside sequential Monte Carlo: a language gives the next item's
probabilities, a constraint (`smcweights.constraints`) says which prefixes can still be completed,
and an automaton leads the particles to where they can end in time, as does the outline of a
grammar, or of JSON under a schema.
`smw.languages` has languages to start from, and `smw.rejection.exact` the truth where dynamic
programming reaches it: Markov chains under an automaton.

Every weight is properly weighted, E[w 1{X = i}] = p_i c_i, with unknown normalisation never
estimated by the same draws twice; so evidence is unbiased. What its standard error rests on: the
scatter of independent islands, but no less than the spread that the draws' weights tell of
themselves (`WeightedDraw.relative_variance`), and 3 particles of all that may be missing by chance.
In `constraint_probability` answers differ from what was expected of them by a martingale, whose
squares are added up, and 3 answers may be missing.

Reference: Lipkin et al. (2025), arXiv 2504.05410.
"""

from __future__ import annotations

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if name != "exact":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.exact")
