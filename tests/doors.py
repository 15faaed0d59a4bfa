"""Every public function with arguments that are right, what each of them is, and what is wrong.

What is right needs no work: a model's functions raise `Reached` at their first call, so that a
value that was let in costs no more than one that is refused.
"""

import datetime
import decimal
import fractions
import functools
import tempfile
import types
from pathlib import Path

import numpy as np
import pandas as pd
import xarray
from made import fitted_inputs, whole_law
from scipy import stats

import smcweights as smw
from smcweights._compat import inference_data
from smcweights.statespace import forecasting


class Reached(BaseException):
    """All arguments were let in."""


def never(*_, **__):
    raise Reached


def masked(shape):
    """An array one of whose entries is hidden."""
    array = np.ma.masked_array(np.ones(shape))
    array[(0,) * array.ndim] = np.ma.masked
    return array


BAD = {
    "none": lambda: None,
    "true": lambda: True,
    "false": lambda: False,
    "text": lambda: "no such thing",
    "digits": lambda: "20",
    "empty text": lambda: "",
    "bytes": lambda: b"20",
    "nan": lambda: np.nan,
    "inf": lambda: np.inf,
    "minus inf": lambda: -np.inf,
    "complex": lambda: 20 + 1j,
    "minus one": lambda: -1,
    "zero": lambda: 0,
    "half": lambda: 0.5,
    "big": lambda: 10**12,
    "giant": lambda: 10**400,
    "decimal": lambda: decimal.Decimal("20.5"),
    "fraction": lambda: fractions.Fraction(41, 2),
    "date": lambda: datetime.datetime(2020, 1, 1),
    "empty list": lambda: [],
    "list of nan": lambda: [np.nan, 1.0],
    "list of inf": lambda: [1.0, np.inf],
    "list of text": lambda: ["1", "2"],
    "list of none": lambda: [None, None],
    "list of giants": lambda: [10**400, 1],
    "ragged": lambda: [[1.0], [1.0, 2.0]],
    "masked": lambda: masked(4),
    "masked table": lambda: masked((4, 2)),
    "objects": lambda: np.array([object(), object()]),
    "complex array": lambda: np.full(4, 1 + 1j),
    "complex table": lambda: np.full((4, 2), 1 + 1j),
    "bools": lambda: np.array([True, False, True, True]),
    "texts": lambda: np.array(["a", "b"]),
    "dates": lambda: np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"),
    "cube": lambda: np.zeros((2, 2, 2)),
    "no rows": lambda: np.zeros((0, 2)),
    "dict": dict,
    "dict of text": lambda: {"a": "b"},
    "set": lambda: {1, 2},
    "generator": lambda: (number for number in (1.0, 2.0)),
    "lambda": lambda: lambda: 0.0,
    "type": lambda: int,
    "object": object,
    "slice": lambda: slice(3),
    "ellipsis": lambda: ...,
    "frame": lambda: pd.DataFrame({"a": ["x", "y"], "b": [1.0, 2.0]}),
    "folder": lambda: Path(tempfile.gettempdir()),
}
# of these an error can say the whole of what it got
SHORT = list(BAD)[: list(BAD).index("empty list")]
SCALARS = "minus one;zero;half;big"
LISTS = "empty list;list of text;dict;dict of text;set;texts;generator"
# what of these an argument may take, by what it is; all else has to be refused
MAY = {
    "count": "",
    "whole": "zero",
    "number": SCALARS,
    "end": f"{SCALARS};inf;minus inf",
    "share": "zero;half",
    "p": "big;half",
    "texts": "list of text;texts",
    "shares": "empty list;no rows;half",
    "dict of functions": "dict",
    "flag": "true;false",
    "array": f"{SCALARS};empty list;cube;no rows",
    "gaps": f"{SCALARS};empty list;cube;no rows;list of nan;masked;masked table;nan",
    "logs": f"{SCALARS};empty list;cube;no rows;minus inf;inf;list of inf",
    "answers": "lambda;type;bools;set;dict;dict of text;empty list",
    "choice": "",
    "function": "lambda;type",
    "text": "text;digits;empty text",
    "names": f"text;digits;empty text;{LISTS};frame;no rows",
    "listed": f"{LISTS};frame;no rows;text;digits;empty text;minus one;zero",
    "seed": "none;zero;big;giant",
    "executor": "",
    "progress": "true;false",
    "path": "text;digits",
    "thing": "",
    "mapping": "dict;dict of text",
    "after": "none",
    "none": "none",
    "false": "false",
    "widen": "false;half",
    "burn in": "zero",
    "map": f"{SCALARS};list of nan;bools;no rows;lambda;type",
    "items": f"{LISTS};no rows;texts;frame;ragged;list of none;objects;cube;text;digits",
    "schema": "true;false;dict;dict of text",
    "clouds": "ragged;cube",
    "ahead": "false",
    "asked": "true;false;lambda;type",
    "named": "none;false;empty list;text;digits;empty text;list of text",
    "large": "big;giant",
    "number or function": f"{SCALARS};lambda;type",
    "densities": "dict",
    "freedom": f"{SCALARS};inf;list of inf;minus inf",
    "lists of weights": "list of none",
    "cloud": f"{SCALARS};empty list;cube;no rows;bools;nan;inf;minus inf;list of nan;list of inf",
    "units": f"{SCALARS};true;false",
    "jax cloud": f"{SCALARS};empty list;cube;no rows;bools;nan;inf;minus inf;list of nan;"
    "list of inf;true;false",
    "stream": f"{LISTS};no rows;cube;frame;bools;dates;objects;masked;masked table;complex array;"
    "complex table;list of nan;list of inf;list of none;list of giants;ragged",
    "bounds": "list of inf;set;generator",
    "cautions": "empty list;dict;no rows;generator",
    "times": f"{SCALARS};empty list;cube;no rows;dates;date",
    "counts": "set;generator",
    "exceptions": "empty list;dict;no rows",
    "widths": f"{SCALARS};big;half;list of inf",
    "tokens": "set;generator;empty list;dict;no rows",
    "ends": "zero;none;set;generator;empty list;dict;no rows",
    "any": ";".join(BAD),
}
# what arguments are, wherever they have these names
KIND = {
    "choice": "numbers spacing components method scheme system failed "
    " methods resampling backward objective trace keep_states of",
    "burn in": "burn_in",
    "counts": "budgets",
    "exceptions": "failed_exceptions",
    "tokens": "prompt forbidden",
    "count": "resamples horizon order budget n"
    " n_particles n_accepts n_draws n_paths n_backward islands n_steps chains "
    "max_length max_budget max_evaluations permutations steps repeats dimension states n_sweeps "
    "shown rows memory input_dim state_dim",
    "whole": "slot frozen end warm_up first last event begin "
    "component expectation output parameter first_input",
    "number": "scale step shift growth density shape process_scale observation_scale persistence "
    "volatility leverage transition_variance observation_variance initial_variance forcing beta "
    "acceleration bearing_scale irregular trend transition_scale initial_scale discount "
    "absolute relative least_effective threshold temperature",
    "end": "lower upper",
    "after": "after_first",
    "bounds": "bounds",
    "share": "body ess_threshold backward_ess defensive level decay",
    "p": "p",
    "flag": "cache vectorized pooled self_normalized batch root store information search "
    "keep_directions",
    "array": "expected_shortfall tails "
    "weights_x weights_y mean_x cov_x mean_y cov_y shifts scales factor value covariance "
    "theta theta0 levels limits initial_path start x x0 groups_x groups_y grid times truth trials "
    "correlation degrees_of_freedom weights transition_matrix transition_covariance "
    "observation_matrix observation_covariance initial_mean initial_covariance initial_diffuse "
    "transition_offset observation_offset coefficients initial_probabilities emission_means "
    "emission_scales returns accepting table initial transition log_likelihoods a seasonal cycle",
    "gaps": "y y_t u u_t series",
    "logs": "logits log_w log_z log_weights",
    "items": "items sequences",
    "names": "names inputs input_names theta_names references",
    "listed": "formats free candidates transforms columns trace_at",
    "cautions": "cautions",
    "function": "refit "
    "function logpdf sample initial_sample initial_logpdf log_lookahead integrand "
    "limit_state functional initial_functional callback target f "
    "log_prior "
    "potential twist allows complete transition_sample transition_logpdf observation_logpdf "
    "transition_logpdf_bound observation_sample in_place run transition_mean",
    "answers": "constraint",
    "seed": "seed",
    "executor": "executor",
    "progress": "progress",
    "path": "checkpoint path",
    "stream": "stream",
    "densities": "densities",
    "thing": "data draws law laws proposal precision model control_variates directions family "
    "optimiser "
    "parameters estimate estimates filter_result distribution language marginals fit ax "
    "groups clouds found est result found out test indices study key exact "
    "source tokenizer vocabulary models",
    "mapping": "schema diagnostics cost provenance",
    "text": "start code pattern text",
}
KIND = {name: kind for kind, listed in KIND.items() for name in listed.split()}
# where an argument of that name is something else
ELSEWHERE = {
    ("constrained_sequences", "weights"): "flag",
    ("constrained_sequences", "end"): "ends",
    ("constraints.vocabulary", "end"): "ends",
    ("constraints.over_tokens", "constraint"): "thing",
    ("constraints.vocabulary", "tokens"): "items",
    ("sliced_wasserstein_matrix", "weights"): "lists of weights",
    ("SlicedReference", "weights"): "array",
    ("VariationalFamily", "sample"): "function",
    ("log_bayes_factor", "a"): "thing",
    ("some_sequences.log_ratio", "other"): "thing",
    ("some_sequences.table", "items"): "items",
    ("some_sequences.texts", "items"): "items",
    ("several.both", "constraints"): "thing",
    ("several.either", "constraints"): "thing",
    ("a_fit.interval", "error"): "choice",
    ("log_bayes_factor", "b"): "thing",
    ("from_weights", "values"): "map",
    ("from_weights", "chain"): "array",
    ("from_weights", "smooth"): "flag",
    ("posterior", "log_likelihood"): "function",
    ("importance_resampling", "raw"): "texts",
    ("importance_resampling", "target"): "texts",
    ("importance_resampling", "k"): "count",
    ("importance_resampling", "buckets"): "count",
    ("importance_resampling", "features"): "function",
    ("posterior", "prior"): "thing",
    ("posterior", "functions"): "dict of functions",
    ("posterior", "quantiles"): "shares",
    ("posterior", "reference"): "thing",
    ("posterior", "summit"): "flag",
    ("adaptive_importance_sampling", "log"): "flag",
    ("Estimate", "method"): "text",
    ("Estimate", "extension"): "function",
    ("adaptive_importance_sampling", "bounds"): "thing",
    ("Estimate", "sample"): "any",
    ("sobol_indices", "order"): "choice",
    ("sobol_from_sample", "order"): "choice",
    ("constraints.automaton", "initial"): "whole",
    ("constraints.json_schema", "schema"): "schema",
    ("constraints.regex", "flags"): "whole",
    ("models.structural", "level"): "number",
    ("models.bearings_only", "initial_scale"): "array",
    ("models.theta_logistic", "initial_mean"): "number",
    ("an_estimate.apply", "f"): "map",
    ("a_growing_estimate.extend", "model"): "function",
    ("constraints.grammar", "start"): "text",
    ("model_probabilities", "prior"): "thing",
    ("sliced_gradient_flow", "trace"): "none",
    ("weights.pareto_k_threshold", "n"): "number",
    ("kalman_score", "model"): "thing",
    **{("sliced_two_sample", name): "cloud" for name in "xy"},
    **{("max_sliced_wasserstein", name): "cloud" for name in "xy"},
    **{(f, "scale"): "units" for f in ("sliced_two_sample", "max_sliced_wasserstein")},
    ("sliced_two_sample", "control_variates"): "named",
    ("Estimate", "degrees_of_freedom"): "freedom",
    ("Precision", "max_budget"): "large",
    **{("Precision", name): "widths" for name in ("absolute", "relative")},
    ("Precision", "of"): "function",
    ("particle_gibbs", "parameters"): "function",
    ("particle_gibbs", "backward"): "none",
    ("calibrate", "seeds"): "count",
    ("sliced_test", "columns"): "flag",
    ("under_laws", "laws"): "any",
    ("sobol_from_sample", "inputs"): "any",
    ("sobol_indices", "groups"): "any",
    ("shapley_effects", "groups"): "any",
    ("shapley_effects", "model"): "function",
    ("particle_marginal_metropolis_hastings", "keep_states"): "none",
    ("sliced_wasserstein_matrix", "clouds"): "clouds",
    ("sobol_indices", "widen"): "widen",
    ("sobol_indices", "model"): "function",
    ("output_law", "model"): "function",
    ("output_law", "quantiles"): "array",
    ("input_uncertainty", "widen"): "flag",
    ("plots.tail", "upper"): "flag",
    ("plots.sobol_series", "t"): "times",
    ("plots.sobol_series", "kind"): "choice",
    ("constrained_sequences", "ahead"): "ahead",
    ("sliced_gradient_flow", "step_size"): "number or function",
    **{(f, "x"): "cloud" for f in ("sliced_gradient", "sliced_test", "sliced_wasserstein")},
    **{(f, "y"): "cloud" for f in ("sliced_gradient", "sliced_test", "sliced_wasserstein")},
    **{(f, "y"): "cloud" for f in ("SlicedReference", "sliced_gradient_flow")},
    **{(f, "control_variates"): "false" for f in ("sliced_gradient", "sliced_gradient_flow")},
    **{
        (f, "control_variates"): "asked"
        for f in ("adaptive_importance_sampling", "importance_sampling", "failure_probability")
    },
    **{
        (f, "control_variates"): "named"
        for f in ("sliced_wasserstein", "sliced_wasserstein_matrix", "SlicedReference")
    },
    **{
        (f, "scale"): "units"
        for f in ("sliced_wasserstein", "sliced_wasserstein_matrix", "sliced_test")
    },
    ("SlicedReference", "scale"): "units",
    ("a_reference.distance", "x"): "cloud",
    ("StateSpaceModel", "inputs"): "array",
    ("StateSpaceModel", "transition_covariance"): "function",
    ("StateSpaceModel", "transforms"): "names",
    ("languages.huggingface", "model"): "function",
    ("plots.bands", "times"): "times",
    ("plots.scores", "budget"): "none",
    ("plots.frames", "target"): "cloud",
    **{("plots.sliced", name): "cloud" for name in "xy"},
    **{("jax.sliced_wasserstein", name): "jax cloud" for name in "xy"},
}

