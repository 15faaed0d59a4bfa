"""`StateSpaceModel`: a handful of functions of one particle, and a proposal beside them.

X_0 has the law of `initial_sample`, X_t given X_{t-1} that of `transition_sample`, Y_t given X_t
the density `observation_logpdf`. States are floats, or 1-d arrays when `state_dim` is given;
observations are floats for y of shape (T,), 1-d arrays for y of shape (T, p). An observation of
NaNs is missing: it weighs nothing.
"""

from __future__ import annotations

import copyreg
import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import CodeType, FunctionType
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import arguments as check
from ..arguments import array, count, kind_of, real, reordered, row_labels
from ..provenance import digest
from ..randomness import generator, seed_sequence
from .remade import reduced

Array = NDArray[np.float64]
MOST_SHOWN = 6  # parameters that are printed
TRANSFORMS = ("identity", "log", "logit", "atanh", "simplex", "rest")

PROPOSAL_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "sample": ("rng", "x_prev", "y", "t", "theta"),
    "logpdf": ("x_prev", "x", "y", "t", "theta"),
    "initial_sample": ("rng", "y", "theta"),
    "initial_logpdf": ("x", "y", "theta"),
    "log_lookahead": ("x_prev", "y", "t", "theta"),
}

ARGUMENTS: dict[str, tuple[tuple[str, ...], bool]] = {
    "initial_sample": (("rng", "theta"), True),
    "initial_logpdf": (("x", "theta"), False),
    "transition_sample": (("rng", "x_prev", "t", "theta"), True),
    "transition_logpdf": (("x_prev", "x", "t", "theta"), False),
    "observation_logpdf": (("y", "x", "t", "theta"), True),
    "transition_logpdf_bound": (("t", "theta"), False),
    "observation_sample": (("rng", "x", "t", "theta"), False),
    "transition_mean": (("x_prev", "t", "theta"), False),
    "transition_covariance": (("t", "theta"), False),
}
LINEARISED = "linearised"

IN_PLACE = ("rng", "x_prev", "t", "theta", "x")


class Exact(NamedTuple):
    """Which exact method knows a model, and its matrices at given parameters.

    The parameters may be complex, with small imaginary parts, by which scores are found.
    """

    kind: str
    system: Callable[[Array], tuple[Any, ...]]


class LinearSystem(NamedTuple):
    """x_t = a x_{t-1} + c + N(0, q), y_t = h x_t + e + N(0, r), x_0 ~ m + diffuse delta + N(0, p).

    All but the last three may have a time axis before the others; delta may be anything.
    """

    a: Any
    q: Any
    h: Any
    r: Any
    m: Any
    p: Any
    c: Any = None
    e: Any = None
    diffuse: Any = None

    @property
    def times(self) -> float:
        """For how many times there are matrices."""
        axes = zip(
            (self.a, self.q, self.h, self.r, self.c, self.e), (3, 3, 3, 3, 2, 2), strict=True
        )
        return min((len(part) for part, n in axes if np.ndim(part) == n), default=math.inf)

    def at(self, t: int) -> LinearSystem:
        """What holds at one time."""
        a, q, h, r = (part[t] if part.ndim == 3 else part for part in self[:4])
        c = 0.0 if self.c is None else self.c[t] if self.c.ndim == 2 else self.c
        e = np.zeros(len(h)) if self.e is None else self.e[t] if self.e.ndim == 2 else self.e
        return self._replace(a=a, q=q, h=h, r=r, c=c, e=e)


