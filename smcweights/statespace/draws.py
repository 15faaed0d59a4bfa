"""Draws of parameters and states by chains, as ArviZ keeps them, and the errors of their means."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _compat
from ..arguments import function as callable_of
from ..cautions import tell
from ..errors import ModelError
from ..estimate import Estimate
from ..randomness import seed_sequence
from .chains import estimate_from_chains, made_by
from .mixing import mixing
from .model import StateSpaceModel

if TYPE_CHECKING:
    import xarray

Array = NDArray[np.float64]
Variables = Mapping[str, tuple[tuple[str, ...], Array]]
PAIR = ("chain", "draw")
STATES = ("x", "x_last")  # what states are called among the draws


def parameter_names(model: StateSpaceModel) -> list[str]:
    """Names of the parameters, none of which is that of the states."""
    names = list(model.theta_names or [f"theta[{k}]" for k in range(model.theta.size)])
    for name in STATES:
        if name in names:
            raise ValueError(
                f"theta_names: got {name!r}, as the states are called; expected other names"
            )
    return names


def labelled(content: Variables, stats: Variables, warm: int, n_steps: int | None = None) -> Any:
    """Draws of all chains, of which the first are warm-up, with times as coordinates."""
    import xarray

    times = {} if n_steps is None else {"time": np.arange(n_steps)}

    def group(variables: Variables, part: slice) -> xarray.Dataset:
        cut = {k: (dims, v[:, part] if "draw" in dims else v) for k, (dims, v) in variables.items()}
        return xarray.Dataset(cut, coords=times)

    kept = slice(warm, None)
    groups = {"posterior": group(content, kept), "sample_stats": group(stats, kept)}
    if warm:
        groups["warmup_posterior"] = group(content, slice(0, warm))
    return _compat.inference_data(groups)


def posterior_means(draws: Any, function: Callable[[Array], ArrayLike] | None = None) -> Estimate:
    """Posterior means, with the error that independent chains show.

    The value is the mean of all draws, its standard error sd(chain means) / sqrt(chains), and the
    interval Student's with chains - 1 degrees of freedom: eight chains or more keep it narrow. It
    holds for chains much shorter than quantiles of the draws take, or R-hat to be below 1.01.

    Parameters
    ----------
    draws : arviz.InferenceData or xarray.DataTree
        What `particle_marginal_metropolis_hastings` or `particle_gibbs` returned, of at least 2
        chains; or a dataset of variables (chain, draw, ...) such as its posterior group.
    function : callable, optional
        (theta) -> float or (J,), for theta of shape (k,), the parameters drawn, in their order.
        Without it, means of everything drawn, of states as well.

    Returns
    -------
    Estimate
        Of shape () for a function that returns a float, else (J,). Diagnostics: `r_hat`,
        `chain_ess` and `mcse` (the error that ArviZ makes of it) of each component, and
        `chain_means`.

    Raises
    ------
    TypeError, ValueError, ModelError
        These are no draws of two chains or more; the function returns other than finite numbers.

    Warns
    -----
    PrecisionWarning
        Chains shorter than 10 autocorrelation times, or that still drift.

    References
    ----------
    Vehtari, Gelman, Simpson, Carpenter & Burkner (2021), Rank-normalization, folding, and
    localization: an improved R-hat, Bayesian Analysis 16.

    Examples
    --------
    >>> import xarray
    >>> a = np.random.default_rng(1).standard_normal((8, 200))
    >>> est = posterior_means({"posterior": xarray.Dataset({"a": (("chain", "draw"), a)})})
    >>> est.names, est.degrees_of_freedom, bool(abs(est.value[0]) < 0.1)
    (('a',), array([7.]), True)
    """
    began = time.perf_counter()
    posterior = posterior_of(draws)
    if function is None:
        names, values, scalar = *_everything(posterior), False
    else:
        names, values, scalar = _values(posterior, callable_of("function", function))
    found, cautions = mixing(values)
    if "r_hat" in found:
        found["mcse"] = values.std(axis=(0, 1), ddof=1) / np.sqrt(found["chain_ess"])
    means = values.mean(axis=1)
    found["chain_means"] = means[:, 0] if scalar else means
    tell("posterior_means", cautions)
    arguments = {"function": function, "chains": len(values), "draws": values.shape[1]}
    source = made_by("posterior_means", seed_sequence(0), arguments, values, began, {})
    if scalar:
        for name in ("r_hat", "chain_ess", "mcse"):
            found |= {name: float(found[name][0])} if name in found else {}
    return estimate_from_chains(
        means, scalar, names=names, diagnostics=found, cautions=cautions, **source
    )


def posterior_of(draws: Any) -> xarray.Dataset:
    """The dataset of draws, checked."""
    import xarray

    try:
        # a node of a tree, as the posterior group of one, is not yet a dataset
        node = "posterior" not in getattr(draws, "children", ["posterior"])
        found = draws if node or isinstance(draws, xarray.Dataset) else draws["posterior"]
        found = found if isinstance(found, xarray.Dataset) else found.to_dataset()
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        raise TypeError(
            f"draws: got {type(draws).__name__}; expected what "
            "particle_marginal_metropolis_hastings or particle_gibbs returned"
        ) from None
    sizes = found.sizes
    if sizes.get("chain", 0) < 2 or sizes.get("draw", 0) < 4:
        raise ValueError(
            f"draws: got {dict(sizes)}; expected at least 2 chains, of at least 4 draws each"
        )
    return found


def _everything(posterior: xarray.Dataset) -> tuple[list[str], Array]:
    """Names of all numbers drawn, and their draws (chains, s, J)."""
    names, columns = list[str](), list[Array]()
    for name, variable in posterior.data_vars.items():
        own = variable.transpose(*PAIR, ...).values.astype(np.float64)
        if not np.isfinite(own).all():
            raise ValueError(
                f"draws: {own[~np.isfinite(own)][0]} in {name}; expected finite numbers"
            )
        columns.append(own.reshape(*own.shape[:2], -1))
        places = np.ndindex(own.shape[2:])
        names += [f"{name}[{', '.join(map(str, at))}]" if at else str(name) for at in places]
    return names, np.concatenate(columns, axis=2)


def _values(
    posterior: xarray.Dataset, function: Callable[[Array], ArrayLike]
) -> tuple[list[str], Array, bool]:
    """The same of a function of the parameters, and whether it returns a float."""
    variables = {str(k): v for k, v in posterior.data_vars.items() if k not in STATES}
    if not variables:
        raise ValueError(f"draws: states {list(posterior.data_vars)} alone; expected parameters")
    theta = np.stack([v.transpose(*PAIR).values for v in variables.values()], axis=2)
    shape: tuple[int, ...] | None = None
    rows = []
    for row in theta.reshape(-1, theta.shape[2]):
        value = np.asarray(function(row.copy()))
        shape = value.shape if shape is None else shape
        if value.ndim > 1 or value.shape != shape or not _finite(value):
            raise ModelError(
                f"function: returned {value!r} at theta = {row}; expected a float or (J,), always "
                "of one shape and finite"
            )
        rows.append(np.atleast_1d(value).astype(np.float64))
    values = np.array(rows).reshape(*theta.shape[:2], -1)
    size = values.shape[2]
    return ["f"] if size == 1 else [f"f[{j}]" for j in range(size)], values, shape == ()


def _finite(value: NDArray[Any]) -> bool:
    """Whether these are finite real numbers."""
    return value.dtype.kind in "biuf" and bool(np.isfinite(value).all())
