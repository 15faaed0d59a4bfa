"""Molecules in SMILES notation, read by package ``partialsmiles``."""

from __future__ import annotations

from .. import _compat


class Molecules:
    """The state is the text so far, which is read from its beginning, as the package does."""

    def __init__(self) -> None:
        _compat.optional("partialsmiles", "language", "molecules")

    def __repr__(self) -> str:
        return "smiles()"

    def start(self) -> str:
        """The empty text."""
        return ""

    def further(self, text: str, more: str) -> str | None:
        """The text with one or several characters more; None where no molecule goes on so."""
        return text + more if _read(text + more, True) else None

    def complete(self, text: str) -> bool:
        """Whether the text is a molecule."""
        return bool(text) and _read(text, False)


def _read(text: str, partial: bool) -> bool:
    import partialsmiles

    try:
        partialsmiles.ParseSmiles(text, partial=partial)
    except partialsmiles.Error:
        return False
    return True
