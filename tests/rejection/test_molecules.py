"""Molecules in SMILES notation, item by item and over tokens."""

import itertools

import smcweights as smw

C = smw.constraints


def test_molecules_are_valid_and_begun_ones_go_on():
    items = ["C", "c", "1", "(", ")", "=", "O", "Cl", "N", "[nH]"]
    c = C.smiles(items)
    benzene = [1, 2, 1, 1, 1, 1, 1, 2]
    state = c.start()
    for i in benzene:
        assert not c.complete(state)
        state = c.step(state, i)
    assert c.complete(state)
    chlorine = c.step(c.start(), 7)
    assert c.step(c.step(chlorine, 0), 7) is not None
    assert c.step(chlorine, 5) is None or c.step(c.step(chlorine, 5), 6) is None  # Cl has one bond


def test_molecules_over_tokens_are_those_of_their_texts():
    """Of tokens of several atoms; against the package, for all sequences of three."""
    import partialsmiles

    words = C.vocabulary(
        ["C", "l", "Cl", "(=O", ")O", "c1", "ccc", "cc1", "[nH", "]1", None], end=10
    )
    c = C.smiles(words)

    def read(text, partial):
        try:
            partialsmiles.ParseSmiles(text, partial=partial)
        except partialsmiles.Error:
            return False
        return True

    for n in range(3):
        for sequence in itertools.product(range(10), repeat=n):
            state = c.start()
            for i in sequence:
                state = None if state is None else c.step(state, i)
            text = words.text(sequence)
            assert (state is None) == (not read(text, True))
            if state is not None:
                mask = [read(text + words.text([i]), True) for i in range(10)]
                assert c.mask(state).tolist() == [*mask, bool(text) and read(text, False)]
    assert repr(c) == "smiles() over 11 tokens" and C.smiles().complete("CCO")
