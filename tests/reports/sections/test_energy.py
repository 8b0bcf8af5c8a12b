"""The report's sections on joules by token and request, and on power at rest."""

from __future__ import annotations

import itertools
import json

import pytest

from energy.carbon import read_intensity
from energy.records import IdleWindow, WindowEnergy
from energy.timeline import ClockPower
from loadgen.records.schema import SteadyState, WarmUp
from loadgen.workloads.closed_loop import BatchLoad
from reports.analysis.analyse import analyse_folder
from reports.build import build_report
from reports.document.blocks import Items, Plots, Prose, Table
from reports.runs.records.cells import VisitIdle
from reports.sections.energy.carbon import carbon_section
from reports.sections.energy.clocks import clocks_section
from reports.sections.energy.idle import idle_section
from reports.sections.energy.model import energy_model_section
from reports.sections.energy.startup import startup_section
from reports.sections.energy.steady import steady_section
from tests.reports.example_run import Example, window_energy, write_run

SHAPES = tuple(
    BatchLoad(name=f"p{p}-o{o}", batch_size=8, requests=16, prompt_tokens=p, output_tokens=o)
    for p, o in itertools.product((64, 1024), (16, 128))
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(
        tmp_path_factory.mktemp("shapes") / "run", Example(widths=(1024, 512), workloads=SHAPES, blocks=3, noise=0.02)
    )


def test_each_configuration_has_its_coefficients_predictions_and_residuals(run):
    section = energy_model_section(analyse_folder(run))
    coefficients, predictions = [b for b in section.blocks if isinstance(b, Table)]
    assert [row.entries[0].text for row in coefficients.rows] == ["width-1024", "width-512"]
    # 260 W for 16 ms a token, shared by eight: the truth of the example, in millijoules.
    assert float(coefficients.rows[0].entries[3].text) == pytest.approx(260 * 16 / 8, rel=0.05)
    assert [column.heading for column in predictions.columns][2:] == [
        "128 + 128",
        "1024 + 128",
        "128 + 1024",
        "2048 + 512",
    ]
    assert [entry.note for entry in predictions.rows[0].entries[2:]] == [None, None, "a", "a"]
    [plots] = [b for b in section.blocks if isinstance(b, Plots)]
    assert sum(len(marks.x) for marks in plots.plots[0].chart.marks) == 2 * 4 * 3


@pytest.mark.usefixtures("blank_pictures")
def test_the_line_is_in_report_json_for_scripts(run):
    build_report([run])
    [stored] = json.loads((run / "report.json").read_text())["runs"]
    model = stored["energy_models"][0]
    assert (model["load"], model["degrees_of_freedom"], len(model["covariance"])) == ("batches of 8", 9, 3)
    assert model["output_token"]["low"] < model["output_token"]["joules"] < model["output_token"]["high"]


def test_shapes_that_do_not_vary_are_reported_with_how_to_vary_them(tmp_path):
    section = energy_model_section(analyse_folder(write_run(tmp_path / "run", Example(widths=(1024,), blocks=2))))
    items, how = section.blocks
    assert isinstance(items, Items)
    assert isinstance(how, Prose)
    assert items.items == ["No line for batches of 8, single: not identified (1 shape of requests under this load)."]


def test_without_measured_joules_there_is_no_such_section(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(widths=(1024,), blocks=2, energy="modelled")))
    assert energy_model_section(analysis) is None
    assert idle_section(analysis) is None


def test_power_at_rest_has_its_four_states_and_a_reason_for_each_that_is_missing(run):
    [table] = idle_section(analyse_folder(run)).blocks
    row = table.rows[0].entries
    assert (row[0].text, row[2].text, row[2].change) == ("width-1024", "60.0", "± 0.180")
    assert [entry.text for entry in (row[1], row[3], row[4])] == ["—"] * 3
    assert table.notes == {"a": "not measured"}


