from __future__ import annotations

import itertools
import math
import time

import pytest

from loadgen.endpoint import LoadError
from loadgen.locust.shared_load import ClockReading, Share, SharedLoad, packed, unpacked
from loadgen.prompts.sessions import Sessions, plan_sessions
from tests.loadgen.made import failed, record, workload


def shared(load, workers=2, **more):
    return SharedLoad(
        url="http://h:1", model="m", timeout_s=9, workload=load, seed=3, workers=workers, tokens=[5, 6, 7], **more
    )


def shares(load, workers):
    return [Share(shared(load, workers), worker) for worker in range(workers)]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_request_is_one_workers_and_no_two_have_the_same(workers):
    load = workload("concurrency", concurrency=6, requests=20)
    taken = [list(share.indices(time.monotonic_ns())) for share in shares(load, workers)]
    assert sorted(itertools.chain.from_iterable(taken)) == list(range(20))
    assert all(share.is_mine(index) for share, own in zip(shares(load, workers), taken, strict=True) for index in own)


def test_a_duration_ends_every_share():
    load = workload("concurrency", concurrency=2, duration_s=0.05)
    (share,) = shares(load, 1)
    began = time.monotonic_ns()
    taken = list(itertools.takewhile(lambda _: time.monotonic_ns() < began + 10e9, share.indices(began)))
    assert taken[:3] == [0, 1, 2]
    assert time.monotonic_ns() - began < 5e9


def test_the_users_of_a_ramp_are_dealt_out_by_turns():
    load = workload("ramp", concurrency=1, end_concurrency=4, duration_s=4.0)
    assert [[start for start, _ in share.users()] for share in shares(load, 2)] == [[0.0, 2.0], [1.0, 3.0]]


def test_an_open_loop_has_a_user_on_every_worker_and_a_closed_one_its_own():
    assert shared(workload("poisson"), workers=3).users == 3
    assert shared(workload("concurrency", concurrency=6), workers=3).users == 6
    assert shared(workload("batch", batch_size=6), workers=1).users == 1


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (workload("single"), "--workers 2: a single workload has a single user"),
        (workload("batch"), "--workers 2: a batch workload has a single user"),
        (workload("concurrency", concurrency=3), "--concurrency 3: must be a multiple of --workers 2"),
        (workload("ramp", concurrency=1, end_concurrency=3, duration_s=1.0), "--end-concurrency 3"),
        (workload("ramp", concurrency=3, end_concurrency=1, duration_s=1.0), "--concurrency 3"),
    ],
)
def test_what_cannot_be_shared_names_its_option(load, reason):
    with pytest.raises(LoadError, match=reason):
        shared(load).check()


def test_every_session_is_one_workers_with_the_numbers_that_its_requests_have_in_one_process():
    load = workload("sessions", concurrency=2, requests=20, turns="uniform:1-4", prompt_as="words")
    prompts = shared(load).prompts()
    assert isinstance(prompts, Sessions)
    dealt = [list(share.sessions(prompts)) for share in shares(load, 2)]
    assert sorted(itertools.chain.from_iterable(dealt)) == list(plan_sessions(prompts, 20))
    assert [[number % 2 for number, _ in own] for own in dealt] == [[0] * len(dealt[0]), [1] * len(dealt[1])]


def test_sessions_of_a_rate_have_a_user_on_every_worker():
    load = workload("sessions", rate=2.0, prompt_as="words")
    assert shared(load, workers=3).users == 3
    assert [share.users() for share in shares(load, 3)] == [[(0.0, math.inf)]] * 3


def test_conversations_of_a_file_travel_whole():
    chats = [{"messages": [{"role": "user", "content": "hello"}]}]
    load = workload("sessions", concurrency=2, prompts="chats.jsonl")
    there = SharedLoad.model_validate_json(shared(load, texts=[chats]).model_dump_json()).prompts()
    assert there.session(0).turns[0].asked == chats[0]["messages"]


def test_files_are_found_from_the_folder_that_locust_works_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load = workload("trace", trace="azure.csv", requests=None)
    assert shared(load).with_absolute_paths().workload.trace == tmp_path / "azure.csv"


def test_a_list_is_for_the_native_driver():
    with pytest.raises(LoadError, match="--batch-as list"):
        shared(workload("batch", batch_as="list"), workers=1).check()


def test_all_workers_have_the_same_prompts_after_the_plan_has_travelled():
    sent = shared(workload(prompt_tokens="uniform:2-9", shared_prefix=1))
    there = SharedLoad.model_validate_json(sent.model_dump_json()).prompts()
    assert [there[n] for n in range(20)] == [sent.prompts()[n] for n in range(20)]
    assert SharedLoad.model_validate_json(shared(workload(), texts=[["a", "b"]]).model_dump_json()).prompts()[1] == "b"


def test_records_travel_whole_and_onto_the_masters_clock():
    records = [record(0, 5, 10, 30), failed(1, 6, 9)]
    assert unpacked(packed(records), 0) == records
    moved, broken = unpacked(packed(records), 1_000_000)
    assert moved == record(0, 6, 11, 31, end=31)
    assert (broken.sent_ns, broken.end_ns, broken.first_token_ns) == (7_000_000, 10_000_000, None)
    assert unpacked(packed([]), 5) == []


def test_clocks_of_one_machine_are_one_and_those_of_two_are_bridged_by_wall_time():
    master = ClockReading(boot="a", monotonic_ns=1000, wall_ns=50_000)
    assert master.offset_to(ClockReading(boot="a", monotonic_ns=1500, wall_ns=90_000)) == 0
    # The other machine has been up 2,000 ns longer: at wall time 50,100 it reads 3,100 where the master reads 1,100.
    assert master.offset_to(ClockReading(boot="b", monotonic_ns=3100, wall_ns=50_100)) == -2000
