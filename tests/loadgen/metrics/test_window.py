from __future__ import annotations

import pytest

from loadgen.metrics.window import cut_window
from tests.loadgen.made import MS, failed, record, workload


def cut(kind, records, *, lanes=1, rules=2, **load):
    window = cut_window(workload(kind, **load), records, lanes, rules=rules)
    return window.start_ns // MS, window.end_ns // MS, window.rule


@pytest.mark.parametrize("rules", [1, 2])
@pytest.mark.parametrize("kind", ["single", "batch"])
def test_single_and_batch_count_from_the_first_sending_to_the_last_end(kind, rules):
    assert cut(kind, [record(0, 10, 20, 30), record(1, 40, 50, 60, end=61)], rules=rules) == (10, 61, "whole")


def loop(ends, sent=None):
    """Requests of a closed loop by their ends; without `sent`, two streams that send as soon as one ends."""
    sent = sent or [0, 0, *sorted(ends)]
    return [record(n, at, at + 1, end) for n, (at, end) in enumerate(zip(sent, ends, strict=False))]


def test_a_closed_loop_counts_whole_generations_from_the_end_of_the_first_to_where_it_is_full_for_the_last_time():
    # Sendings at 0, 0, 40, 50, 70, 90, 110, 120; the first end after the last of them is at 140.
    ends = [40, 50, 70, 90, 110, 120, 140, 150]
    assert cut("concurrency", loop(ends)) == (50, 120, "generations")
    window = cut_window(workload("concurrency"), loop(ends))
    assert window.generations == 2  # 70 and 90, 110 and 120; of the third only 140 ended while the loop was full


def test_the_end_by_which_a_loop_is_no_longer_full_may_be_the_windows_last():
    # Seven requests: the last is sent at 110, and 120 is the first end after it.
    assert cut("concurrency", loop([40, 50, 70, 90, 110, 120, 150])) == (50, 120, "generations")
    assert cut("concurrency", loop([40, 50, 70, 90, 110, 150])) == (
        50,
        90,
        "generations",
    )  # sent until 90, full until 110


def test_a_failure_in_the_loop_ends_a_request_like_any_other():
    records = loop([40, 50, 70, 90, 110, 120, 140, 150])
    records[2] = failed(2, 40, 70)
    assert cut("concurrency", records) == (50, 120, "generations")


def test_of_several_processes_the_first_that_has_nothing_left_to_send_ends_the_last_generation():
    # Even indices send until 80, odd ones until 200: the loop of four is full until the first end of an even one after 80.
    even = [(0, 40), (0, 42), (40, 80), (42, 90), (80, 120)]
    odd = [(0, 41), (0, 43), (41, 81), (43, 83), (81, 121), (83, 123), (121, 161), (200, 220)]
    records = [record(2 * n, a, a + 1, b) for n, (a, b) in enumerate(even)]
    records += [record(2 * n + 1, a, a + 1, b) for n, (a, b) in enumerate(odd)]
    # Ends: 40 41 42 43 | 80 81 83 90 | 120 …
    assert cut("concurrency", records, lanes=2, concurrency=4) == (43, 90, "generations")
    assert cut("concurrency", records, concurrency=4) == (43, 161, "generations")


def test_a_closed_loop_of_less_than_a_generation_is_taken_whole_and_says_so():
    for records in ([record(0, 0, 10, 20), record(1, 0, 30, 40)], [record(0, 0, 10, 20), failed(1, 0, 5)]):
        window = cut_window(workload("concurrency"), records)
        assert (window.start_ns, window.rule, window.generations) == (0, "whole", 0)


def test_requests_that_were_never_sent_do_not_move_the_edges():
    never = failed(9, 0, 500, "no connection")
    never.sent_ns = None
    assert cut("concurrency", [never, *loop([40, 50, 70, 90, 110, 120, 150])]) == (50, 120, "generations")


def paced(e2e, n=101):
    """A request every 10 ms, each with its time from sending to the end."""
    return [record(k, 10 * k, 10 * k + 1, 10 * k + took) for k, took in zip(range(n), e2e, strict=False)]


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_an_open_loop_counts_from_when_99_of_100_requests_would_have_ended_to_the_last_sending(kind):
    assert cut(kind, paced(range(100, 201))) == (199, 1000, "steady")


def test_failed_requests_do_not_say_how_long_an_open_loop_takes_to_fill():
    records = paced([100] * 101)
    records[5] = failed(5, 50, 900)
    assert cut("constant", records) == (100, 1000, "steady")


def test_an_open_loop_that_takes_longer_to_fill_is_cut_to_the_last_half_of_the_sending():
    assert cut("constant", paced([600] * 101)) == (500, 1000, "half")
    assert cut("constant", paced([1000] * 101)) == (500, 1000, "half")


def test_an_open_loop_that_sends_for_less_than_it_takes_to_fill_is_taken_whole():
    assert cut("constant", paced([1001] * 101)) == (0, 2001, "whole")
    assert cut("constant", [failed(k, 10 * k, 10 * k + 5) for k in range(101)]) == (0, 1005, "whole")
    assert cut("constant", [record(0, 0, 5, 10), record(1, 20, 25, 30)]) == (0, 30, "whole")  # nothing ended after 10
    assert cut("constant", [record(0, 0, 10, 35)]) == (0, 35, "whole")


def test_runs_that_began_before_generations_were_counted_keep_their_rules():
    first_tokens = [record(0, 0, 10, 40), record(1, 0, 15, 50), record(2, 40, 50, 80), record(3, 50, 60, 90)]
    assert cut("concurrency", first_tokens, rules=1) == (15, 80, "steady")
    assert cut("concurrency", [record(0, 0, 10, 20), record(1, 0, 30, 40)], rules=1) == (0, 40, "whole")
    open_loop = [record(0, 0, 10, 35), record(1, 20, 30, 50), record(2, 60, 70, 95)]
    assert cut("constant", open_loop, rules=1) == (35, 60, "steady")
    assert cut("constant", open_loop[:1], rules=1) == (0, 35, "whole")
    assert cut_window(workload("concurrency"), first_tokens, rules=1).generations is None


def test_sessions_count_from_when_99_of_100_would_have_ended_to_the_beginning_of_the_last():
    turns = [(100 * n, 100 * n + 20) for n in range(10)], [(100 * n + 50, 100 * n + 90) for n in range(10)]
    records = [
        record(2 * n + turn, sent, sent + 1, end, group=n, turn=turn)
        for turn, times in enumerate(turns)
        for n, (sent, end) in enumerate(times)
    ]
    assert cut("sessions", records, concurrency=1) == (90, 900, "steady")
    assert cut("sessions", records[:1] + records[10:11], concurrency=1) == (0, 90, "whole")
    never = failed(99, 0, 40, "no connection")
    never.sent_ns = None
    assert cut("sessions", [*records, never], concurrency=1) == (90, 900, "steady")
