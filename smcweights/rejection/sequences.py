"""Sequences of a language under a constraint, by sequential Monte Carlo."""

from __future__ import annotations

import inspect
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..errors import ModelError, PrecisionWarning
from ..estimate import Estimate
from ..execution import open_run
from ..provenance import provenance, signature
from ..randomness import generator, seed_sequence
from ..resampling import resample
from ..weights import effective_sample_size, log_mean_exp, log_mean_normal, normalise
from . import kernels as kn
from .constraints import Automaton, predicate, size_of, truth
from .draw import FAR, Plan, _whole, context_of, plan, run

__all__ = ["WeightedSequences", "constrained_sequences"]

ENOUGH = 30  # islands, by their weights, whose mean is normal
NORMAL = 0.75  # standard deviation up to which logs of a few islands are taken for normal
UNSEEN = 3.0  # events that may be missing by chance: exp(-3) is 5 %
LARGEST = 340.0  # log of the largest evidence whose square is a float
RARE = 30.0  # draws of an item from a proposal, in expectation, that show what its weight does


TRACES = (
    "ess",
    "dead",
    "evaluations",
    "chi_square",
    "rare_chi_square",
    "relative_variance",
    "ancestors",
)


@dataclass(frozen=True)
class WeightedSequences:
    """Sequences with weights whose mean is the evidence.

    Attributes
    ----------
    sequences : list of tuple of int
        One for each particle, islands one after the other; () for a dead one.
    log_weights : ndarray, shape (islands * n_particles,)
        -inf for dead particles.
    log_evidence : Estimate or None
        Log of the probability of the constraint (and of ending in time); None with
        ``weights=False``, and where every particle died.
    status : {"ok", "dead", "biased"}
        "dead": no particle satisfies the constraint. "biased": ``weights=False``.
    traces : dict
        By island and time: ``ess``, ``dead`` (particles), ``evaluations`` of the constraint,
        ``chi_square`` of the language from the proposal, ``rare_chi_square``, its part on items of
        which all islands together hardly draw any, and ``relative_variance`` of the island's
        estimate by the draws of this time, as their weights tell it. By island and particle:
        ``ancestors``, the particle it descends from.
    """

    sequences: list[tuple[int, ...]] = field(repr=False)
    log_weights: np.ndarray = field(repr=False)
    log_evidence: Estimate | None
    status: str
    traces: dict[str, np.ndarray] = field(repr=False)
    n_particles: int
    cost: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    def plot(self, ax: Any = None) -> Any:
        """Effective sample size item by item, see `smcweights.plots.sequences`."""
        from .figures import sequences

        return sequences(self, ax)

    def evidence(self) -> Estimate:
        """Probability of the constraint on the natural scale.

        The mean of the weights, which has no bias. Its 95 % interval contains that of
        ``log_evidence``, which it is slightly wider than; ``log_evidence`` is the better one to
        compare evidences by where the islands differ much.

        Raises
        ------
        ValueError
            There is none, or it is too small or too large for a float, squared.
        """
        from scipy.special import stdtrit

        if self.log_evidence is None:
            raise ValueError(f"evidence: there is none, the status is {self.status!r}")
        log = self.log_evidence
        if abs(log.value) > LARGEST:
            raise ValueError(
                f"evidence: exp({log.value:.6g}) has no error in a float; use log_evidence"
            )
        value = math.exp(log_mean_exp(self.log_weights))
        lower, upper = np.exp(log.interval())
        assert log.bounds is not None
        most = math.exp(log.bounds[1])
        quantile = float(stdtrit(log.degrees_of_freedom, 0.975))
        return Estimate(
            value,
            (max(value - lower, upper - value) / quantile) ** 2,
            names="evidence",
            method=log.method,
            degrees_of_freedom=log.degrees_of_freedom,
            diagnostics={
                **log.diagnostics,
                "bounds": [0.0, most if value <= most else math.inf],
            },
            cost=log.cost,
            provenance=log.provenance,
        )

    def expectation(
        self, function: Callable[[tuple], Any], *, names: Sequence[str] | None = None
    ) -> Estimate:
        """Mean of a function of the sequence under the constrained law.

        Parameters
        ----------
        function : callable
            Sequence -> number, or array of shape (J,).
        names : sequence of str, optional

        Returns
        -------
        Estimate
            Ratio of weighted sums; its error comes from the islands. A value of 0 in every
            sequence has an upper limit, another that never varied an error by the rule of three,
            of as many trials as first items the weight goes back to. Diagnostics: effective
            sample size, and these ``ancestors``.

        Raises
        ------
        ModelError
            The function returned something that is not finite, or of another shape.
        ValueError
            Every particle is dead.
        """
        if not callable(function):
            raise TypeError(f"function: got {type(function).__name__}; expected a function")
        if self.status == "dead":
            raise ValueError("expectation: every particle is dead")
        alive = np.flatnonzero(self.log_weights > -np.inf)
        found: list[np.ndarray] = []
        for i in alive.tolist():
            returned = function(self.sequences[i])
            try:
                one = np.asarray(returned, dtype=np.float64)
            except (TypeError, ValueError):
                one = np.array(math.nan)
            if (
                one.ndim > 1
                or not np.isfinite(one).all()
                or (found and one.shape != found[0].shape)
            ):
                raise ModelError(
                    f"function: returned {returned!r} for {self.sequences[i]}; expected finite "
                    "numbers of one shape, () or (J,)"
                )
            found.append(one)
        values = np.array(found).reshape(alive.size, -1)
        w = np.exp(self.log_weights[alive] - self.log_weights.max())
        island = alive // self.n_particles
        k = self.log_weights.size // self.n_particles
        below = np.bincount(island, w, k)
        above = np.stack([np.bincount(island, w * v, k) for v in values.T], axis=1)
        mean = above.sum(0) / below.sum()
        off = above - mean * below[:, None]
        covariance = off.T @ off / (k - 1) * k / below.sum() ** 2
        size = effective_sample_size(self.log_weights)
        families = np.bincount(
            alive // self.n_particles * self.n_particles + self.traces["ancestors"].flat[alive], w
        )
        trials = min(size, float(families.sum() ** 2 / (families**2).sum()))
        fixed = (values == values[0]).all(0)
        never = fixed & (values[0] == 0)
        mean = np.where(fixed, values[0], mean)
        covariance[fixed], covariance[:, fixed] = 0.0, 0.0
        # as a symmetric interval: on 3/trials of the law the value may be 0, or twice this
        rare = np.where(fixed, UNSEEN / 1.96 * np.abs(mean) / trials, 0.0) ** 2
        rare += np.where(fixed, 0.0, UNSEEN * (np.abs(values - mean).max(0) / size) ** 2)
        covariance[np.diag_indices_from(covariance)] += rare
        diagnostics: dict[str, Any] = {
            "effective_sample_size": size,
            "ancestors": trials,
            "islands": k,
            "islands_alive": int(np.count_nonzero(below)),
        }
        error = math.sqrt(k * below.var(ddof=1)) / below.sum()
        cautions = _few_islands(below, 0.5) + _far_proposal(self.traces, error)
        if self.status == "biased":
            cautions.append("weights=False: the mean is that of local decoding, a biased law")
        if cautions:
            diagnostics["warnings"] = cautions
            for text in cautions:
                warnings.warn(text, PrecisionWarning, stacklevel=2)
        scalar = found[0].shape == ()
        return Estimate(
            mean[0] if scalar else mean,
            covariance[0, 0] if scalar else covariance,
            names=names,
            method="constrained sequences"
            + (", local (biased)" if self.status == "biased" else ""),
            degrees_of_freedom=k - 1,
            trials=np.where(never, trials, 0.0).reshape(found[0].shape) if never.any() else None,
            diagnostics=diagnostics,
            cost=self.cost,
            provenance=self.provenance,
        )