@dataclass(frozen=True, eq=False)
class StateSpaceModel:
    """A hidden Markov process and how it is observed.

    All functions are written for ONE particle in NumPy style, without Python objects, so that
    numba can compile them; functions that they call are decorated with ``numba.njit``. Densities
    without branches that depend on the state can be differentiated by JAX, too. ``x`` is a float,
    or an array of shape (d,) when `state_dim` is d; ``theta`` is the array of parameters. Densities
    are normalised, and everything random comes from ``rng``; `check_model` tries whether they fit.

    Models of the package can be pickled, others if their functions stand in a module; cloudpickle
    takes lambdas and closures, too.

    Before a model is compiled each function is called as plain Python, at the first and last
    times: compiled code reads beyond an array, or draws with a negative scale, without a word.

    Parameters
    ----------
    initial_sample : callable
        (rng, theta) -> x_0; ``rng`` is a numpy Generator.
    initial_logpdf : callable or None
        (x, theta) -> float. Filters, PMMH and smoothers do without.
    transition_sample : callable
        (rng, x_prev, t, theta) -> x_t, for t = 1, 2, ...
    transition_logpdf : callable or None
        (x_prev, x, t, theta) -> float, under one measure for all x_prev. Filters and PMMH do
        without; smoothers check it against the draws.
    observation_logpdf : callable
        (y_t, x, t, theta) -> float; -inf where y_t is impossible. It is not called for a row of
        NaNs, which is missing and weighs nothing: a miss that informs is coded as a number.
    transition_logpdf_bound : callable, optional
        (t, theta) -> float, not below any value of `transition_logpdf` at t. It makes backward
        draws cheap (rejection); a bound that is exceeded raises `ModelError`.
    observation_sample : callable, optional
        (rng, x, t, theta) -> y_t; for `simulate`.
    theta : array_like, shape (k,), optional
        Parameters, by default none.
    theta_names : sequence of str, optional
        Their names.
    transforms : sequence of str, optional
        Where each parameter lives: "identity" (any number), "log" (positive), "logit" (between 0
        and 1), "atanh" (between -1 and 1), ends excluded. Other parameters are refused. A row of
        probabilities that sum to 1 is "simplex", ..., "simplex", "rest".
    state_dim : int, optional
        Dimension of the state; None for floats.
    in_place : callable, optional
        (rng, x_prev, t, theta, x): writes what `transition_sample` would draw into the array x,
        which spares a new array for each particle.
    series : array_like, shape (T,), optional
        The observations that the model's functions contain, where they do: others are refused.
    exact : Exact, optional
        Set by ready models for which exact methods exist.
    input_dim : int, optional
        Number k of inputs (covariates, lengths of steps) at each time. Then every function takes
        an array u of shape (k,), those of the time, right before t, or before theta where there is
        no t: ``transition_sample(rng, x_prev, u, t, theta)``, ``initial_logpdf(x, u, theta)``.
    inputs : array_like, shape (T',) or (T', k), or a list of arrays, optional
        Row by row the inputs of each time, for at least as many times as y has; see `with_inputs`.
    first_input : int
        Set by streams: the time of the first row.
    transition_mean, transition_covariance : callable, optional
        (x_prev, t, theta) -> the mean of x_t, a float or (d,), and (t, theta) -> its variance, or
        (d, d), of a Gaussian transition: they make ``proposal="linearised"`` cheaper, which else
        takes differences of `transition_logpdf`. What is wrong there costs precision only.
    input_names : sequence of str, length k, optional
        Columns of tables of inputs, in the order in which functions read them; default those of
        the first table given. Other tables may have them in any order, and others beside them.

    Raises
    ------
    TypeError, ValueError
        An argument is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> walk = StateSpaceModel(
    ...     lambda rng, theta: rng.standard_normal(),
    ...     lambda x, theta: -0.5 * (x**2 + np.log(2 * np.pi)),
    ...     lambda rng, x_prev, t, theta: x_prev + theta[0] * rng.standard_normal(),
    ...     lambda x_prev, x, t, theta: (
    ...         -0.5 * (((x - x_prev) / theta[0]) ** 2 + np.log(2 * np.pi)) - np.log(theta[0])
    ...     ),
    ...     lambda y, x, t, theta: -0.5 * ((y - x) ** 2 + np.log(2 * np.pi)),
    ...     theta=[0.5],
    ... )
    >>> walk.with_theta([0.25]).theta
    array([0.25])

    A level that stays, or jumps to N(0, 1) in one step of ten: where it stays the law has an atom
    that moves with x_prev, whose probability can't be compared with a density. The jump is carried
    as a component of the state:

    >>> def transition_sample(rng, x_prev, t, theta):
    ...     jump = rng.random() < 0.1
    ...     return np.array([rng.standard_normal() if jump else x_prev[0], 1.0 * jump])
    >>> def transition_logpdf(x_prev, x, t, theta):
    ...     jumped = np.log(0.1) - 0.5 * (x[0] ** 2 + np.log(2 * np.pi))
    ...     stayed = np.log(0.9) if x[0] == x_prev[0] else -np.inf
    ...     return jumped if x[1] > 0.5 else stayed
    """

    initial_sample: Callable[..., Any]
    initial_logpdf: Callable[..., Any] | None
    transition_sample: Callable[..., Any]
    transition_logpdf: Callable[..., Any] | None
    observation_logpdf: Callable[..., Any]
    transition_logpdf_bound: Callable[..., Any] | None = None
    observation_sample: Callable[..., Any] | None = None
    theta: Any = None
    theta_names: Any = None
    transforms: Any = None
    state_dim: int | None = None
    in_place: Callable[..., Any] | None = field(default=None, repr=False)
    series: Array | None = field(default=None, repr=False)
    exact: Exact | None = field(default=None, repr=False)
    input_dim: int | None = None
    inputs: Any = field(default=None, repr=False)
    first_input: int = field(default=0, repr=False)
    transition_mean: Callable[..., Any] | None = None
    transition_covariance: Callable[..., Any] | None = None
    input_names: Any = None

    def __post_init__(self) -> None:
        if self.input_dim is not None:
            object.__setattr__(self, "input_dim", count("input_dim", self.input_dim))
        for name, (arguments, required) in ARGUMENTS.items():
            function = getattr(self, name)
            if function is None and not required:
                continue
            check_function(name, function, taken(arguments, self.input_dim))
        if self.in_place is not None:
            check_function("in_place", self.in_place, IN_PLACE)
        if self.series is not None:
            object.__setattr__(self, "series", _observed(self.series))
        if self.exact is not None:
            check.instance("exact", self.exact, Exact, "what a ready model has")
        object.__setattr__(self, "first_input", count("first_input", self.first_input, 0))
        labels = _names_of_inputs(self.input_names, self.inputs, self.input_dim)
        object.__setattr__(self, "input_names", labels)
        if self.inputs is not None:
            object.__setattr__(self, "inputs", _inputs(self.inputs, self.input_dim, labels))
        if self.input_dim is not None and self.in_place is not None:
            raise ValueError("in_place: given with input_dim; expected one of them")
        theta = _parameters(self.theta, "theta")
        names = check.names(self.theta_names, "theta_names")
        if names is not None and len(names) != theta.size:
            raise ValueError(
                f"theta_names: got {names}; expected {theta.size} different names, one per "
                "parameter"
            )
        transforms = self.transforms
        if transforms is not None:
            transforms = tuple(check.several("transforms", transforms, "names of transforms"))
            if len(transforms) != theta.size or not all(one in TRANSFORMS for one in transforms):
                raise ValueError(
                    f"transforms: got {check.shown(transforms)}; expected {theta.size} of "
                    f"{TRANSFORMS}"
                )
            check_domain(theta, names, transforms)
        dim = self.state_dim
        if dim is not None:
            dim = count("state_dim", dim)
        settled = {"theta": theta, "theta_names": names, "transforms": transforms}
        for name, value in {**settled, "state_dim": dim}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """Its state, parameters and inputs, and which of its functions are missing."""
        state = "float" if self.state_dim is None else f"array of {self.state_dim}"
        known = "" if self.exact is None else f", {self.exact.kind.replace('_', ' ')}"
        names = self.theta_names or [f"theta[{i}]" for i in range(self.theta.size)]
        values = [f"{name} = {value:.6g}" for name, value in zip(names, self.theta, strict=True)]
        values[MOST_SHOWN:] = [f"and {len(values) - MOST_SHOWN} more"] * (len(values) > MOST_SHOWN)
        lines = [f"StateSpaceModel{known}: state {state}", f"  {', '.join(values) or 'no theta'}"]
        if self.input_dim is not None:
            given = (
                "none given yet" if self.inputs is None else f"given for {len(self.inputs)} times"
            )
            lines.append(f"  {self.input_dim} inputs at each time, {given}")
        if missing := [name for name in ARGUMENTS if getattr(self, name) is None]:
            lines.append(f"  without {', '.join(missing)}")
        return "\n".join(lines)

    @property
    def dim(self) -> int:
        """Number of components of the state, 1 for floats."""
        return 1 if self.state_dim is None else self.state_dim

    def with_theta(self, theta: ArrayLike) -> StateSpaceModel:
        """The same model with other parameters.

        Parameters
        ----------
        theta : array_like, shape (k,)

        Returns
        -------
        StateSpaceModel
        """
        new = _parameters(theta, "theta")
        if new.shape != self.theta.shape:
            raise ValueError(f"theta: got shape {new.shape}; expected {self.theta.shape}")
        return replace(self, theta=new)

    def with_inputs(self, u: ArrayLike | Sequence[ArrayLike]) -> StateSpaceModel:
        """The same model with these inputs.

        Parameters
        ----------
        u : array_like, shape (T',) or (T', k), or a list of arrays
            Finite numbers, row by row those of time 0, 1, ...; more than y has are not read.
            Columns of a table are found by `input_names`, those of an array by their order. Of a
            list each belongs to one of several series, for functions that take a list of them;
            inputs of one array hold for all.

        Returns
        -------
        StateSpaceModel

        Raises
        ------
        ValueError
            The model declares no inputs, or others; a number is not finite; rows are labelled in
            another order than that of time.

        Examples
        --------
        >>> drift = StateSpaceModel(
        ...     lambda rng, u, theta: rng.standard_normal(),
        ...     None,
        ...     lambda rng, x_prev, u, t, theta: x_prev + theta[0] * u[0] + rng.standard_normal(),
        ...     None,
        ...     lambda y, x, u, t, theta: -0.5 * (y - x) ** 2,
        ...     theta=[2.0],
        ...     input_dim=1,
        ... )
        >>> drift.with_inputs([0.0, 1.0, 0.5]).inputs.shape
        (3, 1)
        """
        names = _names_of_inputs(self.input_names, u, self.input_dim)
        own = _inputs(u, self.input_dim, names)
        return replace(self, inputs=own, input_names=names, first_input=0)

    def of_series(self, s: int, several: int) -> StateSpaceModel:
        """The model with the inputs of one of several series."""
        if not isinstance(self.inputs, tuple):
            return self
        if len(self.inputs) != several:
            raise ValueError(
                f"inputs: a list of {len(self.inputs)} arrays; expected one for each of {several} "
                "series"
            )
        return replace(self, inputs=self.inputs[s])

    def packed(self, theta: ArrayLike | None = None) -> Array:
        """What compiled functions take for theta: with the inputs behind, see `taking_inputs`."""
        own = np.array(self.theta if theta is None else theta, dtype=np.float64)
        if self.input_dim is None:
            return own
        return np.concatenate([own, [float(self.first_input)], self.inputs.ravel()])

    def plain(self, name: str, function: Any = None, rows: Any = None) -> Callable[..., Any]:
        """A function as plain Python without its argument u, a row of the inputs.

        Of another `function` in its place, and of `rows` in an array of JAX.
        """
        function = python_of(function or getattr(self, name))
        if self.input_dim is None:
            return function
        arguments, _ = ARGUMENTS[name]
        timed, known = "t" in arguments, self.inputs if rows is None else rows
        at = arguments.index("t" if timed else "theta")
        return lambda *a: function(*a[:at], known[a[at] if timed else 0], *a[at:])

    def reaching(self, n_steps: int) -> StateSpaceModel:
        """The model with inputs for so many times at least, for trials: rows begin again."""
        if self.inputs is None or len(self.inputs) >= n_steps:
            return self
        return self.with_inputs(np.resize(self.inputs, (n_steps, self.inputs.shape[1])))

    def check_inputs(self, last: int, horizon: int = 0) -> None:
        """Whether there are inputs up to a time, excluded."""
        if self.input_dim is None:
            return
        if self.inputs is None:
            raise ValueError(
                f"inputs: missing; the model declares input_dim={self.input_dim}: expected "
                "model.with_inputs(u)"
            )
        if isinstance(self.inputs, tuple):
            raise ValueError(
                f"inputs: a list of {len(self.inputs)} arrays, for as many series; expected those "
                "of one series"
            )
        if len(self.inputs) + self.first_input < last + horizon:
            ahead = f" (and {horizon} of the forecast)" if horizon else ""
            raise ValueError(
                f"inputs: {len(self.inputs)} rows; expected at least {last + horizon}, one per "
                f"time of y{ahead}"
            )

    def simulate(self, n_steps: int, seed: Any = None) -> tuple[Array, Array]:
        """Draw states and observations.

        Parameters
        ----------
        n_steps : int, at least 1
        seed : None, int, SeedSequence or Generator

        Returns
        -------
        x : ndarray, shape (n_steps,) or (n_steps, d)
        y : ndarray, shape (n_steps,) or (n_steps, p)

        Raises
        ------
        ValueError
            The model has no `observation_sample`, or `n_steps` is below 1.

        Examples
        --------
        >>> from smcweights import models
        >>> x, y = models.linear_gaussian(0.9, 1.0, 1.0, 1.0).simulate(5, seed=1)
        >>> x.shape, y.shape
        ((5,), (5,))
        """
        n_steps = count("n_steps", n_steps)
        if self.observation_sample is None:
            raise ValueError("simulate: the model has no observation_sample; expected one")
        self.check_inputs(n_steps)
        first, move, see = map(
            self.plain, ("initial_sample", "transition_sample", "observation_sample")
        )
        rng = generator(seed_sequence(seed), "simulate")
        theta = self.theta.copy()
        x: list[Any] = []
        y: list[Any] = []
        for t in range(n_steps):
            x.append(move(rng, x[-1], t, theta) if t else first(rng, theta))
            y.append(see(rng, x[-1], t, theta))
        return np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)

    def describe(self) -> dict[str, Any]:
        """What provenance says of the model."""
        named = {name: getattr(self, name) for name in ARGUMENTS}
        functions = {name: function for name, function in named.items() if function is not None}
        theta = None if self.theta is None else np.asarray(self.theta).tolist()
        found = {"functions": functions, "theta": theta, "state_dim": self.state_dim}
        if self.inputs is None:
            return found
        several = self.inputs if isinstance(self.inputs, tuple) else (self.inputs,)
        return {**found, "inputs": "".join(digest(one) for one in several)}


