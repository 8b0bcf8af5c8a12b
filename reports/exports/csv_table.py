"""Write CSV in which no text is a formula for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and a line per row; a missing value is empty. An apostrophe precedes text that a spreadsheet would evaluate as a
    formula; numbers are unchanged.
    """
    text = io.StringIO()
    minimal, quoted = (csv.writer(text, lineterminator="\n", quoting=q) for q in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    minimal.writerow(map(_neutral, columns))
    for row in rows:
        cells = [_neutral(row.get(column)) for column in columns]
        # Before Python 3.13 the csv module does not quote a lone CR, which readers interpret as the end of a line.
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else minimal).writerow(cells)
    return text.getvalue()


def _neutral(value: Any) -> Any:
    """Prefix a formula with an apostrophe, also after blanks or line ends, which spreadsheets skip."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" \n\u00a0").startswith(_FORMULA) else value
