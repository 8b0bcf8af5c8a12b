from __future__ import annotations

from loadgen.workloads.sessions import SessionsLoad
from reports.analysis.analyse import analyse_folder
from reports.analysis.records import GroupFigures
from reports.sections.loads.sessions import sessions_section
from tests.reports.example_run import SINGLE, Example, write_run

TALK = SessionsLoad(name=SINGLE.name, concurrency=2, requests=12, turns=2)


def with_turns(trial, baseline):
    """Second turns take half as long as first ones, and a pruned model 0.8 of the baseline's time."""
    share = 1.0 if trial.label == baseline else 0.8
    turns = {
        n: GroupFigures(
            prompt_tokens=30.0 * n, cached_share=None if n == 1 else 0.5, ttft_ms=share * 20 / n, tpot_ms=5.0
        )
        for n in (1, 2)
    }
    return trial.model_copy(update={"turns": turns})


def talked(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(SINGLE,))))
    trials = [with_turns(trial, analysis.info.baseline) for trial in analysis.trials]
    return analysis.model_copy(update={"trials": trials, "workloads": {TALK.name: TALK}})


def test_every_turn_of_every_configuration_has_a_row_and_its_ratio_in_pairs(tmp_path):
    *_, table = sessions_section(talked(tmp_path)).blocks
    rows = [[entry.text for entry in row.entries] for row in table.rows]
    assert [row[:2] for row in rows] == [
        ["width-1024", "1"],
        ["width-1024", "2"],
        ["width-512", "1"],
        ["width-512", "2"],
    ]
    assert [row[2:5] for row in rows[:2]] == [["30.0", "\N{EM DASH}", "20.0"], ["60.0", "50.0 %", "10.0"]]
    assert rows[0][5] == "\N{EM DASH}"
    assert all(row[5].startswith("0.80") for row in rows[2:])


def test_a_run_without_sessions_has_no_such_section(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(SINGLE,))))
    assert sessions_section(analysis) is None
