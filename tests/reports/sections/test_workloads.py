from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from loadgen.workloads.closed_loop import BatchLoad
from loadgen.workloads.open_loop import PoissonLoad
from loadgen.workloads.ramp import RampLoad
from loadgen.workloads.trace import TraceLoad
from reports.analysis.analyse import analyse_folder
from reports.analysis.records import Analysis
from reports.document.blocks import Table
from reports.document.wording import smallest_effect
from reports.sections.workloads import terminal_tables, workload_tables
from tests.reports.example_run import BATCH, NO_METER, SINGLE, Example, write_run

SMALL = SINGLE.model_copy(update={"requests": 3})


def tables_of(analysis: Analysis) -> list[Table]:
    return list(workload_tables(analysis).values())


def table_of(path: Path, example: Example) -> Table:
    return tables_of(analyse_folder(write_run(path / "run", example)))[0]


def headings(table: Table) -> list[str]:
    return [column.heading for column in table.columns]


def terminal(run: Path, width: int = 160) -> str:
    console = Console(width=width, file=StringIO())
    with console.capture() as captured:
        for table in terminal_tables(analyse_folder(run)):
            console.print(table)
    return captured.get()


def test_there_is_a_row_for_every_configuration_in_the_order_of_the_run(exact):
    table = tables_of(exact)[1]
    assert [row.entries[0].text for row in table.rows] == ["1024", "896", "768", "640", "512"]
    assert [row.is_baseline for row in table.rows] == [True, False, False, False, False]
    assert headings(table) == [
        "Width", "Ratio", "Parameters", "Perplexity", "Output tokens/s", "TTFT", "TPOT", "J/output token", "Net J/output token",
    ]  # fmt: skip


def test_bits_per_byte_stand_beside_perplexity_where_any_are_known(exact):
    known = exact.model_copy(update={"configurations": [with_bits(c) for c in exact.configurations]})
    for table in tables_of(known):
        place = headings(table).index("Bits/byte")
        assert headings(table)[place - 1] == "Perplexity"
        found = [row.entries[place] for row in table.rows]
        assert [entry.text for entry in found] == ["1.02", "0.896", "0.768", "0.640", "—"]
        assert list(table.notes.values())[:1] == ["the bytes that its tokens stand for are not known"]


def with_bits(configuration):
    """A thousandth of its width, and none of the narrowest."""
    info = configuration.info
    bits = info.width / 1000 if info.width > 512 else None
    quality = info.quality.model_copy(update={"bits_per_byte": bits})
    return configuration.model_copy(update={"info": info.model_copy(update={"quality": quality})})


def test_the_table_says_what_its_undecided_columns_could_have_shown(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(noise=0.02, widths=(1024, 512), energy="none")))
    [single, _] = tables_of(analysis)
    found = analysis.cell("width-512", "single-request").values["median_tpot_ms"].comparison
    assert found.verdict == "undecided"
    assert f"TPOT: {smallest_effect(found.smallest_effect)}" in single.remarks[0]


def test_an_entry_has_its_median_its_ratio_and_its_verdict(exact):
    entry = tables_of(exact)[1].rows[-1].entries[6]
    assert (entry.text, entry.verdict) == ("12.8", "better")
    assert entry.change.startswith("0.80")


def test_joules_name_their_source(exact):
    assert tables_of(exact)[1].columns[7].unit == "nvml-counter"
    assert tables_of(exact)[1].remarks == [
        "Joules of a trial are known to ±0.3 % or better (95 %), sensor error not included.",
        "Window: the whole load.",
    ]


def test_where_tokenizers_differ_lengths_are_in_each_ones_tokens_and_figures_per_character_and_request(tmp_path):
    two = {"widths": (1024, 512), "tokenizers": {1024: "a", 512: "b"}, "workloads": (SMALL,)}
    table = table_of(tmp_path, Example(characters={1024: 3, 512: 6}, **two))
    own = dict(zip(headings(table), table.rows[1].entries, strict=True))
    assert (own["Tokens"].text, own["Tokens"].change) == ("64.0 in, 32.0 out", "192 characters")
    assert {"Characters/s", "Time/character", "Time/request", "J/character", "J/request"} <= own.keys()
    assert own["J/character"].text != own["J/output token"].text