@dataclass(frozen=True, eq=False)
class Proposal:
    """Where a particle filter draws from instead of the model's own laws (guided, auxiliary).

    Written like the functions of a model, for one particle, with u where the model has inputs.

    Parameters
    ----------
    sample : callable, optional
        (rng, x_prev, y_t, t, theta) -> x_t.
    logpdf : callable, optional
        (x_prev, x, y_t, t, theta) -> float, the density of `sample`; both or none.
    initial_sample : callable, optional
        (rng, y_0, theta) -> x_0; by default the model's own.
    initial_logpdf : callable, optional
        (x, y_0, theta) -> float; both or none.
    log_lookahead : callable, optional
        (x_prev, y_t, t, theta) -> float: particles are resampled with their weights times
        exp(log_lookahead), which is taken back afterwards (auxiliary particle filter). A guess at
        log p(y_t | x_prev).

    Raises
    ------
    TypeError, ValueError
        A sampler without its density, or the other way round, or nothing at all.

    References
    ----------
    Pitt & Shephard (1999), Filtering via simulation: auxiliary particle filters, JASA 94.

    Examples
    --------
    >>> Proposal(log_lookahead=lambda x_prev, y, t, theta: -0.25 * (y - x_prev) ** 2).sample
    """

    sample: Callable[..., Any] | None = None
    logpdf: Callable[..., Any] | None = None
    initial_sample: Callable[..., Any] | None = None
    initial_logpdf: Callable[..., Any] | None = None
    log_lookahead: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        given = [name for name in PROPOSAL_ARGUMENTS if getattr(self, name) is not None]
        for name in given:
            function, arguments = getattr(self, name), PROPOSAL_ARGUMENTS[name]
            with suppress(TypeError):
                # of a model with inputs
                check_function(f"proposal.{name}", function, taken(arguments, 1))
                continue
            check_function(f"proposal.{name}", function, arguments)
        if not given:
            raise ValueError("proposal: got nothing; expected a sampler or a lookahead")
        for a, b in (("sample", "logpdf"), ("initial_sample", "initial_logpdf")):
            if (a in given) != (b in given):
                raise ValueError(f"proposal: got only one of {a} and {b}; expected both or none")


