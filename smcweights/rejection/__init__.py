"""Adaptive weighted rejection sampling, and sequences under constraints.

`weighted_rejection` draws one item of a finite distribution under an expensive yes/no constraint,
with a weight whose expectation is the probability of the constraint.
`constraint_probability` repeats that into an `Estimate` of the probability.
`constrained_sequences` uses it inside sequential Monte Carlo: a language gives the next item's
probabilities, a constraint (`smcweights.constraints`) says which prefixes can still be completed.
`languages` and `exact` have languages to start from and the truth where dynamic programming
reaches it.

Every weight is properly weighted, E[w 1{X = i}] = p_i c_i, with unknown normalisation never
estimated by the same draws twice; so evidence is unbiased, and standard errors come from
independent repetitions: runs in `constraint_probability`, islands in `constrained_sequences`.

Reference: Lipkin et al. (2025), arXiv 2504.05410.
"""
