"""What to cite follows from the method, and stays with the estimate."""

import re

import pytest
from estimates import example

import smcweights as smw
from smcweights.references import SOURCES, bibtex, references_of


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


def test_every_source_is_a_whole_entry_of_bibtex():
    listed = {source for sources in SOURCES.values() for source in sources}
    keys = []
    for source in listed:
        head, *rows = bibtex([source]).splitlines()
        kind, key = re.fullmatch(r"@(article|misc){([a-z]+\d{4}[a-z]+),", head).groups()
        fields = dict(re.fullmatch(r"  (\w+) = {(.*)},", row).groups() for row in rows[:-1])
        assert rows[-1] == "}" and fields.keys() >= {"author", "year", "title"}
        assert (kind == "article") == ("journal" in fields)
        assert fields.keys() & {"journal", "eprint"}, source
        # all of it is there
        words = re.compile(r"\w{3,}|\d+")
        assert not {*words.findall(source)} - {*words.findall(" ".join(fields.values()))}
        keys.append(key)
    assert len({*keys}) == len(listed)


def test_entries_for_bibtex():
    given = ["Vehtari, De Rossi et al. (2024), A & b, c, JMLR 25, arXiv 1507.02646", "see {me}_1"]
    assert bibtex(given).split("\n") == [
        "@article{vehtari2024a,",
        "  author = {Vehtari and {De Rossi} and others},",
        "  year = {2024},",
        "  title = {{A \\& b, c}},",
        "  journal = {JMLR},",
        "  volume = {25},",
        "  eprint = {1507.02646},",
        "  archiveprefix = {arXiv},",
        "}",
        "",
        "@misc{seeme_1,",
        "  note = {see me\\_1},",
        "}",
    ]
    est = example(method="paris")
    assert est.bibtex == bibtex(est.references)
    assert bibtex(()) == ""
