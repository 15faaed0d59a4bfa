"""One mixture for many expectations: which components, and how much of each.

`fit_components` turns the draws so far into components, one per expectation and sign, or one
for several expectations whose weights are nearly the same. `mixture_weights` then
solves the convex problem for the mixture weights, given the coefficients of the control variates.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..weights import pareto_k
from .fits import Draws, fit_directional, fit_grid, fit_kernels, fit_lines, fit_mixtures
from .laws import Law, aligned, as_law
from .proposals import (
    Component,
    Kernels,
    Mixture,
    WorkingSpace,
    farthest,
    kernels_of,
    spread_evenly,
    within,
)

FAMILIES = ("auto", "gaussian", "mixture", "student", "rank-one", "vmfn", "grid")

FEW_HITS = 10  # below this many non-zero values an expectation has nothing to fit
MOST_TARGETS = 12
MOST_COMPONENTS = 24
DEFENSIVE = 0.05  # least share of the input law: bounds the weights f/h by 20
GUARD = 0.1  # share that looks for regions missed
SHARPNESS = 8  # the power that stands for a maximum in the objective


@dataclass(frozen=True)
class Components:
    """Densities to mix, the input law first."""

    densities: tuple[Component, ...]
    # (K, J): for every expectation the combination of densities nearest to its own integrand
    direction: np.ndarray
    share: np.ndarray  # (K,): first guess of the mixture weights,
    least: np.ndarray  # and how low each may fall
    serves: tuple[str, ...]


def starting_components(
    space: WorkingSpace, given: tuple[Component, ...], expectations: int
) -> Components:
    """What the first stage is drawn from: the input law and densities of the user's, equally."""
    k = 1 + len(given)
    serves = ("input law",) + ("starting proposal",) * len(given)
    equal = np.full(k, 1 / k)
    return Components((space, *given), np.zeros((k, expectations)), equal, 0.05 * equal, serves)


@dataclass(frozen=True)
class _Target:
    """One sign of one expectation: a non-negative function to have a density of its own."""

    expectation: int
    mass: float  # signed integral
    weights: np.ndarray  # (n,), sums to 1


def _targets(t: np.ndarray) -> list[_Target]:
    """Positive and negative parts of t (n, J) that carry over 2 % of the absolute integral."""
    targets = []
    total = np.abs(t).sum(0)
    for sign in (1.0, -1.0):
        mass = np.maximum(sign * t, 0.0).sum(0)
        for j in np.flatnonzero(mass > 0.02 * total):
            part = np.maximum(sign * t[:, j], 0.0)
            targets.append(_Target(int(j), sign * mass[j] / len(t), part / mass[j]))
    return targets


