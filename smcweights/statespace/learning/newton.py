"""Newton's steps from where a search ended, by the score and the observed information there.

The average of iterates whose steps are few or short is still on its way from the start, and that of
iterates that vary much is off by the bend of the score; all chains are alike in both. Sweeps at one
place know nothing of the way: their mean score tells how far the maximum is, and its spread over
the chains how well that is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...cautions import Caution
from ...estimate import Estimate
from ...execution import Run
from ...randomness import generator
from ...stopping import Budget
from ..chains import RARE
from ..series import place_in
from .ascent import How, Search, direction
from .scores import Plan, ScoredSeries, pooled_information, support_cautions

Array = NDArray[np.float64]
BURN_IN = 10  # sweeps at a place that are left out
LEAST_SWEEPS = 100
MOST_STEPS = 3
NEAR = 0.15  # standard errors of the data, which a last step is not longer than,
FAR = 0.3  # or the search has not arrived
LONGEST = 1.0  # of a step that is not the last
VAGUE = 0.5  # relative error of the information, beyond which no step is built on it


@dataclass(frozen=True, eq=False)
class Known:
    """Covariance (m, m) of the data's error where a search ended, by unconstrained parameters.

    Without information it is a guess from what the search saw, and `statistical`, the same by
    theta, is NaN. Gradients ask for a Newton step (m,), in standard errors of the data. Where it
    was made the ends (chains, m) are where each chain says that it leads.
    """

    covariance: Array
    statistical: Array
    step: Array
    cautions: list[Caution]
    ends: Array | None = None
    information: Estimate | None = None
    sweeps: int = 0  # of every chain, for the information


class Look(NamedTuple):
    """What the sweeps of every chain at one place tell, by unconstrained parameters.

    Scores (chains, m), information (chains, m, m), its estimate, what speaks against it, and the
    last paths (chains, T, d).
    """

    scores: Array
    matrices: Array
    pooled: Estimate
    cautions: list[Caution]
    paths: Array

    @property
    def matrix(self) -> Array:
        """Mean information (m, m)."""
        return np.asarray(self.matrices.mean(axis=0))

    @property
    def vagueness(self) -> float:
        """Standard error of the information in the direction where it is largest beside it."""
        values, vectors = np.linalg.eigh(self.matrix)
        root = vectors / np.sqrt(values)
        each = np.einsum("im,cij,jm->cm", root, self.matrices, root)
        return float(each.std(axis=0, ddof=1).max() / math.sqrt(len(each)))

    def ends(self, place: Array) -> Array:
        """Where each chain (c, m) says that a Newton step from the place leads.

        Their spread has that of the scores, and that of the information, linearised.
        """
        matrix = self.matrix
        inverse = np.linalg.inv(matrix)
        steps = self.scores @ inverse
        return np.asarray(place + steps - (self.matrices - matrix) @ steps.mean(axis=0) @ inverse)


def known_at_the_end(p: ScoredSeries, search: Search, run: Run, wanted: bool, how: How) -> Known:
    """The information, if it is wanted, where steps by the score lead from a search's average."""
    at = p.at(p.free.values(search.centre))
    at.check()
    moments = np.mean([np.asarray(state.moments) for state in search.states], axis=0)
    guess, unknown = direction(moments, True)[0], np.full(2 * (len(p.free.names),), np.nan)
    left = search.slopes.mean(axis=0) @ guess / np.sqrt(guess.diagonal())
    paths = np.array([state.held for state in search.states])
    vague = Known(guess, unknown, left, support_cautions(at, paths))
    if not wanted:
        return vague
    place, rule = search.centre, Budget(max(LEAST_SWEEPS, search.done // 2))
    for lap in range(MOST_STEPS):
        source, stage = generator(run.root, "information", lap), f"information {lap}"
        told = (source, how.executor, how.progress, None, run, stage)
        look = _look(p, place, Plan(rule, BURN_IN, paths, len(paths), *told))
        here = p.free.at(place)
        known = replace(vague, information=look.pooled, sweeps=(lap + 1) * rule.total)
        lowest = float(np.linalg.eigvalsh(look.matrix)[0])
        if lowest <= 0:
            text = (
                f"the observed information is not positive definite (smallest eigenvalue "
                f"{lowest:.3g}): no error of the data; is it a maximum, and is every free "
                "parameter determined by the data?"
            )
            cautions = [*look.cautions, Caution("indefinite-information", text)]
            return replace(known, cautions=cautions)
        covariance = np.asarray(np.linalg.inv(look.matrix), dtype=np.float64)
        ends = look.ends(place)
        step = ends.mean(axis=0) - place
        left = step / np.sqrt(covariance.diagonal())
        length = float(np.abs(left).max())
        if length < NEAR or look.vagueness > VAGUE:
            break
        place, paths = place + step * min(1.0, LONGEST / length), look.paths
    cautions = list(look.cautions)
    if look.vagueness > VAGUE:
        text = (
            f"the observed information is known to {look.vagueness:.0%} of itself in one "
            "direction: errors may be far off; use more particles, or a larger budget"
        )
        cautions.append(Caution("indefinite-information", text))
    return replace(
        known,
        covariance=covariance,
        statistical=here.spread(covariance),
        step=left,
        cautions=cautions,
        ends=ends if length < FAR else None,
    )


def _look(p: ScoredSeries, place: Array, plan: Plan) -> Look:
    """Sweeps at a place, and what speaks against them."""
    here = p.free.at(place)
    informed = pooled_information(p.at(here.values), plan)
    scores, pooled = informed.scores, informed.pooled
    matrices = [
        here.outer(matrix) - here.bent(g)
        for matrix, g in zip(informed.matrices, scores, strict=True)
    ]
    cautions = [c for c in pooled.cautions if c.code in ("moving-support", "zero-error")]
    rate = np.asarray(pooled.diagnostics["update_rate"])
    if rate.min() < RARE:
        text = (
            f"x at {place_in(int(rate.argmin()), p.lengths)} changes in {rate.min():.1%} of the "
            "sweeps: gradients along chains that hardly move vanish away from the maximum, too; "
            "use a proposal, or more particles"
        )
        cautions.append(Caution("stuck-chains", text))
    slopes = np.array([here.gradient(g) for g in scores])
    return Look(slopes, np.array(matrices), pooled, cautions, informed.paths)