LOGS = ["effective_sample_size", "largest_weight", "log_mean_exp", "log_sum_exp", "normalise"]
LOGS += ["pareto_k", "pareto_smoothed", "perplexity"]
# by what other name an error may speak of an argument
ALSO = {
    ("sliced_gradient_flow", "x0"): "x0|x",
    ("sliced_wasserstein_matrix", "clouds"): r"clouds?|x|y",
    ("sliced_wasserstein_matrix", "weights"): r"weights|weights_cloud",
    ("SlicedReference", "weights"): "weights|weights_y",
    ("Estimate", "value"): "value|covariance",
    ("an_estimate.apply", "f"): "f|linear map|matrix",
    **{(f"{one}.update", "y_t"): "y_t|y" for one in ("a_filter", "a_smoother")},
    **{(f"{one}.update", "u_t"): "u_t|u" for one in ("a_filter", "a_smoother")},
    ("a_driven_model.with_inputs", "u"): "inputs",
    ("a_reference.distance", "weights"): "weights_x",
    ("constraints.grammar", "text"): "text|grammar",
    ("constraints.grammar", "start"): "start|grammar",
    **{(f"weights.{name}", "log_w"): "log_w|log weights" for name in LOGS},
    ("posterior", "prior"): "prior|reference",
    ("Proposal", "log_lookahead"): "log_lookahead|proposal",
}

