"""Every result can be kept, labelled, tabled and shown; files say what they hold."""

import dataclasses
import os
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray
from made import CASES, CAUTION, MAKERS, drawn, filtered, fitted, flow, sobol, two_samples
from packed import same
from scipy import stats

import smcweights as smw
from smcweights.cli import main
from smcweights.packing import made_of, remade
from smcweights.results import COLUMNS, Result, cautions_of, provenance_of

# a kind's other cases, and what needs a page or a table more, are left to the slow tests
MARKED = [
    pytest.param(kind, make, marks=pytest.mark.slow if make is not MAKERS[kind][0] else ())
    for kind, make in CASES
]
every = pytest.mark.parametrize(("kind", "make"), MARKED)


@pytest.fixture(
    scope="module",
    params=[pytest.param(case.values, marks=case.marks) for case in MARKED],
    ids=lambda case: case[0],
)
def kept(request, tmp_path_factory):
    """Kind, result and the file that it was saved to."""
    kind, make = request.param
    result, path = make(), tmp_path_factory.mktemp("results") / "länge.nc"
    result.save(path)
    return kind, result, path


def test_every_public_result_is_among_the_cases():
    public = (getattr(smw, name) for name in smw.__all__)
    results = {c.__name__ for c in public if isinstance(c, type) and issubclass(c, Result)}
    assert results == set(MAKERS)


def test_what_was_saved_is_read_to_the_last_bit(kept):
    kind, result, path = kept
    loaded = getattr(smw, kind).load(str(path))
    assert same(loaded, result)
    assert repr(loaded) == repr(result)
    assert cautions_of(loaded) == cautions_of(result)
    assert loaded.references == result.references
    assert os.listdir(path.parent) == ["länge.nc"]


def test_code_is_not_kept_and_what_needs_it_says_so(tmp_path):
    filtered().save(tmp_path / "a.nc")
    loaded = smw.FilterResult.load(tmp_path / "a.nc")
    assert loaded.model is None
    with pytest.raises(ValueError, match=r"has no model, .* dataclasses\.replace\("):
        smw.backward_simulation(loaded, 3)
    assert remade(smw.Fit, made_of(fitted())).model is None
    assert remade(smw.SobolIndices, made_of(sobol())).pairs is None


def test_labelled_arrays_say_the_same_as_the_fields(kept):
    kind, result, path = kept
    data = result.to_xarray()
    assert data.attrs["kind"] == kind
    for field in dataclasses.fields(result):
        part = getattr(result, field.name)
        if isinstance(part, np.ndarray):
            np.testing.assert_array_equal(data[field.name].values, part)
        if isinstance(part, smw.Estimate):
            np.testing.assert_array_equal(data[field.name].values, part.value)
            error = data[f"{field.name}_standard_error"].values
            np.testing.assert_array_equal(error, part.standard_error)
    with xarray.open_dataset(path, engine="h5netcdf") as read:
        assert set(data.variables) <= set(read.variables)


def test_dimensions_have_names():
    data = filtered().to_xarray()
    assert data.particles.dims == ("time", "particle", "state")
    assert data.ancestors.dims == data.log_weights.dims == ("time", "particle")
    assert flow().to_xarray().frames.dims == ("step", "point", "dimension")
    assert drawn(True).to_xarray().drawn_0.values.tolist() == [4, 7]
    half = dataclasses.replace(flow(), steps=np.arange(3.0, dtype=np.float16))
    assert "steps" not in half.to_xarray()
    traces = MAKERS["WeightedSequences"][0]().to_xarray()
    assert traces.traces_ess.dims == ("island", "time")
    assert traces.traces_ancestors.dims == ("island", "traces_ancestors_time")
    assert traces.sequences.values.tolist()[:3] == [[0, 2, 1], [-1, -1, -1], [2, -1, -1]]


@every
def test_tables_have_values_errors_and_intervals(kind, make):
    result = make()
    table = result.summary()
    assert list(table.columns)[:4] == list(COLUMNS)
    assert (table.dtypes == np.float64).all()
    known = table.dropna()
    assert ((known.lower <= known.value) & (known.value <= known.upper)).all()
    narrow, wide = result.summary(0.5), result.summary(0.99)
    assert ((wide.upper - wide.lower).dropna() >= (narrow.upper - narrow.lower).dropna()).all()
    page = result._repr_html_()
    assert page.count("<tr>") == min(len(table), 12) + 1
    assert page.count("<p>") == 1 + len(cautions_of(result))


