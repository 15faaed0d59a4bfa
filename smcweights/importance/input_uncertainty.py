"""The data's share of an error: what input laws that were fitted to measurements leave unknown.

The derivative of an expectation by a parameter of the law is a mean over the draws there are, of
the output times the derivative of the log density. With the covariance of the parameters over
refits to resampled data it gives the variance that measurements cause. Weights stay as they are:
nothing degenerates, however few measurements there were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

from .. import arguments
from ..cautions import Caution, tell
from ..errors import DegeneracyError
from ..estimate import Estimate
from ..parts import LEVELS
from ..provenance import provenance
from ..randomness import Seed, generator, seed_sequence
from ..results import Result
from ..weights import effective_sample_size, pareto_k
from .laws import Law
from .output_law import NORMAL, WIDTHS, OutputLaw
from .refits import (
    Data,
    Fitted,
    Likelihood,
    Refit,
    by_likelihood,
    checked_data,
    covariance_of,
    law_known,
    parameters_of,
    resampled,
    steps_of,
)
from .reweighting import Stored, stored
from .under_laws import several_laws
from .verdict import listed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHOD = "input uncertainty"
CHECKED = 50  # reweighted refits that the straight line is checked with
BENT = (0.8, 1.25)  # ratio of their spread to that of the line
LEAST = 50.0  # draws that a reweighted law is worth
MOST_REFUSED = 0.05
SCHEMES = ("parametric", "nonparametric")


@dataclass(frozen=True)
class InputUncertainty(Result):
    """Errors of expectations or quantiles by what causes them: computing, and data.

    Attributes
    ----------
    total : Estimate
        With the error of both.
    computation : Estimate
        As it was given: the law of the inputs taken for known.
    data : Estimate
        With the error of the data alone.
    shares : Estimate
        Of the variance of each: "computation", and every input that was measured.
    inputs : tuple of str
    measurements : tuple of int
        How many of each input.
    """

    total: Estimate
    computation: Estimate
    data: Estimate
    shares: Estimate
    inputs: tuple[str, ...]
    measurements: tuple[int, ...]

    @property
    def cautions(self) -> tuple[Caution, ...]:
        """What can't be promised."""
        return self.total.cautions

    def plot(self, ax: Axes | None = None) -> Axes:
        """Shares of the variance as bars (`smcweights.plots.uncertainty`)."""
        from .law_figures import uncertainty

        return uncertainty(self, ax)

    def __repr__(self) -> str:
        """The intervals, and the shares."""
        counts = ", ".join(
            f"{n:,} of {name}" for name, n in zip(self.inputs, self.measurements, strict=True)
        )
        lines = [f"Input uncertainty, by measurements: {counts}"]
        for said, part in (("total", self.total), ("computation alone", self.computation)):
            lines += [f"{said}:", *repr(part).splitlines()[1:]]
        return "\n".join([*lines, "shares of the variance:", *repr(self.shares).splitlines()[1:]])


@dataclass(frozen=True)
class Scale:
    """The scale on which an answer is nearly straight in the parameters of the law."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]


def _density(p: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * ndtri(p) ** 2) / np.sqrt(2 * np.pi)


PROBIT = Scale(ndtri, ndtr, lambda p: 1 / _density(p))
LOG = Scale(np.log, np.exp, lambda v: 1 / v)
PLAIN = Scale(lambda v: v, lambda v: v, np.ones_like)


def scale_of(values: np.ndarray, mean: float) -> Scale:
    """For the mean of values at the draws."""
    if ((values == 0) | (values == 1)).all() and 0 < mean < 1:
        return PROBIT
    return LOG if (values >= 0).all() and mean > 0 else PLAIN


@dataclass(frozen=True)
class _Asked:
    """Means over weighted draws: functions (n, J), weights (n,), values and variances (J,)."""

    phi: np.ndarray
    weight: np.ndarray  # sums to about 1
    value: np.ndarray
    variance: np.ndarray
    scales: tuple[Scale, ...]
    names: tuple[str, ...]

    def slopes(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives (J, P) of the means by the parameters, and covariances (J, P, P) of them."""
        centred = (self.phi - self.value) * self.weight[:, None]
        # a score has mean zero under the law
        terms = scores - self.weight @ scores / self.weight.sum()
        g = centred.T @ terms
        noise = [(terms * column[:, None]).T @ (terms * column[:, None]) for column in centred.T]
        return g, np.array(noise)