def _clusters(w: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Labels (M,) that join columns of w (n, M) of nearly equal shape (Bhattacharyya affinity)."""
    m = w.shape[1]
    if m == 1:
        return np.zeros(1, dtype=np.int64)
    root = np.sqrt(w[:: max(1, len(w) // 2000)]).T
    root /= np.maximum(np.linalg.norm(root, axis=1), 1e-300)[:, None]
    if m > 200:
        from scipy.cluster.vq import kmeans2

        # distances between many long vectors survive a projection to a few random directions
        root = root @ rng.standard_normal((root.shape[1], 64)) / 8
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty cluster does no harm here
            _, labels = kmeans2(root, most, rng=rng, minit="++")
    else:
        from scipy.cluster.hierarchy import fcluster, linkage

        distance = 1 - np.clip(root @ root.T, 0, 1)
        tree = linkage(distance[np.triu_indices(m, 1)], "average")
        labels = fcluster(tree, 0.03, "distance")
        if labels.max() > most:
            labels = fcluster(tree, most, "maxclust")
    return np.unique(labels, return_inverse=True)[1]


def _fitted(
    space: WorkingSpace,
    u: np.ndarray,
    w: np.ndarray,
    family: str,
    nu: float,
    rng: np.random.Generator,
) -> list[Mixture]:
    narrow, wide = kernels_of(space, 1.0), kernels_of(space, 2.0)
    if family == "kernels" and narrow is not None and wide is not None:
        return [fit_kernels(u, column, narrow, wide, rng) for column in w.T]
    if family == "grid":
        return [fit_grid(u, column) for column in w.T]
    if family == "lines":
        most = max(1, MOST_COMPONENTS // w.shape[1])
        return [fit_lines(u, column, rng, most)[0] for column in w.T]
    if family in ("rank-one", "vmfn"):
        draws = Draws(u)
        return [fit_directional(draws, column, rng, family) for column in w.T]
    most = 1 if family == "gaussian" else max(1, min(12, MOST_COMPONENTS // w.shape[1]))
    return fit_mixtures(u, w, rng, most=most, degrees_of_freedom=nu, restarts=2)


def fit_components(
    space: WorkingSpace,
    u: np.ndarray,
    t: np.ndarray,
    law_weight: np.ndarray,
    importance: np.ndarray,
    *,
    family: str,
    shared: bool,
    given: tuple[Component, ...],
    fixed: np.ndarray,
    events: bool,
    round_number: int,
    rng: np.random.Generator,
) -> Components:
    """Components for J expectations from draws u (n, d) with integrand times weight t (n, J).

    ``law_weight`` (n,) is the input density over that of the draws, ``importance`` (J,) weighs what
    expectations share, ``fixed`` (J,) marks those of which t is the deviation from a usual value;
    ``events`` says that all of them are indicators, which are looked for no farther out than they
    were found; exploration widens with ``round_number``. ``given`` components of the user's are
    kept as they are; ``shared`` asks for one set of them for sqrt(sum_j importance_j t_j^2).

    The family "auto" is Gaussian mixtures up to d = 20 (Student where the law has no map) with a
    shared grid up to d = 4 and rank-one components beside them above 8, of events one for each
    region; above 20 the rank-one and the vMF-Nakagami family; and the kernels themselves, with
    shares learned, of a kernel density.
    """
    d = space.law.dimension
    densities: list[Any] = [space, *given]
    serves = ["input law"] + ["starting proposal"] * len(given)
    share = [0.0] + [0.3] * len(given)
    direction: list[np.ndarray] = [np.zeros(t.shape[1]) for _ in densities]
    nu = np.inf
    if family == "student" or (family == "auto" and not space.law.mapped):
        nu = 5.0 if space.law.mapped else 3.0
    kind = {"auto": "rank-one" if d > 20 else "mixture", "student": "mixture"}.get(family, family)
    if family == "auto" and space.law.kernels is not None:
        kind = "kernels"
    targets = _targets(t)
    lead = np.sqrt((t**2) @ importance)
    if targets:
        w = np.stack([target.weights for target in targets], axis=1)
        labels = np.zeros(len(targets), dtype=np.int64)
        if shared:
            w = (lead / lead.sum())[:, None]
        else:
            labels = _clusters(w, MOST_TARGETS, rng)
            w = np.stack([w[:, labels == c].mean(1) for c in range(labels.max() + 1)], axis=1)
        fits = list(enumerate(_fitted(space, u, w, kind, nu, rng)))
        if family == "auto" and d > 8 and space.law.mapped:
            other = "vmfn" if d > 20 else "lines" if events else "rank-one"
            fits += list(enumerate(_fitted(space, u, w, other, nu, rng)))
        if family == "auto" and kind == "kernels":
            # what an event cuts out of kernels has a shape of its own
            fits += list(enumerate(_fitted(space, u, w, "mixture", np.inf, rng)))
        for c, mixture in fits:
            members = [target for target, label in zip(targets, labels, strict=True) if label == c]
            pull = sum(np.sqrt(importance[m.expectation]) * abs(m.mass) for m in members)
            for part, component in zip(mixture.weights, mixture.components, strict=True):
                column = np.zeros(t.shape[1])
                for m in members:
                    column[m.expectation] += part * m.mass
                densities.append(component)
                direction.append(column)
                serves.append(_named([m.expectation for m in members]))
                share.append(part * pull)
        if family == "auto" and d <= 4 and space.law.mapped:
            densities.extend(fit_grid(u, lead).components)
            direction.append(np.zeros(t.shape[1]))
            serves.append("leading function")
            share.append(max(share))
    least = {0: DEFENSIVE}
    least |= {k: GUARD for k, g in enumerate(given, 1) if isinstance(g, Kernels)}

    def explore(width: float, nu: float, why: str, floor: float) -> None:
        least[len(densities)] = floor
        densities.append(spread_evenly(d, width, nu))
        direction.append(np.zeros(t.shape[1]))
        serves.append(why)
        share.append(0.5 * max(*share, 1e-300))

    seen = (t != 0).sum(0)
    if (seen < FEW_HITS).any():
        # nothing to learn from yet: look farther out, a few standard deviations of the radius,
        # and farther still in later stages
        floor = 0.15 if ((seen < FEW_HITS) & ~fixed).any() else 0.05
        for shift in ((1, 2), (2, 3), (3, 4))[min(round_number, 3) - 1]:
            width = 1 + shift / np.sqrt(d)
            explore(width, np.inf, f"exploration at {width:.2g} times the scale", floor)
    # draws of the input law can't guard what they hardly ever hit: a region that was missed is
    # found by draws spread as wide as those that count, in every direction
    weight = np.abs(t)
    square = (t**2 / np.maximum(law_weight, 1e-300)[:, None]).mean(0)
    likely = weight.mean(0) ** 2 / np.maximum(square, 1e-300)
    rare = (seen >= FEW_HITS) & (likely * len(t) < FEW_HITS / DEFENSIVE)
    if rare.any():
        radius = (u**2).sum(1) @ weight[:, rare] / weight[:, rare].sum(0)
        width = float(np.sqrt(radius.max() / d))
        if width > 1.15:
            explore(width, nu, f"guard at {width:.2g} times the scale", GUARD)
    if not space.law.mapped:
        if kind != "kernels":
            explore(1.0, 1.0, "guard of the tails", GUARD)
    elif _heavy(t):
        explore(1 + 2 / np.sqrt(d), np.inf, "guard of the tails", 0.05)
    if events and space.law.mapped and (seen >= FEW_HITS).all():
        limit = farthest(u, t)
        densities = [within(density, limit) for density in densities]
    first = np.array(share)
    if first.sum() > 0:
        first *= 0.8 / first.sum()
    first[0] = 1 - first[1:].sum()
    floors = np.array([least.get(k, 0.0) for k in range(len(densities))])
    return Components(tuple(densities), np.array(direction), first, floors, tuple(serves))


def _heavy(t: np.ndarray) -> bool:
    """Whether few draws carry a column of t (n, J): those who come after may be fewer still."""
    for column in t.T[:MOST_TARGETS]:
        size = np.abs(column[column != 0])
        if len(size) >= 25 and pareto_k(np.log(size)) > 0.5:
            return True
    return False


def _named(expectations: list[int]) -> str:
    numbers = sorted({j + 1 for j in expectations})
    text = ", ".join(str(j) for j in numbers[:6]) + (", ..." if len(numbers) > 6 else "")
    return f"expectation{'s' if len(numbers) > 1 else ''} {text}"


def criterion(
    variance: np.ndarray, scale: np.ndarray, objective: str | np.ndarray
) -> tuple[float, np.ndarray]:
    """What a stage is judged by, and its derivative with respect to the variances (J,).

    ``variance`` (J,) is per draw, ``scale`` (J,) the squared sizes for relative objectives; the
    objective is "max-relative", as the power mean of order 8, which has a derivative,
    "sum-relative", "sum", or weights (J,).
    """
    if isinstance(objective, np.ndarray):
        return float(objective @ variance), objective
    if objective == "sum":
        return float(variance.sum()), np.ones_like(variance)
    relative = variance / scale
    if objective == "sum-relative":
        return float(relative.sum()), 1 / scale
    top = relative.max()
    if not np.isfinite(top) or top <= 0:
        return float(top), 1 / scale
    power = (relative / top) ** (SHARPNESS - 1)
    value = top * (power * relative / top).sum() ** (1 / SHARPNESS)
    return float(value), power * (top / value) ** (SHARPNESS - 1) / scale


def mixture_weights(
    ratios: np.ndarray,
    residuals: np.ndarray,
    offset: np.ndarray,
    start: np.ndarray,
    floor: np.ndarray,
    scale: np.ndarray,
    objective: str | np.ndarray,
    crude: np.ndarray,
    steps: int = 40,
) -> np.ndarray:
    """Mixture weights alpha (K,) that minimise the criterion for fixed control coefficients.

    The variance of expectation j per draw from sum_k alpha_k g_k is

        mean_i residuals_ij^2 / (sum_k alpha_k ratios_ik) - offset_j^2,

    draws i from h, ratios g_k/h (n, K), residuals (phi_j f - sum_k beta_jk g_k)/h (n, J). It is
    convex in alpha. The step alpha_k <- alpha_k sqrt(s_k), s_k the size of the derivative, needs
    no line search. An expectation that would come out worse than ``crude`` (J,), the variance of
    plain Monte Carlo, joins the maximum with its own ratio, so that no one pays for the others.
    """
    stride = max(1, len(ratios) // 20_000)
    a, squares = ratios[::stride], residuals[::stride] ** 2
    n, known = len(a), a.any(1)
    if not known.all():
        # all densities are too small for numbers there
        a, squares = a[known], squares[known]

    def within(alpha: np.ndarray) -> np.ndarray:
        alpha = np.maximum(alpha / alpha.sum(), floor)
        room = alpha - floor
        return (
            floor + room * (1 - floor.sum()) / room.sum() if room.sum() > 0 else floor / floor.sum()
        )

    def descend(alpha: np.ndarray, guard: float) -> tuple[float, np.ndarray]:
        best, kept, idle = np.inf, alpha, 0
        for _ in range(steps):
            inverse = 1 / (a @ alpha)
            variance = np.maximum(squares.T @ inverse / n - offset**2, 0.0)
            value, slope = criterion(variance, scale, objective)
            if guard:
                harm, harm_slope = criterion(variance, crude, "max-relative")
                high = max(value / guard, harm)
                if not high > 0:
                    return 0.0, alpha
                p, q = (value / guard / high) ** SHARPNESS, (harm / high) ** SHARPNESS
                total = p + q
                value_all = high * total ** (1 / SHARPNESS)
                slope = p / max(value, 1e-300) * slope + q / max(harm, 1e-300) * harm_slope
                value = value_all
            idle = 0 if value < best * 0.999 else idle + 1
            if value < best:
                best, kept = value, alpha
            if idle == 3:
                break
            s = a.T @ ((squares @ slope) * inverse**2)
            if not np.isfinite(s).all() or s.max() <= 0:
                break
            alpha = within(alpha * np.sqrt(s / s.max()))
        return best, kept

    alpha = within(start)
    value, alpha = descend(alpha, 0.0)
    if value > 0:
        variance = np.maximum(squares.T @ (1 / (a @ alpha)) / n - offset**2, 0.0)
        if (variance > crude).any():
            _, alpha = descend(alpha, value)
    return alpha


def family_of(proposal: object, law: Law) -> tuple[str, tuple[Law, ...]]:
    """Family name and the user's starting density, if ``proposal`` is one."""
    if isinstance(proposal, str):
        if proposal not in FAMILIES:
            raise ValueError(
                f"proposal: got {proposal!r}; expected one of {', '.join(FAMILIES)}, or a law to "
                "start from"
            )
        if proposal == "grid" and law.dimension > 4:
            raise ValueError(f"proposal: 'grid' serves up to 4 inputs; the law has {law.dimension}")
        if proposal in ("grid", "rank-one", "vmfn") and not law.mapped:
            raise ValueError(
                f"proposal: {proposal!r} needs a law with an isoprobabilistic map (independent "
                "marginals, a Gaussian copula or a multivariate normal law)"
            )
        return proposal, ()
    return "auto", (proposal_law(proposal, law),)


def proposal_law(proposal: object, law: Law) -> Law:
    """A density given by the user, with the inputs of the law."""
    try:
        start = as_law(proposal)
    except (TypeError, ValueError) as error:
        raise type(error)(f"proposal: {error}") from error
    if start.dimension != law.dimension:
        raise ValueError(f"proposal: has {start.dimension} inputs, the law has {law.dimension}")
    return aligned(start, law.names, "proposal")
