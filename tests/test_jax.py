"""JAX distances against NumPy's, under jit, grad and vmap."""

import functools

import numpy as np
import pytest

import smcweights as smw

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3)) + 1


@pytest.mark.parametrize(
    ("p", "m"),
    [
        (2, 20),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((1, 13), (2, 13), (3, 20))),
    ],
)
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


@pytest.mark.slow
@pytest.mark.parametrize("m", [20, 13])
def test_what_runs_on_other_devices_agrees_with_the_host(m):
    import jax

    from smcweights import jax as ours
    from smcweights._compat import enable_x64

    a, b = RNG.normal(size=(4, 20)), RNG.normal(size=(4, m))
    for p in (1.0, 3.0) if m == 20 else (2.0,):
        with enable_x64():
            there = jax.jit(ours._on_device, static_argnums=0)(p, a, b)
        for one, other in zip(ours._on_host(p, a, b), there, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "directions"), [(2, "auto"), (5, "auto"), (5, "rule")])
def test_jax_directions_are_whole_rules(d, directions):
    """Along them the cost of a shifted cloud, a quadratic form, has no noise."""
    import jax

    v = np.arange(1.0, d + 1)

    @jax.jit
    def found(x, y, key):
        return smw.jax.sliced_wasserstein(x, y, 125, key=key, directions=directions, root=False)

    x = RNG.normal(size=(15, d))
    assert float(found(x, x + v, jax.random.key(1))) == pytest.approx(v @ v / d, rel=1e-5)


@pytest.mark.slow
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


@functools.cache
def compiled(p=2, root=True):
    """Value and gradient along the same directions; compiled once for all tests."""
    import jax

    theta = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]

    def loss(x, y):
        return smw.jax.sliced_wasserstein(x, y, directions=theta, p=p, root=root)

    return loss, jax.jit(jax.value_and_grad(loss))


def test_jax_has_no_nan_at_the_fixed_point():
    value, gradient = compiled()[1](X, X)
    assert value == 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("p", "root"),
    [
        pytest.param(1, True, marks=pytest.mark.slow),
        (2, True),
        pytest.param(3, False, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_jax_keeps_what_is_no_number(p, wrong, root):
    loss, both = compiled(p, root)
    bad = X.copy()
    bad[3, 1] = wrong
    for x, y in ((bad, Y), (X, bad), (np.full_like(X, wrong), Y)):
        assert np.isnan(loss(x, y)) and np.isnan(both(x, y)[0])


@pytest.mark.parametrize("unit", [1e25, 1e-25])
def test_jax_in_float32_of_any_size(unit):
    _, both = compiled()
    value, slope = both(unit * X, unit * Y)
    assert float(value) / unit == pytest.approx(float(both(X, Y)[0]), rel=1e-5)
    assert float(np.abs(slope).sum()) > 0.1


@pytest.mark.slow
def test_jax_computes_half_precision_in_single():
    import jax.numpy as jnp

    _, both = compiled()
    single, _ = both(X, Y)
    for dtype in (jnp.float16, jnp.bfloat16):
        value, slope = both(jnp.asarray(X, dtype), jnp.asarray(Y, dtype))
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
        ({"x": X + 1j}, TypeError, "got complex numbers"),
        ({"key": None}, ValueError, "key: got None; expected a JAX key"),
        ({"seed": 1}, ValueError, "key, seed: got both"),
        ({"key": None, "seed": 1.5}, TypeError, "seed: "),
    ],
)
def test_jax_tells_bad_arguments(change, error, said):
    import jax

    with pytest.raises(error, match=said):
        smw.jax.sliced_wasserstein(**{"x": X, "y": Y, "key": jax.random.key(1), **change})


@pytest.mark.slow
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


def test_a_seed_makes_a_key():
    one, again, other = (
        float(smw.jax.sliced_wasserstein(X, Y, 20, seed=seed)) for seed in (2**40, 2**40, 0)
    )
    assert one == again != other