def _limits(
    asked: _Asked, computing: np.ndarray, data: np.ndarray, freedom: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends (6, J, 2) of intervals, and standard errors (J,), from the two variances."""
    student = stdtrit(freedom, 0.5 + np.array(LEVELS) / 2)
    ends = np.empty((len(LEVELS), len(asked.value), 2))
    for j, (v, scale) in enumerate(zip(asked.value, asked.scales, strict=True)):
        slope = scale.slope(v)
        half = np.sqrt(student**2 * data[j] + WIDTHS**2 * computing[j]) * slope
        ends[:, j, 0] = scale.back(scale.there(v) - half)
        ends[:, j, 1] = scale.back(scale.there(v) + half)
    return ends, np.sqrt(computing + data)


def _shares(
    asked: _Asked, slopes: np.ndarray, noise: np.ndarray, blocks: np.ndarray, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Shares (J, 1 + m) of computing and of each input's block (m, P, P), and their errors."""
    pull = np.einsum("mpq,jq->jmp", blocks, slopes)
    parts = np.einsum("jmp,jp->jm", pull, slopes)
    whole = np.column_stack([asked.variance, parts])
    total = np.maximum(whole.sum(1), 1e-300)
    share = whole / total[:, None]
    covariance = np.empty((len(whole), whole.shape[1], whole.shape[1]))
    for j in range(len(whole)):
        own = np.zeros_like(covariance[j])
        own[1:, 1:] = 4 * pull[j] @ noise[j] @ pull[j].T
        own[1:, 1:] += np.diag(2 * parts[j] ** 2 / (resamples - 1))
        jacobian = (np.eye(len(own)) - share[j][:, None]) / total[j]
        covariance[j] = jacobian @ own @ jacobian.T
    return share, covariance


def _means(estimate: Estimate, sample: Stored) -> _Asked:
    value, n = np.atleast_1d(estimate.value), len(sample.x)
    weight = np.exp(sample.log_w) / n
    scales = tuple(scale_of(column, v) for column, v in zip(sample.values.T, value, strict=True))
    variance = np.atleast_1d(estimate.variance)
    return _Asked(sample.values, weight, value, variance, scales, estimate.names)


def _checked(
    asked: _Asked, sample: Stored, laws: Sequence[Law]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means (B, J) under other laws, on their scales; what each is worth, and Pareto k-hat (B,)."""
    n, found, worth, shape = len(sample.x), [], [], []
    for law in laws:
        log_ratio = sample.log_ratio(law, "laws")
        there = (log_ratio > -np.inf).any()
        worth.append(effective_sample_size(log_ratio) if there else 0.0)
        shape.append(pareto_k(log_ratio) if there else np.inf)
        ratio = np.exp(log_ratio) / n
        # what is common to both laws cancels: the value is moved by the difference only
        moved = ratio @ asked.phi / ratio.sum() - asked.weight @ asked.phi / asked.weight.sum()
        values = asked.value + moved
        with np.errstate(invalid="ignore", divide="ignore"):
            found.append([s.there(v) for s, v in zip(asked.scales, values, strict=True)])
    return np.array(found), np.array(worth), np.array(shape)


def _refused(worth: np.ndarray, shape: np.ndarray, calls: int) -> np.ndarray:
    """Which laws are worth too little; an error where they are too many."""
    lost = (worth < LEAST) | (shape > 0.7)
    if lost.mean() > MOST_REFUSED:
        needed = int(calls * max(LEAST / max(float(np.quantile(worth, 0.05)), 1.0), 2))
        raise DegeneracyError(
            f"laws: {int(lost.sum())} of {len(lost)} are worth fewer than {LEAST:g} draws of the "
            f"sample, or have weights with too heavy a tail; about {needed:,} calls "
            "would do, or a sample drawn for all (widen=True gives a proposal)"
        )
    return lost


@dataclass(frozen=True)
class _Known:
    """What the data say of the parameters: scores (n, P), covariance (P, P) by input (m, P, P)."""

    scores: np.ndarray
    covariance: np.ndarray
    blocks: np.ndarray
    inputs: tuple[str, ...]
    sizes: tuple[int, ...]
    thetas: np.ndarray  # (B, P): refits
    fitted: Fitted

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the smallest set of measurements."""
        return float(min(self.sizes) - 1)

    @classmethod
    def of(
        cls,
        fitted: Fitted,
        data: Data,
        refit: Refit | Likelihood,
        sample: Stored,
        table: bool,
        **how: Any,
    ) -> _Known:
        """From refits to resampled data."""
        thetas = resampled(fitted, data, refit, table=table, **how)
        whole = covariance_of(thetas, fitted, data, table)
        spread = np.sqrt(whole.diagonal())
        if not spread.any():
            raise ValueError("refit: gave the same law for all resampled data")
        off = np.abs(fitted.theta - parameters_of(refit, data, fitted)) > 3 * spread
        if (off & (spread > 0)).any():
            label = fitted.labels[int(np.argmax(off))]
            raise ValueError(
                f"data: have other values of {label} than the law of the estimate; expected "
                "the data that it was fitted to, and the same way to fit it"
            )
        inputs = tuple(data)
        owners = [fitted.names.index(name) for name in inputs]
        # what inputs measured together share is halved between them
        blocks = np.array(
            [
                whole * ((fitted.owner == i)[:, None] * 0.5 + (fitted.owner == i) * 0.5)
                for i in owners
            ]
        )
        rest = whole - blocks.sum(0)
        if np.abs(rest).max() > 0:
            blocks, inputs = np.concatenate([blocks, rest[None]]), (*inputs, "dependence")
        sizes = tuple(len(part) for part in data.values())
        scores = fitted.scores(sample.x, spread)
        return cls(scores, whole, blocks, inputs, sizes, thetas, fitted)


def _of_quantiles(
    found: OutputLaw, p: np.ndarray, known: _Known, computing: float
) -> tuple[Estimate, _Asked]:
    """Quantiles with the error of the data, and that of computing or a part of it."""
    c = found.weighing.coefficients
    scores = known.scores - c @ known.scores
    student = stdtrit(known.freedom, 0.5 + np.array(LEVELS) / 2)
    ends, phi, values, variances = [], [], [], []
    for k, curve in enumerate(found.curves):
        place = np.searchsorted(curve.values, found.draws[:, k])
        sums = np.zeros((len(curve.values), scores.shape[1]))
        np.add.at(sums, place, scores * c[:, None])
        none = np.zeros((1, sums.shape[1]))
        below = np.concatenate([none, np.cumsum(sums, axis=0)])
        above = np.concatenate([np.cumsum(sums[::-1], axis=0)[::-1], none])
        slope = np.where(curve.upper[:, None], above, below)
        data = np.einsum("mp,pq,mq->m", slope, known.covariance, slope)
        tail = np.clip(curve.tail, 1e-300, 0.5)
        beta, scale = ndtri(tail), PROBIT.slope(tail)
        halves = scale * np.sqrt(
            student[:, None] ** 2 * data + WIDTHS[:, None] ** 2 * computing * curve.error**2
        )
        both = [
            curve.closed(ndtr(beta - half), ndtr(beta + half), z)
            for half, z in zip(halves, WIDTHS, strict=True)
        ]
        ends.append([[curve.inverse(one, *pair) for one in p] for pair in both])
        q = found.quantiles.value.reshape(len(found.outputs), -1)[k]
        at = np.where(np.isnan(q), found.draws[0, k], q)
        upper = p > 0.5
        y = found.draws[:, k, None]
        phi.append(np.where(upper, y > at, y <= at) * 1.0)
        values.append(c @ phi[-1])
        variances.append((found.weighing.residuals(phi[-1]) ** 2).sum(0))
    limits = np.swapaxes(np.array(ends), 0, 1).reshape(len(LEVELS), -1, 2)
    asked = _Asked(
        np.concatenate(phi, axis=1),
        c,
        np.concatenate(values),
        np.concatenate(variances),
        (PROBIT,) * limits.shape[1],
        found.quantiles.names,
    )
    with np.errstate(invalid="ignore"):
        error = (limits[NORMAL, :, 1] - limits[NORMAL, :, 0]) / (2 * WIDTHS[NORMAL])
    value = found.quantiles.value
    error = np.where(np.isfinite(error) & np.isfinite(value), error, np.nan)
    sign = np.tile(np.where(p > 0.5, -1.0, 1.0), len(found.outputs))
    g = asked.slopes(known.scores)[0] * sign[:, None]
    e = found.weighing.residuals(asked.phi * sign)
    whole = g @ known.covariance @ g.T + computing * e.T @ e
    size = np.sqrt(np.maximum(whole.diagonal(), 1e-300))
    covariance = whole / np.outer(size, size) * np.outer(error, error)
    estimate = found.quantiles.revised(
        value=value, covariance=covariance, limits=limits, method=METHOD
    )
    return estimate, asked


def _of_means(
    estimate: Estimate, asked: _Asked, data: np.ndarray, freedom: float, computing: float
) -> Estimate:
    """Means with the covariance (J, J) that the data cause, and that of computing or a part."""
    shape = estimate.value.shape
    whole = data + computing * np.reshape(estimate.covariance, data.shape)
    limits, _ = _limits(asked, computing * asked.variance, data.diagonal(), freedom)
    return estimate.revised(
        covariance=whole.reshape(shape * 2),
        limits=limits.reshape(len(LEVELS), *shape, 2),
        degrees_of_freedom=np.inf,
        trials=None,
        method=METHOD,
        sample=None,
    )


def _bent(
    asked: _Asked, known: _Known, sample: Stored, slopes: np.ndarray
) -> tuple[np.ndarray, list[Caution]]:
    """Factors (J,) on the data's variance where refits spread otherwise than on a line."""
    laws = [known.fitted.law(theta) for theta in known.thetas[:CHECKED]]
    answers, worth, _ = _checked(asked, sample, laws)
    enough = worth >= LEAST
    told = answers[enough]
    factor = np.ones(len(asked.value))
    if len(told) < CHECKED // 2:
        return factor, []
    # at the same refits, so that what they spread by chance is in both
    line = (steps_of(known.thetas[:CHECKED], known.fitted)[enough] @ slopes.T).std(axis=0, ddof=1)
    line *= np.abs([s.slope(v) for s, v in zip(asked.scales, asked.value, strict=True)])
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.nanstd(np.where(np.isfinite(told), told, np.nan), axis=0, ddof=1) / line
    off = (ratio < BENT[0]) | (ratio > BENT[1])
    if not off.any():
        return factor, []
    factor[off] = ratio[off] ** 2
    text = (
        f"{listed(asked.names, off)}: refits to resampled data spread {ratio[off].max():.2g} times "
        "as far as the derivatives by the parameters say; their spread is used. More measurements "
        "would help"
    )
    return factor, [Caution("curvature", text)]


@dataclass(frozen=True)
class LawMixture:
    """Several laws in equal parts, as a proposal that serves all of them."""

    laws: tuple[Law, ...]

    def rvs(self, size: int = 1, random_state: Any = None) -> np.ndarray:
        """Draws, (size, d)."""
        rng = np.random.default_rng(random_state)
        which = np.sort(rng.integers(len(self.laws), size=size))
        parts = [
            law.sample(rng, int(n))
            for law, n in zip(self.laws, np.bincount(which, minlength=len(self.laws)), strict=True)
        ]
        return rng.permutation(np.concatenate(parts))

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        """Log density at x (n, d)."""
        x = np.atleast_2d(x)
        table = [law.log_density(x) for law in self.laws]
        return np.logaddexp.reduce(table, axis=0) - np.log(len(self.laws))


def input_uncertainty(
    estimate: Estimate | OutputLaw,
    data: Any = None,
    *,
    refit: Refit | None = None,
    laws: Any = None,
    resamples: int = 400,
    scheme: str = "parametric",
    widen: bool | None = None,
    level: float = 0.95,
    seed: Seed = None,
) -> Any:
    """Intervals that count the error of input laws fitted to data, without a call of the model.

    With g_j the derivatives of expectation j by the parameters of the law, means of the output
    times the derivatives of log f, and C the covariance of the parameters over refits to resampled
    data, the data cause the variance g'Cg; an input's share is that of its own block of C.
    Probabilities have intervals on the scale of the normal quantile, other positive means on that
    of the log, with Student's quantile for the data's part.

    That the family of a law is right is taken for granted: no interval holds such an error.
    Estimates under a fitted law are biased by the order of 1/n, which misses a little more often
    on one side (at 30 measurements 1 % above, 2 % below).

    Parameters
    ----------
    estimate : Estimate or OutputLaw
        With a sample: of `adaptive_importance_sampling`, `failure_probability`,
        `importance_sampling`, or `output_law`, whose quantiles are meant.
    data : dict, DataFrame or array_like of shape (n, d)
        Measurements of inputs by name, as many of each as there are, measured apart; or rows
        measured together, as those of a DataFrame are for a copula. Inputs that are not in a dict
        are known. Or give ``laws``.
    refit : callable, optional
        Data (a dict of arrays by input) -> law, of the same families as the first; by default
        maximum likelihood, with the ends of laws that have some held, and with rows measured
        together the correlations of normal scores.
    laws : list or dict of laws, optional
        Laws refitted elsewhere to resampled data, at least 20: the sample is weighted for each.
    resamples : int, default 400
        Refits; at least 50.
    scheme : {"parametric", "nonparametric"}
        Resample from the fitted law, or from the measurements, where the family is doubted.
    widen : bool, optional
        True returns a proposal that serves laws with twice the error of the data, to draw another
        sample with (``proposal=``), where ``laws`` are too far from the first.
    level : float, default 0.95
        Of the interval whose width the standard error of quantiles is taken from.
    seed : None, int, SeedSequence or Generator

    Returns
    -------
    InputUncertainty
        ``total``, ``computation``, ``data`` and ``shares``; or a proposal with ``widen=True``.

    Raises
    ------
    DegeneracyError
        More than 5 % of ``laws`` are worth fewer than 50 draws; says how many calls would do.
    ValueError, TypeError
        The estimate holds no sample, the data don't fit the law, a refit fails.

    Warns
    -----
    PrecisionWarning
        Answers of refits spread otherwise than the derivatives say.

    References
    ----------
    Cheng & Holland (1997), Sensitivity of computer simulation experiments to errors in input data,
    J. Stat. Comput. Simul. 57; Efron & Tibshirani (1993), An introduction to the bootstrap.

    Examples
    --------
    >>> import numpy as np
    >>> import smcweights as smw
    >>> from scipy import stats
    >>> data = {"load": np.random.default_rng(1).normal(size=50)}
    >>> law = {"load": stats.norm(*stats.norm.fit(data["load"]))}
    >>> estimate = smw.failure_probability(lambda x: 3 - x[:, 0], law, 3_000, seed=1)
    >>> found = smw.input_uncertainty(estimate, data, seed=1)
    >>> lower, upper = found.total.interval()
    >>> bool(lower < stats.norm.sf(3) < upper), bool(found.shares["load"].value > 0.9)
    (True, True)
    """
    began = time.perf_counter()
    law = estimate if isinstance(estimate, OutputLaw) else None
    base = law.estimate if law is not None else estimate
    if not isinstance(base, Estimate):
        raise TypeError(
            f"estimate: got {type(estimate).__name__}; expected an Estimate or an OutputLaw"
        )
    sample = stored(base)
    if (data is None) == (laws is None):
        given = "neither" if data is None else "both"
        raise ValueError(f"data and laws: got {given}; expected one of them")
    resamples = arguments.count("resamples", resamples, 50)
    arguments.one_of("scheme", scheme, SCHEMES)
    arguments.level(level)
    wide = False if widen is None else arguments.flag("widen", widen)
    if refit is not None:
        arguments.function("refit", refit, "of data")
    root = seed_sequence(seed)
    said = {"scheme": scheme, "resamples": resamples, "refit": refit}
    source = provenance(METHOD, root, said, [sample.x, sample.values])
    if laws is not None:
        if law is not None or wide or refit is not None:
            raise ValueError(
                "laws: go with an Estimate, without refit and widen; expected data for an OutputLaw"
            )
        return _by_laws(base, sample, laws, source, began)
    fitted = Fitted.of(law_known(base.provenance["arguments"]["law"]))
    assert fitted is not None, "known families"
    measured = checked_data(data, sample.inputs)
    # a frame's rows count as such where they can: inputs of a copula are dependent
    frame = hasattr(data, "columns") and fitted.dependent and len(measured) == len(fitted.names)
    table = frame or not hasattr(data, "keys")
    known = _Known.of(
        fitted,
        measured,
        by_likelihood(fitted, measured, table) if refit is None else refit,
        sample,
        table,
        resamples=resamples,
        scheme=scheme,
        rng=generator(root, "resamples"),
    )
    if wide:
        root2 = generator(root, "wide")
        axes = np.linalg.cholesky(2 * known.covariance + 1e-300 * np.eye(len(known.covariance)))
        moved = [fitted.theta + axes @ root2.standard_normal(len(axes)) for _ in range(20)]
        return LawMixture(tuple(fitted.law(theta) for theta in (fitted.theta, *moved)))
    return _by_scores(base, law, sample, known, source, began)


def _by_scores(
    base: Estimate,
    law: OutputLaw | None,
    sample: Stored,
    known: _Known,
    source: dict[str, Any],
    began: float,
) -> InputUncertainty:
    """From derivatives by the parameters."""
    p = np.empty(0)
    if law is None:
        asked = _means(base, sample)
    else:
        p = np.array([float(name.rsplit("(", 1)[1][:-1]) for name in law.quantiles.names])
        p = p[: len(p) // len(law.outputs)]
        # draws of a law stand stratum by stratum, as they are stored
        asked = _of_quantiles(law, p, known, 1.0)[1]
    slopes, noise = asked.slopes(known.scores)
    factor, cautions = _bent(asked, known, sample, slopes)
    whole = slopes @ known.covariance @ slopes.T * np.sqrt(np.outer(factor, factor))
    if law is None:
        total, alone = (_of_means(base, asked, whole, known.freedom, c) for c in (1.0, 0.0))
        computation = base.revised(sample=None)
    else:
        total, alone = (_of_quantiles(law, p, known, c)[0] for c in (1.0, 0.0))
        computation = law.quantiles
    share, errors = _shares(asked, slopes, noise, known.blocks, len(known.thetas))
    measured = (known.inputs, known.sizes)
    return _told((total, computation, alone), measured, (share, errors), cautions, source, began)


def _by_laws(
    base: Estimate, sample: Stored, laws: Any, source: dict[str, Any], began: float
) -> InputUncertainty:
    """From the spread of the answers under refitted laws."""
    found = list(several_laws(laws, sample.inputs).values())
    if len(found) < 20:
        raise ValueError(f"laws: got {len(found)}; expected at least 20 refitted ones")
    asked = _means(base, sample)
    moved, worth, shape = _checked(asked, sample, found)
    lost = _refused(worth, shape, int(base.cost.get("evaluations", len(sample.x))))
    kept = moved[~lost]
    kept = kept[np.isfinite(kept).all(1)]
    slope = np.array([s.slope(v) for s, v in zip(asked.scales, asked.value, strict=True)])
    whole = np.atleast_2d(np.cov(kept.T)) / np.outer(slope, slope)
    total, alone = (_of_means(base, asked, whole, len(kept) - 1.0, c) for c in (1.0, 0.0))
    parts = np.column_stack([asked.variance, whole.diagonal()])
    share = parts / parts.sum(1, keepdims=True)
    sway = share.prod(1) * np.sqrt(2 / (len(kept) - 1))
    errors = sway[:, None, None] ** 2 * np.array([[1, -1], [-1, 1]])
    computation = base.revised(sample=None)
    measured = (("data",), (len(kept),))
    return _told((total, computation, alone), measured, (share, errors), [], source, began)


def _told(
    answers: tuple[Estimate, Estimate, Estimate],
    measured: tuple[tuple[str, ...], tuple[int, ...]],
    told: tuple[np.ndarray, np.ndarray],
    cautions: list[Caution],
    source: dict[str, Any],
    began: float,
) -> InputUncertainty:
    """The result, after its warnings."""
    tell("input_uncertainty", cautions)
    (total, computation, alone), (inputs, sizes), (share, errors) = answers, measured, told
    parts = ("computation", *inputs)
    several = len(total) > 1
    names = [f"{name}: {part}" if several else part for name in total.names for part in parts]
    size = len(parts)
    whole = np.zeros((len(names), len(names)))
    for j, block in enumerate(errors):
        whole[j * size : (j + 1) * size, j * size : (j + 1) * size] = block
    cost = {**total.cost, "seconds": time.perf_counter() - began}
    shares = Estimate(
        share.reshape(-1), whole, names=names, method=METHOD, bounds=(0.0, 1.0), provenance=source
    )
    said = {"cost": cost, "provenance": source}
    every = (*computation.cautions, *cautions)
    return InputUncertainty(
        total.revised(cautions=every, **said),
        computation,
        alone.revised(**said),
        shares,
        inputs,
        sizes,
    )
