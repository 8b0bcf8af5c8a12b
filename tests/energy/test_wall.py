"""How late a wall meter is, found from the load itself."""

from __future__ import annotations

import numpy as np
import pytest

from energy.records import MeterEnergy, MeterInfo, MeterPower, PowerTimeline, WindowEnergy
from energy.wall import wall_delay, wall_energy, wall_words

GPU = MeterInfo(source="toy", domain="gpu", device="toy-0")
PLUG = MeterInfo(source="wall-http", domain="wall", device="plug", kind="power", lag_s=1.0)


def of_load(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Watts each 0.1 s: idle, then blocks of a load of 0.3 to 3 s, then idle."""
    blocks = [np.full(rng.integers(3, 30), 200 + rng.uniform(0, 200)) for _ in range(int(seconds))]
    busy = np.concatenate(blocks)[: round(10 * seconds)]
    return np.concatenate([np.full(10, 80.0), busy, np.full(10, 80.0)])


def timeline(gpu: np.ndarray, wall: np.ndarray, **other: int) -> PowerTimeline:
    steps = {"start_ns": 10**12, "step_ns": 10**8}
    plug = MeterPower(info=PLUG, **steps | other, watts=wall.tolist())
    return PowerTimeline(meters=[MeterPower(info=GPU, **steps, watts=gpu.tolist()), plug])


def as_plug(gpu: np.ndarray, delay_s: float, rng: np.random.Generator) -> np.ndarray:
    """Supply losses and fans on top, the mean of the last second, a step each half second, noise of 1 W."""
    late = np.concatenate([np.full(round(10 * delay_s), gpu[0]), gpu])[: len(gpu)]
    mean = np.convolve(1.1 * late + 60, np.ones(10) / 10, mode="same")
    return np.repeat(mean[::5], 5)[: len(gpu)] + rng.normal(0, 1, len(gpu))


@pytest.mark.parametrize("delay_s", [0.0, 0.7, 2.3, 12.0])
def test_a_delay_is_found_to_half_a_second(delay_s):
    rng = np.random.default_rng(round(10 * delay_s))
    for _ in range(10):
        gpu = of_load(rng, 40)
        assert wall_delay(timeline(gpu, as_plug(gpu, delay_s, rng))) == pytest.approx(delay_s, abs=0.5)


def test_steps_of_other_lengths_and_beginnings_are_compared_by_their_times():
    rng = np.random.default_rng(4)
    gpu = of_load(rng, 40)
    wall = as_plug(gpu, 2.0, rng)[3:]
    halves = wall[: len(wall) // 5 * 5].reshape(-1, 5).mean(axis=1)
    found = wall_delay(timeline(gpu, halves, start_ns=10**12 + 3 * 10**8, step_ns=5 * 10**8))
    assert found == pytest.approx(2.0, abs=0.5)


def test_power_that_is_steady_brief_or_another_machines_has_no_delay():
    rng = np.random.default_rng(5)
    gpu = of_load(rng, 40)
    steady = 300 + rng.normal(0, 1, 400)
    assert wall_delay(timeline(steady, as_plug(steady, 1.0, rng))) is None
    assert wall_delay(timeline(gpu[:190], as_plug(gpu[:190], 1.0, rng))) is None
    assert wall_delay(timeline(gpu, as_plug(of_load(rng, 40), 1.0, rng))) is None
    assert wall_delay(PowerTimeline(meters=timeline(gpu, gpu).meters[:1])) is None


def test_a_delay_widens_the_interval_and_says_which_lag_to_state():
    rng = np.random.default_rng(6)
    gpu = of_load(rng, 40)
    parts = [MeterEnergy(info=info, joules=100.0, uncertainty_joules=1.0) for info in (GPU, PLUG)]
    energy = WindowEnergy(start_ns=0, end_ns=10 * 10**9, gross_joules=100.0, parts=parts)
    late = wall_energy(energy, timeline(gpu, as_plug(gpu, 3.0, rng)))
    assert late.joules_uncertainty == pytest.approx(1 + late.delay_s * 10)
    assert f"its power comes {late.delay_s:.1f} s behind the load's: state a lag that is" in wall_words(late)
    on_time = wall_energy(energy, timeline(gpu, as_plug(gpu, 0.0, rng)))
    assert on_time.joules_uncertainty == 1
    assert "behind" not in wall_words(on_time)


def test_a_wall_meter_that_stands_still_while_the_load_changes_has_no_joules():
    gpu = of_load(np.random.default_rng(7), 40)
    parts = [MeterEnergy(info=info, joules=100.0, uncertainty_joules=1.0) for info in (GPU, PLUG)]
    energy = WindowEnergy(start_ns=0, end_ns=10 * 10**9, gross_joules=100.0, parts=parts)
    found = wall_energy(energy, timeline(gpu, np.full(len(gpu), 400.0)))
    assert (found.joules, found.reason) == (None, "plug: its power stood still while the load's changed")
    for of_gpu, watts in ((gpu, 40_000.0), (np.full(len(gpu), 300.0), 400.0), (gpu[:150], 400.0)):
        assert wall_energy(energy, timeline(of_gpu, np.full(len(of_gpu), watts))).joules == 100.0
