"""Lengths of prompts and answers that are drawn together from a file."""

from __future__ import annotations

from collections import Counter

import pytest
from pydantic import ValidationError

from loadgen.endpoint import LoadError
from loadgen.prompts.files import input_notes, with_identity
from loadgen.prompts.synthetic import make_prompts
from loadgen.workloads.fields.length_pairs import open_pairs
from tests.loadgen.made import workload

PAIRS = ((10, 300), (2000, 5), (7, 7))
CSV = "prompt_tokens,output_tokens\n" + "".join(f"{prompt},{output}\n" for prompt, output in PAIRS)


@pytest.fixture
def csv(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text(CSV)
    return file


def test_a_request_has_prompt_and_output_of_one_row_and_every_row_is_drawn_alike(csv):
    load = workload("poisson", lengths=csv)
    drawn = Counter((load.prompt_length(1, n), load.answer_length(1, n)) for n in range(3000))
    assert set(drawn) == set(PAIRS)
    assert all(count == pytest.approx(1000, abs=100) for count in drawn.values())


def test_prompts_are_as_long_as_the_workload_says(csv):
    load = workload("poisson", lengths=csv, shared_prefix=5)
    prompts = make_prompts(load, range(1000), seed=1)
    assert [len(prompts[n]) for n in range(-3, 20)] == [load.prompt_length(1, n) for n in range(-3, 20)]
    assert len({tuple(prompts[n][:5]) for n in range(20)}) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"prompt_tokens": 3, "output_tokens": 4}\n'),
        ("mooncake.jsonl", '{"timestamp": 0, "input_length": 3, "output_length": 4, "hash_ids": [1]}\n'),
        ("azure.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.98,3,4\n"),
        ("burst.csv", "Timestamp,Model,Request tokens,Response tokens\n0,GPT-4,3,4\n"),
    ],
)
def test_a_file_has_the_names_of_published_data_sets(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert open_pairs(tmp_path / name).pairs == ((3, 4),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "line 2: has neither prompt_tokens and output_tokens, nor"),
        ("prompt_tokens,output_tokens\n1,many\n", "line 2: output_tokens 'many': must be a whole number"),
        ("prompt_tokens,output_tokens\n1,-2\n", "must be between 0"),
        ("prompt_tokens,output_tokens\n0,2\n", "holds no pairs of lengths"),
    ],
)
def test_a_file_without_pairs_is_named_with_its_line(tmp_path, text, said):
    file = tmp_path / "lengths.csv"
    file.write_text(text)
    with pytest.raises(LoadError, match=said) as noted:
        open_pairs(file)
    assert str(noted.value).startswith(f"--lengths {file}")


def test_rows_without_prompt_or_output_are_left_out_and_said_to_be(tmp_path):
    file = tmp_path / "lengths.csv"
    file.write_text(CSV + "5,0\n")
    load = with_identity(workload("poisson", lengths=file))
    (note,) = input_notes(load)
    assert note == f"--lengths {file}: 1 of 4 rows have no prompt or no output tokens and are left out"
    assert load.file_sha256 is not None


def test_words_of_a_workload_need_no_file(tmp_path):
    load = workload("poisson", lengths=tmp_path / "gone.csv")
    assert "prompt tokens as in a row of gone.csv, exactly as many output tokens" in load.describe()
    assert load.shape_words == "prompt and output tokens as in gone.csv"
    assert type(load).model_validate_json(load.model_dump_json()) == load


def test_a_part_of_a_mix_draws_pairs_unless_it_has_a_length_of_its_own(csv):
    load = workload("mix", rate=5, lengths=csv, parts=[{"name": "a"}, {"name": "b", "prompt_tokens": 20}])
    drawn = {(load.part_number(1, n), load.prompt_length(1, n), load.answer_length(1, n)) for n in range(200)}
    assert drawn == {*((0, *pair) for pair in PAIRS), (1, 20, 64)}


@pytest.mark.parametrize(
    ("kind", "other", "said"),
    [
        ("single", {"prompts": "a.txt"}, "`lengths` cannot be combined with `prompts`"),
        ("sessions", {"concurrency": 1}, "does not apply to sessions"),
        ("trace", {"trace": "t.csv", "requests": None}, "`lengths` cannot be combined with `trace`"),
        ("batch", {"batch_as": "list"}, "one request has one max_tokens"),
    ],
)
def test_what_does_not_go_together_is_refused(csv, kind, other, said):
    with pytest.raises(ValidationError, match=said):
        workload(kind, lengths=csv, **other)
