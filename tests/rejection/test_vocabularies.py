"""Vocabularies: the tree over the texts of tokens, and bytes that are no whole characters."""

import codecs
import json

import numpy as np
import pytest

import smcweights as smw
from smcweights.rejection.vocabularies import PIECE, cut_up, span

C = smw.constraints


def test_the_tree_has_every_token_at_the_end_of_its_text():
    texts = [
        "b",
        "a",
        "ab",
        "aé".encode(),
        b"a\xc3",
        b"\xa9b",
        b"\xc3\xa9",
        "ab",
        "",
        None,
        b"\xff",
    ]
    words = C.vocabulary(texts, forbidden=[0], end=9)
    tree = words.tree
    assert words.size == 11 and words.end == (9,) and tree.heads == (5,) and words.alphabet is None
    assert np.flatnonzero(tree.leaf >= 0).tolist() == [1, 2, 3, 4, 6, 7]
    for i in np.flatnonzero(tree.leaf >= 0).tolist():
        node, found = tree.leaf[i], b""
        assert i in tree.items[tree.first[node] : tree.first[node] + tree.own[node]]
        assert tree.depth[node] <= len(words.tokens[i])
        while node >= 0:
            s = tree.symbol[node]
            found = (chr(s).encode() if s < PIECE else tree.pieces[s - PIECE]) + found
            assert i in tree.items[tree.first[node] : tree.first[tree.after[node]]]
            node = tree.parent[node]
        assert found == words.tokens[i]
    assert words.text([1, 4, 5, 9]) == "aaéb" and words.text([4]) == "a�"
    assert C.vocabulary(["ab", "b"]).alphabet == "ab"


def test_pieces_are_the_beginnings_of_utf8():
    def possible(piece):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(piece)
        except UnicodeDecodeError:
            return False
        return True

    whole = [chr(p).encode() for p in range(0x80, 0x110000, 61) if not 0xD800 <= p < 0xE000]
    starts = {}
    for one in whole:
        for n in range(1, len(one)):
            starts.setdefault(one[:n], []).append(ord(one.decode()))
    for piece, points in starts.items():
        assert possible(piece) and cut_up(b"x" + piece) == ("x", piece)
        among = span(piece)
        assert among.start <= min(points) < among.start + 61
        assert among.stop - 61 <= max(points) < among.stop
    for wrong in (b"\xc0", b"\xf5", b"\xe0\x80", b"\xed\xa0", b"\xf4\x90", b"\x80", b"\xe2a"):
        assert cut_up(wrong) is None


@pytest.mark.parametrize(
    ("tokens", "options", "error", "said"),
    [
        ("ab", {}, TypeError, "tokens: got 'ab'"),
        (["a", 3], {}, TypeError, "tokens: entry 1 is 3; expected str, bytes or None"),
        ([None, None], {}, ValueError, "tokens: none of 2 has a text"),
        (["a", "b"], {"end": 1}, ValueError, "end: got 1, with the text 'b'"),
        (["a", None], {"end": 1, "forbidden": [1]}, ValueError, "end: got 1, which is forbidden"),
        (["a", None], {"end": 2}, ValueError, "end: got 2"),
        (["a", "b"], {"forbidden": [0, 1]}, ValueError, "tokens: none of 2 has a text"),
        (["\ud800"], {}, ValueError, "half a character"),
        (["Ġthe", "Ġa", "b"], {}, ValueError, "tokens: many begin with 'Ġ'"),
        (["▁the", "b"], {}, ValueError, "tokens: many begin with '▁'"),
    ],
)
def test_what_is_no_vocabulary_is_refused(tokens, options, error, said):
    with pytest.raises(error, match=said):
        C.vocabulary(tokens, **options)


class Slow:
    """The face of a fast tokenizer of transformers."""

    def __init__(self, backend, end):
        self.backend_tokenizer, self.eos_token_id = backend, end


def test_tokenizers_are_read_to_the_byte():
    t = pytest.importorskip("tokenizers")
    text = "Ein Kätzchen für 3 €, ja 😀!\n"
    byte = t.Tokenizer(t.models.BPE())
    byte.pre_tokenizer = t.pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte.decoder = t.decoders.ByteLevel()
    trainer = t.trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<end>"],
        initial_alphabet=t.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    byte.train_from_iterator([text], trainer)
    words = C.vocabulary_of(Slow(byte, 0))
    assert words.end == (0,) and words.tokens[0] is None and words.size == byte.get_vocab_size()
    assert words.text(byte.encode(text).ids) == text
    assert {bytes([b]) for b in range(256)} <= set(words.tokens)
    pieces = {"<unk>": 0, "▁": 1, "▁a": 2, "a": 3, "<0xC3>": 4, "<0xA9>": 5}
    blank = t.Tokenizer(t.models.BPE(pieces, [("▁", "a")], byte_fallback=True, unk_token="<unk>"))
    blank.decoder = t.decoders.Sequence([t.decoders.Replace("▁", " "), t.decoders.ByteFallback()])
    blank.add_special_tokens(["<unk>"])
    words = C.vocabulary_of(blank)
    assert words.tokens == (None, b" ", b" a", b"a", b"\xc3", b"\xa9") and words.end == ()
    words = t.Tokenizer(t.models.WordPiece({"a": 0, "##b": 1}, unk_token="a"))
    words.decoder = t.decoders.WordPiece()
    with pytest.raises(ValueError, match=r"tokenizer: its decoder is .*WordPiece"):
        C.vocabulary_of(words)
    with pytest.raises(TypeError, match="tokenizer: got list"):
        C.vocabulary_of(json.loads("[]"))
