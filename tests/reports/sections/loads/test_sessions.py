from __future__ import annotations

from loadgen.workloads.sessions import SessionsLoad
from reports.analysis.analyse import analyse_folder
from reports.sections.loads.sessions import sessions_section
from tests.reports.example_run import SINGLE, Example, write_run

TALK = SessionsLoad(name="talk", concurrency=2, requests=12, turns=2, prompt_tokens=64, output_tokens=32)


def turns(_width, request):
    """Of second turns the prompt is longer, and half of it is in the cache."""
    turn = request.index % 2
    return {"turn": turn, "prompt_tokens": 30 * (turn + 1), "cached_tokens": 30 if turn else None}


def section_of(tmp_path, workload, **example):
    written = write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(workload,), **example))
    return sessions_section(analyse_folder(written))


def test_every_turn_of_every_configuration_has_a_row_and_its_ratios_in_pairs(tmp_path):
    _, table = section_of(tmp_path, TALK, other=turns).blocks
    names = [(row.entries[0].text, row.entries[0].change) for row in table.rows]
    assert names == [(label, f"turn {turn}") for label in ("width-1024", "width-512") for turn in (1, 2)]
    assert [column.heading for column in table.columns][1:] == [
        *("Prompt tokens", "From the cache", "TTFT", "TPOT", "E2E", "J/request"),
    ]
    assert [[entry.text for entry in row.entries[1:4]] for row in table.rows[:2]] == [
        ["30.0", "\N{EM DASH}", "60.0"],
        ["60.0", "50 %", "60.0"],
    ]
    assert {entry.change for row in table.rows[:2] for entry in row.entries[3:]} == {None}
    for row in table.rows[2:]:  # 0.8 of the baseline's time
        assert all(entry.change.startswith("0.80") for entry in row.entries[3:])
        assert {entry.verdict for entry in row.entries[3:]} == {"better"}


def test_turns_have_no_column_of_a_cache_that_no_server_spoke_of_and_one_of_objectives_where_there_are_any(tmp_path):
    judged = TALK.model_copy(update={"slo_ttft_ms": 50.0})
    _, table = section_of(tmp_path, judged, other=lambda _, request: {"turn": request.index % 2}).blocks
    assert [column.heading for column in table.columns][1:] == [
        *("Prompt tokens", "TTFT", "TPOT", "E2E", "Good requests", "J/request"),
    ]
    assert [row.entries[5].text for row in table.rows] == ["0 %", "0 %", "100 %", "100 %"]


def test_a_run_without_sessions_has_no_such_section(tmp_path):
    assert section_of(tmp_path, SINGLE) is None