def test_power_at_rest_around_visits_has_its_mean_and_its_extremes_over_the_blocks(tmp_path):
    run = write_run(tmp_path / "run", Example(widths=(1024, 512), blocks=2))
    (run / "idle").mkdir()
    for block, (before, after) in enumerate([(60.0, 62.0), (61.0, 60.5)]):
        windows = [
            IdleWindow(whole=window_energy("nvml", watts, 0, 2 * 10**9), first_half_joules=watts)
            for watts in (before, after)
        ]
        idle = VisitIdle(block=block, label="width-1024", workloads=["x"], before=windows[0], after=windows[1])
        (run / "idle" / f"{block}-x.json").write_text(idle.model_dump_json())
    [table] = idle_section(analyse_folder(run)).blocks
    row = table.rows[0].entries
    assert [(entry.text, entry.change) for entry in row[2:4]] == [("60.5", "60.0 to 61.0"), ("61.2", "60.5 to 62.0")]
    assert row[5].text == "+2.00"
    assert [entry.text for entry in table.rows[1].entries[2:4]] == ["—", "—"]


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """The analysis of two widths whose first trials have all that is metered beside the window; the others lack a meter."""
    run = write_run(
        tmp_path_factory.mktemp("beside") / "run", Example(widths=(1024, 512), workloads=SHAPES[:1], blocks=2)
    )
    analysis = analyse_folder(run, intensity=read_intensity("360", "Ember 2025"))
    warm = WarmUp(requests=2, groups=1, seconds=4.0, steady=True, change=0.0)
    metered = {
        "warm_up": warm.model_copy(update={"joules": 800.0}),
        "clocks": [ClockPower(device="GPU-1", sm_clock_mhz=1410, seconds=30, mean_watts=250.0)],
    }
    unmetered = {
        "clocks": [],
        "steady_state": SteadyState(batch=8, start_ns=0, end_ns=1, reason="no meter"),
        "warm_up": warm.model_copy(update={"joules_reason": "no meter"}),
    }
    trials = []
    for trial in analysis.trials:
        own = trial.values["joules_per_output_token"]
        steady = SteadyState(batch=8, start_ns=0, end_ns=10**9, output_tokens=100, joules=110 * own)
        update = metered | {"steady_state": steady} if trial.label == "width-1024" else unmetered
        trials.append(trial.model_copy(update=update))
    seconds = WindowEnergy(start_ns=0, end_ns=20 * 10**9, gross_joules=5000.0, gross_joules_uncertainty=50.0)
    first, *others = analysis.configurations
    first = first.model_copy(update={"info": first.info.model_copy(update={"load_s": 20.0, "load_energy": seconds})})
    return analysis.model_copy(update={"trials": trials, "configurations": [first, *others]})


def texts(table, number):
    return [entry.text for entry in table.rows[number].entries]


def test_ml_energys_steady_state_stands_beside_the_window(beside):
    _, table = steady_section(beside).blocks
    assert texts(table, 0)[3:5] == ["+10 %", "1.00"]
    assert texts(table, 1)[1:] == ["—"] * 5
    assert table.notes == {"a": "no meter"}


def test_loading_and_warm_up_have_joules_of_their_own(beside):
    [table] = startup_section(beside).blocks
    assert texts(table, 0) == ["width-1024", "5,000", "20.0", "800", "4.00"]
    assert texts(table, 1)[1::2] == ["—", "—"]
    assert set(table.notes.values()) == {"not measured", "no meter"}


def test_each_clock_has_its_power(beside):
    [table] = clocks_section(beside).blocks
    assert [texts(table, n) for n in range(len(table.rows))] == [["width-1024", "GPU-1", "1410", "250", "60"]]


def test_carbon_is_joules_by_the_stated_intensity_with_its_source(beside):
    lede, table = carbon_section(beside).blocks
    assert "360 g/kWh, as stated: Ember 2025" in lede.text
    joules = beside.trials[0].values["joules_per_output_token"]
    assert float(texts(table, 0)[1].replace(",", "")) == pytest.approx(joules * 100, rel=0.01)  # 1e6 / 3.6e6 x 360


def test_where_nothing_was_metered_beside_the_window_or_stated_no_section_says_so(run):
    analysis = analyse_folder(run)
    for section in (steady_section, startup_section, carbon_section):
        assert section(analysis) is None
