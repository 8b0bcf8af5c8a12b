"""The papers that a model card cites: the entries of citations.bib."""

from __future__ import annotations

from pathlib import Path

_ENTRIES = Path(__file__).with_name("citations.bib").read_text(encoding="utf-8").strip().split("\n\n")


def cite(key: str) -> str:
    """The BibTeX entry of this key. Raises KeyError."""
    for entry in _ENTRIES:
        if f"{{{key},\n" in entry:
            return entry
    raise KeyError(key)