def test_net_joules_have_no_ratio(exact):
    assert all(row.entries[8].change is None for row in tables_of(exact)[1].rows)


def test_missing_joules_point_to_their_reason(tmp_path):
    table = table_of(tmp_path, Example(energy="none", workloads=(SMALL,), blocks=2))
    joules = [row.entries[7] for row in table.rows]
    assert {(entry.text, entry.note) for entry in joules} == {("—", "a")}
    assert table.notes == {"a": NO_METER}
    assert "Modelled J/output token" not in headings(table)


def test_modelled_joules_have_a_column_that_says_so(tmp_path):
    table = table_of(tmp_path, Example(energy="modelled", workloads=(SMALL,), blocks=2))
    assert (table.columns[7].heading, table.columns[7].unit) == ("J/output token", "")
    assert (table.columns[8].heading, table.columns[8].unit) == ("Modelled J/output token", "not measured")
    assert {row.entries[7].text for row in table.rows} == {"—"}
    assert "an assumption, not a measurement" in table.remarks[0]


def test_a_label_that_is_not_the_width_gets_a_column(tmp_path):
    example = Example(workloads=(SMALL,), blocks=1, widths=(1024, 512), labels={512: "half-random"})
    table = table_of(tmp_path, example)
    assert headings(table)[0] == "Configuration"
    assert table.rows[1].entries[0].text == "half-random"


def test_every_reason_gets_a_letter_of_its_own(tmp_path):
    failed = frozenset((b, 512, SMALL.name) for b in range(2))
    table = table_of(tmp_path, Example(energy="none", workloads=(SMALL,), blocks=2, failed=failed))
    assert list(table.notes) == ["a", "b"]
    assert table.rows[-1].entries[4].note == "b"


def test_the_terminal_shows_the_same_figures(exact, exact_run):
    text = terminal(exact_run)
    for table in tables_of(exact):
        for row in table.rows:
            for entry in row.entries:
                assert entry.text in text
                assert (entry.change or "") in text


def test_a_narrow_terminal_folds_and_loses_nothing(exact_run):
    text = terminal(exact_run, width=72)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 72


def test_markup_in_a_name_stays_text_in_the_terminal(tmp_path):
    example = Example(
        workloads=(SMALL,), blocks=1, widths=(1024, 512), labels={512: "[red]x"}, name="[link=x]run[/link]"
    )
    text = terminal(write_run(tmp_path / "run", example))
    assert "[red]x" in text
    assert "[link=x]run[/link]" in text


@pytest.mark.parametrize(
    ("workload", "words"),
    [
        (SINGLE, "one request at a time; 64 prompt tokens, exactly 32 output tokens; 12 requests a trial"),
        (
            BATCH,
            "8 requests at once, the next when all are done; 64 prompt tokens, exactly 32 output tokens; 32 requests a trial",
        ),
        (
            PoissonLoad(name="p", rate=2.5, duration_s=60, natural_stop=True),
            "2.5 requests/s, Poisson arrivals; 64 prompt tokens, up to 64 output tokens; 60 s a trial",
        ),
        (
            BatchLoad(name="b", batch_size=4, batch_as="list", requests=8, output_tokens=8),
            "4 prompts in one request at once, the next when all are done; 64 prompt tokens, exactly 8 output tokens; 8 requests a trial",
        ),
        (
            RampLoad(name="r", concurrency=1, end_concurrency=8, duration_s=60, prompt_tokens="uniform:8-64"),
            "1 to 8 requests in flight; uniform:8-64 prompt tokens, exactly 64 output tokens; 60 s a trial",
        ),
        (
            TraceLoad(name="t", trace="azure.csv", speed=2.0),
            "azure.csv replayed at 2 times its speed; prompts and outputs as long as recorded",
        ),
    ],
)
def test_a_workload_is_described_in_words(workload, words):
    assert workload.describe() == words
