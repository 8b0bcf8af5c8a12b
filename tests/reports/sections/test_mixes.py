from __future__ import annotations

import pytest

from loadgen.workloads.base import Workload
from reports.analysis.analyse import analyse_folder
from reports.analysis.records import GroupFigures
from reports.sections.loads.mixes import mixes_section
from tests.reports.example_run import SINGLE, Example, write_run

MIX = Workload.model_validate(
    {"name": SINGLE.name, "kind": "mix", "rate": 5, "requests": 12, "parts": [{"name": "chat"}, {"name": "long"}]}
)


@pytest.fixture
def analysis(tmp_path):
    return analyse_folder(write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(SINGLE,))))


def with_parts(trial, baseline):
    """A pruned model takes 0.8 of the baseline's time in both parts."""
    share = 1.0 if trial.label == baseline else 0.8
    parts = {
        name: GroupFigures(prompt_tokens=30.0, cached_share=None, ttft_ms=share * ms, tpot_ms=5.0, good_share=good)
        for name, ms, good in (("chat", 20.0, 0.9), ("long", 60.0, None))
    }
    return trial.model_copy(update={"parts": parts})


def test_every_part_has_a_row_with_its_ratio_in_pairs_and_its_own_objectives(analysis):
    trials = [with_parts(trial, analysis.info.baseline) for trial in analysis.trials]
    section = mixes_section(analysis.model_copy(update={"trials": trials, "workloads": {MIX.name: MIX}}))
    *_, table = section.blocks
    rows = [[entry.text for entry in row.entries] for row in table.rows]
    assert [row[:2] for row in rows] == [
        [label, part] for label in ("width-1024", "width-512") for part in ("chat", "long")
    ]
    assert [column.heading for column in table.columns][-2:] == ["Met its objectives", "J/request"]
    assert [row[7] for row in rows[:2]] == ["90.0 %", "\N{EM DASH}"]
    assert all(row[5].startswith("0.80") for row in rows[2:])


def test_a_run_without_a_mix_has_no_such_section(analysis):
    assert mixes_section(analysis) is None
