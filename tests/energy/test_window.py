from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from energy.meters.modelled import ModelledCpuMeter
from energy.records import Conditions, EnergyTrace, FailedRead, MeterInfo, MeterTrace, MissingMeter, WindowEnergy
from energy.window import meter_energy, window_energy
from tests.energy.known_power.simulate import Board, Truth, load_like, moment, steady, trace_of

NO_GPU = MissingMeter(source="nvml-counter", reason="libnvidia-ml.so.1 was not found")
NO_RAPL = MissingMeter(source="rapl", reason="no package counter")


def zone(watts: float, device: str, domain: str) -> MeterTrace:
    trace = Board(source="synthetic", refresh_s=0.0, reports_power=False).watch(steady(watts))
    info = MeterInfo.model_validate(
        {"source": "rapl", "domain": domain, "device": device, "name": device, "refresh_s": 0.001}
    )
    return trace.model_copy(update={"info": info})


def modelled(watts: float) -> MeterTrace:
    trace = Board(source="synthetic", refresh_s=0.0, interval_s=0.2, reports_power=False).watch(steady(watts))
    return trace.model_copy(update={"info": ModelledCpuMeter(7.5, list).info})


def over(trace: EnergyTrace, start_s: float, end_s: float, idle: WindowEnergy | None = None) -> WindowEnergy:
    return window_energy(trace, moment(start_s), moment(end_s), idle=idle)


def test_three_hundred_watts_for_ten_seconds_are_three_thousand_joules():
    """Fails if joules, millijoules, watt-hours or kilowatt-hours are taken for one another."""
    energy = over(trace_of(Board().watch(steady(300))), 10, 20)
    assert energy.gross_joules == pytest.approx(3_000, rel=0.002)
    assert energy.parts[0].mean_watts == pytest.approx(300, rel=0.002)
    assert energy.source == "nvml-counter"
    assert energy.reason is None


@pytest.mark.parametrize("source", ["nvml-counter", "nvml-instant", "nvml-average", "synthetic"])
def test_every_source_gives_the_same_joules_for_the_same_power(source):
    energy = over(trace_of(Board(source=source).watch(steady(250))), 10, 50)
    assert energy.gross_joules == pytest.approx(10_000, rel=0.002)
    assert energy.source == source


def test_averaged_power_is_moved_back_to_where_it_was_drawn():
    rising = Truth(np.array([0.0, 40.0]), np.array([100.0, 900.0]))
    part = over(trace_of(Board(source="nvml-average", average_s=1.0).watch(rising)), 10, 30).parts[0]
    assert part.joules == pytest.approx(rising.between(10, 30), rel=1e-3)


def test_adjacent_windows_add_up_to_their_union():
    for source in ("nvml-counter", "nvml-instant", "synthetic"):
        trace = trace_of(Board(source=source, jitter_s=0.02).watch(load_like(1)))
        whole, first, second = over(trace, 5, 35), over(trace, 5, 17.3), over(trace, 17.3, 35)
        assert whole.gross_joules == pytest.approx((first.gross_joules or 0) + (second.gross_joules or 0), rel=1e-12)


def test_twice_the_power_is_twice_the_joules():
    truth = load_like(2)
    once = over(trace_of(Board().watch(truth)), 5, 35)
    twice = over(trace_of(Board().watch(replace(truth, scale=2.0))), 5, 35)
    assert twice.gross_joules == pytest.approx(2 * (once.gross_joules or 0), rel=1e-5)
    assert twice.gross_joules_uncertainty == pytest.approx(2 * (once.gross_joules_uncertainty or 0), rel=1e-2)


def test_what_is_sampled_outside_the_window_changes_nothing():
    truth = steady(300)
    short = Board().watch(truth, seconds=32)
    long = Board().watch(truth, seconds=95)
    assert over(trace_of(short), 5, 30).gross_joules == over(trace_of(long), 5, 30).gross_joules