LAW = [stats.norm(), stats.norm()]
SQUARE = np.arange(8.0).reshape(4, 2)
ONES = np.ones(4)
TABLE = np.random.default_rng(1).random((30, 2))
Y = np.array([0.1, 0.5, -0.2])
STATES = smw.functionals.sum_of_states
EST = smw.Estimate([1.0, 2.0], np.eye(2), cost={"evaluations": 10})


def first_input(x):
    return x[:, 0]


SAMPLED = smw.importance_sampling(lambda x: x[:, 0], LAW, LAW, 500, seed=1)


MODEL = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
COIN = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
WORDS = smw.constraints.vocabulary(["a", None], end=1)
MASKS = types.SimpleNamespace(start=never, advance=never, mask=never, complete=never)
CHAIN = smw.models.finite_hmm([0.5, 0.5], np.full((2, 2), 0.5), [0, 1], [1, 1])


# A filter's result by hand, of 3 times and 2 particles.
PAIRS = np.array([[0.0, 1.0]] * 3)
STORED = smw.FilterResult(
        smw.Estimate(0.0, 1.0), Y, Y**2, Y**2 + 1, Y, PAIRS, PAIRS * 0 - np.log(2),
        np.zeros((3, 2), np.int32), MODEL, Y, np.random.SeedSequence(1),
    )  # fmt: skip


