"""Where the generations of a window lie, and what they took."""

from __future__ import annotations

import numpy as np
import pytest

from loadgen.metrics.measuring.measure import measure_records
from tests.loadgen.made import MS, failed, record, trial, workload


def measured(load, records, end, rule="whole"):
    about = trial(0, end, load=load).model_copy(update={"window_rule": rule})
    return measure_records(about, records).generation_ms


def test_a_single_request_is_a_generation_and_the_pauses_between_do_not_count():
    records = [record(n, 100 * n, 100 * n + 10, 100 * n + 40, tokens=4) for n in range(3)]
    assert measured(workload("single"), records, 240) == pytest.approx([10, 10, 10])


def test_a_batch_is_one_and_its_last_request_says_how_long_it_took():
    records = [record(n, 100 * (n // 2), 100 * (n // 2) + 10, 100 * (n // 2) + 40 + n % 2, tokens=5) for n in range(4)]
    assert measured(workload("batch"), records, 141) == pytest.approx([4.1, 4.1])


def test_a_closed_loop_has_one_for_every_turn_of_its_streams_with_the_tokens_that_arrived_in_it():
    records = [
        record(n, 50 * n, 50 * n + 10, 50 * n + 100, tokens=10) for n in range(9)
    ]  # two in flight, one ends every 50 ms
    about = trial(150, 450, load=workload("concurrency")).model_copy(update={"window_rule": "generations"})
    found = measure_records(about, records).generation_ms
    assert found == pytest.approx([5, 5, 5])  # 100 ms, 20 tokens
    assert not len(measured(workload("concurrency"), records, 500))  # a whole window begins at no turn


def test_an_open_loop_a_ramp_and_a_generation_without_tokens_have_none():
    records = [record(n, 100 * n, 100 * n + 10, 100 * n + 40) for n in range(3)]
    assert not len(measured(workload("constant"), records, 240))
    ramp = workload("ramp", concurrency=1, end_concurrency=2, duration_s=1.0)
    assert not len(measured(ramp, records, 240))
    assert not len(measured(workload("single"), [*records, failed(3, 300, 340)], 340))


def test_of_many_generations_neighbours_are_taken_together():
    records = [record(n, 10 * n, 10 * n + 1, 10 * n + 4 + n % 2, tokens=4) for n in range(250)]
    found = measured(workload("single"), records, 2500)
    assert len(found) == 83
    assert np.all((found > 1) & (found < 1.25))
    assert records[-1].end_ns <= 2500 * MS
