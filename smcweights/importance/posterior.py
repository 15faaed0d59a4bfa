"""Log evidence and posterior expectations from a likelihood and a prior, by importance sampling."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import gammaincinv

from .. import arguments
from ..cautions import Caution, tell
from ..errors import returning
from ..estimate import Estimate
from ..execution import Run, open_run
from ..provenance import provenance
from ..randomness import Seed, generator
from ..stopping import Budget, Precision, Standing, check_least, stopping_rule, until_precise
from ..weights import effective_sample_size, largest_weight
from .adaptation import quantile
from .climb import Climb, Plan, Summit, log_likelihoods
from .integrand import Columns, values_at
from .laws import Law, as_law
from .log_scale import ROUGH, call_log_density
from .means import FOLDS
from .posteriors import METHOD, Posterior, checked_shares, evidence_name
from .proposals import check_normalised, working_space
from .ratio_means import HEAVY, Centred, RatioMeans, leaning_limits, used_controls
from .stages import Sampler, Stage, effective_draws, joined, split
from .verdict import listed

PER_INPUT = 50  # calls, for each input and two more, that a climb needs
APART = 2.0  # log density by which the highest point may differ from that of the draws
FEWEST = 30  # equal draws that all are worth
TRIED = 50  # inputs
# of so many inputs draws miss tails that their k-hat tells little of: from there on .82 and .84 of
# intervals held (products of Student's t, a hierarchy of groups), below it .95
MANY, TAILED = 20, 0.3
HARDLY = 5  # equal draws that a mean hangs on
LARGEST_SIZE, SIZED = 1e140, 100  # of a parameter, and draws of the prior that are looked at
PACE = 3.5  # by which a stage of the ladder raises the power where nothing is known

LogDensity = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class _Question:
    """What is asked: a log likelihood under a law, and functions of its inputs."""

    log_likelihood: LogDensity
    log_prior: LogDensity | None  # where the law is only a reference
    law: Law
    names: tuple[str, ...]
    functions: Mapping[str, LogDensity]
    quantiles: tuple[float, ...]
    vectorized: bool

    def call(self, x: np.ndarray) -> np.ndarray:
        """Log of likelihood times prior over the law at the rows of x, (n,)."""
        log_l = call_log_density(self.log_likelihood, self.vectorized, x, "log_likelihood")
        if self.log_prior is None:
            return log_l
        log_p = call_log_density(self.log_prior, self.vectorized, x, "prior")
        return log_l + log_p - self.law.log_density(x)

    def values(self, x: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, list[str]]:
        """Inputs and functions (n, J) where the likelihood isn't 0, and the functions' names."""
        columns, names = [x], list[str]()
        for name, function in self.functions.items():
            said = f"functions: {name!r}"
            with returning(said):
                found = values_at(function, x[there], said)
            whole = np.zeros((len(x), found.shape[1]))
            whole[there] = found
            columns.append(whole)
            one = found.shape[1] == 1
            names += [name] if one else [f"{name}[{i}]" for i in range(found.shape[1])]
        return np.concatenate(columns, axis=1), names


def posterior(
    log_likelihood: LogDensity,
    prior: object,
    budget: int | None = None,
    *,
    precision: Precision | None = None,
    functions: Mapping[str, LogDensity] | None = None,
    quantiles: Sequence[float] = (0.025, 0.5, 0.975),
    reference: object = None,
    summit: bool = True,
    vectorized: bool = True,
    names: Sequence[str] | None = None,
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Posterior:
    """Log evidence, posterior means, spreads and quantiles, each with its error.

    A mixture h of the prior and of elliptical laws, skewed ones where many draws say so, is fitted
    to growing powers of the likelihood by draws alone; no gradient is asked for. At the end
    independent draws from it give

        Z = mean L f / h,   E[phi | y] = mean phi L f / h over Z,

    on the log scale throughout, corrected by the mixture's components and derivatives, with
    coefficients chosen for the ratio on earlier draws.

    Parameters
    ----------
    log_likelihood : callable
        (n, d) array of parameters -> (n,) log likelihoods, with ``vectorized=False`` (d,) ->
        float; -inf is a likelihood of 0. A constant that is left out is left out of the evidence.
    prior : law or callable
        A law of the parameters, see `smcweights.importance.laws.as_law`, normalised; or a function
        like ``log_likelihood``, the log density up to a constant, with ``reference``.
    budget : int, at least 50 (d + 2)
        Calls of the likelihood; give this or ``precision``.
    precision : Precision, optional
        Run until the interval of the log evidence is as narrow. The least that is spent is
        1,000 (d + 2) calls, or ``max_budget``: a mixture that fits is worth them.
    functions : dict of str to callable, optional
        Further functions of the parameters, (n, d) -> (n,) or (n, m), to have means of. Of an
        event (values 0 and 1) that draws worth fewer than 5 decide, the error is at least 1.5 over
        the effective sample size.
    quantiles : sequence of float, default (0.025, 0.5, 0.975)
        Of every parameter.
    reference : law, optional
        Where draws start for a prior that is a log density. What is called log evidence otherwise
        is a "log integral" then: the prior's constant is in it.
    summit : bool, default True
        Search for narrow peaks within the bulk, where that takes at most 12 % of the budget.
    vectorized : bool, default True
        Whether the likelihood takes many parameters at once.
    names : sequence of str, length d, optional
        Names of the parameters; by default those of the law.
    seed : None, int, SeedSequence or Generator
        The result depends on it and on the other arguments only.
    executor, progress, checkpoint
        As for `smcweights.adaptive_importance_sampling`.

    Returns
    -------
    Posterior

    Raises
    ------
    ModelError
        The likelihood returned NaN, +inf or a wrong shape; the message names the input.
    DegeneracyError
        The likelihood is 0 at all first draws of the prior.
    ValueError, TypeError
        An argument is wrong.

    Warns
    -----
    PrecisionWarning
        The budget ended before the posterior was reached, or the highest point known is not where
        the draws are: then there are no standard errors; or tails have a k-hat above 1, few draws
        count, or there are too many parameters for the budget or for such tails; a function hangs
        on very few draws, or is 0 at all of them. A mode that no draw came near can't be told: run
        it again with another seed and `combine`.

    References
    ----------
    Cornuet, Marin, Mira & Robert (2012), Adaptive multiple importance sampling, Scand. J. Stat. 39;
    Owen & Zhou (2000), Safe and effective importance sampling, JASA 95; Jones & Pewsey (2009),
    Sinh-arcsinh distributions, Biometrika 96; Hall (1992), JRSS B 54, for intervals of standard
    deviations; Woodruff (1952), JASA 47, for those of quantiles.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> def log_likelihood(theta):  # one observation, 1.0, with standard deviation 0.1
    ...     return stats.norm(theta[:, 0], 0.1).logpdf(1.0)
    >>> found = posterior(log_likelihood, {"theta": stats.norm()}, 2_000, seed=1)
    >>> bool(abs(float(found.log_evidence) - stats.norm(0, 1.01**0.5).logpdf(1.0)) < 0.01)
    True
    """
    began = time.perf_counter()
    question = _question(log_likelihood, prior, functions, quantiles, reference, vectorized, names)
    summit = arguments.flag("summit", summit)
    rule = stopping_rule(budget, precision)
    d = question.law.dimension
    check_least(rule, PER_INPUT * (d + 2), f"calls for {d} parameters")
    asked_for = {
        "log_likelihood": log_likelihood,
        "prior": question.law if reference is None else prior,
        "budget": rule.most if precision is None else None,
        "precision": precision,
        "functions": dict(question.functions),
        "quantiles": list(question.quantiles),
        "reference": None if reference is None else question.law,
        "summit": summit,
        "vectorized": vectorized,
        "names": question.names,
    }
    with open_run(
        question.call,
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=asked_for,
        seed=seed,
        total=rule.most if precision is None else None,
        description=METHOD,
    ) as run:
        found = _sampled(question, rule, summit, run)
        source = provenance(METHOD, run.root, asked_for)
    result = _answer(question, found, source, began)
    tell("posterior", result.cautions)
    return result


def _question(
    log_likelihood: LogDensity,
    prior: object,
    functions: Mapping[str, LogDensity] | None,
    quantiles: Sequence[float],
    reference: object,
    vectorized: bool,
    names: Sequence[str] | None,
) -> _Question:
    """The arguments, checked."""
    arguments.function("log_likelihood", log_likelihood, "of an array of parameters")
    vectorized = arguments.flag("vectorized", vectorized)
    unnormalised = callable(prior) and not hasattr(prior, "logpdf") and not isinstance(prior, Law)
    if unnormalised and reference is None:
        raise ValueError(
            "reference: got None; expected a law to start from, as prior is a function"
        )
    if not unnormalised and reference is not None:
        raise ValueError(
            f"reference: got {arguments.shown(reference)}; expected None, as prior is a law itself"
        )
    try:
        law = as_law(reference if unnormalised else prior)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{'reference' if unnormalised else 'prior'}: {error}") from error
    listed_names = arguments.names(names)
    if listed_names is not None and len(listed_names) != law.dimension:
        raise ValueError(f"names: got {len(listed_names)}; expected {law.dimension}")
    if functions is not None and not isinstance(functions, Mapping):
        raise TypeError(f"functions: got {arguments.shown(functions)}; expected a dict")
    for name, function in (functions or {}).items():
        arguments.names([name], "functions")
        if name in (listed_names or law.names):
            raise ValueError(f"functions: {name!r} is an input; expected other names")
        arguments.function(f"functions: {name!r}", function, "of an array of parameters")
    return _Question(
        log_likelihood,
        prior if unnormalised else None,  # type: ignore[arg-type]
        law,
        listed_names or law.names,
        functions or {},
        checked_shares("quantiles", quantiles),
        vectorized,
    )


@dataclass(frozen=True)
class _Sampled:
    """The end of the climb, the final draws, and means over them."""

    summit: Summit
    rounds: list[Stage]
    means: RatioMeans
    values: np.ndarray  # (n, J) of inputs and functions at the final draws
    names: list[str]  # of the functions
    cautions: list[Caution]
    calls: int


def _sampled(question: _Question, rule: Budget | Precision, summit: bool, run: Run) -> _Sampled:
    """The climb, and rounds of final draws."""
    law = question.law
    check_normalised(law, run.root, "prior", "a log density up to a constant goes with reference")
    _check_sizes(question, run)
    space = working_space(law, generator(run.root, "scale"))

    d = law.dimension
    most = rule.most if isinstance(rule, Budget) else min(rule.most, 1_000 * (d + 2))
    columns = Columns(None, "log_likelihood")
    sampler = Sampler(run, space, question.vectorized, _of_one, log=True, columns=columns)
    climb = Climb(sampler, Plan(most, d, summit))
    end = climb.ascend()
    w = climb.powered(end.beta)
    phi, names = question.values(end.history.x, w > 0)
    left = max(most - climb.used, 2 * FOLDS * len(end.densities))
    means = RatioMeans(end, Centred.by(phi, w), phi, left, d)
    rounds: list[Stage] = []
    values: list[np.ndarray] = []

    def stage(size: int) -> None:
        weights = rounds[0].mixture.weights if rounds else end.weights
        counts = split(max(size, 2 * FOLDS * len(weights)), weights, FOLDS)
        rounds.append(sampler.draw(f"final {len(rounds) + 1}", end.densities, counts))
        there = np.isfinite(log_likelihoods(rounds[-1:]))
        values.append(question.values(rounds[-1].x, there)[0])
        means.add(rounds[-1], values[-1])

    def standing(level: float) -> Standing:
        value, error, freedom = means.log_evidence
        half = np.nan_to_num(quantile(level, freedom) * error, nan=np.inf)
        n = means.mean.n
        return Standing(np.array(value), np.array(half), n, climb.used + n)

    cautions = until_precise(rule, left, stage, standing, "calls", run)
    seen, calls = np.concatenate(values), climb.used + means.mean.n
    return _Sampled(end, rounds, means, seen, names, cautions, calls)


def _check_sizes(question: _Question, run: Run) -> None:
    """Refuse parameters of sizes whose squares, or those of their errors, are no numbers."""
    x = question.law.sample(generator(run.root, "sizes"), SIZED)
    half = np.ptp(x / 2, axis=0)
    wrong = (np.abs(x).max(0) > LARGEST_SIZE) | (half < 1 / LARGEST_SIZE) & (half > 0)
    if wrong.any():
        i = int(wrong.argmax())
        argument = "prior" if question.log_prior is None else "reference"
        raise ValueError(
            f"{argument}: {question.names[i]!r} is drawn from {x[:, i].min():.3g} to "
            f"{x[:, i].max():.3g}; expected sizes and ranges between {1 / LARGEST_SIZE:g} and "
            f"{LARGEST_SIZE:g}, whose squares are numbers: use other units, or the logarithm"
        )


def _of_one(count: int, scalar: bool) -> None:
    """A likelihood has one value at each input, as `call_log_density` has seen to."""


def _answer(
    question: _Question, found: _Sampled, source: dict[str, Any], began: float
) -> Posterior:
    """Estimates of all that was asked, and what can't be promised of them."""
    d, inputs, end = question.law.dimension, question.names, found.summit
    log_l = log_likelihoods(found.rounds)
    log_w = log_l + joined(found.rounds, "log_f") - joined(found.rounds, "log_h")
    value, covariance, freedom, skewness = found.means.joint()
    mean = found.means.mean
    sds, named = [f"sd[{name}]" for name in inputs], found.names
    names = [evidence_name(question.log_prior is not None), *inputs, *sds, *named]
    order = np.r_[: 1 + d, 1 + d + len(named) : len(value), 1 + d : 1 + d + len(named)]
    shape = mean.tail_shape
    equal = mean.effective.copy()
    there, firsts = log_w > -np.inf, slice(1, 1 + d + len(named))
    seen = found.values[there]
    equal[firsts] = _equal_draws(seen, log_w[there])
    columns = {
        "pareto_k": np.fmax(shape, shape[0])[order],
        "effective_draws": equal[order],
        "control_variate": [used_controls(found.means)[i] for i in order],
    }
    size = effective_sample_size(log_w)
    cautions, lost = _cautions(found, log_w, names, order)
    rounding = 4 * np.finfo(float).eps * np.abs(value)
    rounding[0] = 4 * np.finfo(float).eps * np.abs(log_l[np.isfinite(log_l)]).max(initial=0.0)
    np.fill_diagonal(covariance, np.maximum(np.diag(covariance), rounding**2))
    if lost:
        covariance[:] = np.nan
    else:
        fixed = np.append(np.equal(*question.law.ranges), np.zeros(len(named), dtype=bool))
        more, told = _hardly_seen(seen, equal[firsts], size, [*inputs, *named], fixed)
        covariance[firsts, firsts] += np.diag(more)
        cautions += told
    limits = leaning_limits(value, np.sqrt(np.diag(covariance)), freedom, skewness)
    diagnostics = {
        "effective_sample_size": size,
        "largest_weight": largest_weight(log_w),
        "pareto_k_weights": float(shape[0]),
        "mixture_weights": end.weights,
        "beta": end.beta,
        "stages": end.stages,
    }
    cost = {"evaluations": found.calls, "seconds": time.perf_counter() - began}
    joint = Estimate(
        value[order],
        covariance[np.ix_(order, order)],
        names=names,
        method=METHOD,
        degrees_of_freedom=freedom[order],
        limits=None if lost else limits[:, order],
        diagnostics=diagnostics | columns,
        columns=list(columns),
        cautions=cautions,
        cost=cost,
        provenance=source,
    )
    x = joined(found.rounds, "x")
    component = [np.repeat(np.arange(len(s.counts)), s.counts) for s in found.rounds]
    spread = Posterior(
        joint=joint,
        quantiles=None,
        inputs=inputs,
        draws=x,
        log_weight=log_w,
        log_likelihood=log_l,
        log_prior=question.law.log_density(x),
        ranges=np.stack(question.law.ranges),
        component=np.concatenate(component),
        cautions=tuple(cautions),
        diagnostics=diagnostics,
    )
    return spread.with_quantiles(question.quantiles)


