"""Draw, call, correct, report: what every importance-sampling function here has in common.

A `Stage` is a stratified set of draws from a mixture with the integrand's values; `Controls` are
the control variates asked for; `mean_of` turns final draws into a corrected mean whose variance is
that of independent draws; `report` says how sure it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from ..arguments import names as given_names
from ..errors import DegeneracyError, ModelError, PrecisionWarning
from ..estimate import Estimate
from ..execution import batches
from ..provenance import signature
from ..randomness import generator
from ..regression import Choice, Moments, cross_fit, estimated_mean_covariance, moments, select
from ..stopping import Budget, Precision
from ..weights import (
    effective_sample_size,
    largest_weight,
    pareto_k,
    pareto_k_threshold,
    perplexity,
)
from .laws import Law
from .mixing import Components
from .polynomials import polynomial_basis
from .proposals import ROWS, Component, Mixture, log_densities, log_mixture
from .working_space import WorkingSpace

__all__ = [
    "Controls",
    "History",
    "Mean",
    "Ratios",
    "Sampler",
    "Stage",
    "Units",
    "arguments_of",
    "call_integrand",
    "check_flags",
    "checked_table",
    "choices_of",
    "corrected_mean",
    "effective_draws",
    "expectation_names",
    "joined",
    "mean_of",
    "pooled_mean",
    "prepare_controls",
    "ratios_of",
    "report",
    "self_normalized_mean",
    "split",
    "units_of",
    "unreached",
]

FOLDS = 5
MOST_TERMS = 300  # polynomial control variates
TAILS = 50  # expectations whose terms are kept to look at their tails
LARGEST = 1e150  # sizes whose squares are still numbers
FULL_COVARIANCE = 500  # expectations; above, the covariance is kept as a factor of block means


# ------------------------------------------------------------------ the integrand and its draws


@dataclass(frozen=True)
class Stage:
    """Draws from one mixture, in the order of its components, and the integrand there.

    Attributes
    ----------
    u, x : ndarray, shape (n, d)
        Points of the working space, and the inputs they stand for.
    values : ndarray, shape (n, J)
        The integrand.
    log_f, log_h : ndarray, shape (n,)
        Log densities of the input law and of the mixture.
    log_g : ndarray, shape (n, K)
        Log densities of the components.
    mixture : Mixture
    counts : ndarray of int, shape (K,)
        Draws from each component.
    scalar : bool
        Whether the integrand returned one number per input.
    raw : ndarray, shape (n, C), optional
        What the function returned, where ``values`` derive from it; NaN where it wasn't called.
    """

    u: np.ndarray
    x: np.ndarray
    values: np.ndarray
    log_f: np.ndarray
    log_g: np.ndarray
    log_h: np.ndarray
    mixture: Mixture
    counts: np.ndarray
    scalar: bool
    raw: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.u)


def call_integrand(
    integrand: Callable, vectorized: bool, x: np.ndarray, named: str = "integrand"
) -> np.ndarray:
    """The integrand at the rows of x as float64, shape (n,) or (n, J); ``named`` in errors."""
    at = "a batch that begins with"
    row = x[0]
    try:
        # copies: what an integrand does to its argument must not reach the draws
        if vectorized:
            return _real(integrand(x.copy()), named)
        values = []
        for row in x:
            at = "the"
            values.append(_real(integrand(row.copy()), named))
            if values[-1].shape != values[0].shape:
                raise ModelError(
                    f"{named}: returned shape {values[-1].shape} after shape {values[0].shape}; "
                    "expected as many values for each input"
                )
        return np.array(values)
    except Exception as error:
        error.add_note(f"smcweights: the {named} failed at {at} input {np.asarray(row).tolist()}")
        raise


def _real(values: Any, named: str) -> np.ndarray:
    """What a function returned as float64, nothing of it lost in silence."""
    if values is None:
        raise ModelError(f"{named}: returned None; is a return missing?")
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.getmaskarray(values).any():
            raise ModelError(f"{named}: returned masked values; expected a number for every input")
        values = values.data
    if np.iscomplexobj(values):
        raise ModelError(f"{named}: returned complex numbers; expected real ones")
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{named}: returned {type(values).__name__} that is no array of numbers ({error})"
        ) from error


def checked_table(values: np.ndarray, x: np.ndarray, named: str = "integrand") -> np.ndarray:
    """Integrand values as (n, J), or what is wrong with them, with the input concerned."""
    if values.ndim not in (1, 2) or len(values) != len(x) or values.size == 0:
        raise ModelError(
            f"{named}: returned shape {values.shape} for inputs of shape {x.shape}; expected "
            f"({len(x)},) or ({len(x)}, J); for a function of one input vector pass "
            "vectorized=False"
            + ("; J arrays are joined by np.stack(..., axis=1)" if values.ndim == 2 else "")
        )
    table = values.reshape(len(x), -1)
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        i, j = bad[0]
        raise ModelError(
            f"{named}: value {j + 1} is {table[i, j]} at input {x[i].tolist()}; expected a "
            f"finite number ({len(np.unique(bad[:, 0]))} of {len(x)} inputs of this batch failed)"
        )
    large = np.argwhere(np.abs(table) > LARGEST)
    if len(large):
        i, j = large[0]
        raise ModelError(
            f"{named}: value {j + 1} is {table[i, j]:g} at input {x[i].tolist()}; expected sizes "
            f"up to {LARGEST:g}, whose squares are numbers still: use other units, if the "
            "expectation exists at all"
        )
    return table


@dataclass(frozen=True)
class Units:
    """The integrand as everything here sees it: (integrand - offset) / unit.

    Attributes
    ----------
    offset : ndarray, shape (J,)
        What draws of the input law gave, if it was nearly always the same; the rest is what has
        to be integrated.
    unit : ndarray, shape (J,)
        1, or a power of 2 where fourth powers would not be numbers.
    usual : ndarray of bool, shape (J,), default False
        Where the offset is the very value of most draws: how often the rest was seen is what an
        error rests on.
    """

    offset: np.ndarray
    unit: np.ndarray
    usual: np.ndarray | bool = False

    @property
    def centre(self) -> np.ndarray:
        """The offset, measured in units: (J,)."""
        return self.offset / self.unit

    @property
    def level(self) -> np.ndarray:
        """The value of most draws, measured in units, or 0: (J,)."""
        return np.where(self.usual, self.centre, 0.0)

    def original(self, values: np.ndarray) -> np.ndarray:
        """Values (..., J) in the user's units."""
        return values * self.unit + self.offset

    def apply(self, stage: Stage) -> Stage:
        """The stage of raw values in these units."""
        return replace(stage, values=(stage.values - self.offset) / self.unit)

    def fitted(self, size: np.ndarray) -> Units:
        """Units in which the largest values, of ``size`` (J,) in the present ones, are ordinary."""
        extreme = (size > 1e30) | ((size > 0) & (size < 1e-30) & (self.unit > 1e-250))
        if not extreme.any():
            return self
        return replace(self, unit=self.unit * np.where(extreme, _power_of_2(size), 1.0))


