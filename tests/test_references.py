"""What to cite follows from the method, and stays with the estimate."""

import pytest
from estimates import example

import smcweights as smw
from smcweights.references import SOURCES, references_of


@pytest.mark.parametrize(
    ("method", "authors"),
    [
        ("importance sampling, self-normalised (slightly biased)", ["Owen"]),
        ("adaptive importance sampling, all stages pooled (biased)", ["Demange-Chryst", "Owen"]),
        ("markov_score_climbing", ["Naesseth"]),
        ("online_maximum_likelihood", ["Olsson"]),
        ("parisian_particle_gibbs", ["Cardoso"]),
        ("Sobol' indices by reweighting", ["Demange-Chryst", "Sobol'", "Saltelli"]),
        ("SlicedReference.distance", ["Bonneel", "Nguyen"]),
        ("constrained sequences, exact", ["Lipkin", "Lew"]),
        ("demo", []),
    ],
)
def test_a_method_has_its_own_sources_alone(method, authors):
    found = references_of(method)
    assert [source.split()[0].rstrip(",") for source in found] == authors


def test_every_source_has_authors_a_year_and_a_place():
    for sources in SOURCES.values():
        for source in sources:
            assert source.count("(") and source[source.index("(") + 1 :][:4].isdigit()
            assert len(source) > len(source.split(")")[0]) + 8


def test_sources_follow_the_method_and_survive_the_disk(tmp_path):
    est = example(method="paris")
    assert est.references == references_of("paris") != ()
    assert est["mean"].references == est.references
    assert est.apply([1, 0, 0]).references == est.references
    assert est.revised(method="demo").references == ()
    own = est.revised(references=["A (2001)"])
    own.save(tmp_path / "a.nc")
    assert smw.Estimate.load(tmp_path / "a.nc").references == ("A (2001)",)
    with pytest.raises(TypeError, match=r"references: got .*expected strings"):
        example(references=[3])
    both = [one.revised(cost={"evaluations": 1}, names=["a", "b", "c"]) for one in (est, own)]
    pooled = smw.combine([one.revised(provenance={"seed": i}) for i, one in enumerate(both)])
    assert set(pooled.references) == {*est.references, "A (2001)"}