AHEAD = forecasting.Forecast(
    *(smw.Estimate(np.arange(1.0 * n), np.eye(n)) for n in (2, 6, 2, 6)), (0.05, 0.5, 0.95),
    xarray.Dataset(coords={"horizon": [3, 4]}),
)  # fmt: skip
SERIES = {"model": MODEL, "y": Y, "n_particles": 10}
MEAN = {"law": LAW, "seed": 1}
CLOUDS = {"x": SQUARE, "y": SQUARE + 1, "seed": 1}
ONLINE = smw.OnlineFilter(MODEL, 10, seed=1)
LOG = smw.Estimate(-3.0, 0.1, method="particle_filter")
CHAINS = {"a": (("chain", "draw"), np.random.default_rng(1).random((2, 100)))}
DRAWS = inference_data({"posterior": xarray.Dataset(CHAINS)})
WRITTEN = dict.fromkeys(["initial_sample", "transition_sample", "observation_logpdf"], never) | {
    "initial_logpdf": None,
    "transition_logpdf": None,
}
OBJECTS = {
    "a_growing_estimate": smw.adaptive_importance_sampling(first_input, LAW, 200, seed=1),
    "an_estimate": EST, "a_model": MODEL, "a_filter": ONLINE, "a_result": STORED,
    "a_smoother": smw.OnlineSmoother(MODEL, STATES, 10, seed=1),
    "a_reference": smw.SlicedReference(SQUARE, 10, seed=1),
    "a_driven_model": smw.StateSpaceModel(**WRITTEN, input_dim=1),
}  # fmt: skip
# results to draw, by hand
SHOWN = {"est": smw.Estimate(
    [1.0, 2.0], np.eye(2), sample=SAMPLED.sample, diagnostics=dict(SAMPLED.diagnostics) | {
        "stages": [{"draws": 5, "criterion": 1.0, "variance": [1.0, 1.0], "estimate": [1.0, 1.0]}],
        "control_variance_reduction": [3.0, 3.0], "control_variate": ["a", "b"],
        "gain_over_monte_carlo": [2.0, 2.0], "mixture_weights": [1.0], "components": ["a"],
        "levels": [{"scales": [1.0, 1.0]}], "importance_factors": np.ones((2, 2)),
    },
)}  # fmt: skip
FIT = smw.Fit(
    smw.Estimate([1.0], np.eye(1), names=["transition_covariance"]), smw.Estimate([1.0], np.eye(1)),
    MODEL, np.ones((2, 5, 1)), transforms=("log",),
)  # fmt: skip
CURVES = smw.PerturbationStudy(EST, ("a",), "shift", np.array([0.0, 1.0]), ("b",))
FOUND = smw.WeightedSequences(
    [(0, 2), (1,)], np.zeros(2), LOG, "ok", {}, 1, {}, {"arguments": {"end": None}}
)
EVEN = smw.constraints.predicate(lambda prefix, item: item % 2 == 0)
OBJECTS |= {
    "a_fit": FIT, "a_study": CURVES, "some_sequences": FOUND,
    # any number of them: the second
    "several": types.SimpleNamespace(
        both=lambda constraints: smw.constraints.both(EVEN, constraints),
        either=lambda constraints: smw.constraints.either(EVEN, constraints),
    ),
}  # fmt: skip
MOVED = types.SimpleNamespace(
    points=SQUARE, steps=np.arange(2), distances=np.ones(2), frames=np.array([SQUARE, SQUARE])
)
TESTED = types.SimpleNamespace(
    statistic=1.0, p_value=0.5, permuted=ONES, names=("a", "b"), by_column={}
)
ALONG = {"parameter": "transition_covariance", "grid": [0.5, 1.0], "n_particles": 10, "y": Y}
# the functions, and arguments that are right; those left out have their defaults
DOORS = {
    "adaptive_importance_sampling": MEAN | {"integrand": never, "budget": 2_000},
    "backward_simulation": {"filter_result": STORED, "n_paths": 3, "seed": 1},
    "check_model": {"model": MODEL, "y": Y, "seed": 1},
    "calibrate": {"run": never, "truth": 1.0, "seeds": 2},
    "combine": {"estimates": [EST]},
    "conditional_resample": {"weights": ONES, "slot": 0, "frozen": 0, "seed": 1},
    "constrained_sequences": {
        "language": COIN, "constraint": never, "n_particles": 20, "max_length": 4, "seed": 1,
    },
    "constraint_probability": {"logits": ONES, "constraint": never, "budget": 50, "seed": 1},
    "failure_probability": MEAN | {"limit_state": never, "budget": 2_000},
    "forecast": SERIES | {"horizon": 2, "seed": 1},
    "log_likelihood": SERIES | {"seed": 1},
    "predictive_check": SERIES | {"y": np.linspace(-1.0, 1.0, 14), "seed": 1},
    "forward_backward": {
        "model": CHAIN,
        "y": Y,
    },
    "from_weights": {"values": np.arange(20.0), "log_weights": np.zeros(20)},
    "importance_resampling": {"raw": ["a b", "c"] * 5, "target": ["a"] * 10, "k": 2, "seed": 1},
    "posterior": {"log_likelihood": never, "prior": LAW, "budget": 2_000, "seed": 1},
    "gaussian_family": {"dimension": 2},
    "importance_sampling": MEAN | {"integrand": never, "proposal": LAW, "budget": 500},
    "kalman_smoother": {"model": MODEL, "y": Y},
    "markov_score_climbing": {
        "target": never, "start": [0.5, 0.0], "n_particles": 10, "budget": 40, "seed": 1,
    },
    "maximum_likelihood": SERIES | {"theta0": None, "budget": 20, "seed": 1},
    "observed_information": SERIES | {"theta": None, "budget": 20, "seed": 1},
    "online_maximum_likelihood": {
        "model": MODEL, "stream": list(Y), "theta0": None, "n_particles": 10,
    },
    "input_uncertainty": {
        "estimate": SAMPLED, "resamples": 50, "seed": 1,
        "data": {f"X{i}": stats.norm.ppf((np.arange(20) + 0.5) / 20) for i in (1, 2)},
    },
    "output_law": MEAN | {"model": never, "budget": 2_000},
    "paris": SERIES | {"functional": STATES, "seed": 1},
    "parisian_particle_gibbs": SERIES | {"functional": STATES, "budget": 20, "seed": 1},
    "particle_filter": SERIES | {"seed": 1},
    "particle_gibbs": SERIES | {"n_sweeps": 20, "seed": 1},
    "particle_marginal_metropolis_hastings": SERIES | {
        "log_prior": never, "n_draws": 20, "seed": 1,
    },
    "perturbation_study": {"estimate": SAMPLED, "law": LAW, "shifts": [0.1]},
    "recommend_particles": {
        "model": MODEL, "y": Y, "functional": STATES, "budget": 4_000, "seed": 1,
    },
    "resample": {"weights": ONES, "seed": 1},
    "reweight": {"estimate": SAMPLED, "laws": LAW},
    "score": SERIES | {"theta": None, "budget": 20, "seed": 1},
    "sliced_gradient": CLOUDS | {"budget": 10},
    "sliced_gradient_flow": {"x0": SQUARE, "y": SQUARE + 1, "steps": 2, "budget": 10, "seed": 1},
    "sliced_test": CLOUDS | {"budget": 10, "permutations": 19},
    "sliced_two_sample": {
        "x": np.arange(24.0).reshape(12, 2), "y": np.arange(24.0).reshape(12, 2) ** 1.5,
        "budget": 10, "seed": 1,
    },
    "log_bayes_factor": {"a": LOG, "b": LOG},
    "model_probabilities": {"models": {"a": LOG, "b": LOG}},
    "max_sliced_wasserstein": CLOUDS | {"budget": 10},
    "sliced_wasserstein": CLOUDS | {"budget": 10},
    "sliced_wasserstein_gaussian": {
        "mean_x": [0, 0], "cov_x": np.eye(2), "mean_y": [1, 0], "cov_y": np.eye(2),
    },
    "sliced_wasserstein_matrix": {"clouds": [SQUARE, SQUARE + 1], "budget": 10, "seed": 1},
    "sobol_from_sample": {
        "x": np.random.default_rng(1).random((200, 2)), "y": np.arange(200.0), "seed": 1,
    },
    "sobol_indices": MEAN | {"model": never, "budget": 2_000},
    "shapley_effects": MEAN | {"model": never, "budget": 2_000},
    "unbiased_smoothing": SERIES | {"functional": STATES, "budget": 4, "seed": 1},
    "under_laws": {"integrand": never, "law": LAW, "laws": [LAW]},
    "weighted_rejection": {"logits": ONES, "constraint": never, "seed": 1},
    "Caution": {"code": "a", "text": "b"},
    "Estimate": {"value": [1.0, 2.0], "covariance": np.eye(2)},
    "GaussianCopula": {"marginals": LAW, "correlation": np.eye(2)},
    "OnlineFilter": {"model": MODEL, "n_particles": 10, "seed": 1},
    "OnlineSmoother": {"model": MODEL, "functional": STATES, "n_particles": 10, "seed": 1},
    "Perturbed": {"distribution": stats.norm()},
    "Precision": {"relative": 0.1},
    "Proposal": {"log_lookahead": lambda x_prev, y, t, theta: 0.0},
    "SlicedReference": {"y": SQUARE, "budget": 10, "seed": 1},
    "Truncated": {"distribution": stats.norm()},
    "VariationalFamily": {"sample": never, "logpdf": never},
    "kalman_filter": {"model": MODEL, "y": Y},
    "kalman_forecast": {"model": MODEL, "y": Y, "horizon": 2},
    "kalman_score": {"model": MODEL, "y": Y},
    "posterior_means": {"draws": DRAWS},
    "a_filter.update": {"y_t": 0.1},
    "a_model.simulate": {"n_steps": 3, "seed": 1},
    "a_model.with_theta": {"theta": MODEL.theta},
    "an_estimate.apply": {"f": [1.0, -1.0]},
    "an_estimate.interval": {"level": 0.9},
    "a_growing_estimate.extend": {"model": first_input, "budget": 200},
    "an_estimate.summary": {"level": 0.9},
    "constraints.automaton": {"table": [[0, 1], [1, -1]], "accepting": [1]},
    "constraints.grammar": {"text": 'start: "a"+', "items": ["a", "b"]},
    "constraints.json_schema": {"schema": {"type": "integer"}, "items": ["1", "2"]},
    "constraints.by_masks": {"source": MASKS, "vocabulary": WORDS},
    "constraints.over_tokens": {"constraint": smw.constraints.regex("a"), "vocabulary": WORDS},
    "constraints.vocabulary": {"tokens": ["a", None]},
    "constraints.vocabulary_of": {"tokenizer": MASKS},
    "constraints.predicate": {"allows": never},
    "constraints.regex": {"pattern": "a*", "items": ["a", "b"]},
    "languages.hidden_markov": {
        "initial": [0.5, 0.5], "transition": np.full((2, 2), 0.5),
        "log_likelihoods": np.zeros((3, 2)),
    },
    "languages.markov_chain": {"initial": [0.5, 0.5], "transition": np.full((2, 2), 0.5)},
    "languages.ngram": {"sequences": ["abc", "abd"]},
    "models.autoregression": {"coefficients": [0.5], "scale": 1.0},
    "models.bearings_only": {},
    "models.finite_hmm": {
        "initial_probabilities": [0.5, 0.5], "transition_matrix": np.full((2, 2), 0.5),
        "emission_means": [0.0, 1.0], "emission_scales": [1.0, 1.0],
    },
    "models.linear_gaussian": {
        "transition_matrix": 0.9, "transition_covariance": 1.0, "observation_matrix": 1.0,
        "observation_covariance": 1.0,
    },
    "models.lorenz96": {"dimension": 5},
    "models.nonlinear_growth": {},
    "models.stochastic_volatility": {"persistence": 0.9, "volatility": 0.3},
    "models.structural": {},
    "models.theta_logistic": {
        "growth": 0.1, "density": 0.1, "shape": 0.1, "process_scale": 0.1,
        "observation_scale": 0.1,
    },
    "problems.g_function": {},
    "problems.linear_limit_state": {},
    "weights.effective_sample_size": {"log_w": ONES},
    "weights.largest_weight": {"log_w": ONES},
    "weights.log_mean_exp": {"log_w": ONES},
    "weights.log_mean_normal": {"log_z": ONES},
    "weights.log_sum_exp": {"log_w": ONES},
    "weights.normalise": {"log_w": ONES},
    "weights.pareto_k": {"log_w": np.arange(40.0)},
    "weights.pareto_k_threshold": {"n": 100},
    "weights.pareto_smoothed": {"log_w": np.arange(40.0)},
    "weights.perplexity": {"log_w": ONES},
    "StateSpaceModel": WRITTEN,
    "a_driven_model.with_inputs": {"u": [0.0, 1.0]},
    "a_reference.distance": {"x": SQUARE},
    "a_result.plot": {},
    "a_result.quantiles": {"levels": [0.5]},
    "a_result.summary": {},
    "a_smoother.extend": {"y": Y},
    "a_smoother.update": {"y_t": 0.1},
    "an_estimate.plot": {},
    "a_fit.interval": {},
    "a_fit.plot": {},
    "a_fit.summary": {},
    "a_study.plot": {},
    "a_study.summary": {},
    "a_study.table": {},
    "several.both": {"constraints": EVEN},
    "several.either": {"constraints": EVEN},
    "some_sequences.draws": {"n": 3, "seed": 1},
    "some_sequences.expectation": {"function": never},
    "some_sequences.log_ratio": {"other": FOUND},
    "some_sequences.summary": {},
    "some_sequences.table": {"items": ["a", "b", "c"]},
    "some_sequences.texts": {"items": ["a", "b", "c"]},
    "constraints.smiles": {"items": ["C", "O"]},
    "jax.sliced_wasserstein": {"x": SQUARE, "y": SQUARE + 1, "directions": np.eye(2)},
    "languages.huggingface": {"model": never},
    **{
        f"plots.{name}": SHOWN
        for name in (
            "bands", "controls", "estimate", "failures", "gains", "levels", "mixture", "pareto",
            "stages", "weights",
        )
    },
    **{
        f"plots.{name}": {
            "result": types.SimpleNamespace(
                joint=smw.Estimate([0.0, 1.0, 1.0], np.eye(3)), inputs=["a"], draws=ONES[:, None],
                log_weight=ONES,
                diagnostics={
                    "stages": [{"kind": "prior", "draws": 9, "beta": 0.0, "components": 1}]
                },
            ),
        }
        for name in ("corner", "ladder", "marginals")
    },
    "plots.columns": {"test": TESTED},
    "plots.coverage": {"found": smw.calibrate(lambda seed: (0.0, 1.0), 0.0, 2)},
    "plots.filtered": {"result": STORED},
    "plots.forecasted": {"found": AHEAD},
    "plots.increments": {"result": STORED},
    "plots.predicted": {"found": forecasting.PredictiveCheck(Y, Y, {"law": 0.5}, 0.5)},
    "plots.flow": {"result": MOVED},
    "plots.frames": {"result": MOVED, "target": SQUARE},
    "plots.gradient": {"result": EST},
    "plots.iterates": {"fit": FIT},
    "plots.law": {"found": whole_law()},
    "plots.loadings": {
        "result": types.SimpleNamespace(value=1.0, direction=np.ones(2), names=None)
    },
    "plots.permuted": {"test": TESTED},
    "plots.perturbation": {
        "study": types.SimpleNamespace(
            grid=ONES, inputs=["a"], expectations=["b"], kind="shift", table=never
        ),
    },
    "plots.profile": {"fit": FIT} | ALONG,
    "plots.scores": {"model": MODEL} | ALONG,
    "plots.sequences": {"out": types.SimpleNamespace(traces={}, n_particles=2)},
    "plots.sliced": {"x": SQUARE, "y": SQUARE},
    "plots.sobol": {
        "indices": types.SimpleNamespace(first=EST, total=None, inputs=["a", "b"], outputs=["c"]),
    },
    "plots.sobol_series": {
        "indices": types.SimpleNamespace(first=EST, total=EST, inputs=["a", "b"], outputs=["c"]),
        "t": [1.0],
    },
    "plots.tail": {"found": whole_law()},
    "plots.uncertainty": {"found": fitted_inputs()},
    "plots.weighted": {
        "out": types.SimpleNamespace(
            children=(np.arange(2), np.zeros(2)), log_bounds=(0.0, 0.0), status="done"
        ),
    },
    "random_walk_metropolis": {"model": MODEL, "log_prior": never, "scales": [0.1] * 6},
}  # fmt: skip


def of(name):
    """The function of a name with dots, of the package or of an object."""
    first, *rest = name.split(".")
    return functools.reduce(getattr, rest, OBJECTS.get(first) or getattr(smw, first))
