"""The safetensors format: headers in, headers out, tensor bytes as numpy arrays.

Format: https://github.com/huggingface/safetensors#format. A file is an 8-byte little-endian header length, a JSON header
padded with spaces to 8 bytes, and the tensors' bytes without holes.

Headers are read and written here, not by the safetensors package. Streaming needs what its Python API does not offer: the
offset of each tensor, to read rows of bfloat16 with plain reads (it maps whole files and has no bfloat16 for numpy), and a
header before the data exists (`serialize_file` takes whole tensors). And the pruner names the damage in a broken file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pruner.errors import PruneError

BLOCK_BYTES = 2 << 20  # unit of reads and writes: fits a cache (five times faster than 16 MiB) and bounds memory
LONGEST_HEADER = 100_000_000  # the format's own limit
_METADATA = "__metadata__"
_BITS = {
    **dict.fromkeys(["F4"], 4),
    **dict.fromkeys(["F6_E2M3", "F6_E3M2"], 6),
    **dict.fromkeys(["BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"], 8),
    **dict.fromkeys(["U16", "I16", "F16", "BF16"], 16),
    **dict.fromkeys(["U32", "I32", "F32"], 32),
    **dict.fromkeys(["U64", "I64", "F64", "C64"], 64),
}
SCORABLE: dict[str, np.dtype[Any]] = {"BF16": np.dtype("<u2"), "F16": np.dtype("<f2"), "F32": np.dtype("<f4")}


@dataclass(frozen=True)
class Tensor:
    """A header's entry for one tensor. `start` is the offset in the file, not in the data part."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int

    @property
    def parameters(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.parameters * _BITS[self.dtype] // 8

    @property
    def element_bytes(self) -> int:
        """Bytes per element; the alignment a reader may rely on."""
        return max(1, _BITS[self.dtype] // 8)


@dataclass(frozen=True)
class Shard:
    """One safetensors file: its path, its tensors by offset, and its size and modification time when the header was read."""

    name: str
    path: Path  # symlinks resolved
    metadata: dict[str, str] | None
    tensors: tuple[Tensor, ...]
    size: int
    modified_ns: int

    def check_unchanged(self) -> None:
        """Raises PruneError if the file has changed since its header was read."""
        now = self.path.stat()
        if (now.st_size, now.st_mtime_ns) != (self.size, self.modified_ns):
            raise PruneError(f"{self.name}: changed while it was being read; prune again once nothing writes to it")


def read_shard(folder: Path, name: str) -> Shard:
    """Read and check the header of one file.

    Raises:
        PruneError: the file is not valid safetensors; the message names the damage.
        OSError: the file cannot be read.

    """
    path = (folder / name).resolve()
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        length_bytes = file.read(8)
        if len(length_bytes) < 8:
            raise PruneError(f"{name}: too short to be a safetensors file; fetch it again")
        length = int.from_bytes(length_bytes, "little")
        if length > min(LONGEST_HEADER, stat.st_size - 8):
            raise PruneError(f"{name}: the safetensors header claims {length} bytes; the file is damaged or cut short")
        raw = file.read(length)
    try:
        metadata, tensors = _parse_header(raw, data_start=8 + length, data_end=stat.st_size)
    except (ValueError, RecursionError) as error:  # JSON and Unicode errors are ValueErrors
        raise PruneError(f"{name}: damaged safetensors header ({error}); fetch it again") from error
    return Shard(name, path, metadata, tensors, stat.st_size, stat.st_mtime_ns)


def _parse_header(raw: bytes, data_start: int, data_end: int) -> tuple[dict[str, str] | None, tuple[Tensor, ...]]:
    header = json.loads(raw.decode(), object_pairs_hook=_without_duplicates)
    if not isinstance(header, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # one kind of error for every damaged header
    metadata = header.pop(_METADATA, None)
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise ValueError(f"{_METADATA} is not a map of strings")
    tensors = sorted((_parse_entry(name, entry, data_start) for name, entry in header.items()), key=_position)
    "".join([*header, *(metadata or {}), *(metadata or {}).values()]).encode()  # raises on an unpaired surrogate
    expected = data_start
    for tensor in tensors:
        if tensor.start != expected:
            raise ValueError(f"{tensor.name} starts at byte {tensor.start}, not {expected}")
        expected += tensor.nbytes
    if expected != data_end:
        raise ValueError(f"tensors end at byte {expected}, the file at {data_end}")
    return metadata, tuple(tensors)


def _position(tensor: Tensor) -> tuple[int, int]:
    return tensor.start, tensor.nbytes  # an empty tensor comes before the one that shares its offset


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _parse_entry(name: str, entry: Any, data_start: int) -> Tensor:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} needs dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"{name} has unknown dtype {dtype!r}")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"{name} has an impossible shape or data_offsets")
    if math.prod(shape) * _BITS[dtype] != 8 * (offsets[1] - offsets[0]):
        raise ValueError(f"{name} has {offsets[1] - offsets[0]} bytes, which {dtype} {shape} does not fill")
    return Tensor(name, dtype, tuple(shape), data_start + offsets[0])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def encode_header(metadata: dict[str, str] | None, tensors: Iterable[Tensor]) -> bytes:
    """The first bytes of a file that holds these tensors in this order, without holes."""
    header: dict[str, Any] = {} if metadata is None else {_METADATA: metadata}
    offset = 0
    for tensor in tensors:
        end = offset + tensor.nbytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return len(raw).to_bytes(8, "little") + raw


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A file descriptor for `read_exactly`. Plain reads, not mmap: mapped pages would count as our memory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_exactly(descriptor: int, start: int, nbytes: int) -> bytes:
    """`nbytes` bytes from `start`. Raises PruneError if the file ends before that."""
    parts = []
    while nbytes:
        part = os.pread(descriptor, nbytes, start)
        if not part:
            raise PruneError(f"the source ends at byte {start}: it was cut short while it was being read")
        parts.append(part)
        start, nbytes = start + len(part), nbytes - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def byte_blocks(descriptor: int, tensor: Tensor) -> Iterator[bytes]:
    """A tensor's bytes as stored, in blocks."""
    for offset in range(0, tensor.nbytes, BLOCK_BYTES):
        yield read_exactly(descriptor, tensor.start + offset, min(BLOCK_BYTES, tensor.nbytes - offset))


