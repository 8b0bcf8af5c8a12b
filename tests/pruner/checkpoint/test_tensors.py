"""The safetensors format, compared with the safetensors library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from safetensors.torch import save_file

from pruner.checkpoint.tensors import Shard, byte_blocks, encode_header, opened, read_shard, row_blocks, to_float32
from pruner.errors import PruneError

TENSORS = {
    "norm": torch.arange(5, dtype=torch.float32),
    "half": torch.arange(12, dtype=torch.float16).reshape(3, 4),
    "brain": torch.randn(7, 6).to(torch.bfloat16),
    "ids": torch.arange(3),
    "empty": torch.empty(0, 4),
    "scalar": torch.tensor(2.5),
    "flags": torch.tensor([True, False]),
}


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    save_file(TENSORS, tmp_path / "a.safetensors", metadata={"format": "pt", "naïve": "ü"})
    return read_shard(tmp_path, "a.safetensors")


def test_a_header_is_read_as_the_library_wrote_it(shard: Shard) -> None:
    assert shard.metadata == {"format": "pt", "naïve": "ü"}
    assert {tensor.name: tensor.shape for tensor in shard.tensors} == {n: tuple(t.shape) for n, t in TENSORS.items()}


def test_a_written_header_and_the_copied_bytes_are_what_the_library_reads(shard: Shard) -> None:
    header = encode_header(shard.metadata, shard.tensors)
    with opened(shard.path) as descriptor:
        data = b"".join(block for tensor in shard.tensors for block in byte_blocks(descriptor, tensor))
    assert len(header) % 8 == 0
    again = load_bytes(header + data)
    assert again.keys() == TENSORS.keys()
    assert all(torch.equal(again[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("name", ["half", "brain"])
def test_blocks_hold_the_tensors_values(shard: Shard, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pruner.checkpoint.tensors.BLOCK_BYTES", 25)  # two rows at a time, then what is left
    tensor = next(tensor for tensor in shard.tensors if tensor.name == name)
    with opened(shard.path) as descriptor:
        blocks = list(row_blocks(descriptor, tensor, first=1))
    assert [row for row, _ in blocks] == list(range(1, tensor.shape[0], 3 if name == "half" else 2))
    values = np.concatenate([to_float32(block) for _, block in blocks])
    assert np.array_equal(values, TENSORS[name][1:].float().numpy())


def test_every_bfloat16_becomes_the_float32_that_torch_makes_of_it() -> None:
    bits = np.arange(2**16, dtype=np.uint32).astype("<u2").reshape(256, 256)
    ours = to_float32(bits)
    theirs = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16).float().numpy()
    assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))


def _file(header: Any, data: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


_GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
_BROKEN = {
    "an empty file": b"",
    "half a length": b"\x08\0\0",
    "a header longer than the file": (1000).to_bytes(8, "little") + b"{}",
    "a header of exabytes": b"\xff" * 8 + b"{}",
    "no JSON": _file(b"{nonsense"),
    "no UTF-8": _file(b'{"\xff": 1}'),
    "a list": _file([]),
    "deeply nested": _file(b"[" * 100_000),
    "metadata with numbers": _file({"__metadata__": {"a": 1}}),
    "an entry that is no object": _file({"a": 5}),
    "a missing key": _file({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "an unknown dtype": _file({"a": _GOOD | {"dtype": "F31"}}, bytes(8)),
    "a dtype that is no string": _file({"a": _GOOD | {"dtype": ["F32"]}}, bytes(8)),
    "a negative size": _file({"a": _GOOD | {"shape": [-2]}}, bytes(8)),
    "a boolean size": _file({"a": _GOOD | {"shape": [True, 2]}}, bytes(8)),
    "a shape that does not fill its bytes": _file({"a": _GOOD | {"shape": [3]}}, bytes(8)),
    "backward offsets": _file({"a": _GOOD | {"data_offsets": [8, 0]}}, bytes(8)),
    "a file cut short": _file({"a": _GOOD}, bytes(7)),
    "bytes left over": _file({"a": _GOOD}, bytes(9)),
    "a hole": _file({"a": _GOOD, "b": _GOOD | {"data_offsets": [12, 20]}}, bytes(20)),
    "an overlap": _file({"a": _GOOD, "b": _GOOD | {"data_offsets": [4, 12]}}, bytes(12)),
    "a name that occurs twice": _file(b'{"a":%b,"a":%b}' % ((json.dumps(_GOOD).encode(),) * 2), bytes(8)),
    "half a surrogate pair": _file(b'{"\\ud800":%b}' % json.dumps(_GOOD).encode(), bytes(8)),
}


@pytest.mark.parametrize("what", _BROKEN)
def test_a_damaged_file_is_refused_in_one_line_that_names_it(what: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(_BROKEN[what])
    with pytest.raises(PruneError, match=r"^a\.safetensors: ") as caught:
        read_shard(tmp_path, "a.safetensors")
    assert str(caught.value).isprintable()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_header_is_read_in_full_or_refused(tmp_path_factory: pytest.TempPathFactory, data) -> None:
    content = bytearray(save_bytes({"a": torch.zeros(2, 3), "b": torch.zeros(4)}))
    header_end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header_end - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))]
    folder = tmp_path_factory.getbasetemp()
    (folder / "a.safetensors").write_bytes(content)
    try:
        shard = read_shard(folder, "a.safetensors")
    except PruneError:
        return
    header = 8 + int.from_bytes(content[:8], "little")
    assert header + sum(tensor.nbytes for tensor in shard.tensors) == len(content)


def test_a_file_that_changes_after_its_header_was_read_is_noticed(shard: Shard) -> None:
    shard.check_unchanged()
    with shard.path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(PruneError, match="changed while"):
        shard.check_unchanged()


def test_a_file_that_shrinks_while_it_is_read_is_noticed(shard: Shard) -> None:
    with opened(shard.path) as descriptor:
        shard.path.write_bytes(b"")
        with pytest.raises(PruneError, match="cut short"):
            list(byte_blocks(descriptor, shard.tensors[0]))