def units_of(values: np.ndarray, shifted: bool = True) -> Units:
    """Units for an integrand with these values (n, J); no offset unless ``shifted``."""
    n, j = values.shape
    offset, usual = np.zeros(j), np.zeros(j, dtype=bool)
    if shifted:
        # a value taken by most is the median as well
        middle = np.partition(values, n // 2, axis=0)[n // 2]
        usual = ((values == middle).sum(0) > n / 2) & (middle != 0)
        # small differences of large numbers would drown in what rounding does to the large ones
        flat = np.abs(values - middle).max(0) < np.abs(middle) / 1000
        offset = np.where(usual | flat, middle, 0.0)
    size = np.abs(values - offset).max(0)
    size = np.where(size > 0, size, np.abs(offset))
    size = np.where(size > 0, size, size.max())
    extreme = (size > 1e30) | ((size > 0) & (size < 1e-30))
    return Units(offset, np.where(extreme, _power_of_2(size), 1.0), usual)


def _power_of_2(size: np.ndarray) -> np.ndarray:
    return 2.0 ** np.round(np.log2(np.maximum(size, 1e-300)))


def check_flags(**flags: Any) -> None:
    """Arguments that have to be True or False."""
    for name, value in flags.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name}: got {value!r}; expected True or False")


@dataclass(frozen=True)
class Sampler:
    """Draws stages: what stays the same from one to the next.

    ``derived`` turns what the function returned, (n, C), into the integrand, (n, J).
    """

    run: Any
    space: WorkingSpace
    vectorized: bool
    units: Units | None = None
    derived: Callable[[np.ndarray], np.ndarray] | None = None

    def draw(self, name: str, densities: tuple[Component, ...], counts: np.ndarray) -> Stage:
        """A stage of counts[k] draws from densities[k], on the random stream ``name``."""
        mixture = Mixture(counts / counts.sum(), densities)
        u = mixture.sample(generator(self.run.root, name), counts)
        x, log_f = self.space.to_inputs(u), self.space.log_density(u)
        # where the input law has no density the integrand may not even be defined
        inside = log_f > -np.inf
        called = x if inside.all() else x[inside]
        if len(called) == 0:
            raise DegeneracyError(f"{name}: every draw has density zero under the input law")
        jobs = [(called[a:b],) for a, b in batches(len(called), vectorized=self.vectorized)]
        blocks = self.run.map(name, jobs, [len(job[0]) for job in jobs])
        tables = [checked_table(block, job[0]) for block, job in zip(blocks, jobs, strict=True)]
        widths = {t.shape[1] for t in tables}
        if self.units is not None and self.derived is None:
            widths.add(len(self.units.unit))
        if len(widths) > 1:
            raise ModelError(
                f"integrand: returned {' and '.join(map(str, sorted(widths)))} values per input in "
                "different batches; expected as many in each"
            )
        values, raw = np.concatenate(tables), None
        if self.derived is not None:
            raw = np.full((len(x), values.shape[1]), np.nan)
            raw[inside] = values
            values = self.derived(values)
        if len(called) < len(x):
            values, known = np.zeros((len(x), values.shape[1])), values
            values[inside] = known
        log_g = log_densities(densities, u)
        log_h = log_mixture(log_g, mixture.weights)
        scalar = blocks[0].ndim == 1
        stage = Stage(u, x, values, log_f, log_g, log_h, mixture, counts, scalar, raw)
        return stage if self.units is None else self.units.apply(stage)


