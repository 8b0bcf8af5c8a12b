"""Lines end where JSON, TOML and tables end them, and nowhere else."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from base.lines import split_lines

ODD = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"  # where str.splitlines ends a line too
TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(ODD))


@given(st.lists(TEXT), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans())
def test_every_row_of_json_lines_comes_back_whatever_its_strings_hold(rows: list[str], end: str, last: bool) -> None:
    lines = [json.dumps({"text": row}, ensure_ascii=False) for row in rows]
    text = end.join(lines) + (end if lines and last else "")
    assert [json.loads(line)["text"] for line in split_lines(text)] == rows


@given(TEXT)
def test_lines_are_those_of_bytes_which_know_no_other_ends(text: str) -> None:
    assert [line.encode() for line in split_lines(text)] == text.encode().splitlines()