def _log_evidence(
    log_z: np.ndarray, own: np.ndarray, particles: int
) -> tuple[float, float, list[str]]:
    """Log of the mean of the islands, its standard error, and why that can't be promised.

    ``own`` is the relative variance of each island that its draws alone bring about. The scatter
    can't show it where rare draws would carry it; nor can it show what befalls 3 of all
    particles.
    """
    k = log_z.size
    z = np.exp(log_z - log_z.max())
    mean = z.mean()
    drawn = float((z**2 @ np.maximum(own, 0.0)) / z.sum() ** 2)
    few = z.sum() ** 2 < ENOUGH * (z**2).sum()
    if few and (z > 0).all() and log_z.std(ddof=1) <= NORMAL:
        value, error = log_mean_normal(log_z)
        cautions = []
    else:
        value = float(log_z.max() + math.log(mean))
        error = math.sqrt(z.var(ddof=1) / k) / mean
        cautions = _few_islands(z, 0.9)
    return value, math.sqrt(max(error**2, drawn) + UNSEEN / particles**2), cautions


def _few_islands(z: np.ndarray, share: float) -> list[str]:
    worth = z.sum() ** 2 / (z**2).sum()
    if worth >= min(ENOUGH, share * z.size):
        return []
    return [f"{z.size} islands are worth {worth:.1f} equal ones; more particles would help"]


