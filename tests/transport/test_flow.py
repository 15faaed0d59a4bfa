"""Gradients against differences and closed forms, flows against assignments, JAX against both."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import smcweights as smw

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3)) + 1


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("m", [20, 13])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("root", [False, True])
def test_gradients_are_those_of_differences(p, m, weighted, root):
    a = np.random.default_rng(1).random(20) + 0.1 if weighted else None
    keywords = {"p": p, "weights_x": a, "root": root, "seed": 1}
    found = smw.sliced_gradient(X, Y[:m], 50, **keywords)
    for i, k in [(0, 0), (7, 2), (19, 1)]:
        step = np.zeros_like(X)
        step[i, k] = 1e-6
        up, down = (
            smw.sliced_gradient(X + s, Y[:m], 50, **keywords).distance.value for s in (step, -step)
        )
        assert found.value[i, k] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


def test_whole_blocks_have_no_noise_where_the_cost_is_quadratic():
    gradient = smw.sliced_gradient(X, 1.5 * X + 2, 30, directions="orthogonal", seed=1)
    np.testing.assert_allclose(gradient.value, 2 / 3 / 20 * (X - (1.5 * X + 2)), rtol=1e-9)
    assert (gradient.standard_error < 1e-9).all()


@pytest.mark.parametrize("keywords", [{}, {"directions": "uniform"}, {"directions": "orthogonal"}])
def test_gradients_are_unbiased_with_right_errors(keywords):
    """400 seeds, 60 components: the largest |z| stays below 5 but once in 30,000."""
    truth = smw.sliced_gradient(X, Y, 200_000, seed=99).value
    runs = [smw.sliced_gradient(X, Y, 60, seed=s, **keywords) for s in range(400)]
    values = np.array([r.value for r in runs])
    spread = values.std(axis=0)
    assert (np.abs(values.mean(0) - truth) < 5 * spread / 20 + 1e-6).all()
    said = np.sqrt(np.mean([r.standard_error**2 for r in runs], axis=0))
    np.testing.assert_allclose(said, spread, rtol=0.35)


@pytest.mark.parametrize("root", [False, True])
def test_the_gradient_vanishes_at_the_fixed_point(root):
    found = smw.sliced_gradient(X, X[::-1], 50, root=root, seed=1)
    np.testing.assert_array_equal(found.value, 0)


def test_the_paper_s_controls_by_name_are_worse_near_the_end():
    """Where the means agree the lower bound is a constant, and its coefficient huge."""
    noise = 0.3 * np.random.default_rng(5).normal(size=X.shape)
    near = X + noise - noise.mean(axis=0) + 1e-9
    truth = smw.sliced_gradient(near, X, 100_000, seed=9).value

    def variance(**keywords):
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", smw.PrecisionWarning)
            return np.mean(
                [
                    (
                        (smw.sliced_gradient(near, X, 15, seed=s, **keywords).value - truth) ** 2
                    ).sum()
                    for s in range(200)
                ]
            )

    plain = variance(directions="uniform")
    assert variance(control_variates="lower") > plain
    assert variance(directions="orthogonal") < plain


def test_a_flow_arrives():
    flow = smw.sliced_gradient_flow(X - 10, Y, 300, step_size=1.0, trace="exact", seed=1)
    assert flow.distances[0] > 100
    assert flow.distances[-1] < 1e-6
    assert flow.frames.shape == (21, 20, 3)
    np.testing.assert_array_equal(flow.frames[-1], flow.points)


def test_the_flow_of_the_paper_in_small():
    """Root, step 0.01: the speed is constant until the end, and blocks lead single directions."""
    runs = {
        name: smw.sliced_gradient_flow(
            X - 3, Y, 900, step_size=0.01, root=True, budget=9, trace="exact", seed=2, **keywords
        )
        for name, keywords in {
            "blocks": {"directions": "orthogonal"},
            "uniform": {"directions": "uniform"},
            "upper": {"directions": "uniform", "control_variates": "upper"},
        }.items()
    }
    ends = {name: run.distances[-1] for name, run in runs.items()}
    assert ends["blocks"] < runs["blocks"].distances[0] / 10
    assert ends["blocks"] < ends["uniform"]


def test_a_callback_sees_and_ends_a_flow():
    seen = []

    def look(step, points, power):
        seen.append(power)
        assert not points.flags.writeable
        return step == 5

    smw.sliced_gradient_flow(X, Y, 50, callback=look, seed=1)
    assert len(seen) == 6


def test_a_finished_flow_that_is_called_again_is_the_same(tmp_path):
    for name, callback in (("whole", None), ("ended", lambda step, points, power: step == 5)):
        keywords = {"seed": 1, "checkpoint": tmp_path / f"{name}.npz", "callback": callback}
        first, *others = (smw.sliced_gradient_flow(X, Y, 12, **keywords) for _ in range(3))
        assert first.steps.tolist() == list(range(6 if callback else 13))
        for again in others:
            for part in ("points", "steps", "distances", "frames"):
                np.testing.assert_array_equal(getattr(again, part), getattr(first, part))


def test_step_sizes_are_those_of_the_checkpoint(tmp_path):
    def run(step_size, **keywords):
        return smw.sliced_gradient_flow(
            X, Y, 7, step_size=step_size, seed=1, checkpoint=tmp_path / "a.npz", **keywords
        )

    first = run(lambda step: 1 / (1 + step))
    np.testing.assert_array_equal(run(lambda step: (1 + step) ** -1).points, first.points)
    with pytest.raises(ValueError, match="belongs to a flow with another step_size"):
        run(lambda step: 0.5)
    with pytest.raises(ValueError, match="belongs to a flow with another weights_x"):
        run(lambda step: 1 / (1 + step), weights_x=np.arange(1.0, 21.0))


@pytest.mark.parametrize("wrong", ["a", np.nan, -1.0, None, [1.0, 2.0]])
def test_step_sizes_that_are_no_sizes_are_told(wrong):
    with pytest.raises(smw.ModelError, match=r"step_size: returned .* for step 3"):
        smw.sliced_gradient_flow(X, Y, 7, step_size=lambda step: wrong if step == 3 else 1.0)


SCRIPT = """
import sys, time
import numpy as np, smcweights as smw
clock = time.monotonic
time.monotonic = lambda: 1000 * clock()  # 30 seconds pass in 30 milliseconds
rng = np.random.default_rng(1)
x, y = rng.normal(size=(30, 3)), rng.normal(size=(30, 3)) + 1
def look(step, points, power):
    if len(sys.argv) > 2:
        time.sleep(0.05)