def effective_draws(t: np.ndarray) -> np.ndarray:
    """How many equal draws those of t (n, J) are worth in absolute value: (J,)."""
    return np.abs(t).sum(0) ** 2 / np.maximum((t**2).sum(0), 1e-300)


def split(n: int, weights: np.ndarray, multiple: int = 1) -> np.ndarray:
    """Counts near n * weights: multiples of ``multiple``, none zero, summing to n rounded down."""
    parts = n // multiple
    if parts < len(weights):
        raise ValueError(f"{n} draws are too few for {len(weights)} mixture components")
    exact = weights / weights.sum() * (parts - len(weights))
    counts = 1 + np.floor(exact).astype(np.int64)
    rest = parts - counts.sum()
    counts[np.argsort(np.floor(exact) - exact, kind="stable")[:rest]] += 1
    return counts * multiple


def joined(stages: Sequence[Stage], name: str) -> np.ndarray:
    """One field of the stages, along the draws."""
    parts = [getattr(stage, name) for stage in stages]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass
class History:
    """All draws so far, under the deterministic mixture of the stages that made them."""

    stages: list[Stage] = field(default_factory=list)
    log_total: np.ndarray = field(default_factory=lambda: np.empty(0))  # log sum_s n_s h_s

    def add(self, stage: Stage) -> None:
        """Append a stage; the joint mixture of all draws changes with it."""
        terms = [np.log(len(s)) + s.mixture.log_density(stage.u) for s in self.stages]
        new = np.logaddexp.reduce([*terms, np.log(len(stage)) + stage.log_h], axis=0)
        if self.stages:
            old = np.log(len(stage)) + stage.mixture.log_density(self.gather("u"))
            new = np.concatenate([np.logaddexp(self.log_total, old), new])
        self.log_total = new
        self.stages.append(stage)

    def rescale(self, ratio: np.ndarray) -> None:
        """All values times ratio (J,): they are in other units from now on."""
        self.stages = [replace(s, values=s.values * ratio) for s in self.stages]

    def gather(self, name: str) -> np.ndarray:
        """One field of all stages, along the draws."""
        return joined(self.stages, name)

    def targets(self) -> np.ndarray:
        """Integrand times weight under the joint mixture, (n, J)."""
        return self.gather("values") * np.exp(self.gather("log_f") - self.log_h)[:, None]

    @property
    def log_h(self) -> np.ndarray:
        """Log density of the joint mixture at all draws, (n,)."""
        return self.log_total - np.log(len(self.log_total))


# ------------------------------------------------------------------------------ control variates