def row_blocks(
    descriptor: int, tensor: Tensor, first: int = 0, stop: int | None = None
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Rows `first` to `stop` of a matrix (or elements of a vector) in blocks: (index of its first row, [rows, columns]).

    The tensor has one of the SCORABLE dtypes; bfloat16 comes as its 16 bits. A block has at most BLOCK_BYTES, or is one row
    if that is longer.
    """
    columns = tensor.shape[1] if len(tensor.shape) > 1 else 1
    stop = tensor.shape[0] if stop is None else stop
    dtype = SCORABLE[tensor.dtype]
    row_bytes = columns * dtype.itemsize
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for row in range(first, stop, step):
        rows = min(step, stop - row)
        raw = read_exactly(descriptor, tensor.start + row * row_bytes, rows * row_bytes)
        yield row, np.frombuffer(raw, dtype).reshape(rows, columns)


def to_float32(block: NDArray[Any]) -> NDArray[np.float32]:
    """Values of a block from `row_blocks`, exactly: all three dtypes embed in float32."""
    if block.dtype == SCORABLE["BF16"]:
        wide = block.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return block.astype(np.float32, copy=False)


def from_float32(values: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    """Finite values as a block of that dtype, rounded to the nearest, ties to even."""
    if dtype != "BF16":
        return values.astype(SCORABLE[dtype])
    bits = np.ascontiguousarray(values).view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(SCORABLE["BF16"])
