"""Sequences of a language under a constraint, by sequential Monte Carlo."""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike

from .. import arguments as check
from ..cautions import Caution, printed, tell
from ..errors import ModelError
from ..estimate import Estimate
from ..execution import open_run
from ..identity import signature
from ..pooling import log_bayes_factor
from ..provenance import provenance
from ..randomness import generator, seed_sequence
from ..resampling import resample
from ..results import Result, along, table
from ..tables import in_words
from ..weights import effective_sample_size, log_mean_exp, log_mean_normal
from .ahead import Ends, Finite, Guess, guess, reachable, within_outline
from .constraints import Automaton, Constraint, ends_meant, predicate, truth
from .draw import Seed, plan
from .islands import NO_MASS, NOT_WHOLE, NOTHING_ALLOWED, TRACES, Prefix, Setup, island, laws
from .languages import Language, MarkovChain, law_of
from .least import fewest_items
from .objects import Ahead, weigh
from .outlines import outlined, read_by
from .tokens import TokenTable
from .vocabularies import Vocabulary

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

NAME = "constrained sequences"
ENOUGH = 30  # islands, by their weights, whose mean is normal
HITS = 3.0  # equal islands that are enough where what was foreseen is found
TIMES = 5.0  # what is foreseen beside what is found matters, or is of no matter when so much less
NORMAL = 0.75  # standard deviation up to which logs of a few islands are taken for normal
UNSEEN = 3.0  # events that may be missing by chance: exp(-3) is 5 %
GIVEN = ("language", "constraint", "proposal", "potential", "twist")
FEW = 0.25  # share of the particles that still tells of those that aren't there
PILOTS = 2  # islands that show what items a language says
LARGEST = 340.0  # log of the largest evidence whose square is a float


