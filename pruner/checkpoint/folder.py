"""A checkpoint folder on disk: config, shards, index, and the files that are copied unchanged."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pruner.checkpoint.tensors import Shard, Tensor, read_shard
from pruner.errors import PruneError

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
CARD = "README.md"
MANIFEST_NAME = "pruning.json"  # of a pruned checkpoint: `pruner.output.manifest`
# Weights of the unpruned model in other formats, and their indexes: beside narrower safetensors they would be wrong.
OTHER_FORMATS = [
    "bin",
    "bin.index.json",
    "pt",
    "pth",
    "ckpt",
    "h5",
    "msgpack",
    "gguf",
    "ggml",
    "onnx",
    "onnx_data",
    "npz",
]
OTHER_FOLDERS = ["original", "onnx", "openvino"]
_STALE = re.compile(
    rf"\.({'|'.join(map(re.escape, OTHER_FORMATS))}|safetensors|safetensors\.index\.json|partial)$"
    r"|^params\.json$"  # Mistral's own config, which names the unpruned width
)
_SNAPSHOT = re.compile(r"/models--([^/]+)/snapshots/([0-9a-f]{40})$")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as its config and headers describe it; no tensor has been read."""

    folder: Path
    config: dict[str, Any]
    shards: tuple[Shard, ...]
    index: dict[str, Any] | None
    companions: tuple[Path, ...]  # tokenizer, templates, remote code ...: relative paths, copied unchanged
    card: Path | None  # the model card, if there is one

    @property
    def section(self) -> tuple[str, ...]:
        """Keys that lead to the language model's part of config.json: multimodal checkpoints nest it."""
        return ("text_config",) if isinstance(self.config.get("text_config"), dict) else ()

    @property
    def text_config(self) -> dict[str, Any]:
        """The part of config.json that describes the language model."""
        text = self.config
        for part in self.section:
            text = text[part]
        return text

    @cached_property
    def tensors(self) -> dict[str, tuple[Shard, Tensor]]:
        """Every tensor by name, and the file it is in."""
        return {tensor.name: (shard, tensor) for shard in self.shards for tensor in shard.tensors}

    @property
    def parameters(self) -> int:
        """Elements of all stored tensors: tied weights that are stored once count once."""
        return sum(tensor.parameters for _, tensor in self.tensors.values())

    @property
    def identity(self) -> tuple[str, str | None]:
        """Hub id and commit if the path or the download's metadata has them; else the folder's name and None."""
        if match := _SNAPSHOT.search(str(self.folder)):
            return match[1].replace("--", "/"), match[2]
        metadata = (
            self.folder / ".cache/huggingface/download/config.json.metadata"
        )  # written by `hf download --local-dir`
        commit = re.match(rb"[0-9a-f]{40}\n", metadata.read_bytes()) if metadata.is_file() else None
        return self.folder.name, commit[0].decode().strip() if commit else None


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read config, index and every header.

    Raises:
        PruneError: the folder is no safetensors checkpoint in Hugging Face layout.

    """
    if not folder.is_dir():
        raise PruneError(f"{folder}: no such checkpoint folder")
    folder = folder.absolute()  # not resolve(): a snapshot's path names the model
    _check_links(folder)
    config = _read_json(folder, CONFIG)
    index, names = _shard_names(folder)
    shards = tuple(read_shard(folder, name) for name in names)
    _check_names(shards, index)
    card = folder / CARD
    return Checkpoint(folder, config, shards, index, tuple(_companions(folder)), card if card.is_file() else None)


def _check_links(folder: Path) -> None:
    """Refuse links that leave the checkpoint, except to the blobs of the same model in the hub's cache."""
    real = folder.resolve()
    allowed = [real, *([real.parents[1] / "blobs"] if _SNAPSHOT.search(str(real)) else [])]
    for relative, folders, files in _walk(folder):
        for path in (folder / relative / name for name in (*folders, *files)):
            if not path.is_symlink():
                continue
            if path.is_dir():
                raise PruneError(f"{path}: a link to a folder; replace it with the folder, or remove it")
            if path.exists() and not any(path.resolve().is_relative_to(place) for place in allowed):
                raise PruneError(f"{path}: links to {path.resolve()}, outside the checkpoint; replace it with the file")


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise PruneError(f"{path}: missing; a checkpoint folder needs it")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise PruneError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise PruneError(f"{path}: not a JSON object")
    return value


def _shard_names(folder: Path) -> tuple[dict[str, Any] | None, list[str]]:
    single = (folder / SINGLE).is_file()
    if not (folder / INDEX).is_file():
        if single:
            return None, [SINGLE]
        other = next(iter(sorted(folder.glob("*.bin"))), None)
        hint = f"only {other.name}; save it as safetensors first" if other else "a checkpoint folder needs one of them"
        raise PruneError(f"{folder}: no {SINGLE} and no {INDEX}; {hint}")
    index = _read_json(folder, INDEX)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise PruneError(f"{INDEX}: weight_map is missing or does not map tensors to files")
    names = sorted(set(weight_map.values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise PruneError(f"{INDEX}: {name!r} is not the plain name of a safetensors file")
        if not (folder / name).is_file():
            raise PruneError(f"{folder / name}: missing, though {INDEX} names it; fetch it again")
    if single and SINGLE not in names:
        raise PruneError(f"{folder}: {SINGLE} and {INDEX} contradict each other; remove the wrong one")
    return index, names


def _check_names(shards: tuple[Shard, ...], index: dict[str, Any] | None) -> None:
    owner: dict[str, str] = {}
    for shard in shards:
        for tensor in shard.tensors:
            if tensor.name in owner:
                raise PruneError(f"{shard.name}: {tensor.name} is also in {owner[tensor.name]}")
            owner[tensor.name] = shard.name
    for name, shard_name in (index or {"weight_map": {}})["weight_map"].items():
        if owner.get(name) != shard_name:
            raise PruneError(f"{INDEX}: {name} is not in {shard_name}, where the index says it is")


def _walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Relative path, folders and files of every folder that may hold something to copy, in order."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(
            f for f in folders if not f.startswith(".") and f not in OTHER_FOLDERS and f != "__pycache__"
        )
        yield Path(parent).relative_to(folder), folders, sorted(files)


def _companions(folder: Path) -> Iterator[Path]:
    """Files to copy, in order; a symlink stands for its target."""
    for relative, _, files in _walk(folder):
        for name in files:
            top = relative == Path()
            if _STALE.search(name) or name.startswith(".") or (top and name in {CONFIG, INDEX, CARD, MANIFEST_NAME}):
                continue
            if not (folder / relative / name).is_file():
                raise PruneError(f"{folder / relative / name}: a link to nothing; fetch it again or remove it")
            yield relative / name
