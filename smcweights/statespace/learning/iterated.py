"""Maximum likelihood of simulators: iterated filtering, then a response surface.

Nothing is asked of a model but samplers and the density of its observations. In iterated filtering
every particle carries parameters of its own, which are shaken at every time, less from pass to
pass, and resampled with the states (Ionides, Nguyen, Atchade, Stoev & King 2015): a start, whose
spread is the schedule's and no error. The estimate is the top of a polynomial fitted to log
likelihoods of ordinary filters around it.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...arguments import count
from ...cautions import Caution
from ...errors import DegeneracyError
from ...estimate import Estimate
from ...execution import open_run
from ...randomness import describe, generator, seed_sequence
from ...resampling import resample
from .. import loops
from ..chains import made_by
from ..cloud import Cloud
from ..compilation import jitted, without_inputs
from ..series import Series, model_of
from .ascent import Fit, How
from .parameters import Free, first_steps
from .surface import MOST_CUBIC, POINTS_PER_TERM, Design, Summit, climbed

Array = NDArray[np.float64]
METHOD = "maximum_likelihood"
PASSES = 50
SHAKE = 0.2  # of first steps, which halves in so many passes
BLOCK = 25  # points of a surface in one job
POINTS = 200
FAMILIES = 10  # effective ancestors below which a block of times ends
FLOOR = 0.1  # standard errors of the data that a cubic surface may be off by
CODES = {"identity": 0, "log": 1, "logit": 2, "atanh": 3, "simplex": 4, "rest": 5}
MOST_FREE = 12
WIDE = 4.0  # standard errors of the data over which swarms from a good start don't spread
FAR = 10.0  # standard errors of the data, which no swarm ends away from one maximum


def float_of_row(a, i, d):
    """State i, a float."""
    return a[i, 0]


def head_of_row(a, i, d):
    """State i, the first d numbers of its row."""
    return a[i, :d]


def put_float(a, i, d, value):
    """Write a float into row i."""
    a[i, 0] = float(value)


def put_head(a, i, d, value):
    """Write a vector into the first numbers of row i."""
    for j in range(d):
        a[i, j] = value[j]


def put_parameters(x, i, told, theta):
    """Parameters of particle i, from the unconstrained numbers behind its state."""
    j, size, free = int(told[0]), int(told[1]), int(told[2])
    left = 1.0
    for k in range(free):
        code, place = int(told[3 + size + k]), int(told[3 + size + free + k])
        if code == 5:
            theta[place] = left
            left = 1.0
            continue
        u = x[i, j]
        j += 1
        if code == 0:
            theta[place] = u
        elif code == 1:
            theta[place] = np.exp(u)
        elif code == 3:
            theta[place] = np.tanh(u)
        else:
            theta[place] = left / (1.0 + np.exp(-u))
        if code == 4:
            left -= theta[place]


def swarm_start(
    row_of, put, observation, observed, put_parameters, initial_sample, observation_logpdf
):
    """Particles of time 0, each by its own parameters, which stand behind its state."""

    def start(rng, x, y, row, log_w, skip, theta):
        d, size, free = int(theta[0]), int(theta[1]), int(theta[2])
        own, shakes = theta[3 : 3 + size].copy(), theta[3 + size + 2 * free :]
        seen = observed(y, row)
        for i in range(x.shape[0]):
            for j in range(shakes.size):
                x[i, d + j] += shakes[j] * rng.standard_normal()
            put_parameters(x, i, theta, own)
            put(x, i, d, initial_sample(rng, own))
            if seen:
                sight = observation_logpdf(observation(y, row), row_of(x, i, d), np.int64(0), own)
                log_w[i] += float(sight)
        return 0

    return start


def swarm_move(
    row_of, put, observation, observed, put_parameters, transition_sample, observation_logpdf
):
    """Particles of time t, each by its own parameters."""

    def move(rng, x_prev, ancestors, x, y, row, t, log_w, skip, theta):
        d, size, free = int(theta[0]), int(theta[1]), int(theta[2])
        own, shakes = theta[3 : 3 + size].copy(), theta[3 + size + 2 * free :]
        seen = observed(y, row)
        for i in range(x.shape[0]):
            for j in range(shakes.size):
                x[i, d + j] = x_prev[ancestors[i], d + j] + shakes[j] * rng.standard_normal()
            put_parameters(x, i, theta, own)
            put(x, i, d, transition_sample(rng, row_of(x_prev, ancestors[i], d), t, own))
            if seen:
                log_w[i] += float(observation_logpdf(observation(y, row), row_of(x, i, d), t, own))
        return 0

    return move


class Simulated(NamedTuple):
    """Series that share parameters, and those that are searched for along them."""

    panel: tuple[Series, ...]
    free: Free

    def cloud(self, series: Series, rng: np.random.Generator, size: int) -> Cloud:
        """Particles that carry so many unconstrained numbers behind their states."""
        from .. import kernels

        s = replace(series, proposal=None)
        m, scalar = without_inputs(s.model, None)[0], s.model.state_dim is None
        frame = (
            float_of_row if scalar else head_of_row,
            put_float if scalar else put_head,
            kernels.vector_row if s.vector else loops.scalar_row,
            loops.observed,
            put_parameters,
        )
        own = (m.initial_sample, m.observation_logpdf), (m.transition_sample, m.observation_logpdf)
        cloud = Cloud(s, rng, backward=False)
        cloud.loops = (
            jitted(swarm_start, frame, own[0], kernels.START_SIGNATURE),
            jitted(swarm_move, frame, own[1], kernels.MOVE_SIGNATURE),
            *cloud.loops[2:],
        )
        cloud.particles = cloud.particles._replace(x=np.zeros((2, s.n, m.dim + size)))
        return cloud

    def told(self, series: Series, shakes: Array) -> Array:
        """What a swarm's loops are told in the place of theta."""
        theta, free = series.model.packed(), self.free
        codes = [CODES[kind] for kind in free.transforms]
        head = [series.model.dim, len(theta), len(codes)]
        return np.concatenate([head, theta, codes, free.places, shakes]).astype(np.float64)


