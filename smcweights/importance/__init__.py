"""Importance sampling: expectations, rare events, Sobol' indices, and other input laws.

Which function when
-------------------
`adaptive_importance_sampling`
    Means, moments and probabilities of a model's output under an input law, all from one sample
    whose density is learned on the way. Start here.
`importance_sampling`
    The same with a density you already have, or with a law known up to its constant.
`posterior`
    Log evidence, posterior means, spreads and quantiles from a log likelihood and a prior.
`from_weights`
    Means from draws and log weights that were made elsewhere, of independent draws or of chains.
`failure_probability`
    The probability that a limit state is at or below a threshold, down to 1e-9: it uses how far a
    draw is from failing, where an indicator alone would leave nothing to learn from.
`sobol_indices`, `sobol_from_sample`
    Which inputs the variance of the output is owed to; from model calls, or from a sample at hand.
`shapley_effects`
    The same of dependent inputs: shares that sum to one.
`output_law`
    The whole law of outputs: quantiles and means beyond them, both tails down to 1e-6 or farther,
    with a band that holds the distribution function at once.
`input_uncertainty`
    The same errors with what data leave unknown of laws that were fitted to them.
`reweight`, `perturbation_study`, `under_laws`
    The same estimates under other laws of the inputs, without another call of the model.
`importance_resampling`
    Which of many raw texts or rows look like a target sample, and what selecting them gains.

What the standard errors rest on
--------------------------------
Adaptation ends before the final draws begin, so these are independent given the past, and the
variance of their mean is a sample variance, within the components of the mixture (the draws are
stratified). Control variates enter with coefficients from other draws than the ones they correct
(`smcweights.regression`), which keeps the mean exactly unbiased. Intervals are Student's, with
Satterthwaite's degrees of freedom from the fourth moments of the corrected terms. A share of every
mixture is the input law itself, so weights are bounded by 20; the Pareto k-hat of integrand times
weight, and the number of equal draws it is worth, tell where a tail is too heavy for an interval to
be promised, and then a `smcweights.PrecisionWarning` says so.

The files
---------
``laws`` what an input law may be (``marginals``, ``integrated_laws``, ``normal_maps``,
``openturns_laws``);
``proposals`` densities, ``fits`` of them to draws, ``mixing`` of them for many expectations;
``integrand`` (``log_scale`` for one given by logs), ``failed_runs``, ``stages``,
``control_variates``, ``means`` and ``verdict`` the way from the user's function to an estimate;
``adaptation`` the stages, ``final_draws`` what follows them, ``extension`` more of these;
``adaptive``, ``given_proposal``, ``rare_events`` (with ``failure_regions``), ``sobol`` (with
``pairs``, ``indices``, ``replicates``, ``sparse_polynomials`` and, of many outputs,
``shared_polynomials``), ``posterior`` (with ``climb``,
``derivative_controls``, ``ratio_means`` and ``posteriors``), ``shapley``, ``given_samples``,
``output_law`` (with ``ladder`` and ``thresholds``), ``input_uncertainty`` (with ``refits``),
``reweighting`` and ``under_laws`` the public functions, ``given_weights`` (with ``chain_variance``)
that for draws from elsewhere, ``selection`` (with ``ngrams``) that of data; ``figures`` and
``law_figures`` what they look like.
"""
