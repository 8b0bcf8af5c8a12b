"""Lines for people: wrapped on a terminal, whole in a log."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from prunebench.terminal.console import print_line, wrapped
from reports.document.console import Console

LONG = "prunebench: no such file here: get it with `hf download OWNER/NAME --local-dir NAME` or give a folder, of which there are some"


def printed(line, *, terminal, **how):
    console = Console(file=io.StringIO(), width=60, force_terminal=terminal)
    print_line(line, console, **how)
    return console.file.getvalue()


@given(st.text("ab` é\t", max_size=300), st.integers(20, 200))
def test_a_line_loses_nothing_and_only_a_long_word_or_a_command_passes_the_width(line, width):
    lines = wrapped(line, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(line.split())
    for one in lines:
        assert cell_len(one) <= width or "`" in one or len(one.split()) <= 1 or one == line


def test_a_command_between_backticks_stays_on_one_line():
    lines = printed(LONG, terminal=True).splitlines()
    assert any("`hf download OWNER/NAME --local-dir NAME`" in one for one in lines)
    assert max(map(len, lines)) <= 60
    assert all(one.startswith("  ") for one in lines[1:])


@pytest.mark.parametrize(("terminal", "how"), [(False, {}), (True, {"whole": True})])
def test_a_log_and_data_have_one_line(terminal, how):
    assert printed(LONG, terminal=terminal, **how) == f"{LONG}\n"