def _cautions(
    found: _Sampled, log_w: np.ndarray, names: Sequence[str], order: np.ndarray
) -> tuple[list[Caution], bool]:
    """What can't be promised, and whether there are no errors at all."""
    end, mean = found.summit, found.means.mean
    told, d = list(found.cautions), found.rounds[0].x.shape[1]
    lost = False

    def say(code: str, text: str) -> None:
        told.append(Caution(code, text))

    _, error, _ = found.means.log_evidence
    if end.beta < 1:
        lost = True
        left = math.ceil(-math.log(max(end.beta, 1e-300)) / math.log(_pace(end)))
        wanted = found.calls + left * Plan(4 * found.calls, d, False).rung
        say(
            "unfinished-ladder",
            f"the budget ended at the power {end.beta:.3g} of the likelihood, so that there are no "
            f"standard errors; about {max(2 * wanted, 2 * found.calls):,} calls would do, or a "
            "prior nearer to the posterior",
        )
    elif apart := _apart(found):
        lost = True
        say("missed-peak", f"{apart}, so that there are no standard errors. More calls would help")
    if not np.isfinite(found.means.log_evidence[0]):
        lost = True
        say("no-evidence", "the corrected evidence is not positive. More calls would help")
    if lost:
        return told, lost
    shape = mean.tail_shape
    heavy = shape > HEAVY
    if heavy.any():
        which = listed(names, heavy[order])
        say(
            "heavy-tails",
            f"{which}: Pareto k-hat up to {shape[heavy].max():.2f}: the mixture misses "
            "part of the posterior's tails and the standard error can't be promised. More calls "
            "would help",
        )
    if effective_sample_size(log_w) < FEWEST:
        say(
            "few-draws",
            f"the final draws are worth fewer than {FEWEST} equal ones. More calls would help",
        )
    elif error > ROUGH:
        say(
            "rough-logarithm",
            f"the relative error of the evidence is {error:.2f}, too large for that of its log to "
            "be promised. More calls would help",
        )
    if found.calls < 5 * d * (d + 3) or d > TRIED:
        say(
            "many-parameters",
            f"{found.calls} calls are few for {d} parameters; a sampler that uses gradients suits "
            "such a posterior better",
        )
    elif d >= MANY and shape[0] > TAILED:
        say(
            "many-parameters",
            f"of a posterior of {d} parameters draws miss more of the tails than their k-hat of "
            f"{shape[0]:.2f} tells: 82 to 84 of 100 intervals held where measured. A sampler that "
            "uses gradients suits it better",
        )
    return told, lost


