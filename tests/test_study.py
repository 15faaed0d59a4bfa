"""Study files: what they say is what is run, and what is wrong in them is told."""

import json
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from studies import STUDY, replaced

from smcweights import OutputLaw, Posterior, cli, study


def test_a_study_with_a_proposal_of_its_own_and_a_precision(beam, tmp_path):
    text = STUDY[: STUDY.index("[copula]")]
    beam.write_text(
        text
        + """
[study]
method = "importance_sampling"
budget = 3000
seed = 1
[study.proposal.load]
distribution = "norm"
loc = 4.5
scale = 0.6
[study.proposal.width]
distribution = "lognorm"
s = 0.15
lower = 0.5
"""
    )
    given = study.read(beam).run()
    beam.write_text(text + "[study]\nseed = 2\nprecision = { relative = 0.005 }\n")
    precise = study.read(beam).run(progress=False)
    # independent inputs: E[load] E[width^-2] with the lognormal moment, truncation below 1e-11
    truth = 4 * np.exp(2 * 0.1**2)
    for est in (given, precise):
        assert abs(est.value - truth) < 5 * est.standard_error  # false alarm below 1e-6
    lower, upper = precise.interval()
    assert (upper - lower) / 2 <= 0.005 * precise.value


def test_sobol_indices_of_a_study(beam):
    """x / y^2 of independent inputs: the log-normal part has a total index known in closed form."""
    text = STUDY[: STUDY.index("[copula]")]
    beam.write_text(text + '[study]\nmethod = "sobol_indices"\nbudget = 1000\nseed = 1\n')
    found = study.read(beam).run()
    load, width = 1 + 0.5**2 / 4.0**2, np.exp(4 * 0.1**2)
    first = np.array([load - 1, width - 1]) / (load * width - 1)
    assert (np.abs(found.first.value - first) < 6 * found.first.standard_error + 1e-6).all()
    assert cli.main(["run", str(beam)]) == 0
    assert (beam.parent / "beam.nc").exists() and (beam.parent / "beam.html").exists()


def test_a_posterior_of_a_study(beam):
    """One normal observation of a normal mean: everything is known in closed form."""
    (beam.parent / "weighed.py").write_text(
        "def log_likelihood(x):\n    return -0.5 * (x[:, 0] - 1.0) ** 2 / 0.25\n"
        "def square(x):\n    return x[:, 0] ** 2\n"
    )
    beam.write_text(
        '[model]\nfunction = "weighed.py:log_likelihood"\n[law.load]\ndistribution = "norm"\n'
        '[study]\nmethod = "posterior"\nbudget = 2000\nseed = 1\n'
        '[study.functions]\nsquare = "weighed.py:square"\n'
    )
    assert cli.main(["run", str(beam)]) == 0
    found = Posterior.load(beam.parent / "beam.nc")
    evidence = 0.5 * np.log(0.2) - 0.5 / 1.25
    joint = found.joint
    assert joint.names == ("log evidence", "load", "sd[load]", "square")
    truth = np.array([evidence, 0.8, 0.2**0.5, 0.84])
    assert (np.abs(joint.value - truth) < 6 * joint.standard_error + 1e-9).all()
    replaced(beam, 'square = "weighed.py:square"', "")
    replaced(beam, "[study.functions]", "functions = 5")
    with pytest.raises(study.StudyError, match=r"study.functions: got 5; expected a table such"):
        study.read(beam)
    page = (beam.parent / "beam.html").read_text(encoding="utf-8")
    assert "q0.975[load]" in page and "square" in page


@pytest.mark.slow
def test_the_law_of_the_output_of_a_study(beam):
    tail = "budget = 2000\nseed = 1\nquantiles = [0.1, 0.9]\ntails = [0.01, 0.01]\n"
    beam.write_text(STUDY[: STUDY.index("[study]")] + f'[study]\nmethod = "output_law"\n{tail}')
    assert cli.main(["run", str(beam)]) == 0
    found = OutputLaw.load(beam.parent / "beam.nc")
    assert (
        found.quantiles.names == ("q(0.1)", "q(0.9)") and np.isfinite(found.quantiles.value).all()
    )
    assert (beam.parent / "beam.html").exists()


def test_a_model_file_hides_no_module_of_its_name(beam):
    (beam.parent / "random.py").write_text("def f(x):\n    return x[:, 0]\n")
    import random

    try:
        made = study.read(replaced(beam, "beam.py:displacement", "random.py:f"))
        assert sys.modules["random"] is random
        assert made.function(np.array([[3.0, 1.0]])) == 3.0
    finally:
        del sys.modules["study_model_random"]


words = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\\n\r', categories=["L", "N"]), max_size=8
)


values = st.one_of(
    st.integers(-5, 5),
    st.floats(allow_nan=True, allow_infinity=True),
    st.booleans(),
    words,
    st.lists(st.floats(-1, 1), max_size=3),
)


def toml(value):
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return {"nan": "nan", "inf": "inf", "-inf": "-inf"}.get(repr(value), repr(value))
    return repr(value)


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    table=st.sampled_from(["model", "law.load", "law.width", "copula", "study"]),
    key=st.one_of(
        st.sampled_from(["function", "loc", "scale", "s", "budget", "seed", "names", "lower"]),
        words,
    ),
    value=values,
)
def test_any_other_key_or_value_is_a_study_or_a_study_error(beam, table, key, value):
    path = beam.parent / "any.toml"
    document = study.tomllib.loads(STUDY)
    inner = document
    for part in table.split("."):
        inner = inner[part]
    inner[key] = value
    lines = []
    for name in ("model", "copula", "study"):
        lines += [f"[{name}]", *(f"{json.dumps(k)} = {toml(v)}" for k, v in document[name].items())]
    for name, marginal in document["law"].items():
        lines += [f"[law.{name}]", *(f"{json.dumps(k)} = {toml(v)}" for k, v in marginal.items())]
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        made = study.read(path)
    except study.StudyError as error:
        assert str(path) in str(error)
    else:
        assert callable(made.function)


@pytest.mark.slow
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    inputs=st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8),
        st.tuples(
            st.sampled_from(["norm", "uniform", "expon", "gumbel_r"]),
            st.floats(-1e3, 1e3),
            st.floats(1e-3, 1e3),
        ),
        min_size=1,
        max_size=5,
    ),
    budget=st.integers(1, 10**9),
)
def test_a_study_says_what_scipy_says(beam, inputs, budget):
    path = beam.parent / "any.toml"
    lines = ["[model]", 'function = "beam.py:one"', "[study]", f"budget = {budget}"]
    for name, (family, loc, scale) in inputs.items():
        lines += [f"[law.{name}]", f'distribution = "{family}"', f"loc = {loc!r}"]
        lines += [f"scale = {scale!r}"]
    path.write_text("\n".join(lines))
    made = study.read(path)
    assert list(made.law) == list(inputs)
    assert made.arguments == {"budget": budget}
    for name, (family, loc, scale) in inputs.items():
        assert made.law[name].ppf(0.3) == getattr(stats, family)(loc, scale).ppf(0.3)
