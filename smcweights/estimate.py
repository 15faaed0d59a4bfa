"""`Estimate`: what every function of the package returns, and what can be done with one.

An estimate is a value with the covariance of its ERROR, so that intervals, sums, ratios and
rankings of its components follow from it (`Estimate.interval`, `Estimate.apply`); it carries its
diagnostics, cost and provenance, and it can be stored and read back without loss. Independent
runs are pooled by `smcweights.combine`.

Every estimator promises that the nominal interval covers the truth as often as it says. Where it
can't promise, ``cautions`` say why and a `PrecisionWarning` was raised for each.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _compat, arguments, parts, randomness, storage, tables
from .cautions import Caution, printed, tell
from .delta_method import linearised
from .provenance import described
from .references import bibtex

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas
    import xarray
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Estimate:
    """An estimated value with the covariance of its error.

    Parameters
    ----------
    value : array_like, shape () or (J,)
        The estimate; finite, or NaN where it is not defined (0/0) and has no standard error.
    covariance : array_like, shape () or (J, J), optional
        Covariance of the ESTIMATOR (not of a draw): symmetric, positive semi-definite, finite. A
        component without standard error has NaN in its whole row and column.
    factor : array_like, shape (J, r), optional
        Instead of `covariance`, for large J: covariance = factor @ factor.T. A component without
        standard error has NaN in its whole row.
    names : sequence of str, shape (J,), optional
        Names of the components, all different. Default E1, E2, ...; ("estimate",) for a scalar.
    method : str
        What computed it.
    degrees_of_freedom : array_like, shape () or (J,)
        Of the variance estimate; where finite, intervals are Student's. Default infinity.
    trials : array_like, shape () or (J,), optional
        For a component that saw no hit at all, the effective number of independent Bernoulli
        trials behind it; 0 for all others. Its value has to be 0, its covariances are taken for
        0, its standard error is 1/trials and its interval reaches from 0 to the upper confidence
        limit -log(1 - level)/trials ("rule of three": 3/trials at 95 %).
    diagnostics : mapping, optional
        Names to numbers, strings, bools, None, arrays, or lists and dicts of these. The texts
        of the cautions join them under ``"warnings"``.
    cautions : iterable of Caution, optional
        What can't be promised; printed, and kept by `apply` and `combine`.
    columns : sequence of str, optional
        Names of diagnostics with one entry per component: they become columns of `summary` and
        follow the components into `est[...]`.
    bounds : (lower, upper), each a float or shape (J,), optional
        Between them the values are for certain: intervals are cut to them.
    limits : array_like, shape (6, 2) or (6, J, 2), optional
        Lower and upper ends of the intervals at levels 0.5, 0.8, 0.9, 0.95, 0.99 and 0.999, for an
        answer whose interval is an inverted test; infinite where it has no end. Those of other
        levels lie between, straight in the normal quantile. Functions of the value and pooled
        estimates don't have them.
    cost : mapping, optional
        Such as evaluations, seconds, stages.
    provenance : mapping, optional
        What `provenance` returns: enough to run it again.
    references : iterable of str, optional
        What to cite; by default the sources of the method.
    extension : callable, optional
        What `extend` calls, with the same arguments. It is code: it goes with this very estimate,
        not into files, parts or revised copies.
    sample : xarray.Dataset or mapping, optional
        Draws, log weights, values. A mapping of names to (dims, array) becomes a dataset when
        first asked for, so that building an estimate doesn't import xarray. Arrays aren't copied.

    Attributes
    ----------
    value : ndarray, shape () or (J,)
    names : tuple of str
    method : str
    degrees_of_freedom : ndarray, same shape as value
    trials : ndarray, same shape as value, or None
    factor : ndarray, shape (J, r), or None
    cautions : tuple of Caution
    columns : tuple of str
    bounds : (lower, upper), each a float or a tuple of J; or None
    limits : ndarray, shape (6, 2) or (6, J, 2); or None
    references : tuple of str
    diagnostics, cost, provenance : dict
        Copies of what was given, in plain Python types and read-only arrays.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above; the message says which, where, and what was expected.

    Examples
    --------
    >>> est = Estimate([2.0, 0.5], [[0.04, 0.01], [0.01, 0.01]], names=["mean", "tail"])
    >>> est
    Estimate of 2 components
      mean  2.00 +- 0.20  [1.61, 2.39]
      tail  0.50 +- 0.10  [0.30, 0.70]
    >>> est.apply(lambda v: v[1] / v[0], names="ratio").standard_error
    np.float64(0.0433...)
    """

    value: Array
    factor: Array | None
    names: tuple[str, ...]
    method: str
    degrees_of_freedom: Array
    trials: Array | None
    cautions: tuple[Caution, ...]
    columns: tuple[str, ...]
    bounds: parts.Bounds | None
    diagnostics: dict[str, Any]
    cost: dict[str, Any]
    provenance: dict[str, Any]
    _covariance: Array | None
    _sample: Any
    _extension: Callable[..., Estimate] | None = None
    references: tuple[str, ...] = ()
    limits: Array | None = None

    def __init__(
        self,
        value: ArrayLike,
        covariance: ArrayLike | None = None,
        *,
        factor: ArrayLike | None = None,
        names: Sequence[str] | str | None = None,
        method: str = "",
        degrees_of_freedom: ArrayLike = math.inf,
        trials: ArrayLike | None = None,
        diagnostics: Mapping[str, Any] | None = None,
        cautions: Iterable[Caution] = (),
        columns: Sequence[str] = (),
        bounds: parts.Bounds | None = None,
        limits: ArrayLike | None = None,
        cost: Mapping[str, Any] | None = None,
        provenance: Mapping[str, Any] | None = None,
        references: Iterable[str] | None = None,
        extension: Callable[..., Estimate] | None = None,
        sample: xarray.Dataset | Mapping[str, tuple] | None = None,
    ) -> None:
        if (covariance is None) == (factor is None):
            given = "neither" if covariance is None else "both"
            raise TypeError(f"covariance and factor: got {given}; expected exactly one of them")
        if not isinstance(method, str):
            raise TypeError(f"method: got {type(method).__name__}; expected str")
        arguments.storable("method", method)
        v = parts.value(value)
        no_hit_trials = parts.trials(trials, v)
        no_hit = None if no_hit_trials is None else no_hit_trials > 0
        plain = parts.mapping("diagnostics", diagnostics)
        checked = {
            "value": v,
            "factor": parts.factor(factor, v, no_hit),
            "names": parts.names(names, v),
            "method": method,
            "degrees_of_freedom": parts.degrees_of_freedom(degrees_of_freedom, v),
            "trials": no_hit_trials,
            "cautions": parts.cautions(cautions, plain),
            "columns": parts.columns(columns, plain, v),
            "bounds": parts.bounds(bounds, v),
            "limits": parts.limits(limits, v),
            "diagnostics": plain,
            "cost": parts.mapping("cost", cost),
            "provenance": parts.mapping("provenance", provenance),
            "references": parts.references(references, method),
            "_covariance": parts.covariance(covariance, v, no_hit),
            "_sample": parts.sample(sample),
            "_extension": extension
            if extension is None
            else arguments.function("extension", extension),
        }
        for content in checked.values():
            if isinstance(content, np.ndarray):
                content.flags.writeable = False
        self.__dict__.update(checked)  # at once, past what freezes them
        if np.isnan(v).any() and not np.isnan(self.variance[np.isnan(v)]).all():
            arguments.finite("value", value)

    @property
    def covariance(self) -> Array:
        """Covariance of the estimator, shape () or (J, J), whether it is held whole or factored."""
        whole = self._covariance
        if whole is None:
            whole = cast(Array, self.factor) @ cast(Array, self.factor).T
        if self.trials is None:
            return whole
        return whole + (np.diag(self._no_hit_variance) if whole.ndim else self._no_hit_variance)

    @property
    def variance(self) -> Array:
        """Diagonal of the covariance, shaped like `value`, without building the matrix."""
        if self._covariance is None:
            factor = cast(Array, self.factor)
            own = np.einsum("jr,jr->j", factor, factor)
        else:
            own = self._covariance.diagonal() if self.value.ndim else self._covariance
        return own if self.trials is None else own + self._no_hit_variance

    @property
    def _no_hit_variance(self) -> Array:
        """1/trials^2 of the components without a hit, 0 elsewhere; shaped like `value`."""
        trials = cast(Array, self.trials)
        return np.divide(1.0, trials**2, out=np.zeros_like(trials), where=trials > 0)

    @property
    def standard_error(self) -> Array:
        """Square root of the variance, shaped like `value`; NaN where there is none."""
        return np.sqrt(self.variance)

    @property
    def relative_error(self) -> Array:
        """Standard error over absolute value; inf where the value is 0 and its error is not."""
        error, size = self.standard_error, np.abs(self.value)
        unknown = np.where(error == 0, 0.0, np.where(np.isnan(error), np.nan, np.inf))
        return np.divide(error, size, out=unknown, where=size > 0)[()]

    @property
    def sample(self) -> xarray.Dataset | None:
        """The stored sample as an xarray.Dataset, or None."""
        if isinstance(self._sample, dict):
            import xarray

            object.__setattr__(self, "_sample", xarray.Dataset(self._sample))
        return self._sample

    @property
    def bibtex(self) -> str:
        """The `references` as entries for BibTeX."""
        return bibtex(self.references)

    def extend(
        self,
        model: Callable[..., Any],
        budget: int,
        *,
        executor: Executor | str | None = None,
        progress: bool | None = None,
    ) -> Estimate:
        """The same estimate from more calls of the model.

        What was learned on the way stays as it is, new draws join those there are, and the answer
        follows from all of them: as if the run had been given both numbers of calls in two rounds,
        to the last digit. One that hangs on a poor proposal, as its cautions say, is better run
        anew, and both pooled by `smcweights.combine`. With a checkpoint, the same call with a
        larger budget does the same.

        Parameters
        ----------
        model : callable
            The function that was estimated, the same as before.
        budget : int
            Calls beyond those so far.
        executor, progress
            As for the function that returned this estimate.

        Returns
        -------
        Estimate
            Its cost is that of all calls.

        Raises
        ------
        ValueError
            This estimate knows of no way: it was read from a file, is a part or a function of
            another one, or of a method that doesn't go on; or the model or the budget is wrong.

        Examples
        --------
        >>> import smcweights as smw
        >>> from scipy import stats
        >>> def square(x):
        ...     return x[:, 0] ** 2
        >>> first = smw.adaptive_importance_sampling(square, stats.norm(), 1_000, seed=1)
        >>> more = first.extend(square, 3_000)
        >>> more.cost["evaluations"], bool(more.standard_error < 0.6 * first.standard_error)
        (4000, True)
        """
        if self._extension is None:
            raise ValueError(
                "extend: this estimate can't go on from where it stopped: it was read from a file, "
                "was made of others, or its method has no way; expected what "
                "adaptive_importance_sampling or failure_probability returned. With checkpoint= "
                "the same call of these with a larger budget goes on; others are run again with "
                "another seed, and pooled by combine"
            )
        return self._extension(model, budget, executor=executor, progress=progress)

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Confidence interval of every component on its own.

        Parameters
        ----------
        level : float
            Nominal coverage, between 0 and 1.

        Returns
        -------
        lower, upper : ndarray, shaped like `value`
            value -+ quantile * standard_error with Student's quantile (normal where the degrees
            of freedom are infinite); 0 and -log(1 - level)/trials for a component without a hit;
            NaN without a standard error. Or what ``limits`` say. Cut to ``bounds``.

        Raises
        ------
        ValueError
            The level is not between 0 and 1.

        Examples
        --------
        >>> lower, upper = Estimate(1.0, 0.01).interval(0.95)
        >>> print(lower.round(3), upper.round(3))
        0.804 1.196
        """
        from scipy.special import stdtrit

        level = arguments.level(level)
        half = stdtrit(self.degrees_of_freedom, (1 + level) / 2) * self.standard_error
        lower, upper = self.value - half, self.value + half
        if self.trials is not None:
            no_hit = self.trials > 0
            limit = -math.log1p(-level) / np.where(no_hit, self.trials, 1.0)
            lower = np.where(no_hit, 0.0, lower)[()]
            upper = np.where(no_hit, limit, upper)[()]
        if self.limits is not None:
            lower, upper = parts.between(self.limits, self.value, level)
        if self.bounds is not None:
            lower, upper = np.clip([lower, upper], *map(np.asarray, self.bounds))
        return lower, upper

    def summary(self, level: float = 0.95) -> pandas.DataFrame:
        """Table with one row per component.

        Parameters
        ----------
        level : float
            Nominal coverage of the interval.

        Returns
        -------
        pandas.DataFrame
            Index: the names. Columns: value, standard_error, relative_error, lower, upper, and the
            diagnostics that ``columns`` names.

        Examples
        --------
        >>> Estimate([1.0, 2.0], np.diag([0.01, 0.04])).summary().round(2)
            value  standard_error  relative_error  lower  upper
        E1    1.0             0.1             0.1   0.80   1.20
        E2    2.0             0.2             0.1   1.61   2.39
        """
        import pandas

        lower, upper = self.interval(level)
        columns = {
            "value": self.value,
            "standard_error": self.standard_error,
            "relative_error": self.relative_error,
            "lower": lower,
            "upper": upper,
        }
        columns |= {name: self.diagnostics[name] for name in self.columns}
        table = {name: np.atleast_1d(column) for name, column in columns.items()}
        return pandas.DataFrame(table, index=list(self.names))

    def __array_ufunc__(self, ufunc: np.ufunc, *_: object, **__: object) -> NoReturn:
        raise TypeError(
            f"an Estimate takes no {ufunc.__name__}: its covariance would be lost; use "
            "estimate.apply(function), which carries it along"
        )

    def _no_arithmetic(self, *_: object) -> NoReturn:
        raise TypeError(
            "Estimates take no arithmetic, because correlations would be lost; use "
            "estimate.apply(function), for the components of one estimate, or estimate.value. "
            "Independent runs of the same quantity are pooled by smcweights.combine"
        )

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _no_arithmetic
    __truediv__ = __rtruediv__ = __pow__ = __rpow__ = __neg__ = _no_arithmetic

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, key: str | int | Sequence[str | int] | slice) -> Estimate:
        """Marginal estimate: of one component (a scalar) or, by a list or slice, of several.

        Components are asked for by name or position. Covariance block, degrees of freedom,
        trials, diagnostics, cautions, cost and provenance come along, the sample doesn't.
        """
        if isinstance(key, slice):
            index: Any = list(range(len(self)))[key]
        elif isinstance(key, str) or not np.iterable(key):
            index = self._position(key)
        else:
            index = [self._position(k) for k in key]
        if index == []:
            raise KeyError(f"{key!r} selects no component")
        if self.value.ndim == 0:
            return self
        taken = {name: parts.taken(self.diagnostics[name], index) for name in self.columns}
        one = isinstance(index, int)
        covariance = factor = None
        if self._covariance is not None:
            block = np.atleast_1d(index)
            covariance = self._covariance[np.ix_(block, block)][(0, 0) if one else ...]
        elif one:
            covariance = np.sum(cast(Array, self.factor)[index] ** 2)
        else:
            factor = cast(Array, self.factor)[index]
        return self.revised(
            value=self.value[index],
            covariance=covariance,
            factor=factor,
            names=self.names[index] if one else [self.names[i] for i in index],
            degrees_of_freedom=self.degrees_of_freedom[index],
            trials=None if self.trials is None else self.trials[index],
            diagnostics=self.diagnostics | taken,
            bounds=self.bounds
            and tuple(
                end if isinstance(end, float) else parts.taken(list(end), index)
                for end in self.bounds
            ),
            limits=None if self.limits is None else self.limits[:, index],
            sample=None,
        )

    def revised(self, **changes: Any) -> Estimate:
        """The same estimate but for some arguments of its making.

        Parameters
        ----------
        **changes
            As for `Estimate`; a new covariance takes the place of a factor, and vice versa, and
            limits are those of the value and the covariance they came with.

        Examples
        --------
        >>> Estimate(2.0, 0.25).revised(names="mean")
        Estimate
          mean  2.00 +- 0.50  [1.02, 2.98]
        """
        kept = self._given() | {"sample": self._sample}
        if changes.keys() & {"covariance", "factor"}:
            kept |= {"covariance": None, "factor": None}
        if changes.keys() & {"value", "covariance", "factor"}:
            kept["limits"] = None
        if "method" in changes:
            kept["references"] = None
        return Estimate(**(kept | changes))

    def __getstate__(self) -> dict[str, Any]:
        """What goes to other processes and into copies: all but the extension, which is code."""
        return {name: part for name, part in vars(self).items() if name != "_extension"}

    def made_of(self) -> dict[str, Any]:
        """The arguments that make it again."""
        return self._given() | {"sample": self.sample}

    def _given(self) -> dict[str, Any]:
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name[0] != "_"}
        return kept | {"covariance": self._covariance}

    def __float__(self) -> float:
        """The value of a single component."""
        if self.value.size != 1:
            raise TypeError(f"float: the estimate has {self.value.size} components; take one")
        return float(self.value.reshape(()))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """The value, so that NumPy functions take an estimate for it."""
        return np.array(self.value, dtype=dtype)

    def __iter__(self) -> Iterator[Estimate]:
        return (self[i] for i in range(len(self)))

    def _position(self, key: str | int) -> int:
        if isinstance(key, str):
            if key not in self.names:
                raise KeyError(f"{key!r}; the components are {', '.join(self.names)}")
            return self.names.index(key)
        if isinstance(key, bool | np.bool_) or not isinstance(key, int | np.integer):
            raise TypeError(f"component: got {key!r}; expected a name or a position")
        if not -len(self) <= key < len(self):
            raise IndexError(f"component {key}; there are {len(self)}")
        return int(key) % len(self)

    def apply(
        self, f: Callable[[Array], Any] | ArrayLike, names: Sequence[str] | str | None = None
    ) -> Estimate:
        """Estimate of a function of the components, by the delta method.

        The covariance becomes D C D' with D the Jacobian of f at the value: the matrix itself
        when f is linear and given as one, `jax.jacfwd` in 64 bits when f returns a JAX array,
        central differences otherwise. Degrees of freedom: the smallest of the components that
        matter.

        Parameters
        ----------
        f : callable or array_like, shape (K, J) or (J,)
            Linear map, or smooth function of an array shaped like `value` to shape () or (K,).
        names : sequence of str, optional
            Names of the results.

        Returns
        -------
        Estimate
            With the cost, cautions, diagnostics and provenance of this one (to which f is added
            under ``"applied"``), but no sample. A result whose function has no straight line at
            the scale of the standard errors, or that depends on a component without a hit, gets a
            caution.

        Raises
        ------
        ModelError
            f returned a wrong shape or something not finite.
        ValueError
            The matrix doesn't fit.

        Warns
        -----
        PrecisionWarning
            For each caution of these.

        Examples
        --------
        >>> est = Estimate([1.0, 2.0], [[0.02, 0.01], [0.01, 0.03]])
        >>> est.apply([1, -1]).variance.round(12)
        np.float64(0.03)
        >>> est.apply(np.log, names=["log a", "log b"]).variance.round(6)
        array([0.02  , 0.0075])
        """
        names = arguments.names(names)
        result, slopes, curvature = linearised(f, self.value, self.standard_error)
        labels = parts.names(names, result)
        matters = np.atleast_2d(slopes != 0)
        missing = np.isnan(np.atleast_1d(self.variance))
        root = np.atleast_2d(slopes) @ np.where(missing[:, None], 0.0, self.root())
        root[matters[:, missing].any(axis=1)] = np.nan
        if result.ndim == 0:
            spread: dict[str, Any] = {"covariance": np.sum(root**2)}
        elif self.factor is not None and len(result) > root.shape[1]:
            spread = {"factor": root}
        else:
            # an error whose square is no number any more is none beside others
            root[(root**2).sum(axis=1) < np.finfo(float).tiny] = 0.0
            spread = {"covariance": root @ root.T}
        freedom = np.where(matters, np.atleast_1d(self.degrees_of_freedom), math.inf).min(axis=1)
        # half the curvature is the bias that the straight line leaves out
        bias, error = np.atleast_1d(curvature.max(axis=-1) / 2), np.sqrt((root**2).sum(axis=1))
        bent = (bias > np.nan_to_num(error) / 4) & ~np.isnan(error)
        no_hit = np.zeros(len(self), bool) if self.trials is None else self.trials > 0
        unseen: Any = matters[:, np.atleast_1d(no_hit)].any(axis=1)
        found = [
            Caution(code, f"{name}: {text}; its interval is not to be trusted")
            for code, text, flags in (
                ("curvature", "the function bends within one standard error", bent),
                ("unseen-component", "depends on a component without a hit", unseen),
            )
            for name, flag in zip(labels, flags, strict=True)
            if flag
        ]
        tell("Estimate.apply", found)
        applied = self.provenance.get("applied", [])
        # what is said of the components isn't true of their functions
        kept = {k: d for k, d in self.diagnostics.items() if k not in self.columns}
        return self.revised(
            value=result,
            **spread,
            names=labels,
            degrees_of_freedom=freedom if result.ndim else freedom[0],
            trials=None,
            diagnostics=kept,
            cautions=(*self.cautions, *found),
            provenance=self.provenance | {"applied": [*applied, described(f)]},
            columns=(),
            bounds=None,
            sample=None,
        )

    def root(self, *, hits_only: bool = False) -> Array:
        """R, shape (J, r), with covariance = R R'; NaN rows where there is no standard error.

        Parameters
        ----------
        hits_only : bool
            Leaves out what components without a hit have: 0 there.
        """
        if self.factor is not None:
            root = self.factor
        else:
            whole = np.atleast_2d(cast(Array, self._covariance))
            missing = np.isnan(whole.diagonal())
            squares, axes = np.linalg.eigh(np.where(np.isnan(whole), 0.0, whole))
            root = axes * np.sqrt(np.maximum(squares, 0.0))
            root[missing] = np.nan
        if hits_only or self.trials is None:
            return root
        no_hit = np.diag(np.sqrt(np.atleast_1d(self._no_hit_variance)))
        return np.hstack([root, no_hit[:, no_hit.any(axis=0)]])

    def to_xarray(self) -> xarray.Dataset:
        """Labelled arrays: value, standard_error, covariance, degrees_of_freedom, trials.

        Returns
        -------
        xarray.Dataset
            Dimension ``component`` with the names (none for a scalar), ``component_`` for the
            second one of the covariance. An estimate that holds a factor gives ``factor`` with
            dimensions (component, rank) instead of the covariance. The sample is not in it.

        Examples
        --------
        >>> data = Estimate([1.0, 2.0], np.diag([0.01, 0.04]), names=["a", "b"]).to_xarray()
        >>> float(data.covariance.sel(component="b", component_="b"))
        0.04
        """
        import xarray

        dims = ("component",)[: self.value.ndim]
        coordinates: dict[str, Any] = {"component": list(self.names)} if dims else {}
        variables: dict[str, Any] = {
            "value": (dims, self.value),
            "standard_error": (dims, self.standard_error),
            "degrees_of_freedom": (dims, self.degrees_of_freedom),
        }
        if self.trials is not None:
            variables["trials"] = (dims, self.trials)
        if self.factor is not None:
            variables["factor"] = (("component", "rank"), self.factor)
        else:
            variables["covariance"] = (
                ("component", "component_")[: 2 * len(dims)],
                self.covariance,
            )
            if dims:
                coordinates["component_"] = list(self.names)
        return xarray.Dataset(variables, coordinates, {"method": self.method})

    def to_arviz(self) -> Any:
        """For ArviZ: InferenceData before its version 1.0, an xarray.DataTree from then on.

        A sample of Markov chains, with dimensions (chain, draw), is the posterior group. Any
        other estimate has as posterior 4 chains of 1,000 draws of ``value`` from its confidence
        distribution: Student or normal around the value with the covariance of the estimator,
        exponential for a component without a hit, so that quantiles of the draws are confidence
        limits. They say nothing about convergence, and components without a standard error are
        left out. The draws follow from the seed in the provenance (or from 0). Group
        ``constant_data`` is `to_xarray`, group ``sample`` the stored sample.

        Raises
        ------
        ValueError
            No component has a standard error and there are no chains either.

        Examples
        --------
        >>> est = Estimate([1.0, 2.0], np.diag([0.01, 0.04]), names=["a", "b"])
        >>> est.to_arviz()["posterior"]["value"].shape
        (4, 1000, 2)
        """
        groups = {"constant_data": self.to_xarray()}
        sample = self.sample
        if sample is not None and {"chain", "draw"} <= set(sample.dims):
            return _compat.inference_data({"posterior": sample, **groups})
        groups = {"posterior": self._confidence_draws(4, 1000), **groups}
        return _compat.inference_data(groups if sample is None else {**groups, "sample": sample})

    def _confidence_draws(self, chains: int, draws: int) -> xarray.Dataset:
        import xarray
        from scipy.special import gammaincinv

        known = np.flatnonzero(~np.isnan(np.atleast_1d(self.variance)))
        if known.size == 0:
            raise ValueError("no component has a standard error; nothing to draw from")
        est = self if known.size == len(self) else self[known.tolist()]
        root = randomness.seed_sequence(self.provenance.get("seed", 0))
        rng = randomness.generator(root, "confidence distribution")
        axes = est.root()
        values = rng.standard_normal((chains * draws, axes.shape[1])) @ axes.T
        half = np.atleast_1d(est.degrees_of_freedom)[None, :] / 2
        # one quantile for all components: with equal degrees of freedom the multivariate law
        quantile = rng.random((chains * draws, 1))
        finite = np.broadcast_to(np.isfinite(half), values.shape)
        values /= np.sqrt(
            np.divide(gammaincinv(half, quantile), half, out=np.ones_like(values), where=finite)
        )
        values += est.value
        if est.trials is not None:
            no_hit = np.atleast_1d(est.trials > 0)
            scale = 1 / np.atleast_1d(est.trials)[no_hit]
            values[:, no_hit] = rng.exponential(scale, (chains * draws, int(no_hit.sum())))
        dims = ("chain", "draw", "component")[: 2 + est.value.ndim]
        shaped = values.reshape((chains, draws, len(est))[: len(dims)])
        names = {"component": list(est.names)} if est.value.ndim else {}
        positions = {"chain": np.arange(chains), "draw": np.arange(draws)}
        return xarray.Dataset({"value": (dims, shaped)}, {**positions, **names})

    def plot(self, ax: Axes | None = None, *, level: float = 0.95) -> Axes:
        """Intervals of the components (`smcweights.plots.estimate`).

        Parameters
        ----------
        ax : matplotlib axes, optional
            Where to draw; a new figure by default.
        level : float
            Nominal coverage of the intervals.

        Returns
        -------
        matplotlib axes
        """
        from . import canvas

        return canvas.estimate(self, ax=ax, level=level)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a NetCDF 4 file that `load` reads back without loss.

        The file appears under its name only when complete: it is written beside it, flushed to
        the disk, and renamed. Whatever happens, the name holds the old file or the new one.

        Parameters
        ----------
        path : path
            Name of the file; an existing one is replaced.

        Examples
        --------
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "result.nc")
        >>> Estimate(1.0, 0.01, method="demo").save(path)
        >>> Estimate.load(path).method
        'demo'
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Estimate:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path
            Name of the file.

        Returns
        -------
        Estimate

        Raises
        ------
        FileNotFoundError
            There is no such file.
        ValueError
            The file is damaged, holds another result, or is not one that `save` wrote.
        """
        return storage.load(cls, path)

    def _rows(self) -> list[tuple[str, str, str]]:
        """Name, value with error, and interval of each component that is shown, as text."""
        lower, upper = (np.atleast_1d(bound) for bound in self.interval())
        value, error = np.atleast_1d(self.value), np.atleast_1d(self.standard_error)
        trials = np.zeros(len(self)) if self.trials is None else np.atleast_1d(self.trials)
        rows = [
            (self.names[i], "0 (no hit)", f"[0, {upper[i]:.2g}]")
            if trials[i] > 0
            else tables.in_words(self.names[i], value[i], error[i], lower[i], upper[i])
            for i in tables.shown(len(self))
        ]
        return tables.left_out(rows, len(self))

    def _title(self) -> str:
        count = f"{len(self)} component{'s' * (len(self) != 1)}"
        parts = [f"Estimate of {count}" if self.value.ndim else "Estimate"]
        if self.method:
            parts[0] += f" by {self.method}"
        if "evaluations" in self.cost:
            parts.append(f"{self.cost['evaluations']:,} evaluations")
        return ", ".join(parts)

    def __repr__(self) -> str:
        rows = self._rows()
        name, value = (max(len(row[k]) for row in rows) for k in (0, 1))
        lines = [f"  {a:<{name}}  {b:<{value}}  {c}".rstrip() for a, b, c in rows]
        return "\n".join([self._title(), *lines, *self._of_no_hit(), *printed(self.cautions)])

    def _of_no_hit(self) -> list[str]:
        """Where the interval of a component that saw no hit comes from."""
        if self.trials is None:
            return []
        n = self.trials[self.trials > 0]
        many = " to ".join(f"{end:,.0f}" for end in dict.fromkeys([n.min(), n.max()]))
        return [
            "  no hit: from 0 to -log(1 - 0.95)/n, which is 3/n (the rule of three), for n = "
            f"{many} trials"
        ]

    def _repr_html_(self) -> str:
        return tables.as_html(self._title(), self._rows(), self.cautions)
