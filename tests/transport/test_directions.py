"""Rules integrate what they say, and blocks are unbiased and independent."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

import smcweights as smw
from smcweights.transport.clouds import pair_of
from smcweights.transport.directions import (
    LEBEDEV,
    Directions,
    draw,
    haar_rows,
    pilot,
    plan,
    too_few,
    wider,
)
from smcweights.transport.sliced import Question, along
from smcweights.transport.sphere import absolute_moment

RULES = [
    *(Directions("lebedev", 3, 2, lines) for lines in list(LEBEDEV)[:8]),
    *(Directions("degree 5", d, 2, d * d) for d in (4, 7)),
    *(Directions("angles", 2, 2, lines) for lines in (3, 8)),
    *(Directions("orthogonal", d, 2, d) for d in (2, 6)),
]


def mean_of_monomial(powers):
    """E prod theta_i^(a_i) over the sphere: prod (a_i - 1)!! / (d (d+2) ... ), 0 if one is odd."""
    if any(a % 2 for a in powers):
        return 0.0
    d = len(powers)
    below = math.prod(d + 2 * i for i in range(sum(powers) // 2))
    return math.prod(math.prod(range(1, a, 2)) for a in powers) / below


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_block_integrates_even_polynomials_up_to_its_degree(rule):
    """And one degree beyond it shows an error, so that the test can see one."""
    theta = draw(rule, 2, np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(theta, axis=-1), 1, rtol=1e-12)
    assert theta.shape == (2, rule.lines, rule.dimension)
    assert rule.weights.sum() == pytest.approx(1, rel=1e-12)

    def errors(degree):
        chosen = itertools.combinations_with_replacement(range(rule.dimension), degree)
        for which in itertools.islice(chosen, 60):
            powers = np.bincount(which, minlength=rule.dimension)
            seen = (theta**powers).prod(axis=-1) @ rule.weights
            yield np.abs(seen - mean_of_monomial(powers)).max()

    even = rule.degree - rule.degree % 2
    assert max(errors(even)) < 1e-12
    assert max(errors(even + 2)) > 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["uniform", "sobol", "orthogonal", "rule"])
@pytest.mark.parametrize("d", [2, 3, 5])
def test_nodes_are_uniform_on_the_sphere(kind, d):
    """E theta_1^4 = 3/(d (d + 2)) and E theta = 0, over 4,000 blocks: |z| < 5."""
    rule = plan(kind, d, 150)
    theta = draw(rule, 4_000 // rule.lines + 8, np.random.default_rng(2))
    for values, truth in ((theta[..., 0] ** 4, 3 / d / (d + 2)), (theta[..., 0] ** 2, 1 / d)):
        blocks = values @ rule.weights
        error = blocks.std() / math.sqrt(len(blocks))
        assert abs(blocks.mean() - truth) < 5 * error + 1e-12


@pytest.mark.parametrize("budget", [15, 16, 20, 25, 40, 100, 199, 200])
def test_intervals_of_few_rules_in_the_plane_cover(budget):
    """6,000 draws of blocks, p = 1 and 3, from costs at every angle; even numbers cover 0.8."""
    rule, rng = plan("auto", 2, budget), np.random.default_rng(1)
    m, count = rule.lines, 4_000 // rule.lines
    assert m % 2 == 1 and rule.total <= budget
    angle = np.arange(m * count) * math.pi / (m * count)
    theta = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    t, half = np.linspace(-3, 3, 40), np.full(40, 3.0)
    half[:12] = -3
    flat, x = np.stack([3 * np.cos(math.pi * t / 3), 0 * t], 1), rng.normal(size=(20, 2))
    clouds = [
        (flat, np.stack([0 * t, half], 1)),
        (np.stack([t, 0 * t], 1), np.stack([0 * t, t], 1)),
        (x, x + np.array([1, 0.3])),
    ]
    quantile = stats.t.ppf(0.975, rule.degrees_of_freedom(rule.blocks))
    for (a, b), p in itertools.product(clouds, (1, 3)):
        gaps = np.sort(theta @ a.T, axis=1) - np.sort(theta @ b.T, axis=1)
        means = (np.abs(gaps) ** p).mean(axis=1).reshape(m, count).mean(axis=0)
        drawn = means[rng.integers(count, size=(6_000, rule.blocks))]
        error = drawn.std(axis=1, ddof=1) / math.sqrt(rule.blocks)
        covered = np.abs(drawn.mean(axis=1) - means.mean()) <= quantile * error + 1e-12
        assert covered.mean() > 0.915, (p, covered.mean())


@pytest.mark.slow
@pytest.mark.parametrize(("d", "p", "budget"), [(4, 1, 100), (4, 1.5, 200), (5, 1, 200)])
def test_rules_of_degree_five_cover_below_two(d, p, budget):
    """3,000 draws of blocks of a shifted cloud: 0.9 with one degree less than there are blocks."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(100, d)), rng.normal(size=(130, d)) + 3 * np.eye(d)[0]
    rule, pair = plan("auto", d, budget), pair_of(x, y, p=p)
    assert rule.kind == "degree 5"
    costs = along(Question(pair, p), draw(rule, 2_000, rng).reshape(-1, d))[:, 0]
    blocks = costs.reshape(2_000, rule.lines) @ rule.weights
    found = blocks[rng.integers(2_000, size=(3_000, rule.blocks))]
    error = found.std(axis=1, ddof=1) / math.sqrt(rule.blocks)
    gap = abs(found.mean(axis=1) - blocks.mean()) / error
    covered, before = (
        (gap <= stats.t.ppf(0.975, freedom)).mean()
        for freedom in (rule.degrees_of_freedom(rule.blocks, p), rule.blocks - 1)
    )
    assert before < 0.93 <= covered <= 0.98


