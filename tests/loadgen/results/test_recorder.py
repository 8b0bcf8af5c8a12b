from __future__ import annotations

from array import array

import pytest

from loadgen.link.messages import Ended, Part
from loadgen.results.recorder import Recorder, read_stream
from tests.loadgen.made import MS, workload
from tests.loadgen.scripted import event, token

DONE = b"data: [DONE]\n\n"


def part(indices, *reads, first_ms=0, lag_ms=1):
    """Reads a millisecond apart, from `first_ms` + 1 on."""
    at = [(first_ms + n) * MS for n in range(1, len(reads) + 1)]
    ends = [sum(map(len, reads[: n + 1])) for n in range(len(reads))]
    columns = (array("q", values).tobytes() for values in (at, [lag_ms * MS] * len(reads), ends))
    return Part(indices, *columns, b"".join(reads))


def ended(indices, rest=None, *, status=200, error=None):
    return Ended(indices, indices[0], 0, 1, 2, 99 * MS, status, error, rest or part(indices))


def recorded(*messages, **settings):
    finished = []
    with Recorder(workload(output_tokens=7), 3, on_finished=finished.append, **settings) as recorder:
        for message in messages:
            (recorder.part if isinstance(message, Part) else recorder.ended)(message)
    records = recorder.records()
    assert sorted(finished, key=lambda r: r.index) == list(records)
    return records


def test_an_answer_handed_on_in_parts_is_one_record():
    first = token(usage=1) + token(usage=2)[:9]
    rest = part((5,), token(usage=2)[9:], token(usage=3, finish="length") + DONE, first_ms=10)
    (record,) = recorded(part((5,), first), ended((5,), rest))
    assert (record.request_id, record.index, record.asked_tokens, record.error) == ("3-5", 5, 7, None)
    assert (record.arrival_ns, record.arrival_tokens) == ([MS, 11 * MS, 12 * MS], [1, 2, 3])
    assert (record.first_token_ns, record.last_token_ns, record.end_ns) == (MS, 12 * MS, 99 * MS)
    assert (record.read_lag_p50_ns, record.read_lag_max_ns) == (MS, MS)
    assert record.output_characters == 3


def test_answers_side_by_side_do_not_mix_and_come_out_in_the_order_of_the_requests():
    messages = [
        part((1,), token(usage=1)),
        part((0,), token(usage=1)),
        ended((1,), part((1,), DONE)),
        ended((0,), part((0,), DONE)),
    ]
    assert [r.index for r in recorded(*messages)] == [0, 1]


def test_a_list_of_prompts_gives_a_record_each():
    def of(index, usage):
        choice = {"index": index, "text": "a", "finish_reason": None}
        return event(choices=[choice], usage={"prompt_tokens": 3, "completion_tokens": usage})

    records = recorded(ended((4, 5), part((4, 5), of(0, 1), of(1, 1), of(1, 2), DONE)))
    assert [(r.index, r.group, r.output_tokens, r.error) for r in records] == [(4, 4, 1, None), (5, 4, 2, None)]


def test_a_failed_request_is_a_record_with_what_came_before_it_failed():
    lost = "the connection was lost"
    records = recorded(
        ended((0,), part((0,), token(usage=1)), error=lost),
        ended((1,), part((1,), event(error={"message": "died"})), error=lost),
        ended((2,), status=503, error="HTTP 503: no"),
        ended((3,), status=None, error="no connection"),
        ended((4,)),
    )
    assert [r.error for r in records] == [
        lost,
        "died",
        "HTTP 503: no",
        "no connection",
        "the stream ended without [DONE], and without a finish_reason of stop, length or tool_calls",
    ]
    assert [r.arrival_tokens for r in records] == [[1], [], [], [], []]


def test_without_usage_the_tokenizer_counts_and_the_record_says_so():
    answer = part((0,), token("a b c"), token(" d"), DONE)
    (counted,) = recorded(ended((0,), answer), count_tokens=lambda text: len(text.split()))
    assert (counted.output_tokens, counted.arrival_tokens, counted.counted_by) == (4, [2, 4], "tokenizer")
    (uncounted,) = recorded(ended((0,), answer))
    assert (uncounted.output_tokens, uncounted.counted_by) == (2, "chunks")
    (by_server,) = recorded(ended((0,), part((0,), token(usage=1), DONE)), count_tokens=len)
    assert by_server.counted_by == "server-continuous-usage"


def test_reads_without_the_kernels_stamp_have_no_lag():
    reads = part((0,), token(usage=1), DONE)
    unstamped = Part(reads.indices, reads.at_ns, array("q", [-1, -1]).tobytes(), reads.ends, reads.body)
    with Recorder(workload(), 0) as recorder:
        recorder.ended(ended((0,), unstamped))
    assert recorder.records()[0].read_lag_max_ns is None
    assert recorder.lags.percentiles_ms(0, 10**9, (50,)) is None


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_the_file_holds_what_was_written_before_it_broke_off(tmp_path, cut):
    file, written = tmp_path / "records.arrows", []
    with Recorder(workload(), 0, file=file) as recorder:
        for index in range(3):
            recorder.ended(ended((index,), part((index,), token(usage=1), DONE)))
            recorder._write()
            written.append(file.stat().st_size)
    whole = file.read_bytes()
    assert [r.index for r in read_stream(file)] == [0, 1, 2]
    file.write_bytes(whole[: written[2] - cut])
    assert [r.index for r in read_stream(file)] == ([0, 1, 2] if cut == 0 else [0, 1])


def test_a_file_that_breaks_off_at_its_beginning_holds_nothing(tmp_path):
    (tmp_path / "f").write_bytes(b"\xff\xff")
    assert list(read_stream(tmp_path / "f")) == []
