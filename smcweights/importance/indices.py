"""Sobol' indices as a result: estimates that share one covariance, and tables of them.

They follow from the means over pairs by the delta method, so that sums, differences and rankings
have intervals too.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..cautions import Caution
from ..delta_method import Blockwise, linearised
from ..errors import DegeneracyError, PrecisionWarning
from ..estimate import Estimate
from ..pooling import combine
from ..results import NOT_KEPT, Result, table
from .pairs import ORDERS, Pairs, PickFreeze, varies
from .verdict import listed

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas
    from matplotlib.axes import Axes

Array = np.ndarray
SETTLED = 0.01  # half-width at which an index near zero is as good as zero
NOTHING = 1e-12  # an index and an error that are 0 but for rounding


@dataclass(frozen=True)
class SobolIndices(Result):
    """Sobol' indices, as estimates that share one covariance.

    Attributes
    ----------
    indices : Estimate, shape (J,)
        All indices under names like "first X1", "total X1", "second X1 X2" (with "output: " in
        front where the model has several outputs), with their joint covariance: sums,
        differences and rankings by `Estimate.apply`.
    first, total, second : Estimate or None
        Parts of it, named after the inputs; None where they were not asked for.
    mean, variance : Estimate, shape () or (outputs,)
        Of the model's output.
    inputs, outputs : tuple of str
        Inputs or groups of inputs, and outputs.
    method : str
        What was used.
    pairs : Pairs or None
        The model calls behind it, for `smcweights.reweight`; None of what was read from a file.
    extension : callable or None
        What `extend` calls; None of what was read from a file or pooled.
    aggregated : Estimate or None
        Of several outputs, such as the values of a series, in the same units: shares of the sum of
        their variances, sum_k V_k S_k / sum_k V_k (Gamboa, Janon, Klein & Lagnoux 2014, Electron.
        J. Stat. 8), under names like "total X1". Outputs that don't vary add
        nothing. None of one output, of pooled runs and of given samples.
    """

    indices: Estimate
    first: Estimate | None
    total: Estimate | None
    second: Estimate | None
    mean: Estimate
    variance: Estimate
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    method: str
    pairs: Pairs | None = field(default=None, repr=False, compare=False, metadata=NOT_KEPT)
    extension: Callable[..., SobolIndices] | None = field(
        default=None, repr=False, compare=False, metadata=NOT_KEPT
    )
    aggregated: Estimate | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes and into copies: all but the extension, which is code."""
        return {name: part for name, part in vars(self).items() if name != "extension"}

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What can't be promised of the indices, the mean or the variance."""
        parts = (self.indices, self.mean, self.variance)
        return tuple(dict.fromkeys(caution for part in parts for caution in part.cautions))

    def extend(
        self,
        model: Callable[..., Any],
        budget: int,
        *,
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> SobolIndices:
        """The same indices from more calls: scramblings of the same size join those there are.

        Parameters
        ----------
        model : callable
            The model, the same as before.
        budget : int
            Calls beyond those so far; enough for a scrambling, and what is left is not spent.
        executor, progress
            As for `smcweights.sobol_indices`.

        Returns
        -------
        SobolIndices
            From all calls: the same, however they were divided.

        Raises
        ------
        ValueError
            These indices were read from a file, pooled, or made without a model; or the model or
            the budget is wrong.
        """
        if self.extension is None:
            raise ValueError(
                "extend: these indices can't go on from where they stopped: they were read from a "
                "file, pooled, or made of a sample; expected what sobol_indices returned. With "
                "checkpoint=, the same call with a larger budget goes on"
            )
        return self.extension(model, budget, executor=executor, progress=progress)

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table of all indices with intervals.

        Parameters
        ----------
        level : float, default 0.95
            Level of the intervals.

        Returns
        -------
        pandas.DataFrame
            Columns: value, standard_error, lower, upper.
        """
        lower, upper = self.indices.interval(level)
        columns = (self.indices.value, self.indices.standard_error, lower, upper)
        return table(dict(zip(self.indices.names, zip(*columns, strict=True), strict=True)))

    def __repr__(self) -> str:
        """The table; each negative estimate has a line that says what it means."""
        calls = int(self.indices.cost["evaluations"])
        lines = [f"Sobol' indices by {self.method}, {calls:,} model calls"]
        lines += [self.summary().to_string(), *_negatives(self.indices, 0.95)]
        lines += [f"warning: {caution.text}" for caution in self.indices.cautions]
        return "\n".join(lines)

    def to_df(self) -> Any:
        """Tables laid out as SALib's ``to_df``, to be used in its place.

        Returns
        -------
        list of pandas.DataFrame
            Total (columns ST, ST_conf), first (S1, S1_conf) and, if estimated, second (S2, S2_conf,
            indexed by pairs); those not asked for are left out. ``conf`` is the half-width of the
            95 % interval. With several outputs a dict of such lists.
        """
        found = {o: self._tables(k) for k, o in enumerate(self.outputs)}
        return found if len(found) > 1 else found[self.outputs[0]]

    def _tables(self, output: int) -> list[pandas.DataFrame]:
        import pandas

        pairs = [(a, b) for i, a in enumerate(self.inputs) for b in self.inputs[i + 1 :]]
        parts = (
            ("ST", self.total, list(self.inputs)),
            ("S1", self.first, list(self.inputs)),
            ("S2", self.second, pairs),
        )
        tables = []
        for column, part, index in parts:
            if part is None:
                continue
            rows = slice(output * len(index), (output + 1) * len(index))
            half = (part.interval()[1] - part.value)[rows]
            tables.append(
                pandas.DataFrame(
                    {column: part.value[rows], f"{column}_conf": half},
                    # a list of tuples would otherwise become a MultiIndex
                    index=pandas.Index(index, tupleize_cols=False),
                )
            )
        return tables

    @classmethod
    def pooled(cls, runs: Sequence[Self]) -> Self:
        """Independent runs as one, see `smcweights.combine`; without their model calls."""
        first = runs[0]
        other = [r for r in runs if (r.inputs, r.outputs) != (first.inputs, first.outputs)]
        if other:
            raise ValueError(
                f"estimates: indices of {', '.join(first.inputs)} and of "
                f"{', '.join(other[0].inputs)}; expected runs on the same inputs and outputs"
            )
        indices = combine([run.indices for run in runs])
        start, parts = 0, {}
        for kind in ORDERS:
            part = getattr(first, kind)
            if part is not None:
                rows = np.eye(len(indices))[start : start + len(part)]
                part, start = indices.apply(rows, names=part.names), start + len(part)
            parts[kind] = part
        with warnings.catch_warnings():
            # of runs whose indices agree there is no more to say
            warnings.simplefilter("ignore", PrecisionWarning)
            mean, variance = (
                combine([getattr(r, name) for r in runs]) for name in ("mean", "variance")
            )
        first = replace(first, pairs=None, extension=None, aggregated=None)
        return replace(first, indices=indices, **parts, mean=mean, variance=variance)

    def plot(self, ax: Axes | None = None, *, level: float = 0.95) -> Axes:
        """Bars of the indices with intervals, see `smcweights.plots.sobol`."""
        from .figures import sobol

        return sobol(self, ax, level=level)


def _negatives(indices: Estimate, level: float) -> list[str]:
    """A line for every negative estimate: what it means, and what would settle it."""
    _, upper = indices.interval(level)
    lines = []
    for name, value, end in zip(indices.names, indices.value, upper, strict=True):
        if not value < -1e-12:  # but for rounding
            continue
        shown = f"{name} = {value:.2g}: "
        half = end - value
        if name.split(": ")[-1].startswith("second"):
            shown += "a true index is never negative; this one is a difference of others, and "
        else:
            shown += "a true index is never negative, its unbiased estimate is when "
        shown += "the error exceeds the index; "
        if not np.isfinite(half):
            lines.append(shown + "its standard error is unknown")
        elif end < 0:
            lines.append(
                shown + f"but its {level:.0%} interval lies below zero, which happens to a valid "
                "interval by chance; if it persists with another seed, look for noise in the model"
            )
        elif {caution.code for caution in indices.cautions} - {"constant-output"}:
            lines.append(shown + "its interval is not to be trusted, see the warnings")
        elif half <= SETTLED:
            lines.append(shown + f"the {level:.0%} interval says it is below {end:.1g}: settled")
        else:
            more = indices.cost["evaluations"] * ((half / SETTLED) ** 2 - 1)
            lines.append(
                shown + f"zero is within its {level:.0%} interval, and about "
                f"{float(f'{more:.2g}'):,.0f} more calls would narrow that to +-{SETTLED:g}"
            )
    return lines


def indices_of(means: Estimate, pairs: Pairs, scalar: bool, method: str) -> SobolIndices:
    """Indices, mean and variance from the estimated means of the pairs' terms."""
    plan, outputs, centre = pairs.plan, pairs.outputs, pairs.centre
    k = len(outputs)
    joint = joint_indices(means, pairs)

    def mean_of(v: Array) -> Any:
        found = v.reshape(k, -1)[:, 0] + centre
        return found[0] if scalar else found

    def variance_of(v: Array) -> Any:
        m = v.reshape(k, -1)
        found = m[:, 1] - m[:, 0] ** 2
        return found[0] if scalar else found

    def of_each(f: Callable[[Array], Any]) -> Callable[[Array], Any]:
        return f if scalar else Blockwise(f, np.arange(k), k)

    mean = means.apply(of_each(mean_of), names="mean" if scalar else outputs)
    # each run has a centre of its own, which is no difference between runs to be pooled
    mean = mean.revised(provenance=mean.provenance | {"applied": ["mean of the output"]})
    return SobolIndices(
        indices=joint,
        **parts_of(joint, plan, outputs),
        mean=mean,
        variance=means.apply(of_each(variance_of), names="variance" if scalar else outputs),
        inputs=plan.inputs,
        outputs=outputs,
        method=method,
        aggregated=_aggregated(means, pairs) if k > 1 else None,
        pairs=pairs,
    )


def _aggregated(means: Estimate, pairs: Pairs) -> Estimate:
    """Shares of the sum of all outputs' variances, from the estimated means."""
    plan, names = pairs.plan, pairs.plan.joint_names(["one"])
    varied = varies(means.value.reshape(len(pairs.outputs), -1), pairs.centre)
    kept, k = np.repeat(varied, len(means) // len(varied)), int(varied.sum())
    sizes = np.array([len(plan.names(kind, ["one"])) for kind in plan.order])
    starts = np.cumsum(sizes) - sizes
    place = [np.tile(a + np.arange(size), k) for a, size in zip(starts, sizes, strict=True)]
    owner = of_blocks(plan, k).owner

    def parts(v: Array) -> Array:
        """Variances, and indices times that of their output."""
        m = v.reshape(k, -1)
        variance = m[:, 1] - m[:, 0] ** 2
        return np.concatenate([variance, plan.indices(v, k) * variance[owner]])

    f = Blockwise(parts, np.concatenate([np.arange(k), owner]), k)
    line = linearised(f, means.value[kept], means.standard_error[kept])
    summed = np.zeros((1 + len(names), 1 + int(kept.sum())))
    of_each = np.column_stack([line.value, line.slopes])
    np.add.at(summed, np.concatenate([np.zeros(k, dtype=int), *(1 + p for p in place)]), of_each)
    whole, rest = summed[0], summed[1:]
    share = rest[:, 0] / whole[0]
    root = (rest[:, 1:] - share[:, None] * whole[1:]) / whole[0] @ means.root()[kept]
    return Estimate(
        share,
        root @ root.T,
        names=names,
        method=means.method,
        degrees_of_freedom=float(np.min(means.degrees_of_freedom)),
        cautions=means.cautions,
        cost=means.cost,
        provenance=means.provenance | {"applied": ["aggregated over outputs"]},
    )


def joint_indices(means: Estimate, pairs: Pairs) -> Estimate:
    """All indices from the estimated means, by the delta method; NaN of what doesn't vary."""
    outputs, centre, calls = pairs.outputs, pairs.centre, means.cost["evaluations"]
    flat = ~varies(means.value.reshape(len(outputs), -1), centre)
    if flat.all():
        raise DegeneracyError(
            f"output {outputs[0]!r} has no variance that could be shared out after {calls:,} calls"
            + (", and no other one has" if len(outputs) > 1 else "")
        )
    if flat.any():
        means = means.revised(cautions=[*means.cautions, constant(outputs, flat, calls)])
    indices = of_blocks(pairs.plan, len(outputs))
    undefined = np.repeat(flat, len(means) // len(outputs))
    few = f"{calls:,} calls are few for {len(pairs.plan.inputs)} inputs"
    return from_means(means, undefined, indices, pairs.names, few)


def of_blocks(plan: PickFreeze, outputs: int) -> Blockwise:
    """All indices as a function of the means: those of an output depend on its own alone."""
    sizes = [len(plan.names(kind, ["one"])) for kind in plan.order]
    owner = np.concatenate([np.repeat(np.arange(outputs), size) for size in sizes])
    # of the plan alone: what is applied is part of the provenance, and the draws are not
    return Blockwise(partial(plan.indices, outputs=outputs), owner, outputs)


def from_means(
    means: Estimate, undefined: Array, indices: Callable[[Array], Array], names: list[str], few: str
) -> Estimate:
    """Indices from means, of which some are ``undefined``: NaN where these matter.

    All that bend within their errors make one caution, that begins with ``few``.
    """
    if undefined.any():
        value = np.where(undefined, np.nan, means.value)
        if means.factor is not None:
            factor = np.where(undefined[:, None], np.nan, means.factor)
            means = means.revised(value=value, factor=factor)
        else:
            apart = undefined[:, None] | undefined
            covariance = np.where(apart, np.nan, means.covariance)
            means = means.revised(value=value, covariance=covariance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)
        found = means.apply(indices, names=names)
    bent = {c.text.partition(": the function")[0] for c in found.cautions if c.code == "curvature"}
    if not bent:
        return found
    # what is 0 but for rounding bends as rounding does
    size = np.fmax(np.abs(np.atleast_1d(found.value)), np.atleast_1d(found.standard_error))
    bent -= {name for name, one in zip(names, size, strict=True) if one < NOTHING}
    told = [caution for caution in found.cautions if caution.code != "curvature"]
    if not bent:
        return retold(found, told)
    which = np.array([name in bent for name in names])
    text = (
        f"{few}: of {len(names)} indices {len(bent)}, the largest {found.value[which].max():.2g}, "
        f"bend within one standard error ({listed(names, which)}), and their intervals are not to "
        "be trusted; four times as many calls, or groups of inputs (groups=), would help"
    )
    return retold(found, [*told, Caution("few-calls", text)])


def retold(indices: Estimate, cautions: Sequence[Caution]) -> Estimate:
    """The same indices with other cautions."""
    kept = {k: v for k, v in indices.diagnostics.items() if k != "warnings"}
    return indices.revised(cautions=cautions, diagnostics=kept)


def constant(outputs: Sequence[str], flat: Array, calls: int) -> Caution:
    """What to say of outputs that did not vary."""
    text = f"did not vary in {calls:,} calls: NaN for its indices, which are 0/0"
    return Caution("constant-output", f"output {listed(outputs, flat)}: {text}")


def defined(indices: Estimate) -> Estimate:
    """The indices without those of outputs that don't vary."""
    known = np.isfinite(indices.value)
    return indices if known.all() else indices[np.flatnonzero(known).tolist()]


def parts_of(joint: Estimate, plan: PickFreeze, outputs: tuple[str, ...]) -> dict[str, Any]:
    """First, total and second out of all indices."""
    found: dict[str, Estimate | None] = dict.fromkeys(ORDERS)
    start = 0
    for kind in plan.order:
        own = plan.names(kind, outputs)
        found[kind] = joint[start : start + len(own)].revised(names=own)
        start += len(own)
    return found