copyreg.pickle(StateSpaceModel, reduced)


def observations(y: ArrayLike) -> Array:
    """Check observations; shape (T, p) with rows of NaN where nothing was seen.

    What is masked in a masked array was not seen.
    """
    several = cast(Sequence[ArrayLike], y)
    if is_panel(y) and len({np.shape(one) for one in several}) > 1:
        raise TypeError(
            f"y: got a list of {len(several)} series; expected one, of shape (T,) or (T, p)"
        )
    check_order("y", y)
    given: Any = y if np.ma.isMaskedArray(y) else array("y", y)
    if given.dtype.kind not in "iuf":
        raise TypeError(f"y: got {kind_of(given, y)}; expected real numbers, NaN where missing")
    if given.ndim not in (1, 2) or given.size == 0:
        raise ValueError(f"y: got shape {given.shape}; expected (T,) or (T, p) with T >= 1")
    values = np.ma.filled(given.astype(np.float64, order="C"), np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        where = [int(i) for i in np.argwhere(infinite)[0]]
        raise ValueError(f"y: {values[tuple(where)]} at index {where}; expected numbers or NaN")
    return values.reshape(len(values), -1)


def check_order(name: str, given: object) -> None:
    """Refuse rows whose labels say that they are not in the order of time."""
    labels = row_labels(given)
    if labels is None:
        return
    dates = labels.dtype.kind in "mM" or hasattr(labels, "to_timestamp")
    if reordered(labels) or (dates and not labels.is_monotonic_increasing):
        raise ValueError(
            f"{name}: got rows labelled {check.shown(list(labels))}; expected them in the order of "
            "time, as .sort_index() puts them"
        )


def is_panel(given: Any) -> bool:
    """Whether this is a list of arrays, each of a series of its own; lists may be among them."""
    if not isinstance(given, list | tuple):
        return False
    arrays = [hasattr(one, "__array__") and np.ndim(one) > 0 for one in given]
    return any(arrays) and all(
        one or isinstance(other, list | tuple) for one, other in zip(arrays, given, strict=True)
    )


def taken(arguments: tuple[str, ...], input_dim: int | None) -> tuple[str, ...]:
    """The arguments of a function, with u where there are inputs."""
    if input_dim is None:
        return arguments
    at = arguments.index("t" if "t" in arguments else "theta")
    return (*arguments[:at], "u", *arguments[at:])


def needed(model: StateSpaceModel, names: Sequence[str], what: str) -> None:
    """Refuse a model without the densities that a method can't do without."""
    for name in names:
        if getattr(model, name) is None:
            exact = "; kalman_smoother is exact for this model" if model.exact else ""
            arguments = ", ".join(taken(ARGUMENTS[name][0], model.input_dim))
            raise ValueError(
                f"{name}: got None; expected a function of ({arguments}), which {what}{exact}"
            )


def functions_of(
    model: StateSpaceModel, proposal: Proposal | None = None
) -> dict[str, tuple[Callable[..., Any], tuple[str, ...]]]:
    """The functions that are compiled, with the names of their arguments."""
    found = {name: (getattr(model, name), own) for name, (own, _) in ARGUMENTS.items()}
    del found["observation_sample"]
    for name, own in PROPOSAL_ARGUMENTS.items():
        found[f"proposal.{name}"] = (getattr(proposal, name, None), own)
    return {
        name: (function, taken(own, model.input_dim))
        for name, (function, own) in found.items()
        if function is not None
    }


def check_function(name: str, function: Any, arguments: Sequence[str]) -> None:
    """Refuse what is no function of exactly these arguments."""
    if not callable(function):
        raise TypeError(f"{name}: got {type(function).__name__}; expected a function")
    # the one that stays Python
    if name != "observation_sample" and not isinstance(python_of(function), FunctionType):
        raise TypeError(
            f"{name}: got a {type(function).__name__}, which numba can't compile; expected a plain "
            f"function, like lambda {', '.join(arguments)}: ..."
        )
    try:
        inspect.signature(python_of(function)).bind(*arguments)
    except TypeError:
        raise TypeError(f"{name}: expected a function of ({', '.join(arguments)})") from None
    except ValueError:
        return


def _parameters(theta: Any, name: str) -> Array:
    array = real(name, [] if theta is None else theta)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(
            f"{name}: got {check.shown(theta)}; expected a 1-d array of finite numbers"
        )
    array.flags.writeable = False
    return array


def _observed(series: ArrayLike) -> np.ndarray:
    rows = check.numbers("series", series)
    if rows.ndim not in (1, 2) or np.isinf(rows).any():
        raise ValueError(
            f"series: got {check.shown(series)}; expected (T,) or (T, p) finite numbers, or NaN"
        )
    return rows


def _names_of_inputs(given: Any, u: Any, k: int | None) -> tuple[str, ...] | None:
    """Names of the inputs, those of the columns of a table unless others are given."""
    names = check.names(given, "input_names")
    if names is not None and len(names) != (k or 0):
        raise ValueError(f"input_names: got {names}; expected {k or 0}, one per input")
    table = u[0] if is_panel(u) else u
    columns = [*getattr(table, "columns", ())]
    texts = len(columns) == len(set(columns)) == k and all(isinstance(c, str) for c in columns)
    return tuple(columns) if names is None and texts else names


def _inputs(
    u: ArrayLike | Sequence[ArrayLike], k: int | None, names: tuple[str, ...] | None = None
) -> Array | tuple[Any, ...]:
    if k is None:
        raise ValueError("inputs: got some; the model declares none, expected one with input_dim")
    if is_panel(u):
        return tuple(_inputs(one, k, names) for one in cast(Sequence[Any], u))
    check_order("inputs", u)
    header = check.header_of(u, "inputs")
    if names is not None and header is not None:
        if not set(names) <= set(header.names):
            raise ValueError(
                f"inputs: got columns {check.shown(header.names)}; expected {list(names)}, in any "
                "order, or an array"
            )
        u = check.chosen(cast(ArrayLike, u), header, names)
    array = real("inputs", cast(ArrayLike, u))
    rows = array.reshape(-1, 1) if array.ndim == 1 else array
    if rows.ndim != 2 or rows.shape[1] != k or not len(rows):
        raise ValueError(f"inputs: got shape {array.shape}; expected (T, {k}), a row for each time")
    if not np.isfinite(rows).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(rows))[0])
        raise ValueError(
            f"inputs: {rows[row, column]} in row {row}, column {column}; expected finite numbers"
        )
    rows = np.ascontiguousarray(rows)
    rows.flags.writeable = False
    return rows


def check_domain(
    theta: Array, names: Sequence[str] | None, transforms: Sequence[str] | None
) -> None:
    """Refuse parameters that are not where their transforms let them be, or not finite."""
    ends = {"log": (0.0, math.inf), "logit": (0.0, 1.0), "atanh": (-1.0, 1.0)}
    wanted = {"log": "a positive number", "logit": "a number between 0 and 1"}
    wanted["atanh"] = "a number between -1 and 1"
    kinds = transforms or ["identity"] * len(theta)
    for k, (value, kind) in enumerate(zip(theta, kinds, strict=True)):
        low, high = ends.get(kind, (-math.inf, math.inf))
        if not low < value < high:
            name = f"[{k}]" if names is None else f" ({names[k]})"
            raise ValueError(
                f"theta{name}: got {value}; expected {wanted.get(kind, 'a finite number')}"
            )


def names_in(code: CodeType) -> set[str]:
    """Names of globals and attributes that code reads, functions inside of it included."""
    inner = (names_in(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


def python_of(function: Any) -> Any:
    """The Python function behind one that numba compiled."""
    return getattr(function, "py_func", function)
