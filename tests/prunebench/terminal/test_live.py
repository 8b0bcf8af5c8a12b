from __future__ import annotations

import io
import time

import pytest

from energy.records import MeterInfo, MeterPower, PowerTimeline
from loadgen.energy.source import NoEnergy
from prunebench.terminal import live
from prunebench.terminal.live import LiveView
from reports.document.console import Console
from tests.loadgen.made import failed, record, workload


class Metered(NoEnergy):
    """A GPU at 250 W, and a modelled figure that is not to be added to it."""

    def power(self, start_ns, end_ns):
        def meter(source, watts, measured):
            info = MeterInfo(source=source, domain="gpu", device=source, name="x", refresh_s=0.1, measured=measured)
            return MeterPower(info=info, start_ns=start_ns, step_ns=10**9, watts=[1.0, watts])

        return PowerTimeline(meters=[meter("modelled-cpu", 9.0, False), meter("nvml-counter", 250.0, True)])


def view_of(load, *, terminal=False, energy=NoEnergy("none")):  # noqa: B008 - it does not change
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    return LiveView(console, load, energy), console.file


def test_it_counts_requests_and_shows_their_latencies():
    view, _ = view_of(workload("concurrency", requests=10))
    with view:
        view.started()
        for index in range(4):
            view.finished(record(index, 0, 20, 60, tokens=5))
        view.finished(failed(4, 0, 10))
        shown = view.figures()
    assert shown["requests"] == "5 of 10, 1 failed"
    assert shown["TTFT, ms"] == "p50 20.0, p99 20.0"
    assert shown["TPOT, ms"] == "p50 10.0, p99 10.0"
    assert shown["time left"].endswith(" s")


def test_tokens_a_second_are_those_of_the_last_seconds_that_are_complete():
    view, _ = view_of(workload("constant", duration_s=60))
    now = time.monotonic_ns()
    for age_s, count in ((30, 1000), (2, 600), (0, 9000)):
        view.tokens(now - age_s * 10**9, count)
    assert view.figures()["output tokens/s"] == "200"


def test_elsewhere_than_on_a_terminal_it_says_a_line_now_and_then_and_one_at_the_end(monkeypatch):
    view, said = view_of(workload("single", requests=2))
    with view:
        view.started()
        view.tick()
        assert said.getvalue() == ""
        monkeypatch.setattr(live, "_LINE_EVERY_S", 0.0)
        view.tick()
    assert said.getvalue().count("loading single: requests 0 of 2, output tokens/s 0") == 2
    assert "\x1b" not in said.getvalue()


@pytest.mark.parametrize("energy", [NoEnergy("none"), Metered("", measures=True)])
def test_on_a_terminal_it_redraws_a_table_with_watts_where_they_are_measured(monkeypatch, energy):
    monkeypatch.setattr(live, "_SHOWN_EVERY_S", 0.0)
    monkeypatch.setattr(live, "_WATTS_EVERY_S", 0.0)
    view, drawn = view_of(workload("single"), terminal=True, energy=energy)
    with view:
        view.started()
        view.finished(record(0, 0, 20, 60, tokens=5))
        view.tick()
    assert "1 of 4" in drawn.getvalue()
    assert ("250 W (nvml-counter)" in drawn.getvalue()) == energy.measures