@dataclass(frozen=True)
class WeightedSequences(Result):
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
        By island and time: ``ess``, ``dead`` (particles), ``evaluations`` of the constraint, of
        which the mask of an automaton for a prefix is one,
        ``chi_square`` of the language from the proposal, ``rare_chi_square``, its part on items of
        which all islands together hardly draw any, and ``relative_variance`` of the island's
        estimate by the draws of this time, as their weights tell it. By island and particle:
        ``ancestors``, the particle it descends from. By island, time and reason: ``deaths``,
        how many died because no item was allowed, because none that was has mass in the language,
        because the last place left them without an end, or no valid whole, and by the potential.
    dead : list of tuple of int
        Prefixes of the particles that are dead in the end, in their order.
    """

    sequences: list[tuple[int, ...]] = field(repr=False, metadata=along("particle", "item"))
    log_weights: np.ndarray = field(repr=False, metadata=along("particle"))
    log_evidence: Estimate | None
    status: str
    traces: dict[str, np.ndarray] = field(repr=False, metadata=along("island", "time", "reason"))
    n_particles: int
    cost: dict[str, Any] = field(repr=False)
    provenance: dict[str, Any] = field(repr=False)
    dead: list[tuple[int, ...]] = field(
        repr=False, default_factory=list, metadata=along("dead", "item")
    )

    def __repr__(self) -> str:
        """How many there are, the evidence, and how to go on."""
        size, alive = len(self.log_weights), int((self.log_weights > -np.inf).sum())
        lines = [f"WeightedSequences: {alive} of {size} particles alive, status {self.status}"]
        for key, *row in self.summary().itertuples():
            lines.append("  " + "  ".join(in_words(str(key), *row)))
        lines += [] if self.log_evidence is None else printed(self.log_evidence.cautions)
        said = "  .sequences and .log_weights; .table() lists them, .expectation(f) averages f"
        return "\n".join([*lines, said])

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of the evidence and its logarithm, as far as there are any.

        Parameters
        ----------
        level : float, default 0.95
            Of the intervals.

        Returns
        -------
        pandas.DataFrame
            Columns: value, standard_error, lower, upper.
        """
        parts = [] if self.log_evidence is None else [self.log_evidence]
        if parts and abs(parts[0].value) <= LARGEST:
            parts.append(self.evidence())
        return table(
            (
                est.names[0],
                [float(part) for part in (est.value, est.standard_error, *est.interval(level))],
            )
            for est in parts
        )

    def plot(self, ax: Axes | None = None) -> Axes:
        """Effective sample size item by item, see `smcweights.plots.sequences`."""
        from .figures import sequences

        return sequences(self, ax)

    def texts(self, items: Sequence[str] | Vocabulary) -> list[str]:
        """Texts of the sequences, without an end; "" for dead particles.

        Parameters
        ----------
        items : sequence of str, or Vocabulary
            Text of each item.
        """
        if isinstance(items, Vocabulary):
            return [items.text(s) for s in self.sequences]
        end = self.provenance["arguments"]["end"]
        # a str is a sequence of characters, as it is for the constraints
        listed = (
            list(items) if isinstance(items, str) else check.in_order("items", items, "strings")
        )
        if strange := [text for text in listed if not isinstance(text, str)]:
            raise TypeError(f"items: got {check.shown(strange[0])} among them; expected strings")
        ends = end if isinstance(end, list) else [end]
        top = max((x for s in self.sequences for x in s if x not in ends), default=-1)
        if top >= len(listed):
            raise ValueError(
                f"items: got {len(listed)}; expected {top + 1} at least: the sequences have {top}"
            )
        return ["".join(listed[x] for x in s if x not in ends) for s in self.sequences]

    def table(self, items: Sequence[str] | Vocabulary | None = None) -> pandas.DataFrame:
        """Different sequences and their probabilities under the constrained law, largest first.

        Parameters
        ----------
        items : sequence of str, or Vocabulary, optional
            Text of each item, for texts in place of sequences.

        Returns
        -------
        pandas.DataFrame
            Columns: text or sequence, probability, count of particles.

        Raises
        ------
        ValueError
            Every particle is dead.
        """
        import pandas

        alive = self._alive("table")
        what: list[Any] = self.sequences if items is None else self.texts(items)
        w = np.exp(self.log_weights[alive] - self.log_weights.max())
        mass: dict[Any, float] = {}
        count: dict[Any, int] = {}
        for i, one in zip(alive.tolist(), (w / w.sum()).tolist(), strict=True):
            mass[what[i]] = mass.get(what[i], 0.0) + one
            count[what[i]] = count.get(what[i], 0) + 1
        rows = sorted(mass, key=lambda one: (-mass[one], one))
        return pandas.DataFrame(
            {
                "sequence" if items is None else "text": rows,
                "probability": [mass[one] for one in rows],
                "count": [count[one] for one in rows],
            }
        )

    def draws(self, n: int, *, seed: Seed = None) -> list[tuple[int, ...]]:
        """Sequences of equal weight, by systematic resampling of the particles of all islands.

        Their law differs from the constrained one by a bias of order 1/particles, and sequences
        that many particles descend from come together.

        Parameters
        ----------
        n : int
            How many.
        seed : None, int, SeedSequence or Generator

        Raises
        ------
        ValueError
            Every particle is dead.
        """
        n, alive = check.count("n", n), self._alive("draws")
        w = np.exp(self.log_weights[alive] - self.log_weights.max())
        rng = generator(seed_sequence(seed), "draws")
        return [self.sequences[i] for i in alive[resample(w, n, seed=rng)].tolist()]

    def log_ratio(self, other: WeightedSequences) -> Estimate:
        """Log of the ratio of this evidence to another; see `smcweights.log_bayes_factor`.

        Parameters
        ----------
        other : WeightedSequences
            With another seed.

        Raises
        ------
        ValueError
            One has no evidence, or they have the same seed.
        """
        if not isinstance(other, WeightedSequences):
            raise TypeError(f"other: got {type(other).__name__}; expected WeightedSequences")
        for name, one in (("log_ratio", self), ("other", other)):
            if one.log_evidence is None:
                raise ValueError(f"{name}: there is no evidence, the status is {one.status!r}")
        return log_bayes_factor(self, other)

    def _alive(self, asked: str) -> np.ndarray:
        if self.status == "dead":
            raise ValueError(f"{asked}: every particle is dead")
        return np.flatnonzero(self.log_weights > -np.inf)

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

        log = self.log_evidence
        if log is None:
            raise ValueError(f"evidence: there is none, the status is {self.status!r}")
        if abs(log.value) > LARGEST:
            raise ValueError(
                f"evidence: exp({log.value:.6g}) has no error in a float; use log_evidence"
            )
        value = math.exp(log_mean_exp(self.log_weights))
        lower, upper = np.exp(log.interval())
        most = 1.0 if log.bounds == (-math.inf, 0.0) and value <= 1.0 else math.inf
        quantile = float(stdtrit(log.degrees_of_freedom, 0.975))
        return log.revised(
            value=value,
            covariance=(max(value - lower, upper - value) / quantile) ** 2,
            names="evidence",
            bounds=(0.0, most),
        )

    def expectation(
        self, function: Callable[[Prefix], ArrayLike], *, names: Sequence[str] | None = None
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
        names = check.names(names)
        check.function("function", function, "of a sequence")
        alive = self._alive("expectation")
        returned = self._returned(function, alive)
        values = returned.reshape(alive.size, -1)
        w = np.exp(self.log_weights[alive] - self.log_weights.max())
        island = alive // self.n_particles
        k = self.log_weights.size // self.n_particles
        below = np.bincount(island, w, k)
        above = np.stack([np.bincount(island, w * v, k) for v in values.T], axis=1)
        mean = above.sum(0) / below.sum()
        off = above - mean * below[:, None]
        covariance = off.T @ off / (k - 1) * k / below.sum() ** 2
        size = effective_sample_size(self.log_weights)
        families = np.bincount(island * self.n_particles + self.traces["ancestors"].flat[alive], w)
        trials = min(size, float(families.sum() ** 2 / (families**2).sum()))
        fixed = (values == values[0]).all(0)
        never = fixed & (values[0] == 0)
        mean = np.where(fixed, values[0], mean)
        covariance[fixed], covariance[:, fixed] = 0.0, 0.0
        # as a symmetric interval: on 3/trials of the law the value may be 0, or twice this
        rare = np.where(fixed, UNSEEN / 1.96 * np.abs(mean) / trials, 0.0) ** 2
        rare += np.where(fixed, 0.0, UNSEEN * (np.abs(values - mean).max(0) / size) ** 2)
        covariance[np.diag_indices_from(covariance)] += rare
        error = math.sqrt(k * below.var(ddof=1)) / below.sum()
        cautions = [*_few_islands(below, 0.5), *_far_proposal(self.traces, error)]
        biased = self.status == "biased"
        if biased:
            cautions.append(LOCAL)
        tell(NAME, cautions)
        shape = returned.shape[1:]
        return Estimate(
            mean.reshape(shape),
            covariance.reshape(shape * 2),
            names=names,
            method=f"{NAME}, local (biased)" if biased else NAME,
            degrees_of_freedom=k - 1,
            trials=np.where(never, trials, 0.0).reshape(shape) if never.any() else None,
            diagnostics={
                "effective_sample_size": size,
                "ancestors": trials,
                "islands": k,
                "islands_alive": int(np.count_nonzero(below)),
            },
            cautions=cautions,
            cost=self.cost,
            provenance=self.provenance | {"applied": [signature(function)]},
        )

    def _returned(self, function: Callable[[Prefix], ArrayLike], alive: np.ndarray) -> np.ndarray:
        """What the function returns for each living particle, shape (alive, ...)."""
        found: list[np.ndarray] = []
        for i in alive.tolist():
            returned = function(self.sequences[i])
            try:
                one = np.asarray(returned, dtype=np.float64)
            except (TypeError, ValueError):
                one = np.array(math.nan)
            if one.ndim > 1 or not np.isfinite(one).all() or one.shape != (found or [one])[0].shape:
                raise ModelError(
                    f"function: returned {returned!r} for {self.sequences[i]}; expected finite "
                    "numbers of one shape, () or (J,)"
                )
            found.append(one)
        return np.array(found)


def constrained_sequences(
    language: Language,
    constraint: Constraint | Callable[[Prefix, int], bool],
    n_particles: int,
    max_length: int,
    *,
    end: int | Sequence[int] | None = None,
    islands: int = 10,
    ess_threshold: float = 0.5,
    method: str = "auto",
    n_accepts: int = 3,
    proposal: Language | None = None,
    potential: Callable[[Prefix], float] | None = None,
    twist: Callable[[Prefix], float] | None = None,
    weights: bool = True,
    ahead: Literal["auto", False] | ArrayLike | MarkovChain = "auto",
    seed: Seed = None,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> WeightedSequences:
    """Draw sequences of a language that satisfy a constraint, with weights and evidence.

    The target is p(x_1) p(x_2 | x_1) ... 1{valid} exp(potential(x)). Each item is drawn by
    `weighted_rejection` under the constraint on prefixes, and its weight multiplies that of the
    particle. Particles are resampled within their island. With an end, valid sequences end within
    `max_length` items, the end included; others have weight zero. Without one, they have exactly
    `max_length` items.

    An automaton leads the particles (``ahead``), so that what is rare because it builds up over
    places has an honest interval, too. Grammars and JSON under a schema lead them by an outline, an
    automaton that says about what is left to come. Of other constraints neither weights nor their
    scatter can show a branch that no particle took. Where a first item of probability 0.01 leads to
    most of the evidence, 200 particles miss it in 13 of 100 runs, and the interval is too low
    without a warning. Where such branches may be, take so many particles that each gets several, or
    a proposal or twist that leads there.

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
    end : int or sequence of int, optional
        Item, or several, that end a sequence; by default those of the constraint's vocabulary.
    islands : int, default 10
        Independent repetitions, at least 4: the error of the evidence is their scatter.
    ess_threshold : float, default 0.5
        Resample where the effective sample size is below this share of the particles.
    method, n_accepts
        As for `weighted_rejection`, but for "set"; "auto" takes exact masks where the constraint
        has any, as automata do.
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
    ahead : "auto", False, array_like of shape (V,), or MarkovChain, default "auto"
        Law of the next item by which the states of an automaton are given their chances to end in
        time, to which the particles are led: the exact law of a Markov chain, else the mean of what
        the language said to a pilot of two islands, unless there is a proposal or twist. Weights
        make up for it, whatever the law. States without a chance are left out even with False;
        an outline, which only guesses, leaves nothing out, and goes with ``method="auto"``.
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
        An argument is wrong, or no sequence of this length is valid, as far as that can be told:
        by automata always, by grammars and JSON where what is due takes more items.

    Warns
    -----
    PrecisionWarning
        Every particle died (it says where most did, and why), or few islands carry the weight, or
        few particles on the way, or much was foreseen of sequences that no particle took.

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
    ends = ends_meant(end, constraint)
    constraint = _of_prefixes(constraint, ends)
    masks = isinstance(method, str) and method == "auto"
    method = _method(method, constraint)
    setup = Setup(
        language=_speaks("language", language),
        constraint=constraint,
        n=check.count("n_particles", n_particles),
        islands=check.count("islands", islands, 4),
        length=check.count("max_length", max_length),
        ends=ends,
        ess_threshold=check.number("ess_threshold", ess_threshold, 0, 1, ends=True),
        how=plan(n_accepts, method, None, "4+2j"),
        proposal=None if proposal is None else _speaks("proposal", proposal),
        potential=_of_prefix("potential", potential),
        twist=_of_prefix("twist", twist),
        weighted=check.flag("weights", weights),
        masks=masks,
        reach=None,
    )
    laws(setup, [()], 0)  # what is wrong with a language is told before any work
    setup = _with_reach(setup, ahead)
    law = _foreseen(ahead, setup)
    arguments = {
        **_arguments(setup),
        "method": method,
        "n_accepts": n_accepts,
        "ahead": ahead if isinstance(ahead, str | bool) else signature(law),
    }
    began = time.perf_counter()
    with open_run(
        partial(island, setup),
        executor=executor,
        progress=progress,
        checkpoint=checkpoint,
        arguments=arguments,
        seed=None if seed is None and checkpoint is not None else seed_sequence(seed),
        total=setup.islands + PILOTS * _unknown(law),
        unit="islands",
        description=NAME,
        named=" or ".join(name for name in GIVEN if getattr(setup, name) is not None),
    ) as opened:
        root = opened.root
        pilots = []
        if _unknown(law):
            # an outline leads where nothing else does: all items alike will do to begin with
            outline = setup.outline
            flat = None if outline is None else np.full(outline.table.size, 1 / outline.table.size)
            first = _chances(setup, flat)
            pilots = opened.map("pilot", [(root, "pilot", i, first) for i in range(PILOTS)])
            law = np.sum([f["law"] for f in pilots], axis=0)
        chances = _chances(setup, law)
        found = opened.map("islands", [(root, "island", i, chances) for i in range(setup.islands)])
    log_w = np.concatenate([f["log_w"] for f in found])
    prefixes = [tuple(row[row >= 0].tolist()) for f in found for row in f["sequences"]]
    traces = {key: np.stack([f[key] for f in found]) for key in (*TRACES, "deaths", "ancestors")}
    cost = {
        "evaluations": int(sum(f["evaluations"].sum() for f in (*pilots, *found))),
        "seconds": time.perf_counter() - began,
        "islands": setup.islands,
    }
    out = WeightedSequences(
        sequences=[x if w > -np.inf else () for x, w in zip(prefixes, log_w, strict=True)],
        dead=[prefixes[i] for i in np.flatnonzero(log_w == -np.inf)],
        log_weights=log_w,
        log_evidence=None,
        status="dead" if log_w.max() == -np.inf else "ok" if weights else "biased",
        traces=traces,
        n_particles=setup.n,
        cost=cost,
        provenance=provenance(NAME, root, arguments),
    )
    if out.status == "dead":
        tell(NAME, [_no_survivor(traces["deaths"].sum(0), setup)])
    if out.status != "ok":
        return out
    foreseen = bool(pilots) and chances is not None and setup.table is not None
    log_evidence = _log_evidence(out, setup, found, foreseen and potential is None)
    tell(NAME, log_evidence.cautions)
    return replace(out, log_evidence=log_evidence)


LOCAL = Caution("local-decoding", "weights=False: the mean is that of local decoding, a biased law")


def _no_survivor(deaths: np.ndarray, setup: Setup) -> Caution:
    """Where and why most particles died, by counts of places and reasons."""
    place, reason = map(int, np.unravel_index(deaths.argmax(), deaths.shape))
    some = f"{deaths[place, reason]} of {setup.n * setup.islands}"
    remedy = "more particles, or a twist or proposal, would help"
    if reason != NOT_WHOLE:
        why = {
            NOTHING_ALLOWED: "where no item is allowed",
            NO_MASS: "where the language gives what may be allowed no mass",
        }.get(reason, "where the potential forbids what was drawn")
        text = f"{some} at place {place + 1}, {why}"
        if place == 0:
            remedy = "no number of particles would help where no sequence can begin"
    elif not setup.ends:
        text = f"none was a valid whole at place {setup.length}, where {some} were still alive"
    else:
        text = f"none ended within {setup.length} places; {some} were still alive"
        remedy = "a larger max_length would help, or a twist or proposal that leads to the end"
    return Caution("no-survivor", f"every particle died, {text}: {remedy} (see dead)")


def _arguments(setup: Setup) -> dict[str, Any]:
    """What tells a run from others."""
    given = {name: getattr(setup, name) for name in GIVEN}
    return {
        **{name: None if one is None else signature(one) for name, one in given.items()},
        "n_particles": setup.n,
        "max_length": setup.length,
        "end": setup.ends[0] if len(setup.ends) == 1 else list(setup.ends) or None,
        "islands": setup.islands,
        "ess_threshold": setup.ess_threshold,
        "weights": setup.weighted,
    }


def _with_reach(setup: Setup, ahead: object) -> Setup:
    """The setup with what can end in time, or an outline of it that leads, if there is any."""
    if setup.finite is not None:
        return replace(setup, reach=_reach(setup.finite, setup))
    _check_room(setup)
    if not setup.masks or ahead is False or (isinstance(ahead, str) and _led(setup)):
        return setup
    outline = outlined(setup.constraint, setup.ends)
    if outline is None:
        return setup
    reach = within_outline(outline.table, setup.length, setup.ends)
    if reach is None:
        # which names were said may have made too many states
        outline = outlined(setup.constraint, setup.ends, forgets=True) or outline
    return replace(setup, outline=outline, reach=reach)


def _check_room(setup: Setup) -> None:
    """Refuse a length in which no valid text ends, where that can be proven."""
    least = fewest_items(*read_by(setup.constraint, setup.ends), setup.length)
    least += bool(setup.ends)
    if least == math.inf:
        raise ValueError("constraint: these items can't spell a valid text")
    if least > setup.length:
        included = ", the end included" if setup.ends else ""
        raise ValueError(
            f"max_length: {setup.length}; a valid sequence has at least {least:.0f} items{included}"
        )


def _led(setup: Setup) -> bool:
    """Whether something else leads the particles, or nothing is to."""
    return setup.proposal is not None or setup.twist is not None or not setup.weighted


def _foreseen(ahead: object, setup: Setup) -> np.ndarray | MarkovChain | None:
    """The law that chances are computed by; an empty one has to be found by a pilot."""
    table = setup.outline.table if setup.outline is not None else setup.table
    if ahead is False:
        return None
    if isinstance(ahead, str):
        check.one_of("ahead", ahead, ("auto",))
        if table is None or _led(setup):
            return None
        forgets = setup.outline is not None and setup.outline.forgets
        if forgets or not isinstance(setup.language, MarkovChain):
            return np.empty(0)
        # where sizes differ, the run says so
        same = setup.language.log_initial.size == table.size
        return setup.language if same else None
    if table is None:
        raise ValueError(
            f"ahead: got {check.shown(ahead)}; expected 'auto' or False, since a law goes with the "
            "exact masks of an automaton"
        )
    if not isinstance(ahead, MarkovChain):
        ahead = law_of("ahead", cast(ArrayLike, ahead))
    size = ahead.log_initial.size if isinstance(ahead, MarkovChain) else ahead.size
    if size != table.size:
        raise ValueError(f"ahead: got {size} items; the constraint has {table.size}")
    return ahead


def _unknown(law: np.ndarray | MarkovChain | None) -> bool:
    return isinstance(law, np.ndarray) and not law.size


def _chances(setup: Setup, law: np.ndarray | MarkovChain | None) -> Guess | Ahead | None:
    outline = setup.outline
    if outline is not None and outline.forgets and law is not None:
        return weigh(outline, law, setup.length, setup.ends)
    table = setup.table if outline is None else outline.table
    if law is None or table is None or setup.reach is None:
        return None
    return guess(table, law, setup.reach, setup.ends, law is setup.language)


def _speaks(name: str, given: Language) -> Language:
    if not hasattr(given, "logits"):
        kind = type(given).__name__
        raise TypeError(f"{name}: got {kind}; expected an object with a method logits(prefixes)")
    return given


def _of_prefix(name: str, given: Callable | None) -> Callable | None:
    return None if given is None else check.function(name, given, "of a prefix")


def _method(method: str, constraint: Constraint) -> str:
    """The method that is meant."""
    if isinstance(method, str) and method == "set":
        raise ValueError("method: 'set' draws several items; expected one of the other methods")
    if not isinstance(method, str) or method != "auto":
        return method
    return "exact" if isinstance(constraint, Automaton | TokenTable) else "rao-blackwell"


def _reach(constraint: Finite, setup: Setup) -> np.ndarray:
    """Whether states can still end in time, by place."""
    if max(setup.ends, default=0) >= constraint.size:
        raise ValueError(
            f"end: got {max(setup.ends)}; expected an item of the {constraint.size} that the "
            "constraint is over"
        )
    return reachable(constraint, setup.length, setup.ends)


def _of_prefixes(given: Constraint | Callable[[Prefix, int], bool], ends: Ends) -> Constraint:
    """The constraint that is meant."""
    if isinstance(given, Automaton) and ends == (given.size,):
        # the end, as the last item, needs no column: what it leads to is never asked
        return replace(given, table=np.pad(given.table, ((0, 0), (0, 1)), constant_values=-1))
    if callable(getattr(given, "step", None)):
        return cast(Constraint, given)
    if callable(getattr(given, "further", None)):
        raise TypeError(
            f"constraint: got {check.shown(given)}, which reads texts; expected one made with the "
            "language's items, or by over_tokens"
        )
    if not callable(given):
        raise TypeError(
            f"constraint: got {type(given).__name__}; expected (prefix, item) -> bool or an "
            "object of smcweights.constraints"
        )
    try:
        inspect.signature(given).bind((), 0)
    except TypeError:
        raise TypeError("constraint: expected a function of (prefix, item)") from None
    except ValueError:
        pass  # built-in functions have no signature
    if len(ends) > 1:
        raise ValueError(f"end: got {ends}; expected one, with a function of (prefix, item)")
    allows, end = given, ends[0] if ends else None

    def complete(prefix: Prefix) -> bool:
        return end is None or truth(allows(prefix, end), "constraint", (prefix, end))

    return predicate(allows, complete)


def _log_evidence(
    out: WeightedSequences, setup: Setup, found: list[dict[str, np.ndarray]], foreseen: bool
) -> Estimate:
    """Log of the mean of the islands.

    Their scatter can't show what the draws' own spread tells where rare draws would carry it; nor
    can it show what befalls 3 of all particles. Where a few islands find sequences that carry all,
    and the others none, as many do as a Poisson variable says, of which the error is right even
    where it is small. What may be wrong is that there is more to find: few are enough where little
    of what a pilot foresees was left aside, and any number isn't where much was.
    """
    log_z, unseen = (np.array([float(f[key]) for f in found]) for key in ("log_z", "unseen"))
    k = log_z.size
    z = np.exp(log_z - log_z.max())
    mean = z.mean()
    own = out.traces["relative_variance"].sum(1)
    drawn = float((z**2 @ np.maximum(own, 0.0)) / z.sum() ** 2)
    few = z.sum() ** 2 < ENOUGH * (z**2).sum()
    normal = few and (z > 0).all() and log_z.std(ddof=1) <= NORMAL
    if normal:
        value, error = log_mean_normal(log_z)
    else:
        value = float(log_z.max() + math.log(mean))
        error = math.sqrt(z.var(ddof=1) / k) / mean
    log_beside = float(np.logaddexp.reduce(unseen)) - math.log(k) - value
    beside = math.exp(min(log_beside, LARGEST)) if foreseen else math.nan
    little = beside * TIMES <= 1
    cautions = [] if normal else _few_islands(z, HITS / k if little else 0.9)
    cautions += _foreseen_beside(beside)
    error = math.sqrt(max(error**2, drawn) + UNSEEN / out.log_weights.size**2)
    cautions += _far_proposal(out.traces, error)
    cautions += [] if cautions or little else _few_particles(out.traces["ess"] / out.n_particles)
    # a probability, but for noise in the weights of a proposal
    most = 0.0 if setup.potential is None and value <= 0 else math.inf
    return Estimate(
        value,
        error**2,
        names=["log evidence"],
        method=f"{NAME}, {setup.how.method}",
        degrees_of_freedom=k - 1,
        diagnostics={
            "log_evidence_of_islands": np.where(np.isfinite(log_z), log_z, np.nan),
            "islands_dead": int(np.count_nonzero(log_z == -np.inf)),
            **({"foreseen_beside": beside} if foreseen else {}),
            "effective_sample_size": effective_sample_size(out.log_weights),
        },
        cautions=cautions,
        bounds=(-math.inf, most),
        cost=out.cost,
        provenance=out.provenance,
    )


def _few_islands(z: np.ndarray, share: float) -> list[Caution]:
    worth = z.sum() ** 2 / (z**2).sum()
    if worth >= min(ENOUGH, share * z.size):
        return []
    text = f"{z.size} islands are worth {worth:.1f} equal ones; more particles would help"
    return [Caution("few-islands", text)]


def _foreseen_beside(times: float) -> list[Caution]:
    """Whether sequences that left those of the particles may carry more than all that was found."""
    if not times >= TIMES:
        return []
    text = (
        f"sequences that no particle took were foreseen to carry {times:.2g} times what was found: "
        "the interval may be too low; more particles, or a nearer law ahead, would help"
    )
    return [Caution("unseen", text)]


def _few_particles(ess: np.ndarray) -> list[Caution]:
    """Whether few carry the weight on the way, as where what is rare builds up over places.

    Who carries it, when 8 of 100 do, may be as far from those that none of the 100 is.
    """
    shares = ess[:, :-1].mean(0)
    if not shares.size or shares.min() >= FEW:
        return []
    text = (
        f"after place {shares.argmin() + 1} the particles are worth {shares.min():.2g} of their "
        "number: sequences that none of them is may carry more, and the interval be too low; "
        "ahead, a twist or proposal would help"
    )
    return [Caution("few-particles", text)]


def _far_proposal(traces: dict[str, np.ndarray], error: float) -> list[Caution]:
    """Whether items hardly drawn, whose weights scatter little by chance, matter to the error."""
    rare = float(traces["rare_chi_square"].sum(axis=1).mean())
    if rare <= traces["ancestors"].size * (error / 3) ** 2:
        return []
    text = (
        "the proposal is so far from the language that it hardly ever draws items that matter: "
        "these have large weights, and errors may be larger than they say"
    )
    return [Caution("far-proposal", text)]