@pytest.mark.parametrize(
    ("d", "p", "budget"), [(10, 3, 50), (50, 2, 50), (100, 2, 50), (100, 3, 100), (100, 4, 400)]
)
def test_intervals_of_skewed_costs_cover_untold(d, p, budget):
    """4,000 runs along single directions of a shifted cloud, whose costs are |theta_1|^p.

    0.93 to 0.945 are covered, and 0.91 to 0.93 with N - 1 degrees of freedom.
    """
    rule, rng = plan("uniform", d, budget), np.random.default_rng(1)
    assert not too_few(rule, p, budget)
    costs = rng.beta(0.5, (d - 1) / 2, size=(4_000, budget)) ** (p / 2)
    gap = abs(costs.mean(axis=1) - absolute_moment(d, p)) / costs.std(axis=1, ddof=1)
    quantile = stats.t.ppf(0.975, [rule.degrees_of_freedom(budget, p), budget - 1])
    covered, before = (gap[:, None] * math.sqrt(budget) <= quantile).mean(axis=0)
    assert 0.925 <= covered <= 0.96 and before < covered - 0.01


def test_few_turned_rules_are_told():
    for d, budget in itertools.product((2, 3), (14, 15, 17, 18, 20, 21, 40)):
        rule = plan("auto", d, budget)
        told = too_few(rule, 1.0, rule.total)
        assert [caution.code for caution in told] == ["few-directions"] * (
            budget < (18 if d == 2 else 21)
        )


