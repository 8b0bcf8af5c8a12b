from __future__ import annotations

import pytest

from loadgen.workloads.mix import MixLoad
from reports.analysis.analyse import analyse_folder
from reports.sections.loads.mixes import mixes_section
from tests.reports.example_run import NO_METER, SINGLE, Example, write_run

PARTS = [{"name": "chat", "slo_ttft_ms": 50}, {"name": "bulk"}]
MIX = MixLoad(name="office", rate=5, requests=12, prompt_tokens=64, output_tokens=32, parts=PARTS)
DASH = "\N{EM DASH}"


def section_of(tmp_path, mix=MIX, **example):
    return mixes_section(analyse_folder(write_run(tmp_path, Example(widths=(1024, 512), workloads=(mix,), **example))))


@pytest.fixture(scope="module")
def section(tmp_path_factory):
    """A narrower model takes 0.8 of the baseline's time in everything: TTFT 48 ms instead of 60, TPOT 12.8 instead of 16."""
    return section_of(tmp_path_factory.mktemp("mix") / "run")


def rows_of(table):
    return [[(entry.text, entry.change) for entry in row.entries] for row in table.rows]


def test_each_table_has_a_row_for_every_configuration_and_part(section):
    for table in section.blocks[1:]:
        assert [row[0] for row in rows_of(table)] == [
            (label, f"part {part}") for label in ("width-1024", "width-512") for part in ("chat", "bulk")
        ]


def test_every_latency_of_a_part_has_its_ratio_to_the_baselines_same_part(section):
    _, latency, *_ = section.blocks
    assert [column.heading for column in latency.columns][2:] == ["TTFT", "TPOT", "ITL", "ITL p99", "E2E"]
    for row in latency.rows[2:]:
        assert {entry.change for entry in row.entries[2:]} == {"0.80\N{MULTIPLICATION SIGN} (0.80\N{EN DASH}0.80)"}
        assert {entry.verdict for entry in row.entries[2:]} == {"better"}
    assert [entry.text for entry in latency.rows[2].entries[2:5]] == ["48.0", "12.8", "12.8"]


def test_throughput_and_joules_of_a_part_are_compared_too_and_called_shared(section):
    rates = section.blocks[2]
    assert [column.heading for column in rates.columns][1:] == ["Requests/s", "Output tokens/s", "J/request"]
    assert [[entry.verdict for entry in row.entries[1:]] for row in rates.rows[2:]] == [["better"] * 3] * 2
    assert "shared out, active ones by time in flight, and not metered apart" in rates.caption


def test_a_part_is_judged_by_its_own_objectives_and_one_without_any_says_so(section):
    objectives = section.blocks[3]
    assert [column.heading for column in objectives.columns][1:] == [
        "Good requests/s",
        "Good requests",
        "J/good request",
    ]
    found = rows_of(objectives)
    assert [found[0][2][0], found[2][2][0]] == ["0 %", "100 %"]
    assert [text for text, _ in found[1][1:]] == [DASH] * 3
    reasons = {objectives.notes[entry.note] for row in objectives.rows for entry in row.entries if entry.note}
    assert reasons == {
        "it has no objectives",
        "no request of the window met every objective",
        "a value is not positive, so there is no ratio",
        "no block has both this configuration and the baseline",
    }


def test_without_objectives_or_a_meter_there_are_fewer_figures_and_the_reason(tmp_path):
    plain = MIX.model_copy(update={"parts": [part.model_copy(update={"slo_ttft_ms": None}) for part in MIX.parts]})
    _, _, rates = section_of(tmp_path / "run", plain, energy="none").blocks
    assert [row.entries[3].text for row in rates.rows] == [DASH] * 4
    assert set(rates.notes.values()) == {NO_METER}


def test_a_run_without_a_mix_has_no_such_section(tmp_path):
    assert section_of(tmp_path / "run", SINGLE) is None
