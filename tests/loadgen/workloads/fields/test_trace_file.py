from __future__ import annotations

import json

import pytest

from loadgen.endpoint import LoadError
from loadgen.workloads.fields.trace_file import open_trace
from tests.loadgen.made import workload

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:51.2224670,879,0
2023-11-16 18:16:00.0000000,91,16
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46, 2366]}

{"timestamp": 30000, "input_length": 100, "output_length": 7}
"""


def written(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_azure_rows_keep_their_times_and_lengths_and_one_without_an_answer_is_left_out(tmp_path):
    rows = open_trace(written(tmp_path, "a.csv", AZURE)).rows
    assert [(r.prompt_tokens, r.output_tokens) for r in rows] == [(374, 44), (396, 109), (91, 16)]
    assert [r.at_s for r in rows] == pytest.approx([0, 4.314579, 13.31941], abs=1e-5)


def test_azures_later_traces_have_a_zone_in_their_times(tmp_path):
    text = AZURE.replace(".6805900", ".680590+00:00").replace(".9951690", ".995169+00:00")
    text = text.replace(".2224670", "+00:00").replace(".0000000", "+00:00")
    assert open_trace(written(tmp_path, "z.csv", text)).rows[1].at_s == pytest.approx(4.314579, abs=1e-5)


def test_burst_gpts_rows_have_seconds_and_failed_requests_are_left_out(tmp_path):
    text = "Timestamp,Session ID,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    text += "5,,ChatGPT,472,18,490,Conversation log\n45.5,a,GPT-4,1087,230,1317,API log\n50,b,GPT-4,9,0,9,API log\n"
    found = open_trace(written(tmp_path, "b.csv", text))
    assert [(r.at_s, r.prompt_tokens, r.output_tokens) for r in found.rows] == [(0, 472, 18), (40.5, 1087, 230)]
    assert found.notes == ("1 of 3 rows have no prompt or no output tokens and are left out",)


def test_a_hash_stands_for_as_many_tokens_as_the_workload_says(tmp_path):
    trace = written(tmp_path, "m.jsonl", MOONCAKE)
    blocks = {row.block_tokens for row in workload("trace", trace=trace, block_tokens=2500).recorded().rows}
    assert blocks == {2500}
    with pytest.raises(LoadError, match="3 hash_ids, but 6955 tokens have 1 blocks of 8192"):
        workload("trace", trace=trace, block_tokens=8192).recorded()


def test_mooncake_rows_are_in_order_of_time_with_the_hashes_of_their_blocks(tmp_path):
    rows = open_trace(written(tmp_path, "m.jsonl", MOONCAKE)).rows
    assert [(round(r.at_s, 3), r.prompt_tokens, r.output_tokens, r.hash_ids) for r in rows] == [
        (0.0, 6955, 52, (46, 47, 2353)),
        (2.518, 100, 7, ()),
        (3.053, 6472, 26, (46, 2366)),
    ]


def test_a_trace_is_replayed_as_fast_as_asked_and_ends_where_asked(tmp_path):
    trace = written(tmp_path, "m.jsonl", MOONCAKE)

    def replayed(**asked):
        return list(workload("trace", trace=trace, requests=None, **asked).arrivals(seed=0))

    assert replayed() == pytest.approx([0, 2.518, 3.053])
    assert replayed(speed=2.0) == pytest.approx([0, 1.259, 1.5265])
    assert replayed(speed=2.0, duration_s=1.4) == pytest.approx([0, 1.259])
    assert list(workload("trace", trace=trace, requests=1).arrivals(seed=0)) == [0]


def test_every_request_of_a_trace_is_as_long_as_recorded(tmp_path):
    load = workload("trace", trace=written(tmp_path, "a.csv", AZURE))
    assert [(load.prompt_length(0, n), load.answer_length(0, n)) for n in (0, 1, 2)] == [
        (374, 44),
        (396, 109),
        (91, 16),
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("t.csv", "time,tokens\n1,2\n", "columns TIMESTAMP.* or Timestamp"),
        ("t.csv", AZURE.replace("396", "many"), "line 3"),
        ("t.csv", AZURE.replace("2023-11-16 18:15:50.9951690", "noon"), "line 3"),
        ("t.csv", AZURE.splitlines()[0], "holds no requests"),
        ("t.jsonl", MOONCAKE + "[]\n", "line 5"),
        ("t.jsonl", '{"timestamp": 1}', "line 1"),
    ],
)
def test_what_is_no_trace_is_named_with_its_line(tmp_path, name, text, reason):
    with pytest.raises(LoadError, match=rf"--trace .*{reason}"):
        open_trace(written(tmp_path, name, text))


def test_a_trace_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LoadError, match=r"--trace .*gone\.csv"):
        open_trace(tmp_path / "gone.csv")


LINE = '{"timestamp": %s, "input_length": %s, "output_length": %s}\n'


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("t.jsonl", LINE % (0, 10, 5) + LINE % ("NaN", 10, 5), "line 2: is not JSON"),
        ("t.jsonl", LINE % ("Infinity", 10, 5), "line 1: is not JSON"),
        ("t.jsonl", LINE % ("1e999", 10, 5), "line 1: timestamp"),
        ("t.jsonl", LINE % (-1, 10, 5), "line 1: timestamp"),
        ("t.jsonl", LINE % (0, -5, 5), "line 1: input_length -5"),
        ("t.jsonl", LINE % (0, 12.9, 5), "line 1: input_length 12.9"),
        ("t.jsonl", LINE % (0, "true", 5), "line 1: input_length True"),
        ("t.jsonl", LINE % (0, "1e300", 5), "line 1: input_length"),
        ("t.jsonl", LINE % (0, 10, 5) + LINE % ("1e15", 10, 5), "days"),
        ("t.jsonl", '{"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": ["a"]}', "line 1: hash_ids"),
        (
            "t.jsonl",
            '{"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [1, 2]}',
            "line 1: 2 hash_ids",
        ),
        ("t.jsonl", '{"timestamp": 0, "input_length": 10}', "line 1: lacks"),
        (
            "t.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,374,-1\n",
            "line 2: GeneratedTokens -1",
        ),
        ("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.97,374\n", "line 2: has 2 fields"),
        ("t.csv", 'TIMESTAMP,ContextTokens,GeneratedTokens\n"' + "x" * 200_000 + '",1,1\n', "line 2"),
        ("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,1\n", "line 2: Invalid isoformat"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_its_line(tmp_path, name, text, says):
    with pytest.raises(LoadError, match=f"--trace .*{says}"):
        open_trace(written(tmp_path, name, text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.CSV", "\ufeffTIMESTAMP, ContextTokens, GeneratedTokens\r\n2023-11-16 18:17:03.97, 374.0, 44\r\n\r\n"),
        ("t.jsonl", '\ufeff{"timestamp": "0", "input_length": "374", "output_length": 44.0}\r\n\r\n'),
        ("t.ndjson", LINE % (0, 374, 44)),
    ],
)
def test_spellings_that_mean_a_row_are_read(tmp_path, name, text):
    (row,) = open_trace(written(tmp_path, name, text)).rows
    assert (row.prompt_tokens, row.output_tokens) == (374, 44)


def test_qwen_traces_are_in_seconds_with_blocks_of_16_tokens(tmp_path):
    rows = [
        {"chat_id": n, "timestamp": at, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, 3]}
        for n, at in enumerate((0.5, 61.0))
    ]
    trace = written(tmp_path, "q.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [(row.at_s, row.block_tokens) for row in open_trace(trace).rows] == [(0.0, 16), (60.5, 16)]


def test_what_is_left_out_or_put_in_order_is_noted(tmp_path):
    assert open_trace(written(tmp_path, "a.csv", AZURE)).notes == (
        "1 of 4 rows have no prompt or no output tokens and are left out",
    )
    assert open_trace(written(tmp_path, "m.jsonl", MOONCAKE)).notes == (
        "rows are not in order of time; they are replayed in order",
    )
