"""Another machine's clock: simulated ways there and back, and a real server process whose clock is another."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy import remote_clock as clock
from loadgen.energy.remote_clock import ClockOffset, estimate_offset
from loadgen.energy.source import ServerEnergy, measure_idle, pick_energy
from tests.server.conftest import wait_until, write_checkpoint

ROOT = Path(__file__).parents[3]


class Wire:
    """Two clocks and a wire of random, unlike delays, all in simulated time."""

    def __init__(self, seed: int, ahead_ns: int, rate: float = 1.0) -> None:
        self.random = np.random.default_rng(seed)
        self.now = 10**12
        self.ahead_ns, self.rate = ahead_ns, rate

    def monotonic_ns(self) -> int:
        return self.now

    def theirs(self) -> int:
        return round(self.now * self.rate) + self.ahead_ns

    def ask(self) -> int:
        self.now += round(20e6 + self.random.exponential(5e6))  # 20 ms there at the least
        seen = self.theirs()
        self.now += round(1e6 + self.random.exponential(5e6))  # 1 ms back
        return seen


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch):
    def make(**settings) -> Wire:
        made = Wire(**settings)
        monkeypatch.setattr(clock.time, "monotonic_ns", made.monotonic_ns)
        return made

    return make


@pytest.mark.parametrize("seed", range(30))
def test_the_true_offset_lies_within_the_error_however_unlike_the_ways_are(wire, seed):
    other = wire(seed=seed, ahead_ns=-7_000_000_000_123)
    found = estimate_offset(other.ask, 20)
    assert abs(found.offset_ns - other.ahead_ns) <= found.error_ns
    assert found.error_ns < 14e6  # half of a quick round trip: the mean one is 31 ms


@pytest.mark.parametrize(("ahead_ns", "trips"), [(0, 4), (10**12, 20), (-(10**12), 20)])
def test_a_clock_that_is_ours_is_asked_a_few_times_only(wire, ahead_ns, trips):
    other, asked = wire(seed=1, ahead_ns=ahead_ns), []
    found = estimate_offset(lambda: asked.append(1) or other.ask(), 20)
    assert len(asked) == trips
    assert (found.error_ns == 0) == (ahead_ns == 0)


def test_many_round_trips_are_more_exact_than_one(wire):
    errors = [
        np.median([estimate_offset(wire(seed=s, ahead_ns=10**12).ask, n).error_ns for s in range(30)]) for n in (1, 20)
    ]
    assert errors[1] < 0.8 * errors[0]


def test_clocks_that_drift_apart_are_followed_through_a_long_trial(wire):
    other = wire(seed=1, ahead_ns=10**13, rate=1.0001)  # 0.1 ms a second: 60 ms in ten minutes
    before = estimate_offset(other.ask, 20)
    other.now += 600 * 10**9
    after = estimate_offset(other.ask, 20)
    middle = (before.at_ns + after.at_ns) // 2
    truth = round(middle * 1.0001) + 10**13 - middle
    offset, error = before.between(after, middle)
    assert abs(offset - truth) <= error
    assert abs(before.offset_ns - truth) > error  # the first estimate alone has long been wrong


def test_a_clock_that_is_set_back_between_two_trips_does_not_stop_the_estimate(wire):
    other = wire(seed=3, ahead_ns=10**12)
    answers = iter(range(20))

    def ask() -> int:
        seen = other.ask()
        return seen if next(answers) < 10 else seen - 10**10

    assert estimate_offset(ask, 20).error_ns < 20e6


def test_one_clock_is_found_to_be_one():
    assert estimate_offset(time.monotonic_ns, 5).offset_ns == 0
    assert ClockOffset(0, 5, 1).between(ClockOffset(0, 5, 1), 0) == (5, 1)


SHIFTED = """
import sys, time
real, ahead = time.monotonic_ns, int(sys.argv.pop(1))
time.monotonic_ns = lambda: real() + ahead
from prunebench.cli import main
main()
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Iterator[str]:
    """`prunebench serve` in a process whose monotonic clock is an hour and a half ahead: as another machine's would be."""
    folder = tmp_path_factory.mktemp("elsewhere")
    options = ["--engine-option", "idle_watts=80", "--engine-option", "active_watts=0"]
    words = ["serve", str(write_checkpoint(folder / "tiny")), "--engine", "synthetic", "--port", "0", *options]
    said = folder / "stderr"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SHIFTED, str(5400 * 10**9), *words], cwd=ROOT, stderr=stderr, env={**os.environ}
        )
    try:
        wait_until(lambda: b"ready at" in said.read_bytes())
        yield said.read_text().partition("ready at ")[2].split()[0]
    finally:
        process.terminate()
        process.wait(20)


def test_a_serving_host_with_another_clock_is_metered_over_our_window(elsewhere):
    source = pick_energy("auto", Endpoint(elsewhere, "tiny"))
    assert isinstance(source, ServerEnergy)
    assert source.clock.offset_ns == pytest.approx(5400e9, abs=20e6)
    assert source.clock.error_ns > 0
    found = measure_idle(source, 0.5)
    seconds = (found.end_ns - found.start_ns) / 1e9
    assert 0.5 <= seconds < 5  # edges on our clock
    assert found.clock_error_s > 0
    assert abs(found.gross_joules - 80 * seconds) <= found.gross_joules_uncertainty


def test_energy_url_reads_the_meters_of_that_host_for_a_server_elsewhere(elsewhere):
    source = pick_energy(elsewhere, Endpoint("http://127.0.0.1:9", "whatever"))
    assert isinstance(source, ServerEnergy)
    assert measure_idle(source, 0.3).source == "synthetic"
