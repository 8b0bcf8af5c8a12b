from __future__ import annotations

import pytest

from energy.records import MeterInfo, MeterPower, PowerTimeline
from reports.analysis.analyse import analyse_folder
from reports.analysis.energy.power import MOST_STEPS, power_figures
from reports.document.blocks import Plots
from reports.sections.energy.power import timeline_section
from tests.reports.example_run import BATCH, SINGLE, Example, measure, offer, write_run

SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))
START = 10**15


def a_trial(source="nvml-counter"):
    import numpy as np

    example = Example()
    records = offer(SINGLE, example.truth(1024, SINGLE), 1.0, START, np.random.default_rng(1), 0.0)
    trial = measure(example, 1024, SINGLE, records)
    return trial.model_copy(update={"energy": trial.energy.model_copy(update={"source": source})})


def meter(device, start_ns, step_ns, watts, **info):
    known = {"source": "nvml-counter", "domain": "gpu", "device": device} | info
    return MeterPower(info=MeterInfo(**known), start_ns=start_ns, step_ns=step_ns, watts=watts)


def plots_of(section):
    return [plot for block in section.blocks if isinstance(block, Plots) for plot in block.plots]


def test_the_meters_of_the_headline_are_added_up_whatever_their_steps():
    one = meter("a", START - 10**9, 10**8, [100.0] * 30)
    other = meter("b", START - 5 * 10**8, 25 * 10**7, [40.0] * 12)
    beside = meter("package-0", START, 10**8, [999.0] * 30, source="rapl", domain="cpu-package")
    found = power_figures(PowerTimeline(meters=[one, other, beside]), a_trial())
    assert (found.start_s, found.step_s) == (-0.5, 0.25)
    assert found.watts == [140.0] * 10
    assert (found.source, found.measured) == ("nvml-counter", True)


def test_a_long_trial_is_thinned_and_keeps_its_energy():
    watts = [float(n % 7) for n in range(1200)]
    found = power_figures(PowerTimeline(meters=[meter("a", START, 10**8, watts)]), a_trial())
    assert len(found.watts) <= MOST_STEPS
    covered = int(len(found.watts) * found.step_s / 0.1 + 0.5)
    assert sum(found.watts) * found.step_s == pytest.approx(sum(watts[:covered]) * 0.1, rel=0.01)


def test_modelled_power_is_shown_only_where_nothing_was_measured():
    modelled = meter("process", START, 10**8, [5.0] * 20, source="modelled-cpu", domain="cpu-modelled", measured=False)
    measured = meter("a", START, 10**8, [100.0] * 20)
    assert power_figures(PowerTimeline(meters=[measured, modelled]), a_trial()).measured
    found = power_figures(PowerTimeline(meters=[modelled]), a_trial(source=None))
    assert (found.measured, found.source) == (False, "modelled-cpu")
    assert power_figures(PowerTimeline(meters=[]), a_trial()) is None


def test_windows_are_marked_where_they_lie(exact):
    first, overlay, _ = plots_of(timeline_section(exact))
    trials = [t for t in exact.trials if t.block == 0]
    assert len(first.chart.bands) == len(first.chart.marks) == len(trials) == 10
    for band, trial, marks in zip(first.chart.bands, trials, first.chart.marks, strict=True):
        assert band.end - band.start == pytest.approx(trial.window_s)
        assert marks.x[0] < band.start < band.end < marks.x[-1] + 1e-9
    assert [
        marks.x[-1] < after.x[0] for marks, after in zip(first.chart.marks, first.chart.marks[1:], strict=False)
    ] == [True] * 9
    assert "180 W" in first.alt
    assert overlay.chart.bands[0].start == 0.0


def test_modelled_power_is_called_so_and_without_power_there_is_no_section(tmp_path):
    modelled = analyse_folder(write_run(tmp_path / "m", Example(energy="modelled", workloads=SMALL, blocks=1)))
    assert "modelled and not measured" in plots_of(timeline_section(modelled))[0].lede
    none = analyse_folder(write_run(tmp_path / "n", Example(energy="none", workloads=SMALL, blocks=1)))
    assert timeline_section(none) is None
