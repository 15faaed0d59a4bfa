"""The way from a prior to a mixture that fits a posterior, without a Markov chain.

All draws so far keep their weight f / h under the mixture of all stages, so that no call is lost.
Each stage is drawn from a mixture fitted to the largest power of the likelihood that these draws
can still tell. Beyond the first power a search for summits looks for what is narrower than the
bulk; random walks, used for nothing else, show where a mixture should reach.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..errors import DegeneracyError
from ..randomness import generator
from ..regression import Choice
from .adaptation import learned
from .control_variates import Ratios
from .mixing import mixture_weights
from .proposals import Component, Elliptical, Mixture, straightened
from .stages import History, Sampler, Stage, joined, split
from .whitened_fits import bent, moments_of, normal_laws, skewed_laws

PRIOR, PRIOR_ABOVE = 0.05, 0.02  # share of the prior; beyond the first power
# components on the ladder, by so much up to so many inputs: of many inputs a little wider is a lot
# larger
WIDER, WIDER_UP_TO = 1.2, 4
# components that are drawn from at the first power: what is fitted to few draws is too narrow
TAILS, ROOM, ROOM_UP_TO = 6, 1.1, 10  # degrees of freedom, or as many as inputs; how much wider
# a shape fitted to this power of the likelihood is mixed in with this share: as far out as twice
# the posterior's spread, and around each of its modes
TEMPERED, GUARD = 0.25, 0.15
LADDER = 0.7  # share of the budget
SETTLE = 0.5  # share of what the ladder left, for stages at the first power
SEARCH, SEARCHES = 0.12, 8  # share that the search for summits may cost, and its stages
WALKERS, STEPS, KICKS, KEPT, KICK = 24, 40, 4, 6, 0.35
MOST, RUNG_MOST = 16, 6  # components at the first power, and below
SEARCHED = 1.2  # times as many draws as at the last search are worth another
GAIN = 0.9  # of a stage that is worth another
# stages in a row that may gain nothing; more where the variance (of a draw, relative) is still
# above this: of a mixture that is far off one stage says little
IDLE, PATIENT, ROUGH = 2, 4, 1.0
NEGLIGIBLE = 1e-12  # weight, relative to the largest


@dataclass(frozen=True)
class Plan:
    """Sizes that follow from the budget and the dimension."""

    most: int
    dimension: int
    summit: bool

    @property
    def rung(self) -> int:
        """Draws in a stage of the ladder."""
        d = self.dimension
        return int(np.clip(self.most / 40, 12 * (d + 2), max(40 * (d + 2), 300)))

    @property
    def first(self) -> int:
        """Draws of the prior."""
        return max(min(2 * self.rung, self.most // 3), min(1_000, self.most // 10))

    @property
    def stage(self) -> int:
        """Draws in a stage at the first power."""
        return max(min(self.most // 20, 5_000), 20 * (self.dimension + 2))

    @property
    def wider(self) -> float:
        """Scale of components on the ladder."""
        return 1 + (WIDER - 1) * min(1.0, (WIDER_UP_TO / self.dimension) ** 0.5)

    @property
    def room(self) -> float:
        """Scale of components at the first power."""
        return 1 + (ROOM - 1) * min(1.0, (ROOM_UP_TO / self.dimension) ** 0.5)

    @property
    def least(self) -> float:
        """Effective draws that a power has to leave."""
        return max(20.0, min(8.0 * (self.dimension + 1), self.rung / 5))

    @property
    def searched(self) -> bool:
        """Whether the search for summits is cheap enough."""
        calls = SEARCHES * (self.rung // 2) + WALKERS * (STEPS + 1)
        return self.summit and calls <= SEARCH * self.most


@dataclass(frozen=True)
class Summit:
    """Where a climb ended: the mixture to draw from, and what is known before that.

    ``shape`` is fitted to the posterior by all draws, ``beta`` the power reached; ``centre`` (d,)
    is the posterior's mean, ``cholesky`` (d, d) its covariance in the coordinates of the shape,
    ``log_scale`` the log evidence by all draws so far.
    """

    densities: tuple[Component, ...]
    weights: np.ndarray
    shape: Mixture
    beta: float
    centre: np.ndarray
    cholesky: np.ndarray
    log_scale: float
    history: History
    stages: list[dict[str, Any]]


class _Weighed(NamedTuple):
    """A mixture to draw from, coefficients of its controls, and the shape it was made of."""

    densities: tuple[Component, ...]
    weights: np.ndarray
    coefficients: np.ndarray
    shape: Mixture


@dataclass
class Climb:
    """A climb under way: all draws so far, and what random walks found."""

    sampler: Sampler
    plan: Plan
    history: History = field(default_factory=History)
    kicks: list[Component] = field(default_factory=list)
    kicked: int = 0
    walked: int = 0  # calls of random walks
    # fits by name, and how many draws there were when their number of laws was searched for
    fits: dict[str, tuple[int, Mixture | None]] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Calls so far."""
        return len(self.history) + self.walked

    def ascend(self) -> Summit:
        """Ladder, search for summits, and stages at the first power."""
        self._draw("prior", (self.sampler.space,), np.ones(1), self.plan.first, 0.0)
        if not np.isfinite(log_likelihoods(self.history.stages)).any():
            raise DegeneracyError(
                f"log_likelihood: -inf at all of {self.plan.first} draws of the prior; expected a "
                "likelihood above 0 somewhere in its bulk"
            )
        beta = self._ladder()
        if beta >= 1 and self.plan.searched:
            self._search()
            self._kick(np.argsort(-self._log_posterior())[:WALKERS])
            beta = self._ladder()
        best = self._settled(beta)
        w = self.powered(beta)
        centre, cholesky = moments_of(self.history.u, w)
        _, bend = straightened(best.shape)
        if bend is not None:
            _, cholesky = moments_of(bend(self.history.u)[0], w)
        log_w = log_likelihoods(self.history.stages) + self.history.log_f - self.history.log_h
        log_scale = float(np.logaddexp.reduce(log_w) - np.log(len(log_w)))
        return Summit(
            best.densities,
            best.weights,
            best.shape,
            beta,
            centre,
            cholesky,
            log_scale,
            self.history,
            self.told,
        )

    def powered(self, beta: float) -> np.ndarray:
        """Weights (n,) of all draws for a power of the likelihood; they sum to 1."""
        return self._powers()(beta)

    def _powers(self) -> Callable[[float], np.ndarray]:
        """`powered` for many powers."""
        log_l = log_likelihoods(self.history.stages)
        log_w = self.history.log_f - self.history.log_h
        there = np.isfinite(log_l) & (log_w > -np.inf)
        log_w, log_l = log_w[there], log_l[there] - log_l[there].max()

        def powered(beta: float) -> np.ndarray:
            logs, w = log_w + beta * log_l, np.zeros(len(there))
            w[there] = np.exp(logs - logs.max())
            return np.asarray(w / w.sum())

        return powered

    def _log_posterior(self) -> np.ndarray:
        return log_likelihoods(self.history.stages) + self.history.log_f

    def _highest(self, least: float, most: float = 1.0) -> float:
        """The largest power up to ``most`` that leaves so many effective draws, to a thousandth."""
        powered = self._powers()

        def enough(beta: float) -> bool:
            w = powered(beta)
            return bool(w @ w <= 1 / least)

        if enough(most):
            return most
        low, high = 0.0, most
        # from 0 every time: a summit that was false must be left again
        for _ in range(60):
            if high - low <= 1e-3 * high:
                break
            middle = (low + high) / 2
            low, high = (middle, high) if enough(middle) else (low, middle)
        return low

    def _ladder(self) -> float:
        """Stages up to the first power, or to the end of their share of the budget."""
        plan, reached = self.plan, list[float]()
        while True:
            beta = self._highest(plan.least)
            reached.append(beta)
            if beta >= 1 or self.used + plan.rung > LADDER * plan.most:
                return beta
            weights = self.powered(beta)
            if len(reached) > 3 and beta < 1.05 * reached[-4]:
                rng = generator(self.sampler.run.root, "walkers", self.kicked)
                self._kick(rng.choice(len(weights), WALKERS, p=weights))
                reached = reached[-1:]
            found = _widened(self._shape(weights, RUNG_MOST), plan.wider)
            self._draw("ladder", *self._mixed(found, PRIOR), plan.rung, beta)

    def _search(self) -> None:
        """Stages beyond the first power, each with as few draws as a mixture can be fitted to."""
        least = self.plan.dimension + 5.0
        for _ in range(SEARCHES):
            most = 1.0
            while (beta := self._highest(least, most)) == most < 1e9:
                most *= 4
            found = self._shape(self.powered(beta), 3)
            densities, shares = self._mixed(found, PRIOR_ABOVE)
            self._draw("search", densities, shares, self.plan.rung // 2, beta)

    def _settled(self, beta: float) -> _Weighed:
        """A mixture for all draws, after stages at the power reached that pay for themselves."""
        plan, now = self.plan, self._weighed(beta)
        least, idle = np.inf, 0
        # a long ladder must not leave a mixture that was fitted to the few draws of its last rung
        most = self.used + SETTLE * (plan.most - self.used)
        while beta >= 1 and self.used + plan.stage <= most:
            before = least / max(plan.most - self.used, 1)
            stage = self._draw("stage", now.densities, now.weights, plan.stage, beta)
            variance = self._variance(stage, now.coefficients)
            self.told[-1]["variance"] = variance
            least = min(variance, least)
            worth = variance / max(plan.most - self.used, 1) <= GAIN * before
            idle = 0 if worth else idle + 1
            # the mixture that one stage likes best is often one whose tails it didn't see
            now = self._weighed(beta)
            if idle == (PATIENT if least > ROUGH else IDLE):
                break
        return now

    def _weighed(self, beta: float) -> _Weighed:
        """Components for all draws, how much of each, and coefficients of their controls."""
        w = self.powered(beta)
        shape = self._shape(w, MOST if beta >= 1 else RUNG_MOST, "shape", skewed=True)
        found = _widened(shape, self.plan.room, max(TAILS, self.plan.dimension))
        guard = self._shape(self.powered(TEMPERED * beta), RUNG_MOST, "guard")
        shares = np.append((1 - GUARD) * found.weights, GUARD * guard.weights)
        densities, alpha = self._mixed(
            Mixture(shares, (*found.components, *guard.components)), PRIOR
        )
        least = np.zeros(len(densities))
        least[0] = PRIOR
        least[1 + len(found.components) : 1 + len(shares)] = GUARD * guard.weights
        for last in (False, True):
            k = len(densities)
            floor = np.maximum(least, max(0.005, 0.1 / k))
            floor *= min(1.0, 0.9 / floor.sum())
            g = self.history.log_densities(densities) - self.history.log_h[:, None]
            ratios = Ratios((w * len(w))[:, None], np.exp(g), k)
            one, choices = np.ones(1), _choices(k, len(w))
            chosen = None
            for _ in range(2):
                chosen, b, _ = learned(ratios, alpha, one, choices, 5, chosen)
                alpha = mixture_weights(
                    ratios.numerators,
                    ratios.targets - ratios.numerators @ b,
                    one - b.sum(0),
                    alpha,
                    floor,
                    one,
                    "max-relative",
                    np.full(1, np.inf),
                )
            used = (alpha > 1.3 * floor) | (least > 0)
            if last or used.all() or used.sum() < 2:
                break
            densities = tuple(g for g, kept in zip(densities, used, strict=True) if kept)
            alpha, least = alpha[used] / alpha[used].sum(), least[used]
        return _Weighed(densities, alpha, learned(ratios, alpha, one, choices, 5, chosen)[1], shape)

    def _variance(self, stage: Stage, b: np.ndarray) -> float:
        """Relative variance per draw of the evidence, by fresh draws with coefficients ``b``."""
        log_w = self._log_posterior() - self.history.log_h
        scale = np.logaddexp.reduce(log_w) - np.log(len(log_w))
        log_t = log_likelihoods([stage]) + stage.log_f - stage.log_h - scale
        z = np.exp(stage.log_g - stage.log_h[:, None]) - 1
        r = np.exp(np.minimum(log_t, 300.0)) - (z @ b)[:, 0]
        starts = np.cumsum(stage.counts) - stage.counts
        r -= np.repeat(np.add.reduceat(r, starts) / stage.counts, stage.counts)
        return float((r**2).mean())

    def _shape(
        self, weights: np.ndarray, most: int, kept: str = "", skewed: bool = False
    ) -> Mixture:
        """Normal laws, or bent ones, fitted to all draws with these weights.

        From what is ``kept`` under a name on, until there are many more draws than when it was
        searched for.
        """
        keep = weights > NEGLIGIBLE * weights.max()
        rng = generator(self.sampler.run.root, "fit", len(self.history.stages))
        n, (searched, start) = len(self.history), self.fits.get(kept, (0, None))
        if n > SEARCHED * searched:
            start = None
        fitted = skewed_laws if skewed else normal_laws
        found = fitted(self.history.u[keep], weights[keep], rng, most, start)
        if kept:
            self.fits[kept] = (searched if start else n, found)
        return found

    def _mixed(self, found: Mixture, prior: float) -> tuple[tuple[Component, ...], np.ndarray]:
        """The prior, a fitted mixture, and what random walks found."""
        kick = KICK if self.kicks else 0.0
        shares = [prior], (1 - prior) * (1 - kick) * found.weights
        of_kicks = np.full(len(self.kicks), (1 - prior) * kick / max(len(self.kicks), 1))
        densities = (self.sampler.space, *found.components, *self.kicks)
        return densities, np.concatenate([*shares, of_kicks])

    def _draw(
        self,
        name: str,
        densities: tuple[Component, ...],
        weights: np.ndarray,
        size: int,
        beta: float,
    ) -> Stage:
        """A stage, which joins the history."""
        number = len(self.history.stages) + 1
        counts = split(max(size, 2 * len(weights)), weights)
        stage = self.sampler.draw(f"{name} {number}", densities, counts)
        self.history.add(stage)
        self.told.append(
            {"kind": name, "draws": len(stage), "beta": beta, "components": len(densities)}
        )
        return stage

    def _kick(self, starts: np.ndarray) -> None:
        """Random walks from these draws at the first power; their places join later mixtures."""
        calls = WALKERS * (STEPS + 1)
        if self.kicked == KICKS or self.used + calls > LADDER * self.plan.most:
            return
        root, number = self.sampler.run.root, self.kicked
        rng = generator(root, "kick", number)
        u = self.history.u[starts]
        at = self._log_posterior()[starts]
        w = self.powered(1.0)
        centre = w @ self.history.u
        spread = np.sqrt(np.maximum(w @ (self.history.u - centre) ** 2, 1e-20))
        log_scale, states = np.full(len(u), np.log(0.1)), list[np.ndarray]()
        for step in range(STEPS):
            moved = u + np.exp(log_scale)[:, None] * spread * rng.standard_normal(u.shape)
            log_f = self.sampler.space.log_density(moved)
            there = np.full(len(u), -np.inf)
            inside = log_f > -np.inf
            if inside.any():
                x = self.sampler.space.to_inputs(moved[inside])
                raw, _ = self.sampler.returned(f"kick {number} step {step}", x)
                there[inside] = raw[:, 0] + log_f[inside]
            # a walk may begin where the posterior has no density
            with np.errstate(invalid="ignore"):
                accepted = np.log(rng.random(len(u))) < there - at
            u, at = np.where(accepted[:, None], moved, u), np.where(accepted, there, at)
            pace = 1.0 if step < STEPS // 2 else 0.4
            log_scale += pace * np.where(accepted, 0.6, -0.2)
            if step >= STEPS // 2:
                states.append(u)
        self.kicked, self.walked = number + 1, self.walked + WALKERS * STEPS
        places = np.concatenate(states)
        self.kicks += normal_laws(places, np.ones(len(places)), rng, 3).components
        self.kicks = self.kicks[-KEPT:]


def log_likelihoods(stages: list[Stage]) -> np.ndarray:
    """What the function returned at all draws of some stages, (n,); -inf where it wasn't called."""
    log_l = joined(stages, "raw")[:, 0]
    return np.where(np.isnan(log_l), -np.inf, log_l)


def _widened(found: Mixture, wider: float, tails: float = np.inf) -> Mixture:
    """Its elliptical laws wider, with tails of so many degrees of freedom."""
    straight, bend = straightened(found)
    laws = (c for c in straight.components if isinstance(c, Elliptical))
    wide = (Elliptical(c.mean, wider * c.cholesky, tails) for c in laws)
    return bent(Mixture(found.weights, tuple(wide)), bend)


def _choices(k: int, draws: int) -> list[Choice]:
    choices = [Choice("none")]
    if draws >= 10 * k:
        choices += [Choice(f"components, cut-off {c:g}", k, c) for c in (0.1, 0.01, 0.001)]
    return choices
