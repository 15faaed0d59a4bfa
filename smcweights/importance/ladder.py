"""Levels on both sides of outputs: densities for all of their laws, from the middle to both tails.

`Ladder.climb` draws stages towards both tails of every output at once, each from densities fitted
to the draws that lie farthest out and are still worth a fit. `Ladder.mixture` then fits densities
to levels at one probability in ten, in a hundred, ..., on each side, with all draws, and adds the
input law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..randomness import generator
from .fits import Draws, fit_directional, fit_grid, fit_kernels, fit_mixtures
from .proposals import Component, Elliptical, Mixture, farthest, kernels_of, log_densities, within
from .stages import History, Sampler, split

MOST_CLIMB = 0.4  # share of the budget
MOST_ORDER = 4  # normal laws in a mixture
MOST_LEVELS = 40  # on all sides
ROOM = 1.3  # by which fitted covariances are too small for what was not drawn
WIDE = 0.15  # share of a level's draws that go to one wide component
EM_ROWS = 600  # about as many draws as EM needs to see; moments see all
OWN = 0.1  # share of a stage that goes to the input law
MANY_INPUTS = 20  # above, directions are fitted in place of covariances


@dataclass
class Side:
    """One tail of one output on the way out: ``sign`` 1 is the upper one."""

    output: int
    sign: float
    end: float  # the probability to reach
    need: float  # draws that a tail is worth, to be fitted
    farthest: float = -np.inf  # where the last fit began
    idle: int = 0  # stages without a value beyond
    done: bool = False

    def tail(self, y: np.ndarray, w: np.ndarray, need: float) -> tuple[np.ndarray, np.ndarray]:
        """Values, from the far end, at which a tail may begin, and their probabilities."""
        v = self.sign * y[:, self.output]
        order = np.argsort(-v, kind="stable")
        v, w = v[order], w[order]
        worth = np.cumsum(w) ** 2 / np.maximum(np.cumsum(w**2), 1e-300)
        last = np.append(v[1:] < v[:-1], True)
        enough = last & (worth >= min(need, worth[-1]))
        return v[enough], np.cumsum(w)[enough] / len(w)

    def advance(self, y: np.ndarray, w: np.ndarray, fewest: float) -> float:
        """Where the next fit begins; the side is done where that is far enough out."""
        beyond, probability = self.tail(y, w, self.need)
        at = float(beyond[0])
        if at <= self.farthest:
            # draws don't go on in small steps: fewer of them have to do
            self.need = max(self.need / 2, fewest)
            self.idle += not (self.sign * y[:, self.output] > at).any()
        else:
            self.idle = 0
        self.farthest = max(at, self.farthest)
        self.done = probability[0] < self.end / 2 or self.idle == 2
        return at

    def rungs(self, y: np.ndarray, w: np.ndarray, most: int) -> list[float]:
        """Where the levels begin, from the middle outwards."""
        count = max(int(np.ceil(-np.log10(self.end))), 1) + 1
        wanted = np.append(10.0 ** -np.arange(1.0, count), self.end / 2)
        if len(wanted) > most:
            wanted = np.geomspace(wanted[0], wanted[-1], most) if most > 1 else wanted[-1:]
        beyond, probability = self.tail(y, w, self.need / 2)
        place = [int(np.argmax(probability >= p)) for p in wanted if (probability >= p).any()]
        return [float(beyond[i]) for i in dict.fromkeys(place)]


@dataclass
class Ladder:
    """Stages towards both tails of K outputs; the histories' values are the user's.

    Runs that failed have middle values (K,) there, which are in no tail.
    """

    sampler: Sampler
    family: str
    given: tuple[Component, ...]
    tails: tuple[float, float]
    history: History = field(default_factory=History)
    sides: list[Side] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)
    middle: np.ndarray | float = 0.0

    @property
    def weights(self) -> np.ndarray:
        """Input law over joint mixture at all draws."""
        return np.exp(self.history.log_f - self.history.log_h)

    def climb(self, size: int, most: int) -> None:
        """Stages of ``size`` draws, ``most`` in all, until both tails of every output are met."""
        space = self.sampler.space
        fewest = 2.0 * (space.law.dimension + 1)
        densities: tuple[Component, ...] = (space, *self.given)
        shares = np.full(len(densities), 1 / len(densities))
        self._draw(1, densities, shares, min(2 * size, most))
        need = max(60.0, 6 * fewest)
        self.sides = [
            Side(k, sign, end, need)
            for k in range(self.history.values.shape[1])
            for sign, end in zip((-1.0, 1.0), self.tails, strict=True)
        ]
        for number in range(2, 100):
            y, w = self.history.values, self.weights
            fits = []
            for k, side in enumerate(self.sides):
                if not side.done:
                    begin = side.advance(y, w, fewest)
                    if not side.done:
                        fits.append(
                            (side, begin, generator(self.sampler.run.root, "climb", number, k))
                        )
            if not fits or len(self.history) + size > most:
                break
            room = max(size // 4 - len(densities), 1)
            mixtures = [self.fit(*fit) for fit in fits[: max(room // 3, 1)]]
            densities, shares = self._mixed(mixtures, OWN)
            self._draw(number, densities, shares, size)

    def mixture(self, body: float) -> tuple[tuple[Component, ...], np.ndarray]:
        """Densities for all levels, the input law first with the share ``body``, and shares."""
        y, w = self.history.values, self.weights
        most = max(MOST_LEVELS // len(self.sides), 1)
        mixtures = [
            self.fit(side, begin, generator(self.sampler.run.root, "level", k, i))
            for k, side in enumerate(self.sides)
            for i, begin in enumerate(side.rungs(y, w, most))
        ]
        return self._mixed(mixtures, body)

    def fit(self, side: Side, begin: float, rng: np.random.Generator) -> Mixture:
        """A mixture for the law beyond a value, one component of it wide."""
        space, law = self.sampler.space, self.sampler.space.law
        inside = (side.sign * self.history.values[:, side.output] >= begin) & (self.weights > 0)
        u, w = self.history.u[inside], self.weights[inside]
        w = w / w.sum()
        narrow, broad = kernels_of(space, 1.0), kernels_of(space, 2.0)
        if self.family == "auto" and narrow is not None and broad is not None:
            return fit_kernels(u, w, narrow, broad, rng)
        nu = 3.0 if not law.mapped else 5.0 if self.family == "student" else np.inf
        kinds = {"auto": ("rank-one", "vmfn") if law.dimension > MANY_INPUTS else ("mixture",)}
        parts: list[Mixture] = []
        for kind in kinds.get(self.family, (self.family,)):
            if kind == "grid":
                parts.append(fit_grid(u, w))
            elif kind in ("rank-one", "vmfn"):
                parts.append(fit_directional(Draws(u), w, rng, kind))
            else:
                most = 1 if kind == "gaussian" else MOST_ORDER
                some = slice(None, None, max(1, len(u) // EM_ROWS))
                (found,) = fit_mixtures(
                    u[some], w[some, None], rng, most=most, degrees_of_freedom=nu, restarts=1
                )
                normal = _with_room(found, u, w)
                auto = self.family == "auto" and law.mapped
                polar = _polar(found, u[some], w[some], rng) if auto else None
                parts.append(polar or normal)
        wide = _elliptical(u, w, nu, (1 + 2 / np.sqrt(law.dimension)) ** 2)
        components = [c for part in parts for c in part.components]
        shares = np.concatenate([part.weights / len(parts) for part in parts])
        components.append(wide)
        if law.mapped:
            limit = farthest(u, w[:, None])
            components = [within(c, limit) for c in components]
        return Mixture(np.append((1 - WIDE) * shares, WIDE), tuple(components))

    def _mixed(
        self, mixtures: Sequence[Mixture], own: float
    ) -> tuple[tuple[Component, ...], np.ndarray]:
        """The input law, densities of the user's, and mixtures, the latter two in equal shares."""
        parts = [np.ones(1)] * len(self.given) + [m.weights for m in mixtures]
        densities = (*self.given, *(c for m in mixtures for c in m.components))
        if not parts:
            return (self.sampler.space,), np.ones(1)
        shares = np.concatenate(parts) * (1 - own) / len(parts)
        kept = shares > 1e-3 / len(parts)
        densities = tuple(g for g, good in zip(densities, kept, strict=True) if good)
        return (self.sampler.space, *densities), np.append(own, shares[kept])

    def _draw(
        self, number: int, densities: tuple[Component, ...], shares: np.ndarray, size: int
    ) -> None:
        stage = self.sampler.draw(f"stage {number}", densities, split(size, shares))
        lost = np.isnan(stage.values)
        if not self.history.stages:
            self.middle = np.nanmedian(stage.values, axis=0)
        self.history.add(replace(stage, values=np.where(lost, self.middle, stage.values)))
        self.told.append({"draws": size, "components": len(densities)})


