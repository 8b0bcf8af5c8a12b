"""What --dry-run says, against what can be worked out by hand."""

import json
from pathlib import Path

import pytest

from prunebench.experiment.file import ExperimentError
from prunebench.experiment.resolve import load_experiment
from prunebench.run.forecast.assumptions import Assumptions
from prunebench.run.forecast.dry_run import forecast_run, print_forecast
from prunebench.servers.run_servers import starts_at_once
from reports.runs.records.run import RunInfo

NOTHING = Assumptions()


def nothing_finished(_cell) -> bool:
    return False


def test_the_synthetic_engines_times_are_added_up(experiment, tmp_path):
    found = forecast_run(load_experiment(experiment()), tmp_path / "out", nothing_finished, NOTHING)
    # 2 blocks x 2 widths x (4 requests one after another + 2 groups of 4), each 2 ms + 7 x 1 ms
    assert found.parts["load"] == pytest.approx(2 * 2 * (4 + 2) * 0.009)
    # 2 blocks x 2 widths x (before and after the load, each after a rest), 0.2 s each; both servers are kept
    assert found.parts["idle power"] == pytest.approx(2 * 2 * 2 * (0.2 + 0.2))
    assert found.parts["starting servers"] == (2.0 if starts_at_once() > 1 else 2 * 2.0)  # side by side, one a core
    assert found.seconds == pytest.approx(sum(found.parts.values()))
    assert found.window_s == found.parts["load"]  # neither kind of load has ramps
    assert found.measured_share == found.window_s / found.seconds
    assert len(found.cells) == 8
    assert found.finished == 0
    assert "the synthetic engine keeps its times" in found.assumptions


def test_the_ramps_of_loops_and_of_open_loops_are_no_part_of_their_windows(experiment, tmp_path):
    file = experiment(kind='"concurrency"\nconcurrency = 4', requests="40")
    file.write_text(file.read_text().replace("batch_size = 4\n", ""))
    found = forecast_run(load_experiment(file), tmp_path / "out", nothing_finished, NOTHING)
    assert found.window_s == pytest.approx(
        found.parts["load"] * 8 / 10
    )  # ten generations, without the first and the last


def test_rests_come_before_every_trial(experiment, tmp_path):
    file = experiment()
    file.write_text(file.read_text().replace("blocks = 2", "blocks = 2\ncooldown_s = 5"))
    assert forecast_run(load_experiment(file), tmp_path / "out", nothing_finished, NOTHING).parts["rests"] == 8 * 5


def test_another_engine_is_assumed_and_the_assumption_is_said(experiment, tmp_path):
    file = experiment(engine='"transformers"')
    file.write_text(file.read_text().replace('prefill_ms = "2"\ntoken_ms = "1"\n', ""))
    found = forecast_run(
        load_experiment(file), tmp_path / "out", nothing_finished, Assumptions.parse("ttft=1s,tpot=100ms")
    )
    assert found.parts["load"] == pytest.approx(2 * 2 * (4 + 2) * 1.7)
    assert any("1000 ms and another every 100 ms" in words for words in found.assumptions)


def test_checkpoints_are_counted_to_the_byte_and_finished_cells_are_not_repeated(experiment, tmp_path):
    loaded = load_experiment(experiment())
    found = forecast_run(loaded, tmp_path / "out", nothing_finished, NOTHING)
    half = forecast_run(loaded, tmp_path / "out", lambda cell: cell.block == 0, NOTHING)
    assert (len(half.cells), half.finished) == (4, 4)
    assert {block for block, _, _ in half.cells} == {2}
    assert half.parts["load"] == pytest.approx(found.parts["load"] / 2)
    assert 9_000_000 < found.disk_bytes - 12_000_000 < 10_000_000  # width 512 has 9.2 MB
    assert found.configurations["width-512"] == "512, ratio 2, 9.2 MB"
    assert found.free_bytes > 0


def test_nothing_is_written_and_the_schedule_is_printed(experiment, tmp_path, monkeypatch, capsys):
    loaded = load_experiment(experiment())
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    print_forecast(loaded, None, "no", None, as_json=False)
    printed = capsys.readouterr().out
    assert list(Path().iterdir()) == []
    assert "8 trials in this order:" in printed
    assert printed.index("block 1") < printed.index("block 2")
    assert "order balanced: a linear drift of the machine shifts no ratio to the baseline" in printed
    assert "assumed: a server starts in 2 s" in printed
    assert "the advice will rest on up to 4 comparisons (speed, and joules where they are metered)" in printed
    assert "If that deviation is 1 %, a ratio below 0." in printed