def _swarm(p: Simulated, root: dict[str, Any], chain: int, u: Array, shakes: Array) -> Array:
    """Means (passes, m) of the parameters of one swarm after each pass, along series in turn."""
    rng = generator(seed_sequence(root), "swarm", chain)
    clouds, dim = [p.cloud(one, rng, len(u)) for one in p.panel], p.panel[0].model.dim
    swarm, means = np.tile(u, (p.panel[0].n, 1)), np.empty((PASSES, len(u)))
    for lap in range(PASSES):
        for one, cloud in zip(p.panel, clouds, strict=True):
            cloud.t, cloud.packed = 0, p.told(one, shakes * 0.5 ** (lap / PASSES))
            cloud.particles.x[0, :, dim:] = swarm
            cloud.advance(one.rows)
            last = cloud.particles.x[(len(one.rows) - 1) % 2, :, dim:]
            swarm = last[resample(cloud.weights, seed=rng)]
        means[lap] = swarm.mean(axis=0)
    return means


def _heights(p: Simulated, root: dict[str, Any], lap: int, block: int, points: Array) -> Array:
    """Log likelihoods (n,), by a filter of every series at each point."""
    rng = generator(seed_sequence(root), "surface", lap, block)
    heights = np.zeros(len(points))
    for one in p.panel:
        cloud = Cloud(one, rng, depth=len(one.rows), backward=False)
        for i in np.flatnonzero(heights > -np.inf):
            cloud.t, cloud.theta = 0, one.model.theta
            cloud.theta[list(p.free.places)] = p.free.values(points[i])
            heights[i] += _height(cloud, one.rows)
    return heights


def _height(cloud: Cloud, rows: Array) -> float:
    """Log likelihood at the cloud's parameters, -inf where there is none."""
    if not np.isfinite(cloud.theta).all():
        return -math.inf
    try:
        log_z = float(cloud.advance(rows)[2].sum())
    except DegeneracyError:
        return -math.inf
    return log_z + variance_by_lags(cloud.particles.log_w, cloud.particles.ancestors) / 2


def variance_by_lags(log_w: Array, ancestors: NDArray[np.int32]) -> float:
    """Variance of a filter's log likelihood, from weights and ancestors (T, N) of all times.

    The share of pairs of particles with a common ancestor at time s tells of the noise that entered
    before s. It is looked at from one time s to the next, each time when ten families of the last
    are left: the filter has forgotten then, and the genealogy is still rich.
    """
    n_steps, n = log_w.shape
    older, younger, total = np.arange(n), None, 0.0
    everyone = np.arange(n)

    def pairs(roots: NDArray[Any], weights: Array) -> float:
        return float((np.bincount(roots, weights, minlength=n) ** 2).sum())

    def noise(share: float) -> float:
        return math.log1p(-1 / n) - math.log(max(1 - share, 1 / n))

    for t in range(n_steps):
        weights = np.exp(log_w[t])
        if t > 0 and (ancestors[t] != everyone).any():
            older = older[ancestors[t]]
            younger = None if younger is None else younger[ancestors[t]]
        share = pairs(older, weights)
        if younger is not None and share > 1 / FAMILIES:
            total += noise(share) - noise(pairs(younger, weights))
            older, younger = younger, None
            share = pairs(older, weights)
        if younger is None and share > 1 / math.sqrt(FAMILIES * n):
            younger = everyone
    return total + noise(pairs(older, weights))


