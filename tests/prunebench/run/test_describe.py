"""How long idle power is measured around a visit, and that nothing is waited for without a meter."""

import pytest

from loadgen.energy.source import NoEnergy
from prunebench.experiment.resolve import load_experiment
from prunebench.run.describe import Describer, visit_idle


@pytest.mark.parametrize(
    ("idle_s", "blocks", "expected"),
    [
        ("30", "5", (5.0, 6.0)),  # 30 s before and 30 s after, over the five blocks
        ("20", "5", (4.0, 4.0)),
        ("30", "100", (0.5, 0.5)),  # a counter needs some refreshes
        ("0.2", "2", (0.2, 0.2)),  # and yet no longer than asked for
        ("0", "5", (0.0, 0.0)),
    ],
)
def test_idle_power_is_measured_for_idle_s_over_all_blocks(experiment, idle_s, blocks, expected):
    assert visit_idle(load_experiment(experiment(idle_s=idle_s, blocks=blocks))) == expected


def test_without_a_meter_no_idle_power_is_measured_or_waited_for(experiment, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    describer = Describer(load_experiment(experiment(idle_s="30")), serves_here=True, one_tokenizer=lambda: True)
    assert describer.idle_of_visit(NoEnergy("--energy none")) is None
    assert slept == []
