"""Data sets on disk, written by Hugging Face's own library."""

from __future__ import annotations

import pytest

from loadgen.endpoint import LoadError
from loadgen.prompts.files import read_prompts, read_sessions, with_identity
from tests.loadgen.made import workload
from tests.support.lazy import Lazy

datasets = Lazy("datasets")

ROWS = [
    {"messages": [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": "yes"}], "source": "x"}
    for n in range(3)
]
ROWS[1]["messages"][0]["name"] = "ann"  # a table then has the key in every message, mostly null
CHATS = [{"messages": row["messages"]} for row in ROWS]


@pytest.fixture(autouse=True)
def _quiet():
    datasets.disable_progress_bars()


@pytest.fixture
def table():
    return datasets.Dataset.from_list(ROWS)


def saved(table, tmp_path):
    table.save_to_disk(tmp_path / "saved")
    return tmp_path / "saved"


def shards(table, tmp_path):
    (tmp_path / "clone" / "data").mkdir(parents=True)
    for shard in range(2):
        file = tmp_path / "clone" / "data" / f"train-{shard:05}-of-00002.parquet"
        table.shard(2, shard, contiguous=True).to_parquet(file)
    return tmp_path / "clone"


def one_file(table, tmp_path):
    table.to_parquet(tmp_path / "chats.parquet")
    return tmp_path / "chats.parquet"


@pytest.mark.parametrize("written", [saved, shards, one_file])
def test_chats_are_read_in_order_and_without_the_nulls_of_a_table(table, tmp_path, written):
    folder = written(table, tmp_path)
    assert read_prompts(str(folder)).texts == CHATS
    held = read_sessions(workload("sessions", prompts=str(folder), concurrency=1, carry="recorded"))
    assert [held.turns(n) for n in range(3)] == [1, 1, 1]
    assert len(with_identity(workload(prompts=str(folder))).file_sha256) == 64


def test_of_several_splits_one_must_be_named(table, tmp_path):
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "both")
    with pytest.raises(LoadError, match=r"--prompts .*both: has test/data, train/data; name a folder or a file of one"):
        read_prompts(str(tmp_path / "both"))
    assert len(read_prompts(str(tmp_path / "both" / "train")).texts) == 3


def test_a_folder_without_rows_and_a_file_that_is_none_are_named(tmp_path):
    with pytest.raises(LoadError, match=r"has no \.arrow, \.parquet or \.jsonl file"):
        read_prompts(str(tmp_path))
    for kind in ("arrow", "parquet"):
        (tmp_path / f"x.{kind}").write_bytes(b"nothing of the sort")
        with pytest.raises(LoadError, match=rf"x\.{kind} cannot be read"):
            read_prompts(str(tmp_path / f"x.{kind}"))


def test_a_row_that_is_no_prompt_is_named(tmp_path):
    datasets.Dataset.from_list([{"prompt": "a"}, {"prompt": None}]).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(LoadError, match=r"p\.parquet: row 2: is not"):
        read_prompts(str(tmp_path / "p.parquet"))
