from __future__ import annotations

import pytest

from loadgen.window import cut_window
from tests.loadgen.made import MS, failed, record, workload


def cut(kind, records):
    start, end, rule = cut_window(workload(kind), records)
    return start // MS, end // MS, rule


@pytest.mark.parametrize("kind", ["single", "batch"])
def test_single_and_batch_count_from_the_first_sending_to_the_last_end(kind):
    assert cut(kind, [record(0, 10, 20, 30), record(1, 40, 50, 60, end=61)]) == (10, 61, "whole")


def test_a_closed_loop_counts_from_when_all_have_a_first_token_to_when_one_place_stays_empty():
    records = [
        record(0, 0, 10, 40),
        record(1, 0, 15, 50),
        record(2, 40, 50, 80),
        record(3, 50, 60, 90),  # the last to be sent: at 80 its companion ends and nobody follows
    ]
    assert cut("concurrency", records) == (15, 80, "steady")


def test_a_failure_in_the_loop_frees_its_place_like_any_end():
    records = [record(0, 0, 10, 40), failed(1, 0, 5), record(2, 5, 20, 60), record(3, 40, 45, 90)]
    assert cut("concurrency", records) == (20, 60, "steady")


def test_a_closed_loop_too_short_to_be_steady_is_taken_whole_and_says_so():
    assert cut("concurrency", [record(0, 0, 10, 20), record(1, 0, 30, 40)]) == (0, 40, "whole")
    assert cut("concurrency", [record(0, 0, 10, 20), failed(1, 0, 5)]) == (0, 20, "whole")


@pytest.mark.parametrize("kind", ["constant", "poisson"])
def test_an_open_loop_counts_from_the_first_end_to_the_last_sending(kind):
    records = [record(0, 0, 10, 35), record(1, 20, 30, 50), record(2, 60, 70, 95)]
    assert cut(kind, records) == (35, 60, "steady")
    assert cut(kind, records[:1]) == (0, 35, "whole")


def test_requests_that_were_never_sent_do_not_move_the_edges():
    never = failed(9, 0, 500, "no connection")
    never.sent_ns = None
    assert cut("concurrency", [never, *[record(n, n * 10, n * 10 + 5, n * 10 + 20) for n in range(5)]])[:2] == (15, 50)