def _far_proposal(traces: dict[str, np.ndarray], error: float) -> list[str]:
    """Whether items hardly drawn, whose weights scatter little by chance, matter to the error."""
    rare = float(traces["rare_chi_square"].sum(axis=1).mean())
    if rare <= traces["ancestors"].size * (error / 3) ** 2:
        return []
    return [
        "the proposal is so far from the language that it hardly ever draws items that matter: "
        "these have large weights, and errors may be larger than they say"
    ]


def constrained_sequences(
    language: Any,
    constraint: Any,
    n_particles: int,
    max_length: int,
    *,
    end: int | None = None,
    islands: int = 10,
    ess_threshold: float = 0.5,
    method: str = "auto",
    n_accepts: int = 3,
    proposal: Any = None,
    potential: Callable[[tuple], float] | None = None,
    twist: Callable[[tuple], float] | None = None,
    weights: bool = True,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
    checkpoint: Any = None,
) -> WeightedSequences:
    """Draw sequences of a language that satisfy a constraint, with weights and evidence.

    The target is p(x_1) p(x_2 | x_1) ... 1{valid} exp(potential(x)). Each item is drawn by
    `weighted_rejection` under the constraint on prefixes, and its weight multiplies that of the
    particle. Particles are resampled within their island. With an end, valid sequences end within
    `max_length` items, the end included; others have weight zero. Without one, they have exactly
    `max_length` items.

    Neither weights nor their scatter can show a branch that no particle took. Where a first item
    of probability 0.01 leads to most of the evidence, 200 particles miss it in 13 of 100 runs, and
    the interval is too low without a warning. Where such branches may be, take so many particles
    that each gets several, or a proposal or twist that leads there.

    Parameters
    ----------
    language : Language
        Object with ``logits(prefixes)``, see `smcweights.languages`.
    constraint : Constraint or callable
        See `smcweights.constraints`; or (prefix, item) -> bool, also asked about the end.
    n_particles : int
        Particles of an island, at least 1.
    max_length : int
        Number of items, at least 1.
    end : int, optional
        Item that ends a sequence.
    islands : int, default 10
        Independent repetitions, at least 4: the error of the evidence is their scatter.
    ess_threshold : float, default 0.5
        Resample where the effective sample size is below this share of the particles.
    method, n_accepts
        As for `weighted_rejection`, but for "set"; "auto" takes the exact mask of an automaton.
    proposal : Language, optional
        What items are drawn from instead; its probabilities are positive where the language's are.
    potential : callable, optional
        Prefix -> log of a factor, -inf allowed. The target has that of the whole sequence; those
        of shorter prefixes steer resampling, and are -inf only where nothing can follow. The
        evidence is then the sum of all weights of the target, not a probability.
    twist : callable, optional
        Prefix -> log of a positive guess of its chances. It steers resampling and leaves the
        target as it is.
    weights : bool, default True
        False: local decoding, without the weights of the draws. Biased; for comparison only.
    seed, executor, progress, checkpoint
        As everywhere; islands are what an executor gets and a checkpoint keeps.

    Returns
    -------
    WeightedSequences

    Raises
    ------
    ModelError
        The language or constraint returned something wrong.
    ValueError, TypeError
        An argument is wrong.

    Warns
    -----
    PrecisionWarning
        Every particle died, or few islands carry the weight.

    References
    ----------
    Lipkin et al. (2025), arXiv 2504.05410; Lew et al. (2023), arXiv 2306.03081.

    Examples
    --------
    >>> import smcweights as smw
    >>> coin = smw.languages.markov_chain([0.5, 0.5], [[0.5, 0.5], [0.5, 0.5]])
    >>> no_pair = lambda prefix, item: not (prefix and prefix[-1] == item == 1)
    >>> out = smw.constrained_sequences(coin, no_pair, 50, 6, seed=1)
    >>> bool(abs(out.evidence().value - 21 / 64) < 4 * out.evidence().standard_error + 1e-9)
    True
    """
    n = _whole(n_particles, "n_particles", 1)
    length = _whole(max_length, "max_length", 1)
    k = _whole(islands, "islands", 4)
    if end is not None:
        end = _whole(end, "end", 0)
    if not isinstance(ess_threshold, int | float | np.number) or not 0 <= ess_threshold <= 1:
        raise ValueError(f"ess_threshold: got {ess_threshold!r}; expected a number from 0 to 1")
    for name, given in (("language", language), ("proposal", proposal)):
        if given is not None and not hasattr(given, "logits"):
            raise TypeError(f"{name}: {type(given).__name__} has no method logits(prefixes)")
    if language is None:
        raise TypeError("language: got None; expected an object with logits(prefixes)")
    for name, given in (("potential", potential), ("twist", twist)):
        if given is not None and not callable(given):
            raise TypeError(f"{name}: got {type(given).__name__}; expected a function of a prefix")
    if not isinstance(weights, bool | np.bool_):
        raise TypeError(f"weights: got {weights!r}; expected True or False")
    if method == "set":
        raise ValueError("method: 'set' draws several items; expected one of the other methods")
    if not hasattr(constraint, "step"):
        if not callable(constraint):
            raise TypeError(
                f"constraint: got {type(constraint).__name__}; expected (prefix, item) -> bool or "
                "an object of smcweights.constraints"
            )
        try:
            inspect.signature(constraint).bind((), 0)
        except TypeError:
            raise TypeError("constraint: expected a function of (prefix, item)") from None
        except ValueError:
            pass  # built-in functions have no signature
        constraint = _FromPredicate(constraint, end)
    if method == "auto":
        method = "exact" if isinstance(constraint, Automaton) else "rao-blackwell"
    how = plan(n_accepts, method, None, "4+2j")
    if isinstance(constraint, Automaton) and constraint.table.shape[1] == end:
        # the end, as the last item, needs no column: what it leads to is never asked
        table = np.pad(constraint.table, ((0, 0), (0, 1)), constant_values=-1)
        constraint = replace(constraint, table=table)
    root = None if seed is None and checkpoint is not None else seed_sequence(seed)
    guides = _Guides(potential, twist)
    began = time.perf_counter()
    name = "constrained sequences"
    arguments = {
        "language": signature(language),
        "constraint": signature(constraint),
        "proposal": None if proposal is None else signature(proposal),
        "potential": None if potential is None else signature(potential),
        "twist": None if twist is None else signature(twist),
        "n_particles": n,
        "max_length": length,
        "end": end,
        "islands": k,
        "ess_threshold": float(ess_threshold),
        "method": method,
        "n_accepts": n_accepts,
        "weights": bool(weights),
    }
    task = partial(
        _island, language, constraint, n, k, length, end, ess_threshold, how, proposal, guides,
        bool(weights),
    )  # fmt: skip
    with open_run(
        task, executor=executor, progress=progress, checkpoint=checkpoint, arguments=arguments,
        seed=root, total=k, unit="islands", description=name,
    ) as opened:  # fmt: skip
        root = opened.root
        found = opened.map("islands", [(root, i) for i in range(k)])
    log_z = np.array([float(f["log_z"]) for f in found])
    log_w = np.concatenate([f["log_w"] for f in found])
    sequences = [
        tuple(row[row >= 0].tolist()) if w > -np.inf else ()
        for f in found
        for row, w in zip(f["sequences"], f["log_w"], strict=True)
    ]
    traces = {key: np.stack([f[key] for f in found]) for key in TRACES}
    cost = {
        "evaluations": int(traces["evaluations"].sum()),
        "seconds": time.perf_counter() - began,
        "islands": k,
    }
    source = provenance(name, root, arguments)
    alive = bool((log_z > -np.inf).any())
    status = "dead" if not alive else "ok" if weights else "biased"
    evidence = None
    cautions: list[str] = []
    if not alive:
        cautions = ["every particle died: more particles, or a twist or proposal, would help"]
    elif weights:
        value, error, cautions = _log_evidence(log_z, traces["relative_variance"].sum(1), n * k)
        cautions += _far_proposal(traces, error)
        diagnostics: dict[str, Any] = {
            "log_evidence_of_islands": np.where(np.isfinite(log_z), log_z, np.nan),
            "islands_dead": int(np.count_nonzero(log_z == -np.inf)),
            "effective_sample_size": effective_sample_size(log_w),
            # a probability, but for noise in the weights of a proposal
            "bounds": [-math.inf, 0.0 if potential is None and value <= 0 else math.inf],
        }
        if cautions:
            diagnostics["warnings"] = cautions
        evidence = Estimate(
            value,
            error**2,
            names=["log evidence"],
            method=f"{name}, {method}",
            degrees_of_freedom=k - 1,
            diagnostics=diagnostics,
            cost=cost,
            provenance=source,
        )
    for text in cautions:
        warnings.warn(text, PrecisionWarning, stacklevel=2)
    return WeightedSequences(sequences, log_w, evidence, status, traces, n, cost, source)


