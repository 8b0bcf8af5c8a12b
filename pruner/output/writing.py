"""Second pass: read the source once more, in its own order, and write all outputs side by side, hashing them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pruner.checkpoint.folder import CARD, CONFIG, INDEX, Checkpoint
from pruner.checkpoint.layers import renamed
from pruner.checkpoint.tensors import BLOCK_BYTES, Shard, byte_blocks, opened, row_blocks
from pruner.output.kept import Choose, Kept
from pruner.output.layout import Layout, writing_order
from pruner.output.manifest import SourceFile
from pruner.scoring.scoring import Advance


class HashedFile:
    """A new file, hashed while it is written and fsynced when the `with` ends. Its mode follows the umask."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._bytes = 0
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            if error is None:
                os.fsync(self._file.fileno())

    def write(self, data: bytes | memoryview) -> int:
        """Append; returns the number of bytes."""
        view = memoryview(data)
        self._sha256.update(view)
        written = 0
        while written < len(view):  # an unbuffered write may stop early
            written += self._file.write(view[written:])
        self._bytes += written
        return written

    def record(self, name: str) -> SourceFile:
        """The file's entry in the manifest; `name` is its path in the folder."""
        return SourceFile(name=name, bytes=self._bytes, sha256=self._sha256.hexdigest())


def write_outputs(
    folders: dict[Path, Layout], cards: dict[Path, bytes], checkpoint: Checkpoint, choose: Choose, advance: Advance
) -> dict[Path, list[SourceFile]]:
    """Fill every folder with its weights, config, index, model card and companions; returns the files of each, by name.

    Raises:
        PruneError: the source was cut short.
        OSError: a file cannot be written.

    """
    records: dict[Path, list[SourceFile]] = {folder: [] for folder in folders}
    with ThreadPoolExecutor(min(len(folders), os.cpu_count() or 1)) as pool:
        for shard in checkpoint.shards:
            with ExitStack() as files:
                keeping = [folder for folder, layout in folders.items() if layout.kept(shard)]
                sinks = {folder: files.enter_context(HashedFile(folder / shard.name)) for folder in keeping}
                _write_shard(shard, [(sink, folders[folder]) for folder, sink in sinks.items()], choose, advance, pool)
            for folder, sink in sinks.items():
                records[folder].append(sink.record(shard.name))
    for folder, layout in folders.items():
        records[folder] += _write_small_files(folder, layout, cards[folder])
        records[folder].sort(key=lambda record: record.name)
    return records


def _write_shard(
    shard: Shard, sinks: list[tuple[HashedFile, Layout]], choose: Choose, advance: Advance, pool: ThreadPoolExecutor
) -> None:
    """Append one shard to all its outputs, a block at a time: hashing, gathering and writing release the GIL.

    The next block is read while one is being written, and is appended once every file has the block before it.
    """
    for sink, layout in sinks:
        advance(sink.write(layout.header(shard)))
    written: Iterable[int] = ()
    with opened(shard.path) as descriptor:
        for append, files, parts in _blocks(descriptor, shard, sinks, choose):
            advance(sum(written))
            written = pool.map(append, files, parts)
        advance(sum(written))


def _blocks(
    descriptor: int, shard: Shard, sinks: list[tuple[HashedFile, Layout]], choose: Choose
) -> Iterator[tuple[Callable[[HashedFile, Any], int], list[HashedFile], list[Any]]]:
    """Every block of the shard, in order: a function that appends it to a file, the files, and its argument for each."""
    for tensor in writing_order(shard):
        keeping = [(sink, layout) for sink, layout in sinks if renamed(tensor.name, layout.removed)]
        if not keeping:
            continue
        files, layouts = [sink for sink, _ in keeping], [layout for _, layout in keeping]
        cut = layouts[0].anatomy.cuts.get(tensor.name)
        if cut is None:
            for data in byte_blocks(descriptor, tensor):
                yield HashedFile.write, files, [data] * len(files)
            continue
        kept = [choose(cut, layout) for layout in layouts]
        for row, block in row_blocks(descriptor, tensor):
            yield partial(_append_kept, block, row, tensor.dtype), files, kept


def _append_kept(block: NDArray[Any], row: int, dtype: str, file: HashedFile, kept: Kept) -> int:
    return file.write(kept.part(block, row, dtype).reshape(-1).view(np.uint8).data)


def _write_small_files(folder: Path, layout: Layout, card: bytes) -> list[SourceFile]:
    contents = {CONFIG: layout.config_json(), INDEX: layout.index_json(), CARD: card}
    records = []
    for name, content in contents.items():
        if content is not None:
            with HashedFile(folder / name) as file:
                file.write(content)
            records.append(file.record(name))
    for relative in layout.checkpoint.companions:
        (folder / relative.parent).mkdir(parents=True, exist_ok=True)
        with (layout.checkpoint.folder / relative).open("rb") as source, HashedFile(folder / relative) as file:
            while data := source.read(BLOCK_BYTES):
                file.write(data)
        records.append(file.record(relative.as_posix()))
    return records
