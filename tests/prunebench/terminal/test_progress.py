"""A bar is one line of the terminal, whatever is done; a log gets lines now and then."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.cells import cell_len

from prunebench.terminal import progress
from prunebench.terminal.progress import Steps
from reports.document.console import Console
from tests.prunebench.terminal.screen import lines_of

LONG = "block 12, a-configuration-of-a-long-name, and-a-workload-of-a-long-name"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_bar_fills_one_line_of_the_terminal(width):
    file = io.StringIO()
    with Steps(Console(file=file, force_terminal=True, width=width), "measuring", 10) as steps:
        steps.reach(3, 10, LONG)
        steps._bar.refresh()
        shown = lines_of(file.getvalue())
    (bar,) = [line for line in shown[-1:] if line.strip()]
    assert cell_len(bar.rstrip()) <= width
    assert bar.startswith("measuring: block 12")
    assert "30 %" in bar


def test_a_log_has_a_line_at_the_end_alone_where_all_was_quick():
    file = io.StringIO()
    with Steps(Console(file=file, width=150), "pruning", 2) as steps:
        steps.reach(1, 2, "half")
        steps.reach(2, 2, "all")
    assert file.getvalue() == "pruning: 100 %, all\n"


def test_a_rate_of_bytes_does_not_count_the_time_of_other_work(monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    file = io.StringIO()
    with Steps(Console(file=file, width=150), "pruning") as steps:
        steps.bytes_done(0, 4_000_000)
        clock.now = 600
        steps.reach(9, 9, "calibrating")
        steps.bytes_done(1_000_000, 4_000_000)
        clock.now += 2
        steps.bytes_done(4_000_000, 4_000_000)
    assert file.getvalue().endswith("4.0 MB of 4.0 MB, 1.5 MB/s\n")


def test_a_line_of_a_log_says_how_much_time_is_left(monkeypatch):
    clock = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(progress, "time", clock)
    file = io.StringIO()
    with Steps(Console(file=file, width=150), "pruning", 2) as steps:
        for layer in range(4):
            steps.reach(layer, 30, f"layer {layer} of 30")
            clock.now += 10
        for asked in (0, 5):
            steps.part(asked, 10, "requests answered")
            clock.now += 10
        steps.reach(0, 30, "another pass")
    assert file.getvalue().splitlines()[1:] == [
        "pruning: 6 %, layer 2 of 30, about 0:04:40 left",
        "pruning: 10 %, layer 3 of 30, about 0:04:30 left",
        "pruning: requests answered, 0 of 10",
        "pruning: requests answered, 5 of 10, about 0:00:10 left",
        "pruning: 0 %, another pass",
    ]


def test_the_step_under_way_has_a_line_of_its_own_until_it_is_done():
    file = io.StringIO()
    with Steps(Console(file=file, force_terminal=True, width=80), "measuring", 10) as steps:
        steps.part(0, 0, "width-1024, server starting: loading weights")
        steps._bar.refresh()
        starting = lines_of(file.getvalue())[-1]
        steps.part(3, 12, "perplexity, windows of text")
        steps._bar.refresh()
        counted = lines_of(file.getvalue())[-1]
        steps.part(12, 12, "perplexity, windows of text")
        steps._bar.refresh()
        after = lines_of(file.getvalue())[-1]
    assert starting.startswith("width-1024, server starting: load")
    assert "%" not in starting  # nobody knows of how much
    assert cell_len(starting.rstrip()) <= 80
    assert counted.startswith("perplexity, windows of text")
    assert "25 %" in counted
    assert after.startswith("measuring")


def test_an_aim_has_a_line_that_stays_with_no_other_time_left_than_the_one_it_says():
    file = io.StringIO()
    with Steps(Console(file=file, force_terminal=True, width=100), "measuring", 10) as steps:
        steps.aim(0.25, "width-512 ±4 % of ±2 %, about 0:10:00 left")
        steps.reach(3, 10, "block 4")
        steps._bar.refresh()
        bar, aim = lines_of(file.getvalue())[-2:]
    assert bar.startswith("measuring: block 4")
    assert (aim.count(":"), aim.rstrip().endswith("25 %")) == (2, True)
    assert aim.startswith("width-512 ±4 % of ±2 %, about 0:10:00 left")


def test_a_log_has_lines_of_the_step_under_way(monkeypatch):
    monkeypatch.setattr(progress, "_PLAIN_EVERY_S", 0)
    file = io.StringIO()
    with Steps(Console(file=file, width=150), "asking", 2) as steps:
        steps.part(0, 0, "m, server starting")
        steps.part(3, 4, "hellaswag, requests answered")
        steps.part(4, 4, "hellaswag, requests answered")
    assert file.getvalue() == "asking: m, server starting\nasking: hellaswag, requests answered, 3 of 4\n"