class _FromPredicate:
    """A function of prefix and item, which is asked about the end as well."""

    def __init__(self, allows: Callable[[tuple, int], bool], end: int | None) -> None:
        base: Any = predicate(allows)
        self._allows, self._end = allows, end
        self.start, self.step = base.start, base.step

    def complete(self, prefix: tuple) -> bool:
        if self._end is None:
            return True
        return truth(self._allows(prefix, self._end), "constraint", (prefix, self._end))


@dataclass(frozen=True)
class _Guides:
    """What multiplies the weight of a prefix: the potential for good, the twist on the way."""

    potential: Callable[[tuple], float] | None
    twist: Callable[[tuple], float] | None

    def __call__(self, prefix: tuple, over: bool) -> float:
        total = 0.0
        if self.potential is not None:
            total = _number("potential", self.potential(prefix), prefix)
            if total == math.inf:
                raise ModelError(f"potential: returned {total} for {prefix}; expected less")
        if self.twist is not None and not over:
            guess = _number("twist", self.twist(prefix), prefix)
            if math.isinf(guess):
                raise ModelError(f"twist: returned {guess} for {prefix}; expected a finite number")
            total += guess
        return total


def _number(name: str, value: Any, prefix: tuple) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ModelError(f"{name}: returned {value!r} for {prefix}; expected a number")
    return number


