from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from reports.document.console import Console, visible

HOSTILE = "a\x1b[2Jb\x1b]0;title\x07c\rd\u202egnp.exe\u2066\x9bm"


def printed(thing: object, **how: object) -> str:
    console = Console(file=io.StringIO(), width=200, **how)
    console.print(thing, highlight=False, markup=False)
    return console.file.getvalue()


def test_control_and_bidi_characters_are_shown_and_not_executed():
    assert printed(HOSTILE) == "a␛[2Jb␛]0;titlecd\\u202egnp.exe\\u2066\\u009bm\n"  # rich itself drops BEL and CR


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_shows_them_too(terminal):
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    out = printed(table, force_terminal=terminal, color_system="standard" if terminal else None)
    assert "\x1b[2J" not in out
    assert "\x1b]0" not in out
    assert not {"\x07", "\r", "\u202e", "\u2066", "\x9b"} & set(out)
    assert out.count("␛[2J") == 3


def test_a_host_and_a_port_between_colons_are_no_emoji():
    assert printed("MASTER a:b: must be like loadgen:5557") == "MASTER a:b: must be like loadgen:5557\n"


def test_colours_of_our_own_still_work():
    assert "\x1b[" in printed("[x]", force_terminal=True, color_system="standard", no_color=False, style="red")


@given(st.text())
def test_plain_text_is_unchanged_and_no_control_character_passes(text):
    shown = visible(text)
    assert all(ch in "\n\t" or ch.isprintable() or not (ord(ch) < 0xA0 or 0x2028 <= ord(ch) <= 0x202E) for ch in shown)
    if text.isprintable() and not set(text) & set("\u061c\u200e\u200f"):
        assert shown == text


@pytest.mark.parametrize("width", [12, 40])
def test_a_table_on_a_narrow_terminal_folds_and_cuts_nothing(width):
    console = Console(file=io.StringIO(), width=width)
    table = Table("configuration", "figure")
    table.add_row("abcdefghijklmnopqrstuvwxyz", "0123456789")
    console.print(table)
    out = console.file.getvalue()
    assert "\u2026" not in out
    assert set("abcdefghijklmnopqrstuvwxyz0123456789") <= set(out)
