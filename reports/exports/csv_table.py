"""The one writer of CSV: a spreadsheet that opens what it writes works out no formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # OWASP, CSV injection


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header and a line a row; a missing value is empty. Text that would be read as a formula has an apostrophe before it;
    numbers stay numbers.
    """
    text = io.StringIO()
    minimal, quoted = (csv.writer(text, lineterminator="\n", quoting=q) for q in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    minimal.writerow(map(_neutral, columns))
    for row in rows:
        cells = [_neutral(row.get(column)) for column in columns]
        # Before Python 3.13 the csv module does not quote a lone CR, which readers take for a line's end.
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in cells) else minimal).writerow(cells)
    return text.getvalue()


def _neutral(value: Any) -> Any:
    """Also where blanks or a line end stand before the sign: spreadsheets skip them."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" \n\u00a0").startswith(_FORMULA) else value
