"""What `prunebench load` says of a load, at 80 columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.results.result import TrialResult
from prunebench.load.finished import Finished, print_finished
from tests.loadgen.made import failed, flags_of, record, trial, workload


def lines(records, **named):
    whole = trial(0, 100_000, **named)
    return Finished(TrialResult(whole, records, None), flags_of(whole, records), Path("out")).lines()


def requests(number):
    return [record(n, 0, 10 + n % 7, 50 + n % 50) for n in range(number)]


def row(said, title):
    (found,) = [line for line in said if line.split()[:1] == [title]]
    return found.split()[1:]


def test_every_line_fits_80_columns_and_the_last_is_the_folder():
    said = lines([*requests(400), failed(400, 0, 90, error="HTTP 500: " + "very " * 40)])
    assert max(map(len, said)) <= 80
    assert said[-1] == "out"
    assert all(line.isascii() for line in said)


@pytest.mark.parametrize(("completed", "shown"), [(3, 1), (35, 2), (100, 3), (367, 3), (368, 4)])
def test_a_percentile_is_shown_of_enough_requests_only(completed, shown):
    said = lines(requests(completed))
    assert [cell != "-" for cell in row(said, "E2E")] == [True] + [n < shown for n in range(4)]
    assert ("p99 takes 368 requests" in " ".join(" ".join(said).split())) is (completed < 368)


def test_a_percentile_among_failed_requests_is_not_called_a_timeout():
    said = lines([*requests(2), *(failed(n, 0, 90, error="connection reset") for n in range(2, 20))])
    assert row(said, "E2E")[1] == "failed"
    assert not any("timeout" in line for line in said)
    assert "18 of 20 requests failed, the first with: connection reset" in " ".join(" ".join(said).split())


def test_the_histogram_counts_every_completed_request_once():
    said = lines([*requests(399), record(399, 0, 10, 5000), failed(400, 0, 90)])
    start = next(n for n, line in enumerate(said) if line.startswith("  E2E, ms"))
    rows = said[start + 1 : said.index("", start)]
    assert len(rows) == 11
    counts = [int(line.split("#")[0].split()[-1]) for line in rows]
    assert sum(counts) == 400
    assert rows[-1].startswith("  above ")
    assert max(line.count("#") for line in rows) == 40


def test_latencies_that_are_all_alike_have_one_bin():
    said = lines([record(n, 0, 10, 50) for n in range(6)])
    start = next(n for n, line in enumerate(said) if line.startswith("  E2E, ms"))
    assert said[start + 1].split()[:2] == ["50.0-50.0", "6"]


def test_joules_come_with_their_source_or_a_reason():
    measured = lines(requests(4), source="rapl", gross_joules=60.0)
    assert any("J in all (rapl)" in line for line in measured)
    assert any("energy        not measured: no meter" in line for line in lines(requests(4), reason="no meter"))


def test_parts_of_a_mix_have_their_throughput_latencies_and_joules_of_a_good_request():
    parts = [{"name": "chat", "slo_ttft_ms": 12}, {"name": "bulk"}]
    load = workload("mix", rate=4, requests=40, parts=parts)
    said = lines(requests(40), load=load, source="rapl", gross_joules=60.0)
    assert max(map(len, said)) <= 80
    heads = [line.split() for line in said if line.startswith(("  of the mix", "  latency, ms"))]
    assert heads[1][3:] == ["requests", "per", "s", "tokens/s", "in", "time", "good/s", "J/good"]
    assert heads[2][2:] == ["TTFT", "TPOT", "ITL", "p50", "ITL", "p99", "E2E", "J/request"]
    chat, bulk = ([line.split()[1:] for line in said if line.split()[:1] == [name]] for name in ("chat", "bulk"))
    assert int(chat[0][0]) + int(bulk[0][0]) == 40
    assert (bulk[0][3:], len(bulk[1])) == (["none"] * 3, 6)  # it has no objectives
    assert "shared out, active ones by time in flight, and not metered apart" in " ".join(" ".join(said).split())


def test_reasoning_has_its_beginning_and_its_joules_and_the_answer_has_its_own():
    thought = [record(n, 0, 10, 40, tokens=4, reasoning_tokens=3, first_answer_ns=40_000_000) for n in range(4)]
    said = " ".join(" ".join(lines(thought, source="rapl", gross_joules=8.0)).split())
    assert "75.0 % of the output tokens; it begins after 10.0 ms on average, the answer after 40.0 ms" in said
    assert "6.00 J for it and 2.00 J for answers, by tokens" in said


def test_prompts_counted_in_words_are_called_so():
    load = workload("single", prompt_as="words")
    assert any("prompt lengths in words" in line for line in lines(requests(4), load=load))


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ("server-usage", "tokens, as the server reports them"),
        ("chunks", "counted by chunk, since the server reports none"),
    ],
)
def test_tokens_are_the_server_s_only_where_it_reports_them(by, said):
    counted = [replace(one, counted_by=by) for one in requests(4)]
    found = lines(counted, load=workload("single", prompt_as="words"))
    assert said in " ".join(" ".join(found).split())


def test_no_load_prints_nothing(capsys):
    print_finished([], as_json=False)
    assert capsys.readouterr().out == ""
