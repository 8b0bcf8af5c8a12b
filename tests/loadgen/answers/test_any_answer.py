"""No answer of a server ends a load: hundreds of answers in each of these tests, or ten thousand (`tests/support/long.py`)."""

from __future__ import annotations

import json
import random
from array import array

import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.link.messages import Ended, Part
from loadgen.metrics.latencies import record_tpot_ms
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.results.recorder import Recorder
from loadgen.results.result import TrialResult
from loadgen.results.store import read_trial, write_trial
from loadgen.trial import run_trial
from reports.checks.findings import check_trial
from tests.loadgen.answers.made_answers import body, http_answer, pieces
from tests.loadgen.made import MS, flags_of, trial, workload
from tests.loadgen.scripted import CLOSE, END, HEAD, RESET, ScriptedServer, chunked, sized, stream, token
from tests.support.long import long_only

MANY = pytest.param(10_000, marks=[pytest.mark.slow, long_only])
LOST = "the connection was lost: closed by the server"
DONE = b"data: [DONE]\n\n"


def counted(text):
    """As a tokenizer does, which takes no halves of surrogate pairs."""
    return len(text.encode().split())


def ended(draw, indices, at_ms):
    """A request that ended at `at_ms`, with an answer by the grammar, handed on in one part or two."""
    reads, messages = pieces(draw, body(draw)), []
    cut = draw.randrange(len(reads) + 1)
    for some in (reads[:cut], reads[cut:]):
        at = [(at_ms - 9) * MS + n for n, _ in enumerate(some)]
        ends = [sum(map(len, some[: n + 1])) for n, _ in enumerate(some)]
        columns = (array("q", values).tobytes() for values in (at, [-1] * len(some), ends))
        messages.append(Part(indices, *columns, b"".join(some)))
    error = draw.choice([None, None, None, LOST])
    times = (at_ms - 10) * MS, (at_ms - 10) * MS, (at_ms - 9) * MS, at_ms * MS
    return messages[0], Ended(indices, indices[0], *times, 200, error, messages[1])


def check_records(records, count):
    assert [record.index for record in records] == list(range(count))
    for record in records:
        assert record.error or (record.error is None and record.arrival_ns and record.output_tokens), record
        assert record.error is None or len(record.error) < 700


@pytest.mark.parametrize("answers", [300, MANY])
@pytest.mark.parametrize("count_tokens", [None, counted])
def test_every_answer_becomes_a_record_that_is_complete_or_has_a_reason(tmp_path, answers, count_tokens):
    draw, index, at_ms, live = random.Random(20 + answers), 0, 10, []
    with Recorder(
        workload(), 0, count_tokens=count_tokens, on_finished=lambda r: live.append(record_tpot_ms(r))
    ) as recorder:
        for _ in range(answers):
            indices = tuple(range(index, index + draw.choice([1, 1, 1, 3])))
            index, at_ms = index + len(indices), at_ms + 1
            part, end = ended(draw, indices, at_ms)
            recorder.part(part)
            recorder.ended(end)
    records = recorder.records()
    check_records(records, index)
    assert len(live) == index
    assert 0.1 < sum(record.error is None for record in records) / index < 0.9  # the grammar makes both
    load = trial(0, at_ms, reason="no meter")
    write_trial(tmp_path / "trial", TrialResult(load, records), flags_of(load, records))
    assert read_trial(tmp_path / "trial").records == records
    assert json.loads((tmp_path / "trial" / "summary.json").read_text())["num_prompts"] == index


def run(script, load, timeout_s=30):
    """(result, how many requests the server saw)"""
    prompts = SyntheticPrompts(range(9), 4, 0)
    with ScriptedServer(script) as server:
        endpoint = Endpoint(server.url, "m", timeout_s=timeout_s)
        result = run_trial(endpoint, load, prompts, seed=0, energy=NoEnergy("no meter"))
        return result, len(server.asked)


@pytest.mark.parametrize("answers", [60, MANY])
def test_a_load_outlives_every_answer_that_a_socket_can_bring(capfd, answers):
    draw = random.Random(answers)
    load = workload("concurrency", concurrency=16, requests=answers, warmup_requests=0)
    result, _ = run(lambda *_: http_answer(draw), load)
    check_records(result.records, answers)
    assert check_trial(result.trial, result.metrics)
    assert capfd.readouterr().err == ""


def test_a_refusal_is_recorded_with_its_retry_after_and_never_sent_again():
    statuses = ["404 Not Found", "429 Too Many Requests", "503 Service Unavailable"]

    def script(n, _):
        return stream(2) if n == 3 else [sized(b'{"error":{"message":"no"}}', statuses[n], "Retry-After: 7\r\n")]

    result, asked = run(script, workload("single", requests=4, warmup_requests=0))
    assert asked == 4
    assert [r.status for r in result.records] == [404, 429, 503, 200]
    assert [r.error for r in result.records] == [*(f"HTTP {n}: no (Retry-After: 7)" for n in (404, 429, 503)), None]


def test_a_body_that_breaks_off_lacks_nothing_only_behind_done():
    lasts = [(DONE, RESET), (b"data: [DONE]", CLOSE), (token(usage=3, finish="length"), RESET), (token(usage=2), CLOSE)]

    def script(n, _):
        last, breaks = lasts[n]
        return [HEAD + chunked(token(usage=1)), 0.7, chunked(last), 0.05, breaks]

    result, _ = run(script, workload("single", requests=4, warmup_requests=0))
    assert [r.error for r in result.records[:2]] == [None, None]
    assert all(r.error.startswith("the connection was lost") for r in result.records[2:])


def test_hints_before_an_answer_and_trailers_behind_it_are_no_part_of_it():
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    whole = HEAD + chunked(token(usage=1, finish="length")) + END[:3] + b"X-Took: 1\r\n\r\n"
    switches = b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"

    def script(n, _):
        return [[hints, 0.05, whole], [hints, 0.05, whole], [switches], [hints, CLOSE]][n]

    result, _ = run(script, workload("single", requests=4, warmup_requests=0))
    first, second, switched, lost = result.records
    assert [(r.error, r.status, r.output_tokens) for r in (first, second)] == [(None, 200, 1)] * 2
    assert all(r.headers_ns - r.sent_ns > 40 * MS for r in (first, second))
    assert [(r.error, r.status) for r in (switched, lost)] == [
        ("the server switched to another protocol", None),
        (LOST, None),
    ]
