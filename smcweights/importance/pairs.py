"""Pairs (X, X') of independent copies of the inputs, and what indices ask of the model there.

With Y = M(X), Y' = M(X') and Y_u = M(X_u, X'_-u) for a group u of inputs (pick u, freeze the rest),
every Sobol' index is a function of means over pairs:

    mu = E[Y],   V = E[Y^2] - mu^2,   closed(u) = E[Y Y_u] - mu^2,   total(u) = E[(Y' - Y_u)^2] / 2,
    S_u = closed(u)/V,   T_u = total(u)/V,   S_uv = (closed(uv) - closed(u) - closed(v))/V.

The difference E[Y Y_u] - mu^2 loses precision where S_u is small, E[Y (Y_u - Y')] where it is
large. E[Y Y_u] - b E[Y Y'] - (1 - b) mu^2 has the same value for every b; b = 1 - T_u is close to
the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .. import arguments
from ..estimate import Estimate
from .integrand import Columns
from .laws import Law, as_law
from .marginals import Marginal

Array = np.ndarray
Groups = Mapping[str, str | Sequence[str]] | Sequence[str] | None
ORDERS = ("first", "total", "second")


@dataclass(frozen=True)
class PickFreeze:
    """Which model calls a pair (X, X') needs, and how indices follow from means over pairs."""

    inputs: tuple[str, ...]  # names of the groups
    members: Array  # (G, d): which inputs are in which group
    order: tuple[str, ...]  # what is wanted

    @property
    def both(self) -> bool:
        """Whether each group is exchanged both ways, which pairs need."""
        return "second" in self.order

    @property
    def pairs(self) -> tuple[Array, Array]:
        """Numbers of the first and of the second input of each pair."""
        i, j = np.triu_indices(len(self.inputs), 1)
        return i, j

    @property
    def calls(self) -> int:
        """Model calls per pair."""
        return 2 + len(self.inputs) * (2 if self.both else 1)

    def points(self, a: Array, b: Array) -> Array:
        """X, X', (X_u, X'_-u) and, for pairs, (X'_u, X_-u): shape (calls, n, d)."""
        mixed = [np.where(m, a, b) for m in self.members]
        if self.both:
            mixed += [np.where(m, b, a) for m in self.members]
        return np.stack([a, b, *mixed])

    def terms(self, y: Array) -> Array:
        """What the means are taken of: outputs (calls, n, K) -> (n, K, J)."""
        g = len(self.inputs)
        first, other, mixed = y[0], y[1], y[2 : 2 + g]
        closed = first * mixed
        total = 0.5 * (other - mixed) ** 2
        crossed: list[Array] = []
        if self.both:
            swapped = y[2 + g :]
            closed = (closed + other * swapped) / 2
            total = (total + 0.5 * (first - swapped) ** 2) / 2
            i, j = self.pairs
            crossed = list((mixed[i] * swapped[j] + mixed[j] * swapped[i]) / 2)
        shared = [(first + other) / 2, (first**2 + other**2) / 2, first * other]
        return np.stack([*shared, *closed, *total, *crossed], axis=-1)

    def term_names(self, outputs: Sequence[str]) -> list[str] | None:
        """What to call the terms (K * J,); None where that would be too long."""
        kinds = ORDERS if self.both else ("first", "total")
        shared = ["mean", "mean square", "mean product of pairs"]
        of_one = shared + [f"{kind} {n}" for kind in kinds for n in self.names(kind, ["one"])]
        said = [f"{o}: {n}" if len(outputs) > 1 else n for o in outputs for n in of_one]
        return said if max(map(len, said)) <= arguments.LONGEST_NAME else None

    def indices(self, means: Array, outputs: int) -> Array:
        """All indices from the means (outputs * J,), kind by kind, output by output."""
        g = len(self.inputs)
        m = means.reshape(outputs, -1)
        mu, square, product = m[:, :1], m[:, 1:2], m[:, 2:3]
        variance = square - mu**2
        total = m[:, 3 + g : 3 + 2 * g] / variance
        share = np.clip(1 - total, 0.0, 1.0)
        first = m[:, 3 : 3 + g] - share * product - (1 - share) * mu**2
        found = {"first": first / variance, "total": total}
        if self.both:
            i, j = self.pairs
            share = share[:, i] * share[:, j]
            closed = m[:, 3 + 2 * g :] - share * product - (1 - share) * mu**2
            found["second"] = closed / variance - found["first"][:, i] - found["first"][:, j]
        return np.concatenate([found[kind].ravel() for kind in self.order])

    def names(self, kind: str, outputs: Sequence[str]) -> list[str]:
        """Names of the indices of one kind, in the order of `indices`."""
        names = list(self.inputs)
        if kind == "second":
            names = [f"{self.inputs[i]} {self.inputs[j]}" for i, j in zip(*self.pairs, strict=True)]
        return [f"{o}: {n}" if len(outputs) > 1 else n for o in outputs for n in names]

    def joint_names(self, outputs: Sequence[str]) -> list[str]:
        """Names of all indices, kind by kind."""
        one = len(outputs) == 1
        return [
            f"{kind} {n}" if one else f"{o}: {kind} {n}"
            for kind in self.order
            for o in outputs
            for n in self.names(kind, [o])
        ]


@dataclass(frozen=True)
class Pairs:
    """Model calls at pairs of inputs, from which indices under other laws follow.

    ``a``, ``b`` (R, n, d) stand for the inputs in standard-normal space, ``y`` (R, n, calls, K) are
    outputs, and ``weight`` (R, n) is that of the pairs, if any input was widened, of R independent
    designs; or ``means``, the estimate of the terms over the doubled law by importance sampling.
    """

    plan: PickFreeze
    law: Law
    centre: Array
    outputs: tuple[str, ...]
    a: Array | None = None
    b: Array | None = None
    y: Array | None = None
    weight: Array | None = None
    means: Estimate | None = None

    def terms(self) -> Array:
        """Terms of all pairs: (R, n, K * J)."""
        assert self.y is not None
        y = np.moveaxis(self.y - self.centre, 2, 0)
        return self.plan.terms(y).reshape(*self.y.shape[:2], -1)

    @property
    def names(self) -> list[str]:
        """Of the indices."""
        return self.plan.joint_names(self.outputs)


def doubled_law(law: Law) -> dict[str, Marginal]:
    """The law of a pair (X, X')."""
    assert law.marginals is not None
    return {
        f"{n}{mark}": m for mark in ("", "'") for n, m in zip(law.names, law.marginals, strict=True)
    }


def pick_freeze(law: Law, groups: Groups, order: str | Sequence[str]) -> PickFreeze:
    """What indices of some kinds ask for, of inputs or of groups of them."""
    order = (order,) if isinstance(order, str) else tuple(arguments.several("order", order, "str"))
    for kind in order:
        arguments.one_of("order", kind, ORDERS)
    if not order or len(set(order)) < len(order):
        raise ValueError(f"order: got {order}; expected some of {', '.join(ORDERS)}, each once")
    names, members = grouped(groups, law.names)
    if "second" in order and len(names) < 2:
        raise ValueError("order: second-order indices need two inputs or groups")
    plan = PickFreeze(names, members, tuple(kind for kind in ORDERS if kind in order))
    # "a b" and "c" make the same pair as "a" and "b c"
    arguments.names(plan.joint_names(("Y",)), "names of indices", 3 * arguments.LONGEST_NAME)
    return plan


def grouped(groups: Groups, inputs: tuple[str, ...]) -> tuple[tuple[str, ...], Array]:
    """Names of the groups and which inputs (G, d) are in each."""
    if groups is None:
        return inputs, np.eye(len(inputs), dtype=bool)
    if isinstance(groups, Mapping):
        label: dict[str, str] = {}
        for group, listed in groups.items():
            own = [listed] if isinstance(listed, str) else listed
            for i in arguments.several("groups", own, "names of inputs"):
                arguments.one_of(f"groups: {group!r}", i, inputs)
                if i in label:
                    raise ValueError(
                        f"groups: {i!r} is in {label[i]!r} and in {group!r}; expected it in one"
                    )
                label[i] = str(group)
        missing = [i for i in inputs if i not in label]
        if missing:
            raise ValueError(f"groups: {missing} are in no group; expected every input in one")
        of_input = [label[i] for i in inputs]
    else:
        of_input = [str(g) for g in arguments.several("groups", groups, "names")]
        if len(of_input) != len(inputs):
            raise ValueError(
                f"groups: got {len(of_input)} names; expected one per input, {len(inputs)}, or a "
                "dict of group names to lists of inputs"
            )
    for given, group in zip(inputs, of_input, strict=True):
        if group != given in of_input:
            raise ValueError(
                f"groups: {given!r} is an input, in group {group!r}; expected another name"
            )
    names = tuple(arguments.storable("groups", name) for name in dict.fromkeys(of_input))
    return names, np.array([[g == name for g in of_input] for name in names])


def independent_law(law: object) -> Law:
    """The law, if its inputs are known to be independent."""
    law = as_law(law)
    if not law.independent:
        raise ValueError(
            "law: its inputs are dependent, or not known to be independent; Sobol' indices need "
            "independent inputs: a list or dict of univariate distributions"
        )
    return law


def varies(means: Array, centre: Array) -> Array:
    """Which outputs (K,) have a variance to share out, by their mean terms (K, J)."""
    variance = means[:, 1] - means[:, 0] ** 2
    return variance > 1e-13 * np.maximum(means[:, 1], (1e-8 * centre) ** 2)


def output_names(columns: Columns, count: int) -> tuple[str, ...]:
    """Names of the outputs, checked, or Y1, Y2, ..."""
    names = columns.names
    return ("Y",) if names is None and count == 1 else arguments.names_of(names, count, "Y")