@dataclass(frozen=True)
class Controls:
    """Control variates asked for.

    Attributes
    ----------
    components : bool
        Whether the mixture components serve.
    functions : tuple
        Functions (u, x) -> (n, k); their columns less ``means`` integrate to zero under the law.
    means : ndarray, shape (E,)
    mean_covariance : ndarray, shape (E, E)
        Covariance of the means; zero where they are exact.
    prefixes : tuple of int
        Numbers of leading columns that make sense on their own, such as polynomial degrees.
    """

    components: bool
    functions: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...]
    means: np.ndarray
    mean_covariance: np.ndarray
    prefixes: tuple[int, ...]

    def values(self, u: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Centred functions at points u with inputs x: (n, E)."""
        if not self.functions:
            return np.empty((len(u), 0))
        return np.concatenate([g(u, x) for g in self.functions], axis=1) - self.means


def _polynomials(basis: Any, space: WorkingSpace, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    if space.centre is None:
        return basis(u, x)
    values = np.zeros((len(x), basis.sizes[-1] if basis.sizes else 0))
    inside = space.law.log_density(x) > -np.inf
    values[inside] = basis(space.law.from_inputs(x[inside]), x[inside])
    return values


def _surrogate(function: Callable, u: np.ndarray, x: np.ndarray) -> np.ndarray:
    values = np.asarray(function(x), dtype=np.float64)
    return checked_table(values, x, "control_variates: the surrogate")


def prepare_controls(asked: Any, space: WorkingSpace, budget: int, root: Any) -> Controls:
    """The user's ``control_variates`` made ready; means that need it are estimated here."""
    items = list(asked) if isinstance(asked, list | tuple) else [asked]
    if not items:
        raise ValueError("control_variates: got an empty list; for none of them pass False")
    components = False
    functions: list[Callable[[np.ndarray, np.ndarray], np.ndarray]] = []
    means: list[np.ndarray] = []
    covariances: list[np.ndarray] = []
    prefixes: list[int] = []
    for item in items:
        if isinstance(item, bool | np.bool_):
            components = components or bool(item)
            continue
        width = sum(m.size for m in means)
        if isinstance(item, str):
            if item != "polynomial":
                raise ValueError(
                    f"control_variates: got {item!r}; expected True, False, 'polynomial', a "
                    "callable surrogate, or a list of these"
                )
            if not space.law.mapped:
                raise ValueError(
                    "control_variates: 'polynomial' needs a law with an isoprobabilistic map "
                    "(independent marginals, a Gaussian copula or a multivariate normal law)"
                )
            basis = polynomial_basis(
                space.law, max(space.law.dimension, min(MOST_TERMS, budget // 20)), budget / 20
            )
            functions.append(partial(_polynomials, basis, space))
            means.append(np.zeros(basis.sizes[-1] if basis.sizes else 0))
            covariances.append(np.zeros((len(means[-1]),) * 2))
            # degrees that add little to the one before are not worth a choice of their own
            kept = 0
            for terms in basis.sizes:
                if terms >= 1.7 * kept or terms == basis.sizes[-1]:
                    prefixes.append(width + terms)
                    kept = terms
        elif callable(item):
            draws = int(min(20 * budget, 1_000_000))
            surrogate = partial(_surrogate, item)
            total: Moments | None = None
            rng = generator(root, "surrogate", len(functions))
            for first in range(0, draws, ROWS):
                x = space.law.sample(rng, min(ROWS, draws - first))
                values = surrogate(x, x)
                block = moments(values, values[:, :0])
                total = block if total is None else total + block
            assert total is not None
            mean = total.z / draws
            functions.append(surrogate)
            means.append(mean)
            covariances.append((total.zz / draws - np.outer(mean, mean)) / (draws - 1))
            prefixes.append(width + len(mean))
        else:
            raise TypeError(
                f"control_variates: got {type(item).__name__}; expected True, False, 'polynomial', "
                "a callable surrogate, or a list of these"
            )
    size = sum(len(m) for m in means)
    covariance = np.zeros((size, size))
    at = 0
    for part in covariances:
        covariance[at : at + len(part), at : at + len(part)] = part
        at += len(part)
    return Controls(
        components,
        tuple(functions),
        np.concatenate(means) if means else np.empty(0),
        covariance,
        tuple(prefixes),
    )


@dataclass(frozen=True)
class Ratios:
    """Integrands, component densities and control functions over the density of the draws.

    ``targets`` phi f/h (n, J); ``numerators`` (n, K + E): K component densities over h, then the
    control functions times f/h.
    """

    targets: np.ndarray
    numerators: np.ndarray
    size: int  # K

    def controls(self, mixture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Targets (n, J), mean-zero controls (n, K + E) and weights (n,) under the mixture."""
        weights = self.numerators[:, : self.size] @ mixture
        z = self.numerators / weights[:, None]
        z[:, : self.size] -= 1
        return self.targets / weights[:, None], z, weights


def ratios_of(
    u: np.ndarray,
    x: np.ndarray,
    values: np.ndarray,
    log_f: np.ndarray,
    log_h: np.ndarray,
    log_g: np.ndarray,
    controls: Controls,
) -> Ratios:
    """Ratios at points u with inputs x, drawn from a density with logarithm log_h."""
    f = np.exp(log_f - log_h)[:, None]
    g = np.exp(log_g - log_h[:, None])
    extra = controls.values(u, x) * f
    return Ratios(values * f, np.concatenate([g, extra], axis=1), g.shape[1])


def choices_of(controls: Controls, components: Components, draws: int) -> list[Choice]:
    """Ways to regress, the most restrained first, as many as ``draws`` can tell apart."""
    k = len(components.densities)
    choices = [Choice("none")]
    if controls.components:
        direction = np.zeros((k + len(controls.means), components.direction.shape[1]))
        direction[:k] = components.direction
        choices.append(Choice("own component", direction=direction))
        if draws >= 8 * k:
            choices += [Choice(f"components, cut-off {c:g}", k, c) for c in (0.1, 0.01, 0.001)]
    for prefix in controls.prefixes:
        if draws >= 8 * (k + prefix):
            choices.append(Choice(f"components and {prefix} functions", k + prefix, 1e-3))
    return choices


# -------------------------------------------------------------------------------- corrected means


@dataclass(frozen=True)
class Mean:
    """A corrected mean over n stratified draws.

    ``plain`` is the variance of the mean had no control been used, ``second`` the mean of
    phi^2 f/h (so second - value^2 is the variance of plain Monte Carlo per draw). ``hits`` counts
    the draws whose integrand is not 0, ``effective`` how many equal ones |phi| f/h is worth;
    ``doubt`` is the variance of ``variance``, ``tail_shape`` the Pareto k-hat of phi f/h
    (NaN past the first 50 expectations). ``on_functions`` (E, J) are the coefficients of the
    control functions: `pooled_mean` counts the error of their means, which all rounds share.
    ``chosen`` (J,) is how each was regressed.
    """

    n: int
    value: np.ndarray
    covariance: np.ndarray | None
    factor: np.ndarray | None
    variance: np.ndarray
    plain: np.ndarray
    second: np.ndarray
    hits: np.ndarray
    effective: np.ndarray
    doubt: np.ndarray
    tail_shape: np.ndarray
    on_functions: np.ndarray
    chosen: np.ndarray

    @property
    def degrees_of_freedom(self) -> np.ndarray:
        """Satterthwaite's: those of a chi-square law as uncertain as the variance is, (J,)."""
        return np.maximum(2 * self.variance**2 / np.maximum(self.doubt, 1e-300), 3.0)


def corrected_mean(
    f: np.ndarray,
    values: np.ndarray,
    controls_at: Callable[[int, int], np.ndarray],
    counts: np.ndarray,
    chosen: np.ndarray | None,
    choices: Sequence[Choice],
    earlier: Moments | None,
    shift: np.ndarray,
    controls: Controls,
) -> Mean:
    """Cross-fitted, stratified mean of phi f/h over draws that stand stratum by stratum.

    Parameters
    ----------
    f : ndarray, shape (n,)
        Weights: input density over sampling density.
    controls_at : callable
        (first, last) -> mean-zero controls of those draws.
    counts : ndarray of int
        Draws per stratum, multiples of the number of folds.
    chosen : ndarray of int, shape (J,), or None
        Which of ``choices``; None: decided for every fold on the others.
    shift : ndarray, shape (J,)
        A guess of the expectations, subtracted for accuracy only.
    """
    n, j = values.shape
    stratum = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
    fold = place % FOLDS
    free = range(len(choices)) if chosen is None else np.unique(chosen)
    regress = any(choices[c].size or choices[c].direction is not None for c in free)
    fitted = [np.zeros((0, j))] * FOLDS
    if regress:
        sums: list[Moments | None] = [None] * FOLDS
        for a in range(0, n, ROWS):
            b = min(n, a + ROWS)
            z, t = controls_at(a, b), values[a:b] * f[a:b, None] - shift
            for k in range(FOLDS):
                rows = fold[a:b] == k
                block = moments(z[rows], t[rows])
                before = sums[k]
                sums[k] = block if before is None else before + block
        folds = [s for s in sums if s is not None]
        fitted = cross_fit(folds, chosen, choices, earlier)
        if chosen is None:
            chosen = select(folds, choices)
    groups = 200 if j > FULL_COVARIANCE else 0
    first = np.zeros((len(counts), j))
    square, cube, fourth, plain, raw = np.zeros((5, len(counts), j))
    second = np.zeros(j)
    cross = np.zeros((j, j)) if not groups else None
    group_sum = np.zeros((groups, j))
    kept = np.empty((min(j, TAILS), n))
    hits = np.zeros(j, dtype=np.int64)
    size, size_square = np.zeros(j), np.zeros(j)
    for a in range(0, n, ROWS):
        b = min(n, a + ROWS)
        t = values[a:b] * f[a:b, None]
        hits += (t != 0).sum(0)
        size += np.abs(t).sum(0)
        size_square += np.einsum("nj,nj->j", t, t)
        second += (t * values[a:b]).sum(0)
        kept[:, a:b] = t[:, :TAILS].T
        t -= shift
        r = t.copy()
        if regress:
            z = controls_at(a, b)
            for k in range(FOLDS):
                rows = fold[a:b] == k
                r[rows] -= z[rows] @ fitted[k]
        cuts = np.flatnonzero(np.diff(stratum[a:b], prepend=-1))
        here = stratum[a:b][cuts]
        first[here] += np.add.reduceat(r, cuts)
        r2 = r * r
        square[here] += np.add.reduceat(r2, cuts)
        cube[here] += np.add.reduceat(r2 * r, cuts)
        fourth[here] += np.add.reduceat(r2 * r2, cuts)
        raw[here] += np.add.reduceat(t, cuts)
        plain[here] += np.add.reduceat(t * t, cuts)
        if cross is not None:
            cross += r.T @ r
        else:
            np.add.at(group_sum, place[a:b] % groups, r)
    size_of = counts[:, None]
    inner = size_of / (size_of - 1)
    centre = first / size_of
    spread = inner * np.maximum(square / size_of - centre**2, 0)
    variance = (size_of * spread).sum(0) / n**2
    peak = fourth - 4 * centre * cube + 6 * centre**2 * square - 3 * size_of * centre**4
    doubt = np.maximum(peak / size_of - (size_of - 3) / (size_of - 1) * spread**2, 0)
    doubt = (size_of * doubt).sum(0) / n**4
    plain_variance = (inner * np.maximum(plain - raw**2 / size_of, 0)).sum(0) / n**2
    value = shift + first.sum(0) / n
    on_functions = np.zeros((len(controls.means), j))
    if regress and len(controls.means):
        on_functions = np.mean(fitted, axis=0)[-len(controls.means) :]
    covariance = factor = None
    if cross is not None:
        covariance = (cross - (first / size_of).T @ first) / n**2
        # the two differ by n/(n - 1) at most, unless cancellation left nothing but rounding
        own = np.diag(covariance)
        scale = np.sqrt(np.divide(variance, own, out=np.zeros(j), where=own > variance / 4))
        covariance = covariance * np.outer(scale, scale)
        np.fill_diagonal(covariance, variance)
    else:
        # strata are not shared out evenly: their means must not pass for noise
        shares = np.zeros((groups, len(counts)))
        np.add.at(shares, (place % groups, stratum), 1)
        factor = (group_sum - shares @ centre).T
        factor *= np.sqrt(variance / np.maximum((factor**2).sum(1), 1e-300))[:, None]
    return Mean(
        n,
        value,
        covariance,
        factor,
        variance,
        plain_variance,
        second / n,
        hits,
        size**2 / np.maximum(size_square, 1e-300),
        doubt,
        _tail_shapes(kept, j),
        on_functions,
        np.zeros(j, dtype=np.int64) if chosen is None else chosen,
    )


def pooled_mean(parts: Sequence[Mean], mean_covariance: np.ndarray) -> Mean:
    """Rounds of independent draws joined in proportion to their sizes.

    ``mean_covariance`` (E, E), that of the means of the control functions, enters here and once:
    every round was corrected with the same means.
    """
    n = sum(p.n for p in parts)
    w = [p.n / n for p in parts]

    def total(name: str, power: int) -> Any:
        terms = [getattr(p, name) for p in parts]
        if terms[0] is None:
            return None
        return sum(c**power * term for c, term in zip(w, terms, strict=True))

    covariance, variance, factor = total("covariance", 2), total("variance", 2), None
    if parts[0].factor is not None:
        factor = np.concatenate(
            [c * np.asarray(p.factor) for c, p in zip(w, parts, strict=True)], axis=1
        )
    on_functions = total("on_functions", 1)
    if mean_covariance.any():
        if factor is None:
            extra = estimated_mean_covariance(on_functions, mean_covariance)
            covariance = covariance + extra
            variance = variance + np.diag(extra)
        else:
            sizes, vectors = np.linalg.eigh(mean_covariance)
            extra = on_functions.T @ (vectors * np.sqrt(np.maximum(sizes, 0.0)))
            factor = np.concatenate([factor, extra], axis=1)
            variance = variance + (extra**2).sum(1)
    return Mean(
        n,
        total("value", 1),
        covariance,
        factor,
        variance,
        total("plain", 2),
        total("second", 1),
        np.sum([p.hits for p in parts], axis=0),
        np.sum([p.effective for p in parts], axis=0),
        total("doubt", 4),
        np.max([p.tail_shape for p in parts], axis=0),
        on_functions,
        parts[0].chosen,
    )


def mean_of(
    draws: Sequence[Stage],
    log_g: np.ndarray,
    log_h: np.ndarray,
    counts: np.ndarray,
    controls: Controls,
    choices: Sequence[Choice],
    chosen: np.ndarray | None,
    earlier: Moments | None,
    shift: np.ndarray,
) -> Mean:
    """Corrected mean over the draws of stages, from a mixture with log density ``log_h`` (n,).

    Means of control functions count as exact here; `pooled_mean` adds their error.
    ``log_g`` (n, K) are the densities that serve as controls; ``counts`` the sizes of the strata.
    """
    u, x, values, log_f = (joined(draws, name) for name in ("u", "x", "values", "log_f"))
    f = np.exp(log_f - log_h)

    def controls_at(a: int, b: int) -> np.ndarray:
        g = np.exp(log_g[a:b] - log_h[a:b, None]) - 1
        if not controls.functions:
            return g
        extra = controls.values(u[a:b], x[a:b]) * f[a:b, None]
        return np.concatenate([g, extra], axis=1)

    return corrected_mean(f, values, controls_at, counts, chosen, choices, earlier, shift, controls)


def self_normalized_mean(stage: Stage) -> Mean:
    """Self-normalised mean sum w phi / sum w, its variance by the delta method."""
    n = len(stage)
    log_w = stage.log_f - stage.log_h
    w = np.exp(log_w - log_w.max())
    w *= n / w.sum()
    value = w @ stage.values / n
    r = w[:, None] * (stage.values - value)
    covariance = r.T @ r / n / (n - 1)
    variance = np.diag(covariance).copy()
    second = w @ stage.values**2 / n
    t = w[:, None] * stage.values
    effective = np.minimum(effective_draws(t), effective_draws(r))
    hits = (t != 0).sum(0)
    doubt = (r**4).mean(0) / n**3
    j = r.shape[1]
    shape = np.fmax(_tail_shapes(t.T[:TAILS], j), _tail_shapes(r.T[:TAILS], j))
    return Mean(
        n,
        value,
        covariance,
        None,
        variance,
        variance,
        second,
        hits,
        effective,
        doubt,
        shape,
        np.zeros((0, r.shape[1])),
        np.zeros(r.shape[1], dtype=np.int64),
    )


# ------------------------------------------------------------------------------------- the report


def _tail_shapes(terms: np.ndarray, count: int) -> np.ndarray:
    """Pareto k-hat of the rows of ``terms``, the heavier tail of each; NaN for the rest of count.

    A tail with under a tenth of the sum of squares, or under 25 terms, has no say.
    """
    shapes = np.full(count, np.nan)
    for k, t in enumerate(terms):
        shapes[k] = -np.inf
        for side in (t[t > 0], -t[t < 0]):
            if len(side) >= 25 and side @ side > 0.1 * (t @ t):
                shapes[k] = max(shapes[k], pareto_k(np.log(side)))
    return shapes


def _largest_term(shapes: np.ndarray, values: np.ndarray, log_w: np.ndarray, x: np.ndarray) -> str:
    """Where the expectation with the heaviest tail hangs on few draws."""
    j = int(np.argmax(shapes))
    terms = np.abs(values[:, j]) * np.exp(log_w - log_w.max())
    i = int(terms.argmax())
    inputs = ", ".join(f"{v:.6g}" for v in x[i, :6]) + (", ..." if x.shape[1] > 6 else "")
    return (
        f" (a single draw, at input [{inputs}], makes up {terms[i] / terms.sum():.1%}). If more "
        "calls don't help, ask whether the expectation and its variance exist"
    )


def unreached(stage: Stage, there: np.ndarray, normalised: bool) -> tuple[float, np.ndarray]:
    """What draws of a proposal leave out of the law where they could have come.

    The law beyond the 20 largest weights should have the share that those weights say; what it
    has more was not reached. ``there`` (n,) is the log weight at draws of the law itself.

    Returns
    -------
    float
        Share of the law that the proposal leaves out or its draws did not reach; 0 within noise.
    ndarray of int, shape (20,)
        The draws with the largest weights, nearest to what was missed.
    """
    log_w = stage.log_f - stage.log_h
    log_total = np.log(len(log_w)) if normalised else np.logaddexp.reduce(log_w)
    top = np.argsort(log_w)[-20:]
    beyond = float(np.mean((there > log_w[top[0]] + 1e-9) & (there < np.inf)))
    largest = np.exp(log_w[top[log_w[top] > log_w[top[0]] + 1e-9]] - log_total)
    noise = np.sqrt(beyond / len(there) + (largest**2).sum())
    missed = beyond - largest.sum()
    return missed if missed > 2 * noise else 0.0, top


def report(
    mean: Mean,
    draws: list[Stage],
    log_h: np.ndarray,
    evaluations: int,
    names: tuple[str, ...],
    *,
    method: str,
    diagnostics: dict[str, Any],
    seconds: float,
    source: dict[str, Any],
    space: WorkingSpace,
    defensive: float,
    adapted_value: np.ndarray,
    adapted_trials: np.ndarray,
    pull: Any,
    cautions: list[str],
    units: Units,
) -> Estimate:
    """The estimate with its diagnostics, and a warning where it can't be promised.

    ``mean``, ``draws`` and ``adapted_value`` (J,), what adaptation found where it saw little and
    NaN elsewhere, are in ``units``; the estimate is in the user's. ``adapted_trials`` (J,) are the
    draws of the input law that adaptation spent on expectations without any hit; ``pull`` (J,) is
    a bias found, whose square is added to the variance.
    """
    tiny = units.unit < 1 / LARGEST
    if tiny.any():
        i = int(tiny.argmax())
        raise ModelError(
            f"integrand: {names[i]!r} has sizes up to {units.unit[i]:.1g}; expected sizes above "
            f"{1 / LARGEST:g}, whose squares are numbers still: use other units"
        )
    log_f, values, x = (joined(draws, name) for name in ("log_f", "values", "x"))
    n, scalar = len(values), draws[0].scalar
    log_w = log_f - log_h
    weight_shape = pareto_k(log_w)
    shapes = mean.tail_shape
    # what the input law's own draws can't exclude: a region as likely as one over their number
    trials = np.maximum(defensive * n + adapted_trials, 3.0)
    unseen = mean.hits == 0
    # never other than one value that isn't 0
    fixed = unseen & units.usual
    level = units.level
    barely = ~unseen & (mean.effective < 10)
    value = np.where(unseen, 0.0, mean.value)
    largest = np.abs(values).max(0) if barely.any() else 0.0
    # nor can what adaptation saw be forgotten where it saw little
    doubtful = ~unseen & np.isfinite(adapted_value)
    surplus = np.where(doubtful, mean.value - adapted_value, 0.0) ** 2
    surplus += np.where(barely, largest / trials, 0.0) ** 2 + np.square(pull)
    variance = np.where(unseen, 1 / trials**2, mean.variance + surplus)
    # the rule of three as a symmetric interval: up to 3/trials of the law may give 0, or twice it
    variance = np.where(fixed, (-np.log(0.05) / 1.96 * level / trials) ** 2, variance)
    if not defensive:
        variance = np.where(unseen, np.nan, variance)
    rounding = (4 * np.finfo(float).eps * np.abs(value + units.centre)) ** 2
    # an error this small is one of rounding, of which nothing can be said but its size
    exact = mean.variance <= (1e-7 * (value + level)) ** 2
    freedom = np.where(unseen | exact, np.inf, mean.degrees_of_freedom)
    crude = np.maximum(mean.second - value**2, 0.0) / evaluations
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(unseen, np.nan, crude / np.maximum(variance, rounding))
        bought = np.where(unseen, np.nan, mean.plain / np.maximum(mean.variance, rounding))

    def listed(which: np.ndarray) -> str:
        found = [names[i] for i in np.flatnonzero(which)]
        return ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")

    never = unseen & ~fixed
    if never.any() and defensive:
        cautions.append(
            f"{listed(never)}: no draw gave a value other than 0; the interval is an upper limit "
            "for the probability that the integrand is not 0. More calls, or a proposal that "
            "reaches farther, would help"
        )
    elif never.any():
        cautions.append(
            f"{listed(never)}: no draw gave a value other than 0, and without draws of the input "
            "law (defensive=0) nothing limits what was missed: there is no standard error"
        )
    if fixed.any():
        cautions.append(
            f"{listed(fixed)}: every draw gave the same value; the standard error allows for 0, or "
            f"twice that value, on a part of the input law as likely as 3 in "
            f"{trials[fixed].min():.0f}, and for "
            "nothing larger"
        )
    if barely.any():
        cautions.append(
            f"{listed(barely)}: the estimate hangs on draws worth fewer than 10 equal ones; the "
            "standard error was widened by what the draws of the input law can't exclude. More "
            "calls would help, or a proposal to start from"
        )
    if doubtful.any():
        cautions.append(
            f"{listed(doubtful)}: adaptation ended before it had seen enough (draws worth fewer "
            "than 10 equal ones); the standard error was widened by the distance between its "
            "estimate and the final one. More calls would help"
        )
    few = ~unseen & ~barely & ((mean.effective < 30) | (freedom < 5))
    if few.any():
        cautions.append(
            f"{listed(few)}: the interval leans on a few draws (worth fewer than 30 equal ones, or "
            "fewer than 5 degrees of freedom). More calls would help"
        )
    # over 0.5 the variance is infinite; bounded terms that spread widely can look the same, but
    # then the variance does not hang on a few of them
    heavy = ~unseen & (shapes > 0.5) & (freedom < 50)
    if heavy.any():
        cautions.append(
            f"{listed(heavy)}: Pareto k-hat up to {shapes[heavy].max():.2f}: the tail of integrand "
            "times weight is too heavy for the standard error to be promised"
            + _largest_term(np.where(heavy, shapes, -np.inf), values, log_w, x)
        )
    limit = pareto_k_threshold(n)
    if not defensive and weight_shape > limit:
        cautions.append(
            f"Pareto k-hat of the weights is {weight_shape:.2f} (limit {limit:.2f}): the proposal "
            "misses part of the input law"
        )
    diagnostics = {
        "gain_over_monte_carlo": gain,
        "control_variance_reduction": bought,
        "pareto_k": shapes,
        "effective_draws": mean.effective,
        "columns": [
            "gain_over_monte_carlo",
            "control_variance_reduction",
            "control_variate",
            "pareto_k",
            "effective_draws",
        ],
        "effective_sample_size": effective_sample_size(log_w),
        "perplexity": perplexity(log_w),
        "largest_weight": largest_weight(log_w),
        "pareto_k_weights": weight_shape,
        **diagnostics,
        "warnings": cautions,
    }
    if cautions:
        warnings.warn(f"{method}: " + "; ".join(cautions), PrecisionWarning, stacklevel=3)
    lost = np.isnan(variance)
    no_hit = never & ~lost
    value, values = units.original(value), units.original(values)
    keywords: dict[str, Any] = {}
    if mean.factor is not None:
        factor = np.where(unseen[:, None], 0.0, mean.factor)
        factor *= np.sqrt(np.maximum(variance, rounding) / np.maximum(mean.variance, 1e-300))[
            :, None
        ]
        factor[fixed | lost, 0] = np.sqrt(variance[fixed | lost])
        factor *= units.unit[:, None]
        keywords["factor"] = factor
    else:
        assert mean.covariance is not None
        alone = unseen | exact
        covariance = np.where(alone[:, None] | alone, 0.0, mean.covariance)
        covariance = (covariance + covariance.T) / 2
        covariance[np.isnan(variance)] = covariance[:, np.isnan(variance)] = np.nan
        np.fill_diagonal(covariance, np.maximum(variance, rounding))
        covariance *= np.outer(units.unit, units.unit)
        keywords["covariance"] = covariance.reshape(()) if scalar else covariance
    kept = {} if draws[0].raw is None else {"returned": (("draw", "column"), joined(draws, "raw"))}
    component = np.concatenate([np.repeat(np.arange(len(s.counts)), s.counts) for s in draws])
    lower, upper = space.law.ranges
    return Estimate(
        value[0] if scalar else value,
        names=names,
        method=method,
        degrees_of_freedom=freedom[0] if scalar else freedom,
        trials=np.where(no_hit, trials, 0.0).reshape(value.shape[int(scalar) :])
        if no_hit.any()
        else None,
        diagnostics=diagnostics,
        cost={
            "evaluations": evaluations,
            "seconds": seconds,
            "stages": len(diagnostics["stages"]) + 1,
        },
        provenance=source,
        sample={
            "inputs": (("draw", "input"), x),
            "values": (("draw", "expectation"), values),
            "log_weight": (("draw",), log_w),
            "log_density": (("draw",), space.input_log_density(x, log_f)),
            **kept,
            "component": (("draw",), component),
            "input": (("input",), np.array(space.law.names)),
            "lower": (("input",), lower),
            "upper": (("input",), upper),
            "expectation": (("expectation",), np.array(names)),
        },
        **keywords,
    )


def expectation_names(names: Sequence[str] | None, count: int, scalar: bool) -> tuple[str, ...]:
    """The names given, checked, or E1, E2, ..."""
    given = given_names(names)
    if given is None:
        return ("estimate",) if scalar else tuple(f"E{i + 1}" for i in range(count))
    if len(given) != count or len(set(given)) != count:
        raise ValueError(
            f"names: got {len(given)} ({len(set(given))} different); expected {count} different "
            "names, one per value of the integrand"
        )
    return given


def arguments_of(law: Law, **others: Any) -> dict[str, Any]:
    """The arguments as JSON can hold them."""

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, list | tuple):
            return [plain(v) for v in value]
        if isinstance(value, Budget):
            return value.total
        if isinstance(value, Precision):
            return {
                "absolute": value.absolute,
                "relative": value.relative,
                "level": value.level,
                "max_budget": value.max_budget,
            }
        if isinstance(value, Law):
            return value.describe()
        return signature(value) if callable(value) else repr(value)

    return {"law": law.describe(), **{k: plain(v) for k, v in others.items()}}