out = smw.sliced_gradient_flow(x, y, 100, callback=look, seed=4, checkpoint=sys.argv[1])
print(out.points.tobytes().hex())
"""


def test_a_killed_flow_goes_on_to_the_same_numbers(tmp_path):
    def start(path, *more):
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path), *more], stdout=subprocess.PIPE, text=True
        )

    whole = start(tmp_path / "a.npz").communicate()[0]
    assert len(whole) > 100
    path = tmp_path / "b.npz"
    process = start(path, "slowly")
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert start(path).communicate()[0] == whole
    with pytest.raises(ValueError, match="belongs to a flow with another steps"):
        smw.sliced_gradient_flow(X, Y, 7, seed=4, checkpoint=path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step_size": -1}, "step_size: got -1"),
        ({"trace": "W2"}, "trace: got 'W2'"),
        ({"trace_at": [200]}, "trace_at: got"),
        ({"control_variates": "parts"}, "control_variates: got 'parts'"),
        ({"control_variates": "lower", "p": 1}, "'lower' serves p = 2"),
        ({"y": Y[:5], "trace": "exact"}, "'exact' serves two clouds of the same size"),
        ({"weights_x": np.r_[0, np.ones(19)]}, "weights_x: a point has weight 0"),
    ],
)
def test_bad_arguments_are_told(change, said):
    with pytest.raises(ValueError, match=said):
        smw.sliced_gradient_flow(**{"x0": X, "y": Y, "steps": 10, **change})


def test_too_large_steps_are_told():
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="smaller steps"):
        smw.sliced_gradient_flow(X, Y, 3_000, step_size=50.0, seed=1)


# ------------------------------------------------------------------------------------------- JAX


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("m", [20, 13])
def test_jax_agrees_under_jit_grad_and_vmap(p, m):
    import jax

    from smcweights._compat import enable_x64

    theta = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    with enable_x64():

        def loss(x):
            return smw.jax.sliced_wasserstein(x, Y[:m], directions=theta, p=p, root=False)

        value, gradient = jax.jit(jax.value_and_grad(loss))(X)
        many = jax.vmap(loss)(np.stack([X, X + 1]))
    with pytest.warns(smw.PrecisionWarning):
        truth = smw.sliced_gradient(X, Y[:m], directions=theta, p=p)
        later = smw.sliced_gradient(X + 1, Y[:m], directions=theta, p=p)
    assert float(value) == pytest.approx(truth.distance.value, rel=1e-12)
    np.testing.assert_allclose(gradient, truth.value, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(many, [truth.distance.value, later.distance.value], rtol=1e-12)


@pytest.mark.parametrize("m", [20, 13])
def test_what_runs_on_other_devices_agrees_with_the_host(m):
    import jax

    from smcweights import jax as ours
    from smcweights._compat import enable_x64

    a, b = RNG.normal(size=(4, 20)), RNG.normal(size=(4, m))
    for p in (1.0, 2.0, 3.0):
        with enable_x64():
            there = jax.jit(ours._on_device, static_argnums=0)(p, a, b)
        for one, other in zip(ours._on_host(p, a, b), there, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("d", "directions"), [(2, "auto"), (3, "auto"), (5, "auto"), (5, "rule")])
def test_jax_directions_are_unbiased(d, directions):
    """400 keys: |z| < 4.5."""
    import jax

    x, y = RNG.normal(size=(15, d)), 2 * RNG.normal(size=(15, d)) + 1
    truth = smw.sliced_wasserstein(x, y, 40_000, root=False, seed=1)

    @jax.jit
    def one(key):
        return smw.jax.sliced_wasserstein(x, y, 125, key=key, directions=directions, root=False)

    values = np.array([one(k) for k in jax.random.split(jax.random.key(1), 400)], dtype=float)
    error = np.hypot(values.std() / 20, truth.standard_error)
    assert abs(values.mean() - truth.value) < 4.5 * error + 1e-5 * truth.value


def test_jax_has_no_nan_at_the_fixed_point():
    import jax

    gradient = jax.grad(lambda x: smw.jax.sliced_wasserstein(x, X, key=jax.random.key(1)))(X)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("root", [True, False])
def test_jax_keeps_what_is_no_number(p, wrong, root):
    import jax

    def loss(x, y):
        return smw.jax.sliced_wasserstein(x, y, 40, key=jax.random.key(1), p=p, root=root)

    bad = X.copy()
    bad[3, 1] = wrong
    for x, y in ((bad, Y), (X, bad), (np.full_like(X, wrong), Y)):
        assert np.isnan(loss(x, y)) and np.isnan(jax.jit(loss)(x, y))
    assert np.isnan(jax.value_and_grad(loss)(bad, Y)[0])


@pytest.mark.parametrize("unit", [1e25, 1e-25])
def test_jax_in_float32_of_any_size(unit):
    import jax

    def loss(x):
        return smw.jax.sliced_wasserstein(x, unit * Y, 40, key=jax.random.key(1))

    value, slope = jax.value_and_grad(loss)(unit * X)
    truth = smw.jax.sliced_wasserstein(X, Y, 40, key=jax.random.key(1))
    assert float(value) / unit == pytest.approx(float(truth), rel=1e-5)
    assert float(np.abs(slope).sum()) > 0.1


def test_jax_computes_half_precision_in_single():
    import jax
    import jax.numpy as jnp

    single = smw.jax.sliced_wasserstein(X, Y, 40, key=jax.random.key(1))
    for dtype in (jnp.float16, jnp.bfloat16):
        x, y = jnp.asarray(X, dtype), jnp.asarray(Y, dtype)
        value, slope = jax.value_and_grad(smw.jax.sliced_wasserstein)(
            x, y, 40, key=jax.random.key(1)
        )
        assert float(value) == pytest.approx(float(single), rel=0.01)
        assert slope.dtype == dtype


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"budget": 0}, ValueError, "budget: got 0"),
        ({"budget": -5}, ValueError, "budget: got -5"),
        ({"budget": 20.5}, ValueError, "budget: got 20.5"),
        ({"directions": np.ones((2, 3))}, ValueError, "directions: row 0 has length 1.73"),
        ({"x": np.zeros((0, 3))}, ValueError, "expected at least one point"),
        ({"x": X + 1j}, TypeError, "they are complex"),
        ({"key": None}, ValueError, "key: expected a JAX key"),
    ],
)
def test_jax_tells_bad_arguments(change, error, said):
    import jax

    with pytest.raises(error, match=said):
        smw.jax.sliced_wasserstein(**{"x": X, "y": Y, "key": jax.random.key(1), **change})


def test_jax_trains_a_map_on_digits():
    """Threes are drawn to eights."""
    import jax

    three, eight = (cloud[:60] / 16 for cloud in smw.problems.digits())
    key = jax.random.key(1)

    @jax.jit
    def step(x, key):
        loss, slope = jax.value_and_grad(
            lambda x: smw.jax.sliced_wasserstein(x, eight, 64, key=key, root=False)
        )(x)
        return x - 64 * 60 / 4 * slope, loss

    x, losses = three, []
    for k in jax.random.split(key, 80):
        x, loss = step(x, k)
        losses.append(float(loss))
    assert losses[-1] < losses[0] / 20