def _with_room(found: Mixture, u: np.ndarray, w: np.ndarray) -> Mixture:
    """The mixture with moments taken once more, and covariances of its own kind of caution.

    Shrinking towards the input law would lose a small region, not shrinking one of few draws.
    """
    log_g = log_densities(found.components, u) + np.log(found.weights)
    member = np.exp(log_g - log_g.max(1, keepdims=True))
    member *= (w / member.sum(1))[:, None]
    shares, components = member.sum(0), []
    for column, old in zip(member.T, found.components, strict=True):
        assert isinstance(old, Elliptical)
        size = column.sum() ** 2 / max(column @ column, 1e-300)
        # a component of next to no draws has no moments
        components.append(_elliptical(u, column, old.degrees_of_freedom, 1.0) if size > 2 else old)
    return Mixture(shares / shares.sum(), tuple(components))


def _polar(
    found: Mixture, u: np.ndarray, w: np.ndarray, rng: np.random.Generator
) -> Mixture | None:
    """Laws of direction and radius, where the normal ones are not worth their parameters.

    Of a tail in all directions few draws give covariances that are too narrow in some of them. By
    Akaike's criterion; not in one or two inputs, nor nearer to the centre than the input law, where
    radii reach to 0.
    """
    d, w = u.shape[1], w / w.sum()
    size = 1 / (w @ w)
    if d < 3 or w @ (u**2).sum(1) < d:
        return None
    polar = fit_directional(Draws(u), w, rng, "vmfn")
    count = len(found.components) * (d * (d + 3) / 2 + 1) - len(polar.components) * (d + 3)
    gain = w @ (polar.log_density(u) - found.log_density(u))
    return polar if gain + count / size > 0 else None


def _elliptical(u: np.ndarray, w: np.ndarray, nu: float, factor: float) -> Elliptical:
    """A normal or Student law with the moments of weighted draws, its covariance times a factor."""
    d, size = u.shape[1], w.sum() ** 2 / (w @ w)
    w = w / w.sum()
    mean = w @ u
    covariance = (u - mean).T @ ((u - mean) * w[:, None])
    if d > MANY_INPUTS:
        covariance = np.eye(d)
    tau = float(np.clip(np.trace(covariance) / d, 1e-12, 1.0))
    s = (d + 1) / (d + 1 + size)
    scale = (nu - 2) / nu if np.isfinite(nu) else 1.0
    whole = scale * factor * ROOM * ((1 - s) * covariance + s * tau * np.eye(d))
    return Elliptical(mean, np.linalg.cholesky(whole), nu)