def _equal_draws(values: np.ndarray, log_w: np.ndarray) -> np.ndarray:
    """How many equal draws the mean of each of values (n, J) hangs on, (J,)."""
    w = np.exp(log_w - log_w.max())[:, None]
    phi = values / np.maximum(np.abs(values).max(0), 1e-300)
    mean, low, high = (w * phi).sum(0) / w.sum(), phi.min(0), phi.max(0)
    # an event may be rare, and so may be its contrary
    worth = np.min([effective_draws(w * (phi - far)) for far in (mean, low, high)], axis=0)
    return np.where(high > low, worth, effective_draws(w * phi))


def _hardly_seen(
    values: np.ndarray, equal: np.ndarray, size: float, names: Sequence[str], constant: np.ndarray
) -> tuple[np.ndarray, list[Caution]]:
    """Variance of what draws worth ``size`` can't exclude of events (J,), and what to say.

    By the rule of three an event of probability 3 / size stays unseen in 5 of 100 samples.
    """
    told, unseen = [], ~values.any(0) & ~constant
    event = ((values == 0) | (values == 1)).all(0)
    rare = event & ~constant & ((equal < HARDLY) | (np.ptp(values, axis=0) == 0))
    if unseen.any():
        text = (
            "no draw gave a value other than 0; the error is that of an event that no draw hit. "
            "More calls would help"
        )
        told.append(Caution("no-hit", f"{listed(names, unseen)}: {text}"))
    few = ~event & (equal < HARDLY)
    if few.any():
        text = f"hangs on draws worth fewer than {HARDLY} equal ones. More calls would help"
        told.append(Caution("hardly-hit", f"{listed(names, few)}: {text}"))
    return np.where(rare, (1.5 / size) ** 2, 0.0), told


def _pace(end: Summit) -> float:
    """By how much a stage of the ladder raised the power of the likelihood."""
    powers = [s["beta"] for s in end.stages if s["kind"] == "ladder"]
    rise = (end.beta / powers[0]) ** (1 / len(powers)) if powers and powers[0] > 0 else PACE
    return float(np.clip(rise, 1.1, PACE))


def _apart(found: _Sampled) -> str:
    """What is wrong where the highest point known is not among the draws.

    Judged by the likelihood and by the posterior density: each alone may be highest where next to
    no mass is. The highest of n draws of a normal law in d dimensions lies half a chi-square
    quantile below its summit.
    """
    before, after = found.summit.history.stages, found.rounds
    d, n = found.rounds[0].x.shape[1], found.means.mean.n
    room = APART + float(gammaincinv(d / 2, min(3.0 / n, 0.5)))
    gaps = []
    for density in (0.0, 1.0):
        old, new = (
            (log_likelihoods(list(s)) + density * joined(list(s), "log_f")).max()
            for s in (before, after)
        )
        gaps.append(float(new - old))
    if max(gaps) < -room:
        return "the highest point known is not where the draws are"
    if min(gaps) > APART:
        return "a higher peak turned up among the final draws"
    return ""