def test_a_window_outside_the_trace_is_none_with_a_reason():
    trace = trace_of(Board().watch(steady(300), seconds=30))
    late, early = over(trace, 20, 40), over(trace, -5, 10)
    assert late.gross_joules is None
    assert "ends 10.1 s after the meter's last usable reading" in (late.reason or "")
    assert early.gross_joules is None
    assert "before the meter's first usable reading" in (early.reason or "")
    assert (late.gross_joules_uncertainty, late.net_joules, late.parts[0].joules) == (None, None, None)


def test_gpus_are_summed_and_their_errors_add_in_quadrature():
    trace = trace_of(Board(device="GPU-0").watch(steady(300)), Board(device="GPU-1").watch(steady(100)))
    energy = over(trace, 10, 40)
    assert energy.gross_joules == pytest.approx(12_000, rel=0.002)
    half_widths = [part.uncertainty_joules for part in energy.parts]
    assert energy.gross_joules_uncertainty == pytest.approx(np.hypot(*half_widths))


def test_a_lost_gpu_makes_the_total_null():
    lost = Board(device="GPU-1").watch(steady(100), seconds=25).model_copy(update={"reason": "the GPU is lost"})
    energy = over(trace_of(Board(device="GPU-0").watch(steady(300)), lost), 10, 40)
    assert energy.gross_joules is None
    assert energy.parts[0].joules == pytest.approx(9_000, rel=0.002)
    assert "GPU-1: the GPU is lost" in (energy.reason or "")


def test_a_window_that_ended_before_a_failure_keeps_its_joules():
    lost = Board().watch(steady(100), seconds=25).model_copy(update={"reason": "the GPU is lost"})
    assert over(trace_of(lost), 10, 20).gross_joules == pytest.approx(1_000, rel=0.002)


def test_a_gpu_that_could_never_be_read_makes_the_total_null_too():
    absent = MissingMeter(source="nvml-counter", reason="MIG is on", device="GPU-1")
    energy = over(trace_of(Board().watch(steady(300)), zone(50, "package-0", "cpu-package"), missing=(absent,)), 10, 40)
    assert energy.gross_joules is None
    assert energy.reason == "GPU-1: MIG is on"


def test_the_processor_does_not_stand_in_for_gpus_that_cannot_be_read():
    absent = MissingMeter(source="nvml-counter", reason="the driver refuses this user", device="every GPU")
    energy = over(trace_of(zone(40, "package-0", "cpu-package"), missing=(absent,)), 10, 40)
    assert energy.gross_joules is None
    assert energy.parts[0].joules == pytest.approx(1_200, rel=1e-3)


def test_without_a_gpu_the_headline_is_packages_and_dram():
    trace = trace_of(zone(40, "package-0", "cpu-package"), zone(5, "dram", "dram"), missing=(NO_GPU,))
    energy = over(trace, 10, 40)
    assert energy.gross_joules == pytest.approx(45 * 30, rel=1e-3)
    assert energy.source == "rapl"


def test_with_a_gpu_the_processor_stands_beside_and_is_not_added():
    energy = over(trace_of(Board().watch(steady(300)), zone(40, "package-0", "cpu-package")), 10, 40)
    assert energy.gross_joules == pytest.approx(9_000, rel=0.002)
    assert [p.info.source for p in energy.parts] == ["nvml-counter", "rapl"]


def test_a_dram_zone_that_never_moves_is_missing_not_zero():
    energy = over(trace_of(zone(40, "package-0", "cpu-package"), zone(0, "dram", "dram")), 10, 40)
    assert energy.gross_joules is None
    assert energy.reason == "dram: the counter did not move during the window"


def test_the_synthetic_engines_own_joules_are_the_headline_wherever_it_runs():
    synthetic = Board(source="synthetic", refresh_s=0.0, device="synthetic").watch(steady(123))
    energy = over(trace_of(synthetic, Board().watch(steady(300))), 10, 40)
    assert energy.gross_joules == pytest.approx(123 * 30, rel=1e-5)
    assert energy.source == "synthetic"


