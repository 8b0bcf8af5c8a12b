"""How often the truth lies in the reported interval over random loads, boards, windows and phases, read by the real NvmlMeter
through the real nvidia-ml-py from the stand-in, on a simulated clock.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from energy.meters.nvidia.gpus import find_gpus
from energy.track import Track
from energy.window import meter_energy
from tests.energy.conftest import Simulation
from tests.energy.known_power.simulate import load_like
from tests.support.long import short_or_long

SEEDS = short_or_long(80, 200)
NO_COUNTER = {"error.energy": 3, "error.field83": 3}
NO_SAMPLES = {**NO_COUNTER, "error.samples": 3}
DUTY = {"sensor": 0.1, "sensor_window": 0.025}  # as published for A100 and H100 (arXiv 2312.02741)
BOARDS = {
    "counter": {},
    "samples": {**NO_COUNTER, "sample_period": 0.02},
    "instant power": {**NO_SAMPLES, "sensor": 0.1, "sensor_window": 0.1},
    "instant power seen a quarter of the time": {**NO_SAMPLES, **DUTY},
    "one-second average": {**NO_SAMPLES, "error.field186": 3, "filter": 1.0, "sensor": 0.1},
}


def measured(fake_gpus, simulated: Simulation, folder: Path, board: dict, seed: int):
    """(joules, half-width, truth) of one random window over one random load."""
    random = np.random.default_rng(seed)
    truth = load_like(seed, seconds=30)
    knots = folder / "curve.txt"
    knots.write_text("\n".join(f"{10 + t:.9f} {w:.6f}" for t, w in zip(truth.seconds, truth.watts, strict=True)))
    refresh = float(random.choice([0.02, 0.05, 0.1, 0.2]))
    settings = {"refresh": refresh, "phase": float(random.uniform(0, 0.2)), **board}
    simulated.go_to(9.0)
    fake_gpus({**settings, "curve": knots})
    (meter,), _ = find_gpus()
    simulated.go_to(10.0)
    track = Track(meter.info, 10_000)
    for tick in range(1, 590):
        simulated.go_to(10.0 + tick * 0.05 + float(random.uniform(0, 0.01)))
        track.append(meter.read())
    start, end = (round(s * 1e9) for s in (10 + random.uniform(3, 8), 10 + random.uniform(20, 27)))
    part = meter_energy(track.since(0), start, end)
    assert part.joules is not None, part.reason
    return part.joules, part.uncertainty_joules, simulated.joules(start, end)


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
def test_the_truth_lies_in_the_interval_for_93_of_100_and_the_interval_is_narrow(
    fake_gpus, simulated: Simulation, tmp_path, board
):
    found = np.array([measured(fake_gpus, simulated, tmp_path, BOARDS[board], seed) for seed in range(SEEDS)])
    joules, half, truth = found.T
    assert (abs(joules - truth) <= half).mean() >= 0.93
    assert np.median(half / truth) < 0.06