def test_several_criteria_are_configurations_of_their_own(experiment, tmp_path):
    loaded = load_experiment(experiment(expansion_ratios='[4.0, 2.0]\ncriterion = ["maw", "l2"]'))
    found = forecast_run(loaded, tmp_path / "run", nothing_finished, Assumptions())
    assert list(found.configurations) == ["width-1024", "maw-width-512", "l2-width-512"]
    assert {label for _, label, _ in found.cells} == set(found.configurations)


def test_numbers_of_layers_go_with_every_width_but_what_would_be_the_source_itself(experiment, tmp_path):
    keys = '[4.0, 2.0]\nremove_layers = [0, 2]\ncriterion = ["maw", "l2"]\ncalibration = ["tiny.toml"]'
    loaded = load_experiment(experiment(expansion_ratios=keys))
    found = forecast_run(loaded, tmp_path / "run", nothing_finished, NOTHING)
    widths = [f"{criterion}-width-512{depth}" for depth in ("", "-layers-4") for criterion in ("maw", "l2")]
    assert list(found.configurations) == ["width-1024", "layers-4", *widths]
    assert "ratio 4, 4 of 6 layers, " in found.configurations["layers-4"]


def test_the_smallest_effect_is_of_the_family_and_shrinks_with_blocks(experiment, tmp_path):
    def planned(**settings):
        return forecast_run(load_experiment(experiment(**settings)), tmp_path / "out", nothing_finished, NOTHING).family

    two, ten = planned(blocks="2"), planned(blocks="10")
    assert (two.compared, ten.compared) == (4, 4)  # one width, two loads, speed and joules
    # Student's t at 1 - 0.05 / 4, over the root of the blocks
    assert two.half_width == pytest.approx(50.923 / 2**0.5, rel=1e-3)
    assert ten.half_width == pytest.approx(3.1109 / 10**0.5, rel=1e-3)
    alone = planned(blocks="1")
    assert alone.half_width is None
    assert alone.words().startswith("no interval and no verdict")


def test_a_folder_that_holds_a_run_is_refused_as_the_run_would_refuse_it(experiment, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("{}")
    with pytest.raises(ExperimentError, match="already holds a run; add --resume"):
        print_forecast(load_experiment(experiment()), tmp_path / "out", "no", None, as_json=False)


def test_a_run_that_was_begun_shuffled_is_resumed_so_and_a_new_one_is_balanced(experiment, tmp_path, capsys):
    loaded, out = load_experiment(experiment(blocks="4")), tmp_path / "out"

    def planned(resume):
        print_forecast(loaded, out, resume, None, as_json=True)
        return json.loads(capsys.readouterr().out)

    new = planned("no")
    assert (new["imbalance"], new["order"][:9]) == (0, "balanced:")
    out.mkdir()
    begun = RunInfo(
        name="tiny", created_at="2026-11-23T09:30:00+00:00", prunebench_version="0.1.0", baseline="width-1024",
        labels=["width-1024", "width-512"], workloads=["single-request", "batch-4"], blocks=4, seed=7, status="interrupted",
    )  # fmt: skip
    (out / "run.json").write_text(begun.model_dump_json(exclude={"order", "block_counts"}))
    resumed = planned("yes")
    assert resumed["order"].startswith("shuffled: a linear drift of 1 % per block shifts a ratio")
    assert sorted(resumed["cells"]) == sorted(new["cells"])
    assert resumed["cells"] != new["cells"]


@pytest.mark.parametrize("text", ["x=1s", "ttft", "ttft=", "tpot=fast", "start=-1s", "ttft=nan", "ttft=inf"])
def test_an_assumption_that_cannot_be_read_is_named(text):
    with pytest.raises(ExperimentError, match="--assume"):
        Assumptions.parse(text)


def test_json_reads_back(experiment, tmp_path, capsys):
    print_forecast(load_experiment(experiment()), tmp_path / "out", "no", "start=9s", as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["parts"]["starting servers"] == (9 if starts_at_once() > 1 else 18)