def test_rows_are_those_of_the_estimates():
    table = sobol().summary()
    assert list(table.index) == ["first a", "first bü", "total a", "total bü"]
    assert table.loc["first a"].tolist() == sobol().indices.summary().iloc[0, [0, 1, 3, 4]].tolist()
    assert filtered().summary().loc["log_likelihood", "value"] == -12.5
    fit = fitted()
    third = fit.summary().loc["third"]
    # on the logarithm's scale
    assert third.upper == pytest.approx(3 * np.exp(1.96 * 0.5 / 3), rel=1e-4)
    assert third.monte_carlo_error == pytest.approx(0.5 / 3)
    p_value = two_samples().summary().loc["p_value"]
    # 3 of 99: Clopper & Pearson
    assert p_value.lower == pytest.approx(0.0063, abs=1e-4)
    assert p_value.upper == pytest.approx(0.0860, abs=1e-4)
    weight = drawn().summary().loc["weight of item 4"]
    assert weight.value == pytest.approx(np.exp(-1.25)) and np.isnan(weight.standard_error)
    assert weight.lower == pytest.approx(np.exp(-3.0))


@every
def test_each_has_a_figure(kind, make):
    result = make()
    ax = result.plot()
    assert ax.get_xlabel()
    _, own = plt.subplots()
    assert result.plot(own) is own
    plt.close("all")