class _Node:
    """A prefix at one step: its distribution, and what is known about its next items."""

    def __init__(self, state: Any, logits: np.ndarray) -> None:
        self.context = context_of(logits)
        self.state = state
        self.after: dict[int, Any] = {}


def _island(
    language: Any,
    constraint: Any,
    n: int,
    islands: int,
    length: int,
    end: int | None,
    ess_threshold: float,
    how: Plan,
    proposal: Any,
    guides: _Guides,
    weighted: bool,
    root: np.random.SeedSequence,
    number: int,
) -> dict[str, np.ndarray]:
    rng = generator(root, "island", number)
    # a prefix is told by the number of the one before it and its last item, whatever its length
    prefixes: list[tuple[int, ...]] = [()]
    key = np.zeros(n, np.int64)
    sequences = np.full((n, length), -1, np.int64)
    over = np.zeros(n, bool)
    log_w, log_block = np.zeros(n), 0.0
    guided = guides.potential is not None or guides.twist is not None
    guess = np.zeros(n)
    ess, dead, calls = np.zeros(length), np.zeros(length, np.int64), np.zeros(length, np.int64)
    chi_square, rare_chi_square = np.zeros(length), np.zeros(length)
    relative_variance = np.zeros(length)
    ancestors = np.arange(n)
    size = 0
    table = isinstance(constraint, Automaton) and how.method == "exact"
    states: Any = [constraint.start()] * n
    if table:
        states = np.array(states)
    for t in range(length):
        final = t == length - 1
        active = (~over & (log_w > -np.inf)).nonzero()[0]
        if not active.size:
            ess[t:], dead[t:] = ess[t - 1], dead[t - 1]
            break
        numbers: dict[int, int] = {}
        numbered = [numbers.setdefault(one, len(numbers)) for one in key[active].tolist()]
        node = np.array(numbered)
        if t:
            prefixes = [(*prefixes[one // size], one % size) for one in numbers]
        standing_for = list(dict(zip(numbered, active.tolist(), strict=True)).values())
        target = _logits("language", language, prefixes, end)
        if t == 0:
            size = target.shape[1]
            _check_size(size_of(constraint), size, end)
        elif target.shape[1] != size:
            raise ModelError(
                f"language: logits of {target.shape[1]} items after {prefixes[0]}; there were "
                f"{size} before"
            )
        drawn = target if proposal is None else _logits("proposal", proposal, prefixes, end)
        if drawn.shape != target.shape:
            raise ModelError(f"proposal: logits of shape {drawn.shape}; expected {target.shape}")
        if table:
            items, log_steps = _by_table(
                rng, constraint, states[standing_for], drawn, node, end, final
            )
            states[active] = constraint.table[states[active], items]
        else:
            nodes = [_Node(states[i], drawn[m]) for m, i in enumerate(standing_for)]
            for one in nodes:
                _learn(one, constraint, end, final)
            items, log_steps, spread, after, calls[t] = _by_asking(
                rng, constraint, nodes, node, how, end, final
            )
            for i, state in zip(active.tolist(), after, strict=True):
                states[i] = state
        before = log_w[active]
        if weighted:
            log_w[active] += log_steps
            if proposal is not None:
                log_p = target - np.logaddexp.reduce(target, axis=1)[:, None]
                log_q = drawn - np.logaddexp.reduce(drawn, axis=1)[:, None]
                share = np.bincount(node, np.exp(before - before.max()), len(prefixes))
                share = share / share.sum()
                chi_square[t] = (_second_moment(log_p, log_q) - 1.0) @ share
                rare = log_q < math.log(RARE / (n * islands))
                rare_chi_square[t] = _second_moment(np.where(rare, log_p, -np.inf), log_q) @ share
                some = items >= 0
                at = node[some], items[some]
                log_w[active[some]] += log_p[at] - log_q[at]
        log_w[active[items < 0]] = -np.inf
        sequences[active, t] = items
        key[active] = node * size + items
        if final:
            over[active] = True
        elif end is not None:
            over[active] = items == end
        if guided:
            for i, m, item in zip(active.tolist(), numbered, items.tolist(), strict=True):
                if item >= 0:
                    new = guides((*prefixes[m], item), bool(over[i]))
                    log_w[i] += new - guess[i]
                    guess[i] = new
        dead[t] = np.count_nonzero(log_w == -np.inf)
        if dead[t] == n:
            dead[t:] = n
            break
        w = normalise(log_w)
        ess[t] = 1.0 / (w @ w)
        if not table:  # exact draws have no such variance
            relative_variance[t] = w[active] ** 2 @ spread
        if not final and ess[t] < ess_threshold * n:
            log_block += log_mean_exp(log_w)
            chosen = resample(w, seed=rng)
            states = states[chosen] if table else [states[i] for i in chosen]
            sequences, key = sequences[chosen], key[chosen]
            over, guess, ancestors = over[chosen], guess[chosen], ancestors[chosen]
            log_w = np.zeros(n)
    log_w = np.where(over, log_w, -np.inf) + log_block
    log_z = log_mean_exp(log_w) if (log_w > -np.inf).any() else -math.inf
    return {
        "log_z": np.array(log_z),
        "log_w": log_w,
        "sequences": sequences,
        "ess": ess,
        "dead": dead,
        "evaluations": calls,
        "chi_square": chi_square,
        "rare_chi_square": rare_chi_square,
        "relative_variance": relative_variance,
        "ancestors": ancestors,
    }


def _check_size(size: int | None, of_language: int, end: int | None) -> None:
    """The end, as the last item, needs no text of its own."""
    if size in (None, of_language) or (size == end == of_language - 1):
        return
    raise ValueError(
        f"constraint: it is over {size} items; the language has {of_language}"
        + (" and no end was given" if end is None and size == of_language - 1 else "")
    )


def _second_moment(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Of p/q under q, row by row: known in full, unlike that of a sample."""
    with np.errstate(invalid="ignore"):
        terms = np.where(log_p > -np.inf, 2 * log_p - log_q, -np.inf)
    return np.exp(np.minimum(np.logaddexp.reduce(terms, axis=1), 700.0))


def _logits(name: str, source: Any, prefixes: list[tuple], end: int | None) -> np.ndarray:
    table = np.asarray(source.logits(prefixes))
    if table.dtype.kind not in "fiu":
        raise TypeError(f"{name}: logits are an array of {table.dtype}; expected real numbers")
    table = table.astype(np.float64, copy=False)
    if table.ndim != 2 or len(table) != len(prefixes):
        raise ModelError(f"{name}: logits have shape {table.shape}; expected ({len(prefixes)}, V)")
    if end is not None and not 0 <= end < table.shape[1]:
        raise ValueError(f"end: got {end}; expected an item from 0 to {table.shape[1] - 1}")
    # NaN and +inf make the largest one of them, and -inf everywhere makes it -inf
    top = np.maximum.reduce(table, axis=1)
    if (np.abs(top) <= FAR).all():
        return np.ascontiguousarray(table)
    if not np.isfinite(top).all():
        m = int(np.flatnonzero(~np.isfinite(top))[0])
        bad = np.flatnonzero(np.isnan(table[m]) | (table[m] == np.inf))
        what = f"{table[m, bad[0]]} at item {bad[0]}" if bad.size else "-inf at every item"
        raise ModelError(
            f"{name}: after {prefixes[m]}: {what}; expected finite numbers or -inf, not all -inf"
        )
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(table - top[:, None])


def _by_table(
    rng: np.random.Generator,
    constraint: Automaton,
    states: np.ndarray,
    logits: np.ndarray,
    node: np.ndarray,
    end: int | None,
    final: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Items (-1: none is allowed) and log weights of all particles, by the masks of the states."""
    allowed = _allowed(constraint, states, end, final)
    w = np.exp(logits - np.maximum.reduce(logits, axis=1)[:, None])
    total = np.add.reduce(w, axis=1)
    w *= allowed
    cumulated = np.add.accumulate(w, axis=1)
    inside = cumulated[:, -1]
    with np.errstate(divide="ignore"):
        # what is left when nearly everything is allowed is not more than everything
        log_steps = np.log(np.minimum(inside / total, 1.0))[node]
    u = rng.random(node.size) * inside[node]
    items = np.add.reduce(cumulated[node] <= u[:, None], axis=1)
    size = allowed.shape[1]
    if (items == size).any():
        # a sum rounded up must not point behind the last item allowed
        last = size - 1 - (w > 0)[:, ::-1].argmax(axis=1)
        items = np.where(inside[node] > 0, np.minimum(items, last[node]), -1)
    return items, log_steps


def _allowed(constraint: Automaton, states: np.ndarray, end: int | None, final: bool) -> np.ndarray:
    after = constraint.table[states]
    allowed = after >= 0
    if final:
        allowed &= constraint.accepting[after] if end is None else False
    if end is not None:
        allowed[..., end] = constraint.accepting[states]
    return allowed


def _by_asking(
    rng: np.random.Generator,
    constraint: Any,
    nodes: list[_Node],
    node: np.ndarray,
    how: Plan,
    end: int | None,
    final: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Any], int]:
    """Items (-1: none was found), log weights and their relative variances, states, calls."""
    last = final and end is not None
    how = Plan("exact", how.accepts, 0, 0, -1, -1) if last else how
    items, log_steps = np.full(node.size, -1), np.full(node.size, -np.inf)
    spread = np.zeros(node.size)
    after: list[Any] = [None] * node.size
    calls = 0
    for i, m in enumerate(node.tolist()):
        here = nodes[m]

        def allowed(item: int, here: _Node = here) -> bool:
            nonlocal calls
            calls += 1
            if item == end:
                return truth(constraint.complete(here.state), "constraint", here.state)
            new = constraint.step(here.state, item)
            if new is None or (final and not truth(constraint.complete(new), "constraint", new)):
                return False
            here.after[item] = new
            return True

        found = run(rng, here.context, allowed, how)
        if found.index < 0:
            continue
        item = found.index
        items[i], log_steps[i], spread[i] = item, found.log_weight, found.relative_variance
        if item != end:
            if item not in here.after:
                here.after[item] = constraint.step(here.state, item)
            after[i] = here.after[item]
    # some methods can't tell
    return items, log_steps, np.nan_to_num(spread), after, calls


def _learn(node: _Node, constraint: Any, end: int | None, final: bool) -> None:
    """What is known without asking: at the last place only the end; a row of an automaton."""
    context = node.context
    context.learn_nothing(False)
    if final and end is not None:
        context.known[:] = kn.REJECTED
        context.known[end] = kn.UNKNOWN
    elif isinstance(constraint, Automaton):
        context.learn_all(_allowed(constraint, np.array(node.state), end, final))
