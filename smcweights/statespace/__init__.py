"""State-space models: filtering, smoothing, and how sure one is of either.

A `StateSpaceModel` is a handful of functions of one particle; `smcweights.models` has ready ones.

=========================== ====================================================================
`particle_filter`,          the state given the past, and log p(y), with its error from one run;
`OnlineFilter`,             of several series `log_likelihood` is the sum
`log_likelihood`
`paris`, `OnlineSmoother`   expectations of additive functionals given all of y: smallest error per
                            second, but a bias of order T/N that its interval does not contain
`parisian_particle_gibbs`   the same without the bias, by chains of conditional filters; its
                            interval holds, at the price of more work for the same variance
`unbiased_smoothing`        no bias at all, by coupled chains, for many parallel workers
`particle_gibbs`            draws of whole paths, and of parameters
`posterior_means`           means of such draws, with an error
`backward_simulation`       paths from one stored filter
`kalman_filter`,            exact answers, where there are any: states given the past or all of y,
`kalman_smoother`,          log p(y) and its gradient, forecasts; for finitely many states
`kalman_score`,             `forward_backward`
`kalman_forecast`
`forecast`                  states and observations to come, with what draws of parameters say
`predictive_check`          did the model foresee every observation?
`check_model`               do sampler, density and bound of a model agree?
=========================== ====================================================================

What the standard errors rest on: of `paris` on independent runs, of `parisian_particle_gibbs` on
the means of independent chains, of `unbiased_smoothing` on independent replicates, all with
Student's quantiles. Each is honest about its own spread; the bias of `paris` is estimated beside
it and warned of.
"""