def fitted_by_simulation(p: Simulated, starts: Array, points: int | None, how: How) -> Fit:
    """What `maximum_likelihood` returns by iterated filtering; nothing is told."""
    began, (panel, free) = time.perf_counter(), p
    series, rows = panel[0], np.concatenate([one.rows for one in panel])
    u0 = np.array([free.numbers(start) for start in starts])
    m, n = u0.shape[1], series.n
    if m > MOST_FREE:
        raise ValueError(f"free: got {m}; expected at most {MOST_FREE} with iterated filtering")
    for one in panel:
        one.functions(backward=False)
    n_terms = math.comb(m + (3 if m <= MOST_CUBIC else 2), m)
    least = POINTS_PER_TERM * n_terms
    points = max(POINTS, 5 * n_terms) if points is None else count("budget", points, least)
    shakes = SHAKE * first_steps(u0[0], free)
    chains, lengths = len(starts), [len(one.rows) for one in panel]
    several = {"model": model_of(panel), "lengths": lengths} if len(panel) > 1 else {}
    arguments = series.arguments(
        **several,
        search="iterated_filtering",
        points=points,
        theta0=u0,
        free=free.names,
        passes=PASSES,
    )
    with open_run(
        partial(_job, p),
        executor=how.executor,
        progress=how.progress,
        checkpoint=how.checkpoint,
        arguments={**arguments, "y": rows},
        seed=how.seed,
        total=len(panel) * (chains * PASSES + 3 * points),
        unit="filters",
        description=METHOD,
    ) as run:
        root = describe(run.root)
        jobs = [("swarm", root, c, 0, np.array([u, shakes])) for c, u in enumerate(u0)]
        ways = np.array(run.map("swarms", jobs, [len(panel) * PASSES] * chains))
        done = [0]

        def heights(lap: int, at: Array) -> Array:
            blocks = np.array_split(at, range(BLOCK, len(at), BLOCK))
            jobs = [("surface", root, lap, b, block) for b, block in enumerate(blocks)]
            done[0] += len(at)
            return np.concatenate(
                run.map(f"surface {lap}", jobs, [len(panel) * len(b) for b in blocks])
            )

        ends = ways[:, -1]
        spread = np.maximum(ends.std(axis=0), 5 * shakes)
        start, rng = Design(ends.mean(axis=0), np.diag(spread)), generator(run.root, "design")
        labels = [free.names[k] for k in free.moving]
        summit, _ = climbed(heights, start, points, labels, rng)
        evaluations = (chains * PASSES + done[0]) * n * len(rows)
        cost = {"evaluations": evaluations, "points": done[0]}
        source = made_by(METHOD, run.root, arguments, rows, began, cost)
    return _fit(p, ways, summit, source)


def _job(p: Simulated, kind: str, root: dict[str, Any], a: int, b: int, given: Array) -> Array:
    if kind == "swarm":
        return _swarm(p, root, a, *given)
    return _heights(p, root, a, b, given)


def spread_of(ends: Array, curvature: Array) -> float:
    """The largest standard deviation of points (n, m), where the data's errors are the unit."""
    covariance = np.atleast_2d(np.cov(ends, rowvar=False))
    root = np.linalg.cholesky(curvature)
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(root.T @ covariance @ root)[-1])))


def _fit(p: Simulated, ways: Array, summit: Summit, source: dict[str, Any]) -> Fit:
    """Both errors of the top of a surface."""
    free, cautions = p.free, list[Caution]()
    here = free.at(summit.point)
    data = np.asarray(np.linalg.inv(summit.curvature), dtype=np.float64)
    if len(summit.point) > MOST_CUBIC:
        text = (
            f"{len(summit.point)} free parameters leave no room for cubic terms: the surface may "
            "be too stiff, and its error too small"
        )
        cautions.append(Caution("stiff-surface", text))
    away = ways[:, -1] - summit.point
    apart = math.sqrt(np.einsum("ca,ab,cb->c", away, summit.curvature, away).max())
    if apart > FAR:
        text = (
            f"a swarm ended {apart:.2g} standard errors of the data from the top of the surface: "
            "several maxima, or a start too far away"
        )
        cautions.append(Caution("chains-apart", text))
    spread = spread_of(ways[:, -1], summit.curvature)
    if spread > WIDE:
        text = (
            f"the swarms spread over {spread:.2g} standard errors of the data: after so wide a "
            "start intervals hold less often than they say; search again from this maximum"
        )
        cautions.append(Caution("wide-start", text))
    search = summit.covariance + FLOOR**2 * data
    fields = {"names": free.names, "cautions": cautions, **source}
    maximiser = Estimate(
        here.values, here.spread(search), degrees_of_freedom=float(summit.freedom), **fields
    )
    errors = {
        "statistical_error": np.sqrt(here.spread(data).diagonal()),
        "monte_carlo_error": maximiser.standard_error,
    }
    both = here.spread(data + search)
    theta = Estimate(here.values, both, diagnostics=errors, columns=list(errors), **fields)
    diagnostics = {
        "log_likelihood": summit.height,
        "noise": summit.noise,
        "information": summit.curvature,
        **errors,
        "warnings": [caution.text for caution in cautions],
    }
    model = free.of(model_of(p.panel), here.values)
    iterates = free.values(ways)
    return Fit(theta, maximiser, model, iterates, None, None, free.transforms, diagnostics)
