from __future__ import annotations

import pytest

from reports.analysis.analyse import analyse_folder
from reports.sections.loads.reasoning import reasoning_section
from tests.reports.example_run import BATCH, SINGLE, Example, write_run

THOUGHT = {1024: 24, 512: 16}  # of 32 tokens


def thinking(width, request):
    return {"reasoning_tokens": THOUGHT[width], "first_answer_ns": request.arrival_ns[THOUGHT[width]]}


@pytest.fixture
def analysis(tmp_path):
    return analyse_folder(write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(BATCH,), other=thinking)))


def test_reasoning_and_answer_have_first_tokens_tokens_and_joules_each_in_pairs(analysis):
    """The narrower model takes 0.8 of the time for a token, and thinks two thirds as long."""
    _, table = reasoning_section(analysis).blocks
    whole, narrow = table.rows
    assert [entry.text for entry in whole.entries[1:5]] == ["60.0", f"{60 + 24 * 16}", "24.0", "8.00"]
    assert [entry.text for entry in narrow.entries[1:5]] == ["48.0", f"{48 + 16 * 12.8:.0f}", "16.0", "16.0"]
    assert [entry.change[:4] for entry in narrow.entries[1:5]] == ["0.80", "0.57", "0.67", "2.00"]
    assert [entry.verdict for entry in narrow.entries[1:5]] == ["better", "better", None, None]
    assert table.notes[narrow.entries[3].note] == "neither more nor less of it is better"


def test_joules_of_reasoning_and_of_the_answer_add_up_to_those_of_a_request(analysis):
    for label, share in (("width-1024", 24 / 32), ("width-512", 16 / 32)):
        values = analysis.cell(label, BATCH.name).values
        whole = values["joules_per_request"].median
        assert values["reasoning_joules_per_request"].median == pytest.approx(share * whole)
        assert values["answer_joules_per_request"].median == pytest.approx((1 - share) * whole)


def test_a_run_without_reasoning_has_no_such_section(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(SINGLE,))))
    assert reasoning_section(analysis) is None
    assert analysis.cell("width-512", SINGLE.name).values["median_first_answer_ms"].reason == (
        "no request reasoned apart from its answer"
    )