@pytest.mark.parametrize("name", ["budget", "p", "root", "seed"])
def test_jax_tells_that_plain_values_are_traced(name):
    import jax

    given = {"budget": 20, "p": 2.0, "root": True, "seed": 1}

    @jax.jit
    def found(value):
        return smw.jax.sliced_wasserstein(X, Y, key=jax.random.key(1), **{name: value})

    with pytest.raises(TypeError, match=f"{name}: is traced; expected a plain value"):
        found(given[name])


@pytest.mark.slow
def test_jax_has_weights_and_batches_of_clouds():
    """Under jit, grad and vmap over clouds and weights; none weighs nothing, and zeros are left."""
    import jax

    from smcweights import jax as ours
    from smcweights._compat import enable_x64

    rng, theta = np.random.default_rng(1), np.eye(3)
    w, v = rng.random((2, 20)), rng.random(13)
    w[0, 3] = 0
    many = np.stack([X, 2 * X + 1])
    with enable_x64():

        def loss(x, w):
            return smw.jax.sliced_wasserstein(
                x, Y[:13], directions=theta, p=2, weights_x=w, weights_y=v, root=False
            )

        both = jax.jit(jax.vmap(jax.value_and_grad(loss), in_axes=(0, 0)))
        values, slopes = map(np.asarray, both(many, w))
        flat = np.asarray(jax.grad(loss, argnums=1)(X, w[1]))
    assert not flat.any()
    for k in range(2):
        keep = w[k] > 0
        with pytest.warns(smw.PrecisionWarning, match="one block"):
            truth = smw.sliced_gradient(
                many[k][keep], Y[:13], directions=theta, p=2, weights_x=w[k][keep], weights_y=v
            )
        assert float(values[k]) == pytest.approx(truth.distance.value, rel=1e-12)
        np.testing.assert_allclose(slopes[k][keep], truth.value, rtol=1e-9, atol=1e-12)
        assert not slopes[k][~keep].any()
    a, b = rng.normal(size=(4, 20)), rng.normal(size=(4, 13))
    u, z = w[1] / w[1].sum(), v / v.sum()
    with enable_x64():
        there = jax.jit(ours._weighted_on_device, static_argnums=0)(1.0, a, b, u, z)
    for one, other in zip(ours._on_host(1.0, a, b, u, z), there, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-13)


def test_jax_tells_wrong_weights():
    import jax

    for wrong, said in [
        (np.ones(3), r"weights_x: got shape \(3,\); expected \(20,\)"),
        (-np.ones(20), "weights_x: got -1.0 as entry 0; expected finite numbers from 0"),
        (np.zeros(20), "weights_x: got zeros; expected a positive sum"),
    ]:
        with pytest.raises(ValueError, match=said):
            smw.jax.sliced_wasserstein(X, Y, key=jax.random.key(1), weights_x=wrong)
    with pytest.raises(ValueError, match=r"weights_x: got shape \(3,\)"):
        jax.jit(lambda w: smw.jax.sliced_wasserstein(X, Y, directions=np.eye(3), weights_x=w))(
            np.ones(3)
        )


@pytest.mark.parametrize(
    "wrong", [np.zeros(20), np.full(20, np.nan), -np.ones(20), 1e38 * np.ones(20)]
)
def test_jax_has_no_number_for_weights_that_are_wrong_under_jit(wrong):
    """A merge of masses that are no numbers would never end."""
    found = weighted()(wrong)
    assert np.isnan(found[0]) and np.isnan(found[1]).all()
    assert np.isfinite(weighted()(np.full(20, 1e36))[0])


@functools.cache
def weighted():
    """Value and gradient by the points, with traced weights."""
    import jax

    def loss(x, w):
        return smw.jax.sliced_wasserstein(x, Y, directions=np.eye(3), weights_x=w)

    return jax.jit(lambda w: jax.value_and_grad(loss)(X, w))


def test_jax_takes_vectors_for_clouds_on_the_line():
    one = smw.jax.sliced_wasserstein(X[:, 0], Y[:, :1])
    assert float(one) == pytest.approx(smw.sliced_wasserstein(X[:, 0], Y[:, 0]).value, rel=1e-6)
