"""A model's densities in JAX: the same source, traced with jax.numpy in place of numpy.

The copy of a function keeps its code; numpy, math, and the functions that it calls are replaced in
its globals and closures. Before its first use it is compared with what numba compiled, at random
points.
"""

from __future__ import annotations

import functools
import inspect
import math
import sys
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _compat
from ...errors import ModelError
from ...identity import identity
from .. import models
from ..checking import check_model
from ..compilation import compiled, compiled_path_density
from ..model import StateSpaceModel, names_in, needed, python_of
from ..trial import rewired

if TYPE_CHECKING:
    import jax

Array = NDArray[np.float64]
DENSITIES = ("initial_logpdf", "transition_logpdf", "observation_logpdf")
POINTS = 6  # times at which the two versions are compared
TOLERANCE = 1e-8  # of a log density, relative to 1 + its size
DRAWS = 4_000  # of every time at which a sampler is compared with its density
TIMES = 3  # at which they are compared
AGAIN = 25  # times as many draws before they are said to disagree

_LOCK = threading.RLock()
_BUILT: dict[Any, Any] = {}
_CHECKED: set[Any] = set()


@dataclass(frozen=True, eq=False)
class Gradients:
    """Derivatives of the joint log density of paths and observations, compiled by JAX.

    ``log_joint`` takes (theta, x, y, seen) to (K,) for paths x (T, K, d), observations y (T, p) and
    seen (T,); ``mean_score`` to the gradient of its mean over the paths, shape (k,);
    ``curvature`` to the mean score (k,), and means of outer products of scores and of second
    derivatives (k, k). ``scores`` takes (theta, x_prev, x, y_t, t, seen) to (n, k), gradients of
    the terms of time t of n pairs, initial ones at t = 0; ``laws`` leaves out the observations.
    ``each`` takes (theta, x (T, d), y) to the densities one by one along a path, by name the
    values and their gradients; transitions begin at t = 1.
    """

    log_joint: Callable[..., jax.Array]
    mean_score: Callable[..., jax.Array]
    curvature: Callable[..., tuple[jax.Array, ...]]
    scores: Callable[..., jax.Array]
    laws: Callable[..., jax.Array]
    each: Callable[..., dict[str, tuple[jax.Array, jax.Array]]]


def retraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a NumPy-style function, or of one compiled by numba, that JAX can trace.

    Raises
    ------
    TypeError
        There is no Python source behind it.
    """
    return _copy(function, {})


def _copy(function: Any, known: dict[Any, Any]) -> Any:
    function = python_of(function)
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{function!r} has no Python source")
    if function not in known:
        space = rewired(function, _in_jax, known).__globals__
        read = names_in(function.__code__) - set(space)
        space.update({name: shim for name, shim in _builtins().items() if name in read})
    return known[function]


def _in_jax(value: Any, known: dict[Any, Any]) -> Any:
    import jax

    if value is np:
        return jax.numpy
    if value is math:
        return _math()
    if isinstance(value, types.ModuleType):
        return value
    if isinstance(value, np.ndarray):
        # a time that is traced can't index a NumPy array
        with _compat.enable_x64():
            return jax.numpy.asarray(value)
    name = getattr(value, "__name__", "")
    if name and getattr(np, name, None) is value and hasattr(jax.numpy, name):
        return getattr(jax.numpy, name)
    if name and getattr(math, name, None) is value:
        return getattr(_math(), name)
    python = getattr(value, "py_func", value)
    if isinstance(python, types.FunctionType):
        home = (python.__module__ or "").split(".")[0]
        return value if home in ("jax", "jaxlib") else _copy(python, known)
    return value


@functools.cache
def _math() -> types.SimpleNamespace:
    import jax

    own = {
        "lgamma": jax.scipy.special.gammaln,
        "gamma": jax.scipy.special.gamma,
        "erf": jax.scipy.special.erf,
        "erfc": jax.scipy.special.erfc,
        "pow": jax.numpy.power,
        "floor": lambda x: jax.numpy.floor(x).astype(int),
        "ceil": lambda x: jax.numpy.ceil(x).astype(int),
        "trunc": lambda x: jax.numpy.trunc(x).astype(int),
    }
    space = types.SimpleNamespace()
    for name in dir(math):
        value = getattr(math, name)
        setattr(space, name, own.get(name) or getattr(jax.numpy, name, value))
    return space


@functools.cache
def _builtins() -> dict[str, Any]:
    import jax

    def traced(*values: Any) -> bool:
        return any(isinstance(value, jax.Array) for value in values)

    def to_float(value: Any = 0.0) -> Any:
        return jax.numpy.asarray(value, dtype=float) if traced(value) else float(value)

    def to_int(value: Any = 0) -> Any:
        return jax.numpy.asarray(value).astype(int) if traced(value) else int(value)

    def largest(*values: Any) -> Any:
        return functools.reduce(jax.numpy.maximum, values) if traced(*values) else max(*values)

    def smallest(*values: Any) -> Any:
        return functools.reduce(jax.numpy.minimum, values) if traced(*values) else min(*values)

    return {"float": to_float, "int": to_int, "max": largest, "min": smallest}


def gradients(
    model: StateSpaceModel, rows: Array, vector: bool, densities: Mapping[str, Any] | None = None
) -> Gradients:
    """Derivatives of a model's densities, compared with its compiled ones on first use.

    Raises
    ------
    ModelError
        JAX can't trace a function, or its values are not those of the compiled function; the
        message names function and point.
    """
    needed(model, ("initial_logpdf", "transition_logpdf"), "is differentiated")
    given = dict(densities or {})
    if not set(given) <= set(DENSITIES) or not all(callable(f) for f in given.values()):
        raise ValueError(
            f"densities: got {sorted(given)}; expected JAX functions under names of {DENSITIES}"
        )
    model = model.reaching(POINTS)
    own = tuple(getattr(model, name) for name in DENSITIES)
    key = (identity(*own, given, model.inputs), model.state_dim is None, vector)
    with _LOCK, _compat.enable_x64():
        if key not in _BUILT:
            import jax.numpy as jnp

            from ..keeping import stamp

            inputs = None if model.inputs is None else jnp.asarray(model.inputs)
            functions = {}
            for name, function in zip(DENSITIES, own, strict=True):
                try:
                    traced = given.get(name) or retraced(function)
                except TypeError as error:
                    raise ModelError(
                        f"{name}: {error}, so that JAX can't trace it; pass densities={{'{name}': "
                        "a JAX function of the same arguments}}"
                    ) from None
                functions[name] = model.plain(name, traced, inputs)
            scalar = model.state_dim is None
            # all that the traces depend on
            told = (*own, *given, *given.values(), model.input_dim, scalar, vector)
            mark = stamp(_sources(), *told, *(() if inputs is None else (model.inputs,)))
            _BUILT[key] = _derivatives(functions, scalar, vector, mark)
        if key not in _CHECKED:
            _compare(model, rows, vector, _BUILT[key])
            _CHECKED.add(key)
        return _BUILT[key]


@functools.cache
def _sources() -> str:
    """The files that make traces of functions."""
    return "".join(
        inspect.getsource(sys.modules[f.__module__]) for f in (Gradients, python_of, rewired)
    )


def check_laws(
    model: StateSpaceModel,
    rows: Array,
    vector: bool,
    free: Sequence[int],
    densities: Mapping[str, Any] | None = None,
) -> None:
    """Check that samplers draw from the densities, once per model and parameters.

    `check_model` compares them at theta. A factor that is 1 there, such as a missing 1/s at s = 1,
    it can't see, but the score by theta can: under its own law it has mean zero, without which
    Fisher's identity fails, too. Means of draws that are more than six standard errors off are
    looked at once more with 26 times as many: a false alarm in fewer than one of a million models,
    as long as nothing that matters happens in fewer than one of 3,000 steps.

    Raises
    ------
    ModelError
        Sampler and density disagree, or the density is not normalised for every theta.
    """
    own = tuple(getattr(model, name) for name in DENSITIES)
    samplers = (model.initial_sample, model.transition_sample)
    told = identity(*own, *samplers, densities, model.inputs)
    key = (told, model.theta.tobytes(), tuple(free), vector)
    # of ready models the tests of the package say more
    ready = all(getattr(f, "__module__", "") == models.__name__ for f in own + samplers)
    known = ready or key in _CHECKED
    if not known:
        check_model(model, rows if vector else rows[:, 0], n_draws=DRAWS, seed=0)
    built = gradients(model, rows, vector, densities)
    if known:
        return
    names = model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)]
    functions, theta, packed = compiled(model, vector), model.theta.copy(), model.packed()
    rng, places = np.random.default_rng(0), list(free)
    unseen = np.full((1, rows.shape[1]), np.nan)
    everyone, log_w = np.arange(DRAWS, dtype=np.int32), np.zeros(DRAWS)
    steps = min(len(rows), TIMES)
    total, squares = np.zeros((2, steps, len(places)))
    for batch in range(1 + AGAIN):
        x_prev, x = np.zeros((2, DRAWS, model.dim))
        for t in range(steps):
            x_prev, x = x, x_prev
            if t == 0:
                functions.start(rng, x, unseen, 0, log_w, -1, packed)
            else:
                functions.move(rng, x_prev, everyone, x, unseen, 0, t, log_w, -1, packed)
            with _compat.enable_x64():
                slopes = np.asarray(built.laws(theta, x_prev, x, t))[:, places]
            total[t] += slopes.sum(axis=0)
            squares[t] += (slopes**2).sum(axis=0)
        n = DRAWS * (batch + 1)
        mean = total / n
        error = np.sqrt(np.maximum(squares / n - mean**2, 0.0) / n)
        # what is not finite is another error, and found by those who use it
        wrong = np.abs(mean) > 6 * error + TOLERANCE * np.sqrt(squares / n)
        if not wrong.any():
            _CHECKED.add(key)
            return
    t, k = (int(i) for i in np.argwhere(wrong)[0])
    name = "transition" if t else "initial"
    raise ModelError(
        f"{name}_logpdf: its gradient by {names[places[k]]} has mean {mean[t, k]:.3g} +- "
        f"{error[t, k]:.2g} over draws of {name}_sample at time {t}, theta = {theta}; expected 0 "
        "(the density of what the sampler draws, normalised for every theta)"
    )


def _derivatives(
    functions: dict[str, Any], scalar: bool, vector: bool, mark: str | None
) -> Gradients:
    import jax

    from ..keeping import Traced

    jnp = jax.numpy
    initial, transition, observation = (functions[name] for name in DENSITIES)

    def state(x: jax.Array) -> jax.Array:
        return x[..., 0] if scalar else x

    def log_joint(theta: jax.Array, x: jax.Array, y: jax.Array, seen: jax.Array) -> jax.Array:
        s, rows, t = state(x), y if vector else y[:, 0], jnp.arange(x.shape[0])
        first = jax.vmap(initial, (0, None))(s[0], theta)
        pairs = jax.vmap(jax.vmap(transition, (0, 0, None, None)), (0, 0, 0, None))
        sights = jax.vmap(jax.vmap(observation, (None, 0, None, None)), (0, 0, 0, None))
        total = first + pairs(s[:-1], s[1:], t[1:], theta).sum(axis=0)
        return total + jnp.where(seen[:, None], sights(rows, s, t, theta), 0.0).sum(axis=0)

    def mean(theta: jax.Array, *rest: jax.Array) -> jax.Array:
        return log_joint(theta, *rest).mean()

    def curvature(theta: jax.Array, *rest: jax.Array) -> tuple[jax.Array, ...]:
        scores = jax.jacfwd(log_joint)(theta, *rest)
        return scores.mean(axis=0), scores.T @ scores / len(scores), jax.hessian(mean)(theta, *rest)

    def law(theta: jax.Array, x_prev: jax.Array, x: jax.Array, t: jax.Array) -> jax.Array:
        a, b = state(x_prev), state(x)
        return jax.lax.cond(
            t == 0,
            lambda: jnp.asarray(initial(b, theta), dtype=float),
            lambda: jnp.asarray(transition(a, b, t, theta), dtype=float),
        )

    def term(theta: jax.Array, x_prev: jax.Array, x: jax.Array, *sight: jax.Array) -> jax.Array:
        y_t, t, seen = sight
        row = y_t if vector else y_t[0]
        seen_term = jnp.where(seen, observation(row, state(x), t, theta), 0.0)
        return law(theta, x_prev, x, t) + seen_term

    def slopes(name: str, theta: jax.Array, *points: jax.Array) -> tuple[jax.Array, jax.Array]:
        def value(th: jax.Array, *point: jax.Array) -> jax.Array:
            return jnp.asarray(functions[name](*point, th), dtype=float)

        try:
            return jax.vmap(jax.value_and_grad(value), (None, *(0 for _ in points)))(theta, *points)
        except Exception as error:
            raise ModelError(
                f"{name}: JAX can't trace it: {str(error).strip().splitlines()[0][:300]} "
                "Write np.where instead of branches that depend on states or parameters, and "
                "no writing into arrays; or pass a JAX function of the same arguments in "
                f"densities={{'{name}': ...}}"
            ) from None

    def each(theta: jax.Array, x: jax.Array, y: jax.Array) -> dict[str, tuple[jax.Array, ...]]:
        s, rows, t = state(x), y if vector else y[:, 0], jnp.arange(len(x))
        points = {"initial_logpdf": (s,), "transition_logpdf": (s[:-1], s[1:], t[1:])}
        points |= {"observation_logpdf": (rows, s, t)}
        return {name: slopes(name, theta, *own) for name, own in points.items()}

    made: dict[str, Callable[..., Any]] = {
        "log_joint": log_joint,
        "mean_score": jax.grad(mean),
        "curvature": curvature,
        "scores": jax.vmap(jax.grad(term), (None, 0, 0, None, None, None)),
        "laws": jax.vmap(jax.grad(law), (None, 0, 0, None)),
        "each": each,
    }
    return Gradients(**{name: Traced(f, f"{name} in JAX", mark) for name, f in made.items()})


def _compare(model: StateSpaceModel, rows: Array, vector: bool, built: Gradients) -> None:
    """Values of the densities at simulated states, by JAX and by numba."""
    rng = np.random.default_rng(0)
    theta, packed = model.theta.copy(), model.packed()
    sample = [model.plain(name) for name in ("initial_sample", "transition_sample")]
    states: list[Any] = [sample[0](rng, theta)]
    for t in range(1, POINTS):
        states.append(sample[1](rng, states[-1], t, theta))
    x = np.array(states, dtype=np.float64).reshape(POINTS, -1)
    # the series itself where it can be: a model may know it
    y = np.resize(rows, (POINTS, rows.shape[1]))
    missing: Any = np.isnan(y).all(axis=1)
    usable = rows[~np.isnan(rows).all(axis=1)]
    if missing.all() and len(usable):
        y, missing = usable[rng.integers(len(usable), size=POINTS)], np.zeros(POINTS, dtype=bool)
    pair, joint = compiled(model, vector).pair, compiled_path_density(model, vector)
    unseen = np.full((POINTS, rows.shape[1]), np.nan)
    scalar = model.state_dim is None

    def seen(t: int) -> float:
        only = unseen[: t + 1].copy()
        only[t] = y[t]
        return joint(x[: t + 1], only, theta) - joint(x[: t + 1], unseen[: t + 1], theta)

    try:
        found = built.each(theta, x, y)
    except ModelError as error:
        # without what JAX adds
        raise ModelError(str(error)) from None
    for name, (values, slopes) in found.items():
        first = 1 if name == "transition_logpdf" else 0
        for t, value, slope in zip(
            range(first, POINTS), np.asarray(values), np.asarray(slopes), strict=True
        ):
            now, row = (x[t, 0], y[t]) if scalar else (x[t], y[t])
            point: tuple[Any, ...]
            if name == "initial_logpdf":
                expected, point = joint(x[t : t + 1], unseen[:1], theta), (now,)
            elif name == "observation_logpdf":
                if missing[t] or t >= len(rows):
                    continue
                expected, point = seen(t), (row if vector else row[0], now, t)
            else:
                expected = pair(x[t - 1 : t], 0, x[t : t + 1], 0, t, packed)
                point = (x[t - 1, 0] if scalar else x[t - 1], now, t)
            shown = ", ".join(str(part) for part in (*point, theta))
            value = float(value)
            same = value == expected or (math.isnan(value) and math.isnan(expected))
            if not (same or abs(value - expected) <= TOLERANCE * (1 + abs(expected))):
                raise ModelError(
                    f"{name}: JAX gives {value!r} and numba {expected!r} at ({shown}); expected "
                    "the same density"
                )
            if math.isfinite(value) and not np.isfinite(slope).all():
                raise ModelError(
                    f"{name}: gradient {slope} at ({shown}); expected finite "
                    "numbers (both branches of np.where must have finite slopes)"
                )