@pytest.mark.slow
def test_a_saved_result_is_shown(kept, capsys):
    _, result, path = kept
    assert main(["show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(repr(result).splitlines()[0])
    for name in result.summary().index:
        assert str(name if isinstance(name, str) else name[0]) in shown
    for name in provenance_of(result):
        assert re.search(rf"^{name}  ", shown, re.M) or name == "arguments"
    assert "{" not in shown and max(map(len, shown.splitlines())) < 200


def test_a_file_of_another_kind_says_which(tmp_path, capsys):
    path = tmp_path / "a.nc"
    drawn().save(path)
    for kind in (smw.Estimate, smw.FilterResult):
        message = rf"a\.nc: holds a result of kind WeightedDraw; expected {kind.__name__} \(Weight"
        with pytest.raises(ValueError, match=message):
            kind.load(path)
    smw.Estimate(1.0, 1.0).save(path)
    with pytest.raises(ValueError, match="holds a result of kind Estimate; expected WeightedDraw"):
        smw.WeightedDraw.load(path)


def test_edited_and_cut_files_are_refused(tmp_path):
    path = tmp_path / "a.nc"
    two_samples().save(path)
    content = path.read_bytes()
    assert content.count(b"smcweights SlicedTest 3 sha256 ") == 1
    edits = [
        content[:-1],
        content[: len(content) // 2],
        b"",
        content + b"\n",
        content.replace(b"smcweights SlicedTest 3", b"smcweights SlicedTest 4"),
        content.replace(b"smcweights SlicedTest 3", b"smcweights SlicedFlow 3"),
        content.replace(b"0.04", b"0.05"),
        content.replace(b"heavy-tails", b"heavy-snails"),
    ]
    for edited in edits:
        assert edited != content
        path.write_bytes(edited)
        with pytest.raises(ValueError, match=r"a\.nc: (not a whole file|the file is damaged)"):
            smw.SlicedTest.load(path)
        assert main(["show", str(path)]) == 2


def test_a_later_format_and_other_fields_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.nc"
    monkeypatch.setattr("smcweights.storage.FORMAT", 4)
    two_samples().save(path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"its format is 4; this version .* reads format 3"):
        smw.SlicedTest.load(path)

    def more(record):
        return {"more": 1}

    monkeypatch.setattr("smcweights.storage.made_of", more)
    two_samples().save(path)
    with pytest.raises(ValueError, match=r"a\.nc: it holds another SlicedTest than this version"):
        smw.SlicedTest.load(path)


def test_what_cannot_be_told_is_asked_of_the_estimates():
    assert cautions_of(fitted()) == (CAUTION,)
    assert provenance_of(smw.Estimate(1.0, 1.0, provenance={"a": 1})) == {"a": 1}
    assert cautions_of(two_samples()) == (CAUTION,) and provenance_of(two_samples()) == {}
    assert len(fitted().references) == 3


def computed():
    """Results as the public functions give them, small."""
    law = {"a": stats.norm(), "b": stats.expon()}
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(30, 2)), rng.normal(size=(25, 2)) + 1
    est = smw.adaptive_importance_sampling(lambda v: v, law, 2_000, names=["p", "q"], seed=1)
    yield smw.calibrate(lambda seed: (rng.normal(), 1.0), 0.0, 10)
    for method in ("qmc", "surrogate", "importance"):
        yield smw.sobol_indices(lambda v: v[:, 0] + v[:, 1] ** 2, law, 5_000, method=method, seed=1)
    yield smw.sobol_from_sample(rng.random((500, 3)), rng.random((500, 2)), seed=1)
    yield smw.perturbation_study(est, law, shifts=[-0.2, 0.2])
    whole = smw.output_law(lambda v: v[:, 0] + v[:, 1], law, 2_000, seed=1)
    yield whole
    data = {"a": rng.normal(size=40), "b": rng.exponential(size=40)}
    fitted = {"a": stats.norm(*stats.norm.fit(data["a"])), "b": stats.expon(0, data["b"].mean())}
    moment = smw.importance_sampling(lambda v: v[:, 0] * v[:, 1], fitted, fitted, 2_000, seed=1)
    laws = [fitted] * 20
    yield smw.input_uncertainty(moment, laws=laws, seed=1)
    yield smw.shapley_effects(lambda v: v[:, 0] + v[:, 1] ** 2, law, 2_000, seed=1)
    yield smw.posterior(lambda v: -0.5 * (v[:, 0] - 1) ** 2, law, 2_000, seed=1)
    yield smw.importance_resampling(["a b", "c a"] * 5, ["a"] * 10, 2, seed=1)
    for method in ("harmonic", "set", "exact"):
        yield smw.weighted_rejection(
            rng.normal(size=20), lambda i: i % 3 == 0, method=method, seed=1
        )
    coin = smw.languages.markov_chain([0.5, 0.5], [[0.3, 0.7], [0.6, 0.4]])
    for rule in (lambda prefix, item: item == 1 or not prefix, lambda *_: False):
        yield smw.constrained_sequences(coin, rule, 20, 4, seed=1)
    yield smw.sliced_gradient_flow(x, y, 5, seed=1)
    yield smw.sliced_gradient_flow(x, y, 5, trace=None, seed=1)
    yield smw.sliced_gradient(x, y, seed=1)
    yield smw.sliced_gradient(x[:, :1], y[:, :1], 3, seed=1)
    yield smw.sliced_test(x, y, permutations=99, seed=1)
    yield smw.max_sliced_wasserstein(x, y, 5, seed=1)
    model = smw.models.stochastic_volatility(0.9, 0.3)
    series = model.simulate(30, seed=1)[1]
    for more in ({}, {"store": True}, {"repeats": 3}):
        yield smw.particle_filter(model, series, 50, seed=1, **more)
    online = smw.OnlineFilter(model, 50, seed=1)
    for observation in series[:3]:
        found = online.update(observation)
    yield found
    yield smw.maximum_likelihood(model, series, None, 20, 20, free=["scale"], seed=1)
    chain = smw.models.finite_hmm([0.5, 0.5], np.full((2, 2), 0.5), [0, 1], [1, 1])
    level = smw.models.linear_gaussian(0.9, 1.0, 1.0, 1.0)
    yield smw.kalman_filter(level, series)
    yield smw.forecast(level, series, 2, 500, seed=1)
    yield smw.predictive_check(level, series, 500, seed=1)
    yield smw.kalman_smoother(level, series)
    yield smw.kalman_forecast(level, series, 2)
    yield smw.forward_backward(chain, series)
    yield smw.markov_score_climbing(lambda z: -0.5 * z[0] ** 2, [0.5, 0.0], 10, 40, seed=1)


# exact laws, and a single draw out of many
WITHOUT_SEED = {"GaussianFiltering", "GaussianSmoothing", "GaussianForecast", "FiniteSmoothing"}
WITHOUT_SEED |= {"WeightedDraw"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::smcweights.PrecisionWarning")
def test_what_the_public_functions_give_is_kept_to_the_last_bit(tmp_path):
    seen = set()
    for number, result in enumerate(computed()):
        path = tmp_path / f"{number}.nc"
        result.save(path)
        loaded = type(result).load(path)
        assert same(loaded, result), type(result)
        assert repr(loaded) == repr(result)
        assert loaded.summary().equals(result.summary())
        assert loaded._repr_html_() == result._repr_html_()
        assert provenance_of(result) or type(result).__name__ in WITHOUT_SEED
        loaded.to_xarray()
        loaded.plot()
        plt.close("all")
        assert main(["show", str(path)]) == 0
        seen.add(type(result).__name__)
    assert seen == set(MAKERS)


def test_a_few_lines_say_what_a_result_is(kept):
    _, result, _ = kept
    lines = repr(result).splitlines()
    assert len(lines) <= 12 and max(map(len, lines)) < 180
    assert "array(" not in repr(result) and "Estimate(" not in repr(result)