@pytest.mark.parametrize(("d", "p", "budget"), [(3, 20, 200), (4, 10, 200), (5, 14, 200)])
def test_rules_in_space_that_are_few_for_a_high_power_are_told(d, p, budget):
    """Others like them covered 0.78 to 0.91; four times as many, or of p = 6, cover."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(100, d)), rng.normal(size=(100, d)) + 3 * np.eye(d)[0]
    with pytest.warns(smw.PrecisionWarning, match="directions are few for skewed costs"):
        smw.sliced_wasserstein(x, y, budget, p=p, seed=1)
    if d < 5:
        assert not smw.sliced_wasserstein(x, y, 4 * budget, p=p, seed=1).cautions
    for quiet in (4, 6):
        assert not smw.sliced_wasserstein(x, y, 400, p=quiet, seed=1).cautions


def test_few_strata_are_told():
    rng = np.random.default_rng(1)
    x, y = few_values(rng, 300, 0.0), few_values(rng, 400, 0.5)
    with pytest.warns(smw.PrecisionWarning, match="20 directions are few, 30 would do"):
        smw.sliced_wasserstein(x, y, 20, seed=1)
    assert not smw.sliced_wasserstein(x, y, 30, seed=1).cautions
    twice = [np.column_stack([cloud, rng.random(len(cloud)) < 0.5]) for cloud in (x, y)]
    with pytest.warns(smw.PrecisionWarning, match="96 directions are few, 120 would do"):
        smw.sliced_wasserstein(*twice, 100, seed=1)
    assert not smw.sliced_wasserstein(*twice, 120, seed=1).cautions


def test_haar_rows_are_orthonormal_with_signs_of_chance():
    rows = haar_rows(500, 2, 3, np.random.default_rng(3))
    np.testing.assert_allclose(
        rows @ np.swapaxes(rows, 1, 2), np.tile(np.eye(2), (500, 1, 1)), atol=1e-12
    )
    # without the signs of the factorisation one half of the sphere would be empty
    assert np.abs(rows.mean(axis=0)).max() < 5 / math.sqrt(3 * 500)


def test_plans_keep_to_the_budget_and_have_blocks_enough():
    for kind, d, budget in itertools.product(
        ("auto", "uniform", "orthogonal", "sobol", "rule"), (2, 3, 4, 20), (1, 2, 7, 60, 500)
    ):
        found = plan(kind, d, budget)
        assert 1 <= found.total <= budget
        assert found.blocks >= min(budget, 5) or found.kind == "lebedev"
        assert found == plan(kind, d, float(budget))
    first = pilot("rule", 3, 10_000)
    while (larger := wider(first)) is not None:
        assert larger.lines >= 4 * first.lines and larger.blocks == 8
        first = larger
    assert first.lines == 385


def test_names_and_arrays_that_are_no_directions_are_told():
    with pytest.raises(ValueError, match="directions: got 'any'; expected one of"):
        plan("any", 3, 10)
    with pytest.raises(ValueError, match="'exact' serves sliced_wasserstein alone"):
        plan("exact", 3, 10)
    with pytest.raises(ValueError, match="directions: row 1 has length 2; expected unit vectors"):
        plan(np.diag([1.0, 2.0]), 2)
    with pytest.raises(ValueError, match="budget: got 0"):
        plan("auto", 1, 0)


def few_values(rng, n, shift):
    """One column of counts and two of normal numbers."""
    return np.column_stack([rng.poisson(2 + shift, n), rng.normal(size=(n, 2))])


@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_blocks_are_many_and_small_where_a_column_has_few_values():
    rng = np.random.default_rng(1)
    x, y = few_values(rng, 300, 0.0), few_values(rng, 400, 0.5)
    kinds = [
        smw.sliced_wasserstein(*pair, 200, p=p, seed=1).diagnostics["directions"]
        for pair, p in [((x, y), 2), ((x, y), 1), ((x[:, 1:] @ rng.normal(size=(2, 3)), y), 2),
                        ((rng.normal(size=(50, 3)), rng.normal(size=(50, 3)).round(1)), 2)]
    ]  # fmt: skip
    assert kinds == ["strata", "lebedev", "strata", "lebedev"]
    twice = [np.column_stack([cloud, cloud[:, 0]]) for cloud in (x, y)]
    found = smw.sliced_wasserstein(*twice, 200, seed=1).diagnostics
    assert (found["directions"], found["blocks"]) == ("strata", 8)
    answers = [rng.integers(1, 6, (n, 3)) for n in (300, 400)]
    found = smw.sliced_wasserstein(*answers, 200, seed=1).diagnostics
    assert (found["directions"], found["blocks"]) == ("strata", 8)
    matrix = smw.sliced_wasserstein_matrix([x, y], 200, seed=1)
    assert matrix.diagnostics["directions"] == "strata"
    reached = smw.sliced_wasserstein(x, y, precision=smw.Precision(relative=0.02), seed=1)
    assert reached.diagnostics["directions"] == "strata"


@pytest.mark.parametrize(
    ("d", "lines", "axes"),
    [(3, 5, (0,)), (4, 25, (2,)), (5, 8, (4,)), (3, 9, (0, 2)), (4, 8, (1, 2)), (5, 8, (0, 1, 3))],
)
def test_strata_are_the_whole_sphere_with_one_direction_each(d, lines, axes):
    """Means of monomials over 4,000 blocks: 30 of them, |z| < 5, and the last is seen to be off."""
    rule, axis = Directions("strata", d, 4_000, lines, axes=axes), axes[0]
    theta, weights = draw(rule, 4_000, np.random.default_rng(1)), rule.weights
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(np.linalg.norm(theta, axis=-1), 1, rtol=1e-12)
    # rings follow each other from the axes to what is orthogonal to them
    heights = np.linalg.norm(theta[..., axes], axis=-1)
    assert (heights[:, :-1].min(axis=0) >= heights[:, 1:].max(axis=0)).all()
    other = (axis + 1) % d
    for first, second in ((2, 0), (0, 2), (1, 1), (4, 0), (2, 2)):
        powers = np.zeros(d, dtype=int)
        powers[axis], powers[other] = first, second
        means = (theta**powers).prod(axis=-1) @ weights
        error = means.std() / math.sqrt(len(means))
        assert abs(means.mean() - mean_of_monomial(powers)) < 5 * error
    assert abs(means.mean() - 1.1 * mean_of_monomial(powers)) > 5 * error


@pytest.mark.slow
@pytest.mark.parametrize(("d", "k"), [(3, 1), (4, 1), (5, 1), (3, 2), (4, 2), (3, 3)])
def test_intervals_of_tables_with_columns_of_classes_cover(d, k):
    """300 seeds, false alarm 3e-4: of 4 dimensions, 50 orthonormal blocks covered 0.76."""
    rng = np.random.default_rng(1)
    x, y = (np.column_stack([rng.random((1000, k)) < share, rng.normal(size=(1000, d - k))])
            for share in (0.5, 0.6))  # fmt: skip
    runs = [smw.sliced_wasserstein(x, y, root=False, seed=s) for s in range(300)]
    dense = smw.sliced_wasserstein(x, y, 40_000, root=False, seed=999)
    assert 8 * dense.standard_error < np.median([run.standard_error for run in runs])
    missed = sum(not a <= dense.value <= b for a, b in (run.interval() for run in runs))
    assert missed <= 29


def test_few_angles_are_told_where_points_share_coordinates():
    """25 angles covered 0.82 of such tables."""
    rng = np.random.default_rng(2)
    x, y = (few_values(rng, n, shift)[:, :2] for n, shift in ((600, 0.0), (700, 0.3)))
    with pytest.warns(smw.PrecisionWarning, match="54 directions are few for points"):
        smw.sliced_wasserstein(x, y, 55, seed=1)
    assert not smw.sliced_wasserstein(x, y, 200, seed=1).cautions
    x, y = rng.normal(size=(600, 2)), rng.normal(size=(700, 2)).round(3)
    assert not smw.sliced_wasserstein(x, y + 0.3, 55, seed=1).cautions
