"""All pairs of several clouds, and a reference that is kept."""

import math

import numpy as np
import pandas
import pytest
from killed import bits, killed_and_resumed

import smcweights as smw

from .truths import mixture, truth_in_space


@pytest.mark.slow
def test_all_pairs_share_directions():
    clouds = {"a": mixture(60, 3, 1), "b": mixture(50, 3, 2), "c": mixture(60, 3, 3)}
    joint = smw.sliced_wasserstein_matrix(clouds, 400, seed=1, root=False)
    for name in joint.names:
        first, second = name.split(", ")
        truth = truth_in_space(clouds[first], clouds[second], 2, nodes=30)
        assert abs(joint[name].value - truth) < 6 * joint[name].standard_error + 1e-4 * truth
    matrix = joint.diagnostics["matrix"]
    np.testing.assert_array_equal(matrix, matrix.T)
    runs = [smw.sliced_wasserstein_matrix(clouds, 100, seed=s, root=False) for s in range(150)]
    said = np.mean([run.covariance for run in runs], axis=0)
    # 150 runs: relative errors of (co)variances of some 0.12
    seen = np.cov(np.transpose([run.value for run in runs]))
    np.testing.assert_allclose(seen, said, atol=0.4 * said.diagonal().max())


@pytest.mark.parametrize("far", [1e4, 1e6, 1e9])
def test_the_error_of_a_pair_is_its_own(far):
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(60, 3)) * [1, 2, 5] + 1, rng.gamma(2, size=(80, 3))
    alone = smw.sliced_wasserstein_matrix([x, y, 3 * x], 200, seed=1)["1, 2"]
    joint = smw.sliced_wasserstein_matrix([x, y, far * x], 200, seed=1)["1, 2"]
    assert joint.value == pytest.approx(alone.value, rel=1e-6)
    assert joint.standard_error == pytest.approx(alone.standard_error, rel=1e-3)


def test_clouds_with_names_have_weights_with_names():
    x, y, a = mixture(30, 3, 1), mixture(20, 3, 2), np.arange(1.0, 31.0)
    named = smw.sliced_wasserstein_matrix({"a": x, "b": y}, 50, weights={"a": a}, seed=1)
    listed = smw.sliced_wasserstein_matrix((c for c in (x, y)), 50, weights=[a, None], seed=1)
    assert named.value == listed.value
    for clouds, weights, said in [
        ({"a": x, "b": y}, {"c": a}, r"weights: got names \['c'\]; expected some of"),
        ([x, y], {"a": a}, "which have no names"),
        ([x, y], [a], "weights: got 1; expected one entry per cloud, 2"),
        ([x], None, "clouds: got 1"),
    ]:
        with pytest.raises(ValueError, match=said):
            smw.sliced_wasserstein_matrix(clouds, 50, weights=weights)
    with pytest.raises(TypeError, match="clouds: got int"):
        smw.sliced_wasserstein_matrix(3)


def test_what_groupby_makes_is_a_mapping_first():
    frame = pandas.DataFrame(mixture(40, 2, 1), columns=["a", "b"]).assign(site=["x", "y"] * 20)
    grouped = frame.groupby("site")
    with pytest.raises(TypeError, match="clouds: got pairs of a name and a table, as groupby"):
        smw.sliced_wasserstein_matrix(grouped, 50, seed=1)
    found = smw.sliced_wasserstein_matrix({k: v[["a", "b"]] for k, v in grouped}, 50, seed=1)
    assert found.names == ("x, y",)


def test_a_reference_is_kept():
    y = mixture(80, 4, 1)
    reference = smw.SlicedReference(y, 400, seed=5)
    assert repr(reference).startswith("SlicedReference(80 points in 4 dimensions, p = 2")
    for x in (mixture(80, 4, 2), mixture(33, 4, 3)):
        own = reference.distance(x)
        other = smw.sliced_wasserstein(x, y, 4_000, seed=6)
        gap = abs(own.value - other.value)
        assert gap < 5 * math.hypot(own.standard_error, other.standard_error)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize(("d", "budget"), [(3, 100), (8, 100), (40, 100), (200, 100)])
def test_matrix_and_reference_have_the_control_of_the_distance(d, budget, p):
    """The same blocks, with the same corrections; 200 dimensions have the cheap one."""
    x, y, a = mixture(300, d, 1), mixture(260, d, 2), np.random.default_rng(1).random(300)
    theta = np.linalg.qr(np.random.default_rng(2).normal(size=(8, d, min(d, 12))))[0]
    theta = np.ascontiguousarray(np.swapaxes(theta, 1, 2))
    for weights in (None, a):
        named = {"control_variates": "polynomial" if d < 200 else "tangent"}
        for keywords in ({"directions": theta, **named}, {"seed": 1}):
            if p != 2 and "directions" in keywords:
                continue
            alone = smw.sliced_wasserstein(
                x, y, budget if "seed" in keywords else None, p=p, weights_x=weights, root=False,
                **keywords,
            )  # fmt: skip
            joint = smw.sliced_wasserstein_matrix(
                [x, y], budget, p=p, weights=[weights, None], root=False, **keywords
            )
            kept = smw.SlicedReference(y, budget, p=p, **keywords).distance(
                x, weights=weights, root=False
            )
            if "directions" in keywords:
                for other in (joint["1, 2"], kept):
                    assert other.value == pytest.approx(alone.value, rel=1e-9)
                    assert other.standard_error == pytest.approx(alone.standard_error, rel=1e-6)
            else:
                for other in (joint["1, 2"], kept):
                    error = alone.standard_error
                    assert error / 3 < other.standard_error < 3 * error
                    assert abs(other.value - alone.value) < 7 * math.hypot(
                        error, other.standard_error
                    )


def test_pairs_of_equal_clouds_are_named():
    x, y = mixture(30, 3, 1), mixture(20, 3, 2)
    with pytest.warns(smw.PrecisionWarning, match=r"within three .* of 0, of the pairs a, c \["):
        found = smw.sliced_wasserstein_matrix({"a": x, "b": y, "c": x[::-1]}, 100, seed=1)
    assert found["a, c"].value == 0 and found["a, b"].value > 0
    lower, upper = found["a, c"].interval()
    assert lower == 0 < upper < 1e-5


def test_a_reference_warns_by_its_own_name():
    x = mixture(30, 3, 1)
    with pytest.warns(smw.PrecisionWarning, match=r"^SlicedReference\.distance: the clouds can't"):
        smw.SlicedReference(x, 100, seed=1).distance(x[::-1].copy())


@pytest.mark.slow
def test_a_killed_matrix_goes_on_to_the_same_bits(tmp_path):
    def call(**others):
        x = np.random.default_rng(1).normal(size=(3000, 5))
        return bits(smw.sliced_wasserstein_matrix([x, 2 * x, x + 1], 2000, seed=2, **others))

    killed_and_resumed(call, tmp_path)


def test_distances_to_a_reference_are_the_same_wherever_they_are_computed():
    x = np.random.default_rng(1).normal(size=(4000, 3))
    found = [
        smw.SlicedReference(x, 300, seed=1, executor=executor).distance(2 * x[1:])
        for executor in (None, "threads:2")
    ]
    assert bits(found[0]) == bits(found[1])
