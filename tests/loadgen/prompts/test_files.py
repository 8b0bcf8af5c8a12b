from __future__ import annotations

import hashlib
import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.endpoint import LoadError
from loadgen.prompts import files as texts
from loadgen.prompts.files import read_prompts, with_identity
from loadgen.workloads.base import Workload
from loadgen.workloads.closed_loop import SingleLoad
from reports.compare.differences import workload_differences


def test_text_prompts_are_lines_and_get_a_number_in_front_when_they_run_out(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\ntwo é\n", "utf-8")
    prompts = read_prompts(str(file))
    assert [prompts[n] for n in range(5)] == ["one", "two é", "(1) one", "(1) two é", "(2) one"]
    assert prompts[-1] == "(-1) two é"  # of the warm-up: the measured ones are new to a prefix cache


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.jsonl", '{"prompt": "a\\nb", "id": 1}\n\n{"text": "c"}\n'),
        ("p.csv", 'id,prompt\n1,"a\nb"\n2,c\n'),
        ("p.csv", '\ufefftext\n"a\nb"\nc\n'),
        ("p.csv", 'question\n"a\nb"\nc\n'),
    ],
)
def test_every_layout_gives_its_prompts(tmp_path, name, text):
    (tmp_path / name).write_text(text, "utf-8")
    prompts = read_prompts(str(tmp_path / name))
    assert prompts.texts == ["a\nb", "c"]


