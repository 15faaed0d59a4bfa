"""Sequences of a language under a constraint, by sequential Monte Carlo."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..errors import ModelError, PrecisionWarning
from ..estimate import Estimate, provenance
from ..execution import open_run
from ..randomness import generator, seed_sequence
from ..resampling import resample
from ..weights import effective_sample_size, log_mean_exp
from . import kernels as kn
from .constraints import Automaton, predicate
from .draw import Context, Plan, _whole, plan, run

__all__ = ["WeightedSequences", "constrained_sequences"]


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
        By island and time: ``ess``, ``dead`` (particles) and ``evaluations`` of the constraint.
    """

    sequences: list[tuple[int, ...]] = field(repr=False)
    log_weights: np.ndarray = field(repr=False)
    log_evidence: Estimate | None
    status: str
    traces: dict[str, np.ndarray] = field(repr=False)
    n_particles: int
    cost: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)

    def evidence(self) -> Estimate:
        """Probability of the constraint on the natural scale.

        Raises
        ------
        ValueError
            There is none, or it is too small for a float.
        """
        if self.log_evidence is None:
            raise ValueError(f"evidence: there is none, the status is {self.status!r}")
        if self.log_evidence.value < -700:
            raise ValueError("evidence: too small for a float; use log_evidence")
        return self.log_evidence.apply(np.exp, names="evidence")

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
            Ratio of weighted sums; its error comes from the islands. Diagnostics: effective
            sample size.

        Raises
        ------
        ModelError
            The function returned something that is not finite, or of another shape.
        ValueError
            Every particle is dead.
        """
        if self.status == "dead":
            raise ValueError("expectation: every particle is dead")
        alive = np.flatnonzero(self.log_weights > -np.inf)
        found: list[np.ndarray] = []
        for i in alive.tolist():
            one = np.asarray(function(self.sequences[i]), dtype=np.float64)
            if (
                one.ndim > 1
                or not np.isfinite(one).all()
                or (found and one.shape != found[0].shape)
            ):
                raise ModelError(
                    f"function: returned {one!r} for {self.sequences[i]}; expected finite numbers "
                    "of one shape, () or (J,)"
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
        diagnostics: dict[str, Any] = {
            "effective_sample_size": effective_sample_size(self.log_weights),
            "islands": k,
            "islands_alive": int(np.count_nonzero(below)),
        }
        cautions = _cautions(below)
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
            diagnostics=diagnostics,
            cost=self.cost,
            provenance=self.provenance,
        )


def _cautions(by_island: np.ndarray) -> list[str]:
    worth = by_island.sum() ** 2 / (by_island**2).sum()
    if worth >= 0.25 * by_island.size:
        return []
    return [f"{by_island.size} islands are worth {worth:.1f} equal ones; more particles would help"]


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
    twist: Callable[[tuple], float] | None = None,
    weights: bool = True,
    seed: Any = None,
    executor: Any = None,
    progress: bool | None = None,
) -> WeightedSequences:
    """Draw sequences of a language that satisfy a constraint, with weights and evidence.

    The target is p(x_1) p(x_2 | x_1) ... 1{valid}. Each item is drawn by `weighted_rejection`
    under the constraint on prefixes, and its weight multiplies that of the particle. Particles are
    resampled within their island. With an end, valid sequences end within `max_length` items, the
    end included; others have weight zero. Without one, they have exactly `max_length` items.

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
        As for `weighted_rejection`; "auto" takes the exact mask of an automaton.
    proposal : Language, optional
        What items are drawn from instead; its probabilities are positive where the language's are.
    twist : callable, optional
        Prefix -> log of a positive guess of its chances. It steers resampling and leaves the
        target as it is.
    weights : bool, default True
        False: local decoding, without the weights of the draws. Biased; for comparison only.
    seed, executor, progress
        As everywhere; islands are what an executor gets.

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
    if not 0 <= ess_threshold <= 1:
        raise ValueError(f"ess_threshold: got {ess_threshold!r}; expected a number from 0 to 1")
    for name, given in (("language", language), ("proposal", proposal)):
        if given is not None and not hasattr(given, "logits"):
            raise TypeError(f"{name}: {type(given).__name__} has no method logits(prefixes)")
    if language is None:
        raise TypeError("language: got None; expected an object with logits(prefixes)")
    if method == "set":
        raise ValueError("method: 'set' draws several items; expected one of the other methods")
    if not hasattr(constraint, "step"):
        if not callable(constraint):
            raise TypeError(
                f"constraint: got {type(constraint).__name__}; expected (prefix, item) -> bool or "
                "an object of smcweights.constraints"
            )
        constraint = _FromPredicate(constraint, end)
    if method == "auto":
        method = "exact" if isinstance(constraint, Automaton) else "rao-blackwell"
    how = plan(n_accepts, method, None, "4+2j")
    root = seed_sequence(seed)
    task = partial(
        _island, language, constraint, n, length, end, ess_threshold, how, proposal, twist,
        bool(weights), root,
    )  # fmt: skip
    began = time.perf_counter()
    name = "constrained sequences"
    with open_run(
        task, executor=executor, progress=progress, seed=root, total=k, unit="islands",
        description=name,
    ) as opened:  # fmt: skip
        found = opened.map("islands", [(i,) for i in range(k)])
    log_z = np.array([float(f["log_z"]) for f in found])
    log_w = np.concatenate([f["log_w"] for f in found])
    sequences = [
        tuple(row[row >= 0].tolist()) if w > -np.inf else ()
        for f in found
        for row, w in zip(f["sequences"], f["log_w"], strict=True)
    ]
    traces = {key: np.stack([f[key] for f in found]) for key in ("ess", "dead", "evaluations")}
    cost = {
        "evaluations": int(traces["evaluations"].sum()),
        "seconds": time.perf_counter() - began,
        "islands": k,
    }
    source = provenance(
        name,
        root,
        {
            "language": type(language).__name__,
            "constraint": type(constraint).__name__,
            "n_particles": n,
            "max_length": length,
            "end": end,
            "islands": k,
            "ess_threshold": float(ess_threshold),
            "method": method,
            "n_accepts": n_accepts,
            "weights": bool(weights),
        },
    )
    alive = bool((log_z > -np.inf).any())
    status = "dead" if not alive else "ok" if weights else "biased"
    evidence = None
    cautions: list[str] = []
    if not alive:
        cautions = ["every particle died: more particles, or a twist or proposal, would help"]
    elif weights:
        z = np.exp(log_z - log_z.max())
        mean = z.mean()
        cautions = _cautions(z)
        diagnostics: dict[str, Any] = {
            "log_evidence_of_islands": np.where(np.isfinite(log_z), log_z, np.nan),
            "islands_dead": int(np.count_nonzero(z == 0)),
            "effective_sample_size": effective_sample_size(log_w),
        }
        if cautions:
            diagnostics["warnings"] = cautions
        evidence = Estimate(
            log_z.max() + math.log(mean),
            z.var(ddof=1) / k / mean**2,
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
        return self._end is None or bool(self._allows(prefix, self._end))


class _Node:
    """A prefix at one step: its distribution, and what is known about its next items."""

    def __init__(
        self, state: Any, logits: np.ndarray, target: np.ndarray | None, prefix: tuple
    ) -> None:
        where = f"language: after {prefix}"
        try:
            self.context = Context(logits, where)
            self.target = None if target is None else target - Context(target, where).log_total
        except ValueError as error:
            raise ModelError(str(error)) from None
        self.state, self.prefix = state, prefix
        self.after: dict[int, Any] = {}

    def correction(self, item: int) -> float:
        """Log of the language's probability over the proposal's."""
        if self.target is None:
            return 0.0
        return float(self.target[item] - self.context.logits[item] + self.context.log_total)


def _island(
    language: Any,
    constraint: Any,
    n: int,
    length: int,
    end: int | None,
    ess_threshold: float,
    how: Plan,
    proposal: Any,
    twist: Callable[[tuple], float] | None,
    weighted: bool,
    root: np.random.SeedSequence,
    number: int,
) -> dict[str, np.ndarray]:
    rng = generator(root, "island", number)
    prefixes: list[tuple[int, ...]] = [()] * n
    states: list[Any] = [constraint.start()] * n
    over = np.zeros(n, bool)
    log_w, log_block = np.zeros(n), 0.0
    guess = np.zeros(n)
    ess, dead, calls = np.zeros(length), np.zeros(length, np.int64), np.zeros(length, np.int64)
    exact = Plan("exact", how.accepts, 0, 0, -1, -1)
    for t in range(length):
        final = t == length - 1
        active = np.flatnonzero(~over & (log_w > -np.inf)).tolist()
        nodes = _nodes(
            language, proposal, [prefixes[i] for i in active], [states[i] for i in active]
        )
        for node in nodes.values():
            _learn(node, constraint, end, final)
        for i in active:
            node = nodes[prefixes[i]]

            def allowed(item: int, node: _Node = node, t: int = t, final: bool = final) -> bool:
                calls[t] += 1
                if item == end:
                    return bool(constraint.complete(node.state))
                new = constraint.step(node.state, item)
                if new is None or (final and not constraint.complete(new)):
                    return False
                node.after[item] = new
                return True

            last = final and end is not None
            found = run(rng, node.context, allowed, exact if last else how)
            if found.index < 0:
                log_w[i] = -np.inf
                continue
            item = found.index
            if weighted:
                log_w[i] += found.log_weight + node.correction(item)
            prefixes[i] = (*prefixes[i], item)
            over[i] = item == end or final
            if not over[i]:
                if item not in node.after:
                    node.after[item] = constraint.step(node.state, item)
                states[i] = node.after[item]
            if twist is not None:
                new_guess = 0.0 if over[i] else float(twist(prefixes[i]))
                if not math.isfinite(new_guess):
                    raise ModelError(f"twist: returned {new_guess} for {prefixes[i]}")
                log_w[i] += new_guess - guess[i]
                guess[i] = new_guess
        dead[t] = np.count_nonzero(log_w == -np.inf)
        if dead[t] == n:
            dead[t:] = n
            break
        ess[t] = effective_sample_size(log_w)
        if not final and ess[t] < ess_threshold * n:
            log_block += log_mean_exp(log_w)
            chosen = resample(np.exp(log_w - log_w.max()), seed=rng)
            prefixes = [prefixes[i] for i in chosen]
            states = [states[i] for i in chosen]
            over, guess = over[chosen], guess[chosen]
            log_w = np.zeros(n)
    log_w = np.where(over, log_w, -np.inf) + log_block
    table = np.full((n, length), -1, np.int64)
    for i, p in enumerate(prefixes):
        table[i, : len(p)] = p
    log_z = log_mean_exp(log_w) if (log_w > -np.inf).any() else -math.inf
    return {
        "log_z": np.array(log_z),
        "log_w": log_w,
        "sequences": table,
        "ess": ess,
        "dead": dead,
        "evaluations": calls,
    }


def _nodes(
    language: Any, proposal: Any, prefixes: list[tuple], states: list[Any]
) -> dict[tuple, _Node]:
    """One node for all particles with the same prefix."""
    of = dict(zip(prefixes, states, strict=True))
    if not of:
        return {}
    wanted = list(of)
    tables: list[np.ndarray | None] = []
    for name, source in (("language", language), ("proposal", proposal)):
        if source is None:
            tables.append(None)
            continue
        table = np.asarray(source.logits(wanted), dtype=np.float64)
        if table.ndim != 2 or len(table) != len(wanted):
            raise ModelError(
                f"{name}: logits have shape {table.shape}; expected ({len(wanted)}, V)"
            )
        tables.append(np.ascontiguousarray(table))
    target, drawn = tables
    assert target is not None
    if drawn is not None and drawn.shape != target.shape:
        raise ModelError(f"proposal: logits of shape {drawn.shape}; expected {target.shape}")
    return {
        p: _Node(
            of[p], (target if drawn is None else drawn)[i], None if drawn is None else target[i], p
        )
        for i, p in enumerate(wanted)
    }


def _learn(node: _Node, constraint: Any, end: int | None, final: bool) -> None:
    """What is known without asking: at the last place only the end; a row of an automaton."""
    context = node.context
    context.learn_nothing(False)
    if end is not None and not 0 <= end < context.known.size:
        raise ValueError(f"end: got {end}; expected an item from 0 to {context.known.size - 1}")
    if final and end is not None:
        context.known[:] = kn.REJECTED
        context.known[end] = kn.UNKNOWN
    elif isinstance(constraint, Automaton):
        row = constraint.table[node.state]
        if row.size != context.known.size:
            raise ValueError(
                f"constraint: an automaton over {row.size} items; the language has "
                f"{context.known.size}"
            )
        known = row >= 0
        if final:
            known &= constraint.accepting[row]
        if end is not None:
            known[end] = constraint.complete(node.state)
        context.learn_all(known)
