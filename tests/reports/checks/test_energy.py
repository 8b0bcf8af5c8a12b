"""Every fault of a meter, from the meter to the report: what the trial records, which check speaks, and in what words.

The meters are the simulated ones of the energy tests; what the trial holds is cut by the same `window_energy` as in a run.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from energy.records import Conditions, FailedRead, GpuFacts, MeterInfo, MissingMeter, WindowEnergy
from energy.window import window_energy
from loadgen.metrics.measuring.measure import measure_records
from reports.checks.findings import find_in_trial
from tests.energy.known_power.simulate import Board, moment, steady, trace_of
from tests.loadgen.made import flags_of, summary_of
from tests.reports.checks.test_trial import requests, trial_of

POWER = steady(300)
GOOD = Board()


def with_reason(board: Board, reason: str, until_s: float):
    return board.watch(POWER, seconds=until_s).model_copy(update={"reason": reason})


def unsupported():
    """As the probe leaves a GPU whose counter it has asked for in vain."""
    facts = GpuFacts(index=0, uuid="GPU-0000", name="Old", unanswered=("total energy: Not Supported",))
    trace = replace(GOOD, source="nvml-instant").watch(POWER)
    info = MeterInfo(source="nvml-instant", domain="gpu", device="GPU-0000", name="Old", gpu=facts)
    return trace_of(trace.model_copy(update={"info": info}))


def absent(reason: str, device: str | None):
    return trace_of(missing=(MissingMeter(source="nvml-counter", reason=reason, device=device),))


def noisy():
    failed = [FailedRead(at_ns=moment(20 + n / 10), reason="Timeout") for n in range(30)]
    trace = replace(GOOD, silences=((20.0, 23.0),)).watch(POWER)
    return trace_of(trace.model_copy(update={"failed_reads": failed}))


def throttled():
    states = [Conditions(at_ns=moment(s), device="GPU-0000", throttle_reasons=["hw-thermal"]) for s in range(10, 45)]
    return trace_of(GOOD.watch(POWER)).model_copy(update={"conditions": states})


# fault: (trace, whether there are joules, the check that speaks, its outcome, words)
FAULTS = {
    "counter unsupported": (unsupported(), True, "source-fallback", "warn", "because of: total energy: Not Supported"),
    "counter going backwards": (
        trace_of(with_reason(GOOD, "the counter went backwards by 9 J: the driver or device was reset", 25)),
        False, "energy-missing", "fail", "went backwards",
    ),
    "counter frozen under load": (
        trace_of(with_reason(GOOD, "the counter stood still for 5.0 s while the device reported 1.5e+03 J", 25)),
        False, "energy-missing", "fail", "stood still",
    ),
    "counter in disagreement": (
        trace_of(replace(GOOD, counter_scale=1 / 6).watch(POWER)), True, "counter-disagrees", "fail", "-83.3 % off",
    ),
    "transient errors": (noisy(), True, "meter-gaps", "warn", "30 reads failed twice; the longest gap was 3.0"),
    "GPU lost in mid-trial": (
        trace_of(with_reason(GOOD, "the GPU is lost", 25)), False, "energy-missing", "fail", "the GPU is lost",
    ),
    "no permission": (
        absent("the NVIDIA driver refuses this user", "every GPU"), False, "energy-missing", "fail", "refuses this user",
    ),
    "no driver": (absent("no NVIDIA driver", None), False, "energy-missing", "warn", "no NVIDIA driver"),
    "MIG": (absent("MIG is on, and the counter reads the whole board", "GPU-1"), False, "energy-missing", "fail", "MIG is on"),
    "throttling": (throttled(), True, "throttled", "fail", "hw-thermal"),
}  # fmt: skip


def cut(trace) -> WindowEnergy:
    return window_energy(trace, moment(10), moment(45))


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_its_outcome_its_flag_and_its_line(fault):
    trace, has_joules, check, outcome, words = FAULTS[fault]
    records = requests()
    trial = trial_of(records, energy=cut(trace))
    assert (trial.energy.gross_joules is not None) is has_joules
    flags = {flag.check: flag for flag in flags_of(trial, records)}
    assert flags[check].outcome == outcome
    assert words in flags[check].reason
    summary = summary_of(trial, records, list(flags.values()))
    assert (summary["joules_per_output_token"] is None) is not has_joules  # null, never 0
    assert check in [flag["check"] for flag in summary["flags"]]


@pytest.mark.parametrize("rule", ["energy-missing", "source-fallback", "meter-gaps", "counter-disagrees"])
def test_a_good_meter_passes(rule):
    records = requests()
    trial = trial_of(records, energy=cut(trace_of(GOOD.watch(POWER))))
    assert find_in_trial(trial, measure_records(trial, records))[rule].outcome == "pass"


def test_energy_that_was_not_requested_is_not_missing():
    records = requests()
    trial = trial_of(records, energy=WindowEnergy(start_ns=0, end_ns=1, reason="--energy none"))
    assert find_in_trial(trial, measure_records(trial, records))["energy-missing"].outcome == "no data"


def test_a_machine_without_a_gpu_has_no_source_fallback():
    records = requests()
    trial = trial_of(records, energy=cut(absent("no NVIDIA driver", None)))
    found = find_in_trial(trial, measure_records(trial, records))
    assert (found["source-fallback"].outcome, found["meter-gaps"].outcome) == ("no data", "no data")