def test_sharegpt_gives_the_first_human_turn(tmp_path):
    conversations = [
        {"id": "1", "conversations": [{"from": "human", "value": "hello"}, {"from": "gpt", "value": "hi"}]},
        {"id": "2", "conversations": [{"from": "gpt", "value": "so"}, {"from": "human", "value": "why?"}]},
        {"id": "3", "conversations": []},
    ]
    (tmp_path / "s.json").write_text(json.dumps(conversations))
    assert read_prompts(str(tmp_path / "s.json")).texts == ["hello", "why?"]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("p.jsonl", '{"prompt": "a"}\n{"words": "b"}\n', "line 2"),
        ("p.jsonl", "[1]\n", "line 1"),
        ("p.jsonl", '{"prompt": 5}\n', "line 1"),
        ("p.csv", "a,b\n1,2\n", "no column named prompt, but a, b"),
        ("p.csv", "", "holds no prompts"),
        ("p.csv", "prompt;x\n1;2;3\n", "line 2: has 3 fields, the header 2"),
        ("p.csv", "prompt,x\na\n", "line 2: has 1 fields"),
        ("p.csv", 'prompt\n"never closed\n', "line 2"),
        ("p.jsonl", '{"prompt": "half \\ud83d emoji"}\n', "line 1: half of a surrogate"),
        ("p.jsonl", '{"prompt": "a"}\n{"prompt": NaN}\n', "line 2: is not JSON"),
        ("p.jsonl", '{"prompt": "a"', "line 1: is not JSON"),
        ("s.json", "{}", "ShareGPT"),
        ("s.json", '[{"prompt": "a"}]', "ShareGPT"),
        ("s.json", '[{"conversations": [{"value": "a"}]}]', "entry 1"),
        ("p.txt", "\n\n", "no prompts"),
    ],
)
def test_a_file_of_prompts_that_is_none_is_named_with_the_place(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(LoadError, match=rf"--prompts .*{reason}"):
        read_prompts(str(tmp_path / name))


def test_a_file_of_prompts_that_is_missing_is_named(tmp_path):
    with pytest.raises(LoadError, match=r"--prompts .*missing\.txt"):
        read_prompts(str(tmp_path / "missing.txt"))


def local(folder, split, rows):
    folder.mkdir()
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_the_studys_sources_are_built_as_it_built_them_and_shuffled_by_the_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    hellaswag = local(
        tmp_path / "h", "validation", [{"ctx": f"He runs {n}", "endings": ["a", "b", "c", "d"]} for n in range(6)]
    )
    mmlu = local(tmp_path / "m", "test", [{"question": f"What is {n}?", "choices": ["1", "2"]} for n in range(6)])
    ifeval = local(tmp_path / "i", "train", [{"key": n, "prompt": f"Write {n} words"} for n in range(6)])
    order = list(range(6))
    random.Random(42).shuffle(order)
    first = read_prompts(f"hellaswag:{hellaswag}", 42)[0]
    assert first == f"He runs {order[0]}\n\nWhat happens next?\nA. a\nB. b\nC. c\nD. d\n\nAnswer:"
    assert read_prompts(f"mmlu:{mmlu}", 42).texts == [f"What is {n}?" for n in order]
    assert read_prompts(f"ifeval:{ifeval}", 42).texts == [f"Write {n} words" for n in order]
    assert read_prompts(f"ifeval:{ifeval}", 7).texts != read_prompts(f"ifeval:{ifeval}", 42).texts


def test_a_source_without_its_data_says_so_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(LoadError, match=r"--prompts mmlu: .*nowhere cannot be read: [^\n]+$"):
        read_prompts(f"mmlu:{tmp_path / 'nowhere'}")
    wrong = local(tmp_path / "w", "test", [{"prompt": "a"}])
    with pytest.raises(LoadError, match=r"--prompts mmlu: .*question"):
        read_prompts(f"mmlu:{wrong}")


def test_only_the_three_names_are_sources(tmp_path, monkeypatch):
    assert texts.is_source("mmlu")
    assert texts.is_source("ifeval:some/folder")
    assert not texts.is_source("prompts.txt")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mmlu").write_text("a prompt of my own")
    assert read_prompts("mmlu").texts == ["a prompt of my own"]


@pytest.mark.parametrize(
    ("name", "text", "prompts"),
    [
        ("p.txt", "\ufefffirst\r\nsecond\n", ["first", "second"]),
        ("p.txt", "page one\x0cpage two\nsecond\u2028half\n", ["page one\x0cpage two", "second\u2028half"]),
        ("p.jsonl", '\ufeff{"prompt": "a"}\r\n{"prompt": "b\u2028c\u0085d"}', ["a", "b\u2028c\u0085d"]),
        ("P.JSONL", '{"prompt": "a"}\n', ["a"]),
        ("p.ndjson", '{"text": "a"}\n', ["a"]),
        ("p.jsonl", '{"conversations": [{"from": "human", "value": "hi"}]}\n', ["hi"]),
        ("p.json", '\ufeff[{"conversations": [{"from": "human", "value": "hi"}]}]', ["hi"]),
        ("p.csv", "Prompt,answer\nhello,x\n", ["hello"]),
        ("p.csv", "prompt;answer\nhello;x\n", ["hello"]),
        ("p.csv", "id\tprompt\n1\thello\n", ["hello"]),
        ("p.csv", 'prompt\n"' + "x" * 200_000 + '"\n', ["x" * 200_000]),
        ("p.csv", 'prompt\r\n"a\r\nb"\r\n', ["a\r\nb"]),
    ],
)
def test_spellings_that_mean_a_prompt_are_read(tmp_path, name, text, prompts):
    (tmp_path / name).write_bytes(text.encode())
    assert read_prompts(str(tmp_path / name)).texts == prompts


def test_entries_without_a_prompt_are_counted_and_named(tmp_path):
    entries = [
        {"conversations": [{"from": "gpt", "value": "only"}]},
        {"conversations": [{"from": "human", "value": "hi"}]},
    ]
    (tmp_path / "s.json").write_text(json.dumps(entries))
    found = read_prompts(str(tmp_path / "s.json"))
    assert (found.texts, found.notes) == (["hi"], ("1 of 2 entries have no prompt and are left out",))


@given(
    st.sampled_from([".txt", ".jsonl", ".csv", ".json"]),
    st.binary(max_size=200) | st.text(max_size=200).map(str.encode),
)
def test_whatever_a_file_holds_it_is_prompts_or_one_line(suffix, content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"p{suffix}")
        file.write_bytes(content)
        try:
            found = read_prompts(str(file)).texts
        except LoadError as error:
            assert str(error).startswith(f"--prompts {file}")  # noqa: PT017
        else:
            assert all(text.strip() and text.encode() for text in found)


def test_a_file_is_its_content_wherever_it_lies(tmp_path):
    def load(name: str, text: str) -> Workload:
        (tmp_path / name).write_text(text)
        return with_identity(SingleLoad(name="w", requests=1, prompts=str(tmp_path / name)))

    first, same, other = load("a.txt", "one\n"), load("b.txt", "one\n"), load("c.txt", "two\n")
    assert first.file_sha256 == hashlib.sha256(b"one\n").hexdigest()
    assert workload_differences(first, same) == ""
    assert "file_sha256" in workload_differences(first, other)
    recorded_before = first.model_copy(update={"file_sha256": None})
    assert workload_differences(recorded_before, first) == ""
    assert "prompts" in workload_differences(recorded_before, same)
    assert with_identity(SingleLoad(name="w", requests=1)).file_sha256 is None