def test_no_meter_at_all_is_none_with_every_reason():
    energy = over(trace_of(missing=(NO_GPU, NO_RAPL)), 10, 40)
    assert (energy.gross_joules, energy.net_joules, energy.modelled_joules, energy.source) == (None,) * 4
    assert energy.reason == "libnvidia-ml.so.1 was not found; no package counter"


def test_modelled_energy_never_enters_the_measured_columns():
    energy = over(trace_of(modelled(7.5), missing=(NO_GPU, NO_RAPL)), 10, 40)
    assert energy.modelled_joules == pytest.approx(225, rel=1e-3)
    assert energy.modelled_basis == "CPU seconds x 7.5 W per core, assumed"
    assert energy.gross_joules is None
    assert energy.parts == []


def test_modelled_energy_of_an_idle_process_is_a_true_zero():
    assert over(trace_of(modelled(0.0)), 10, 40).modelled_joules == 0


def test_modelled_energy_that_failed_is_none_with_its_reason():
    failed = modelled(7.5).model_copy(
        update={"joules": [], "before_ns": [], "after_ns": [], "watts": [], "reason": "gone"}
    )
    energy = over(trace_of(failed), 10, 40)
    assert energy.modelled_joules is None
    assert [m.reason for m in energy.missing] == ["gone"]


def test_net_subtracts_idle_power_for_the_whole_window():
    truth = steady(300)
    trace = trace_of(Board().watch(truth))
    idle = over(trace_of(Board().watch(steady(80))), 10, 40)
    energy = over(trace, 10, 20, idle)
    assert energy.idle_watts == pytest.approx(80, rel=0.002)
    assert energy.net_joules == pytest.approx(2_200, rel=0.005)


def test_net_may_be_negative_and_is_not_clamped():
    idle = over(trace_of(Board().watch(steady(100))), 10, 40)
    energy = over(trace_of(Board().watch(steady(90))), 10, 40, idle)
    assert energy.net_joules == pytest.approx(-300, rel=0.02)


@pytest.mark.parametrize(
    ("idle", "words"),
    [
        (None, "idle power was not measured"),
        (over(trace_of(missing=(NO_GPU,)), 10, 40), "idle power is not known: libnvidia"),
        (over(trace_of(Board(device="GPU-9").watch(steady(80))), 10, 40), "with other meters"),
        (over(trace_of(Board(source="nvml-instant").watch(steady(80))), 10, 40), "with other meters"),
    ],
)
def test_missing_net_joules_have_a_reason(idle, words):
    energy = over(trace_of(Board().watch(steady(300))), 10, 40, idle)
    assert energy.gross_joules is not None
    assert energy.net_joules is None
    assert words in (energy.net_reason or "")


@pytest.mark.parametrize(
    ("scale", "suspect"), [(1.0, False), (1.04, False), (0.96, False), (1.06, True), (1 / 6, True)]
)
def test_a_counter_that_disagrees_with_reported_power_is_suspect(scale, suspect):
    part = over(trace_of(Board(counter_scale=scale).watch(steady(300))), 10, 40).parts[0]
    assert part.disagreement == pytest.approx(scale - 1, abs=0.005)
    assert (part.reason is not None) is suspect
    if suspect:
        assert part.joules is not None
        assert part.uncertainty_joules is not None
        assert abs(part.joules - 9_000) <= part.uncertainty_joules * 1.001


def test_nothing_is_compared_in_a_short_window_or_without_reported_power():
    assert over(trace_of(Board(counter_scale=2).watch(steady(300))), 10, 15).parts[0].disagreement is None
    assert over(trace_of(Board(reports_power=False).watch(steady(300))), 10, 40).parts[0].disagreement is None


def test_conditions_are_those_within_the_window():
    trace = trace_of(Board().watch(steady(300)))
    states = [Conditions(at_ns=moment(s), device="GPU-0000", temperature_c=50 + s) for s in (9, 11, 19, 21)]
    energy = over(trace.model_copy(update={"conditions": states}), 10, 20)
    assert [c.temperature_c for c in energy.conditions] == [61, 69]


