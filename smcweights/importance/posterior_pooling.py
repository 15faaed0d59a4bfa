"""Independent runs of `posterior` as one: evidences by their draws, expectations by the evidence.

Never by stated errors: a run that missed a tail or a mode states the smallest. Whether a run
reached the posterior is known before its final draws, so that one that didn't can be left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from scipy.special import stdtr

from ..cautions import Caution, tell
from ..estimate import Estimate
from ..pooling import check_independence, pooled_freedom, total_cost
from ..weights import log_sum_exp, normalise

# that any two runs seem to contradict each other: 3 standard errors of a normal law
CHANCE = 0.0027
UNEVEN = 2.0  # by so much the pooled error exceeds that of the best run alone


class _Posterior(Protocol):
    """What is read of a run."""

    @property
    def joint(self) -> Estimate: ...
    @property
    def inputs(self) -> Sequence[str]: ...
    @property
    def log_weight(self) -> np.ndarray: ...
    @property
    def diagnostics(self) -> dict[str, Any]: ...


def pooled_joint(runs: Sequence[_Posterior]) -> tuple[list[int], Estimate]:
    """Which runs count, and evidence, means, spreads and functions of them all."""
    joints = [run.joint for run in runs]
    for i, joint in enumerate(joints):
        if joint.names != joints[0].names:
            raise ValueError(f"estimates: item {i} has {joint.names}; expected {joints[0].names}")
    check_independence(joints)
    reached = [i for i, run in enumerate(runs) if run.diagnostics.get("beta", 1.0) >= 1]
    kept = reached or list(range(len(runs)))
    counted, joints = [runs[i] for i in kept], [joints[i] for i in kept]
    n = np.array([len(run.log_weight) for run in counted], dtype=np.float64)
    logs = np.array([joint.value[0] for joint in joints]) + np.log(n / n.sum())
    share, d = normalise(logs), len(runs[0].inputs)
    table = np.array([joint.value for joint in joints])
    value = share @ table
    value[0] = log_sum_exp(logs)
    spread = slice(1 + d, 1 + 2 * d)
    square = table[:, spread] ** 2 + (table[:, 1 : 1 + d] - value[1 : 1 + d]) ** 2
    value[spread] = np.sqrt(share @ square)
    parts = []
    for part, joint, row in zip(share, joints, table, strict=True):
        # the share of a run is as uncertain as its evidence
        slopes = np.eye(len(value))
        slopes[1:, 0] = row[1:] - value[1:]
        parts.append(part**2 * slopes @ joint.covariance @ slopes.T)
    covariance = np.sum(parts, axis=0)
    own = np.array([np.diag(part) for part in parts])
    freedom = np.array([joint.degrees_of_freedom for joint in joints])
    found = _cautions(kept, joints, len(runs), float(np.sqrt(covariance[0, 0])))
    tell("combine", found)
    told = dict.fromkeys(caution for joint in joints for caution in joint.cautions)
    return kept, Estimate(
        value,
        covariance,
        names=joints[0].names,
        method=joints[0].method,
        degrees_of_freedom=pooled_freedom(own, freedom),
        cautions=[*told, *found],
        diagnostics={"runs": len(kept), "run_weights": share},
        cost=total_cost([run.joint for run in runs]),
        provenance={"combined": [joint.provenance for joint in joints]},
    )


def _cautions(
    kept: Sequence[int], joints: Sequence[Estimate], runs: int, pooled: float
) -> list[Caution]:
    """What is wrong with the runs together: the pooled log evidence has this error."""
    found: list[Any] = []
    if len(kept) < runs:
        text = (
            f"{runs - len(kept)} of {runs} runs ended before the posterior was reached and are "
            "left out. More calls in each run would help"
        )
        found.append(Caution("unfinished-ladder", text))
    value, error, freedom = (
        np.array([getattr(joint, part)[0] for joint in joints])
        for part in ("value", "standard_error", "degrees_of_freedom")
    )
    a, b = np.triu_indices(len(joints), 1)
    gap = np.abs(value[a] - value[b])
    both = np.maximum(error[a] ** 2 + error[b] ** 2, 1e-300)
    welch = both**2 / np.maximum(error[a] ** 4 / freedom[a] + error[b] ** 4 / freedom[b], 1e-300)
    p = 2 * stdtr(np.maximum(welch, 1.0), -gap / np.sqrt(both))
    if (p * len(p) < CHANCE).any():
        text = (
            f"the log evidences of the runs differ by up to {gap.max():.3g}, more than chance "
            "would have it: some runs missed part of the posterior"
        )
        found.append(Caution("contradiction", text))
    if pooled > UNEVEN * error.min():
        text = (
            f"item {kept[int(error.argmax())]} has an error of {error.max():.2g} in its log "
            f"evidence, item {kept[int(error.argmin())]} of {error.min():.2g}, all together "
            f"{pooled:.2g}: runs weigh by their draws, as weights by stated errors are biased. "
            "Fewer runs of more calls would help"
        )
        found.append(Caution("uneven-runs", text))
    return found
