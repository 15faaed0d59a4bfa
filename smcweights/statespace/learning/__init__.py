"""Parameters of state-space models: scores, information, maximum likelihood, posteriors.

=========================================== ====================================================
`score`, `observed_information`             gradient and curvature of the log likelihood at theta
`maximum_likelihood`                        the parameters that maximise it, with both errors; of
                                            simulators by iterated filtering and a surface
`online_maximum_likelihood`                 parameters that follow a stream
`markov_score_climbing`                     a family of laws fitted to a density
`particle_marginal_metropolis_hastings`     draws of the parameters and a state, under a prior;
                                            `posterior_means` of them have errors
=========================================== ====================================================
"""