def test_edges_read_from_another_clock_are_as_uncertain_as_that_clock():
    trace = trace_of(Board(source="synthetic", refresh_s=0.0).watch(steady(300)))
    sure = window_energy(trace, moment(10), moment(40))
    unsure = window_energy(trace, moment(10), moment(40), clock_error_s=0.02)
    assert unsure.gross_joules == sure.gross_joules
    # Each edge is uniform within 2 x 0.02 s of 300 W.
    assert unsure.gross_joules_uncertainty == pytest.approx(1.96 * np.sqrt(2) * 300 * 0.04 / np.sqrt(12), rel=0.01)


def test_net_is_as_uncertain_as_gross_and_idle_together():
    idle = over(trace_of(Board().watch(steady(80))), 10, 20)
    energy = over(trace_of(Board().watch(steady(300))), 10, 40, idle)
    wanted = np.hypot(energy.gross_joules_uncertainty, 3 * (idle.gross_joules_uncertainty or 0))
    assert energy.net_joules_uncertainty == pytest.approx(wanted)
    assert energy.mean_watts == pytest.approx(300, rel=0.002)


def test_gaps_are_counted_and_the_longest_is_reported():
    trace = Board(silences=((12.0, 15.0),)).watch(steady(300))
    failed = [FailedRead(at_ns=moment(s), reason="Timeout") for s in (9.0, 12.5, 14.0)]
    part = over(trace_of(trace.model_copy(update={"failed_reads": failed})), 10, 40).parts[0]
    assert part.failed_reads == 2
    assert part.longest_gap_s == pytest.approx(3, abs=0.1)
    assert over(trace_of(trace), 20, 40).parts[0].longest_gap_s == pytest.approx(0.05, abs=0.01)


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="not after its start"):
        over(trace_of(Board().watch(steady(300))), 20, 20)


def test_a_thirty_second_window_at_the_usual_refresh_is_known_to_a_third_of_a_percent():
    energy = over(trace_of(Board(refresh_s=0.1).watch(steady(300))), 10, 40)
    assert (energy.gross_joules_uncertainty or 0) / (energy.gross_joules or 0) < 1 / 300


@pytest.mark.parametrize("case", ["fresh counter", "lagging counter", "silent counter", "instant power", "continuous"])
def test_the_truth_lies_in_the_reported_interval_at_least_93_times_in_100(case):
    inside = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        refresh = float(random.choice([0.02, 0.05, 0.1, 0.2]))
        board = Board(refresh_s=refresh, phase_s=float(random.uniform(0, refresh)), jitter_s=0.02, seed=seed)
        silence = (float(random.uniform(19, 21)), float(random.uniform(21, 23)))
        board = {
            "fresh counter": board,
            "lagging counter": replace(board, lag_s=float(random.uniform(0, refresh))),
            "silent counter": replace(board, silences=(silence,)),
            "instant power": replace(board, source="nvml-instant"),
            "continuous": replace(board, source="synthetic", refresh_s=0.0),
        }[case]
        truth = load_like(seed, seconds=30)
        start, end = float(random.uniform(3, 8)), float(random.uniform(20, 28))
        part = meter_energy(board.watch(truth), moment(start), moment(end))
        assert part.joules is not None
        assert part.uncertainty_joules is not None
        inside += abs(part.joules - truth.between(start, end)) <= part.uncertainty_joules
    assert inside >= 0.93 * 60


def test_power_that_stands_still_is_noticed_where_it_is_integrated():
    frozen = Truth(np.array([0.0, 20.0, 40.0]), np.array([100.0, 500.0, 500.0]))
    of_power = Board(source="nvml-instant").watch(frozen)
    assert meter_energy(of_power, moment(5), moment(38)).stood_still_s == pytest.approx(18.0, abs=0.2)
    assert meter_energy(of_power, moment(5), moment(15)).stood_still_s == 0
    assert meter_energy(Board().watch(frozen), moment(5), moment(38)).stood_still_s is None
