from __future__ import annotations

from loadgen.workloads.closed_loop import BatchLoad
from reports.analysis.analyse import analyse_folder
from reports.sections.loads.goodput import goodput_section
from tests.reports.example_run import BATCH, SINGLE, Example, write_run

LOOSE = BatchLoad(name="loose", batch_size=8, requests=32, prompt_tokens=64, output_tokens=32, slo_ttft_ms=100, slo_e2e_ms=900)  # fmt: skip
TIGHT = LOOSE.model_copy(update={"name": "tight", "slo_ttft_ms": 50.0, "slo_e2e_ms": None})


def section_of(tmp_path, *workloads):
    written = write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=workloads))
    return goodput_section(analyse_folder(written))


def test_a_workload_with_objectives_has_its_goodput_its_share_and_its_joules_in_pairs(tmp_path):
    """TTFT is 60 ms and of the narrower model 48, so that it alone meets the tight objective."""
    _, loose, tight = section_of(tmp_path, LOOSE, BATCH, TIGHT).blocks
    assert loose.caption.startswith("loose: TTFT within 100 ms and E2E within 900 ms.")
    whole, narrow = ([entry.text for entry in row.entries] for row in loose.rows)
    assert (whole[0], whole[2], narrow[2]) == ("width-1024", "100 %", "100 %")
    assert float(narrow[1]) > float(whole[1])
    assert [entry.verdict for entry in loose.rows[1].entries[1:]] == ["better", "equivalent", "better"]
    assert loose.rows[1].entries[1].change.startswith("1.25")
    whole, narrow = ([entry.text for entry in row.entries] for row in tight.rows)
    assert (whole[1:], narrow[2]) == (["0", "0 %", "\N{EM DASH}"], "100 %")
    assert tight.notes[tight.rows[0].entries[3].note] == "no request that met every objective in the window"
    assert tight.notes[tight.rows[1].entries[1].note] == "a value is not positive, so there is no ratio"


def test_a_run_without_objectives_has_no_such_section(tmp_path):
    assert section_of(tmp_path, SINGLE) is None
