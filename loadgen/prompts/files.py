"""Prompts of the user's own: a file in one of the usual layouts, or one of the three sources of the published study.

    FILE.txt     one prompt a line
    FILE.jsonl   (or .ndjson) objects with `messages`, a `prompt` (or `text`), or ShareGPT's `conversations`; or the lines of
                 OpenAI's batches, whose `body` is one of these and keeps its other keys (`loadgen.prompts.batch_lines`)
    FILE.csv     a column `prompt` (or `text`), or a single column; commas, semicolons or tabs
    FILE.json    ShareGPT: a list of objects with `conversations`, whose first human turn is the prompt, or with `messages`
    FOLDER       a data set on disk: what `save_to_disk` wrote, or a clone from the hub, of one split; or one of its .arrow or
                 .parquet files. Its rows are as those of FILE.jsonl
    hellaswag    Rowan/hellaswag, validation: the context, its four endings as A to D, and "Answer:"
    mmlu         cais/mmlu, all, test: the question alone
    ifeval       google/IFEval, train: the instruction

A source may be followed by a folder that holds it, `hellaswag:DIR`, for machines that reach no hub. Files keep their order;
sources are shuffled by the seed, as the study did (arXiv 2512.22671, its `_load_workload_prompts`).
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from loadgen.endpoint import LoadError
from loadgen.prompts.base import Prompts
from loadgen.prompts.batch_lines import LENGTHS, LineKeys, is_request
from loadgen.prompts.datasets import Dataset
from loadgen.prompts.messages import Chat, Request, chat_of, conversation_of, has_messages
from loadgen.prompts.mixed import mix_prompts
from loadgen.prompts.sessions import FileSessions
from loadgen.prompts.synthetic import FilePrompts, make_prompts
from loadgen.workloads.base import Workload
from loadgen.workloads.fields.input_files import InputFile
from loadgen.workloads.mix import MixLoad
from loadgen.workloads.sessions import SessionsLoad


@dataclass(frozen=True)
class _Source:
    """A data set on the hub and how a row of it becomes a prompt."""

    path: str
    name: str | None
    split: str
    prompt: Callable[[dict[str, Any]], str]


def _hellaswag(row: dict[str, Any]) -> str:
    endings = "".join(f"{letter}. {ending}\n" for letter, ending in zip("ABCD", row["endings"], strict=True))
    return f"{row['ctx']}\n\nWhat happens next?\n{endings}\nAnswer:"


SOURCES = {
    "hellaswag": _Source("Rowan/hellaswag", None, "validation", _hellaswag),
    "mmlu": _Source("cais/mmlu", "all", "test", lambda row: str(row["question"])),
    "ifeval": _Source("google/IFEval", None, "train", lambda row: str(row["prompt"])),
}


def is_source(name: str) -> bool:
    """Whether it names a source and not a file."""
    return name.partition(":")[0] in SOURCES and not Path(name).exists()


def read_prompts(source: str, seed: int = 0) -> FilePrompts:
    """The prompts of a file or source. Raises LoadError naming the file and the line that is no prompt."""
    name, _, folder = source.partition(":")
    if is_source(source):
        return FilePrompts(_read_source(name, folder or None, seed))
    file, keys = _opened("--prompts", Path(source)), LineKeys()
    readers: dict[str, Callable[[InputFile], Iterator[str | Request]]] = {
        ".jsonl": lambda file: _json_lines(file, keys),
        ".csv": _csv_lines,
        ".json": _entries,
    }
    found = list(readers.get(file.layout, _text_lines)(file))
    texts = [each for each in found if not isinstance(each, str) or each.strip()]
    if len({has_messages(each) for each in texts}) > 1:
        raise file.error("mixes messages and plain prompts")
    if not texts:
        raise file.error("holds no prompts")
    without = len(found) - len(texts)
    notes = [f"{without} of {len(found)} entries have no prompt and are left out"] if without else []
    return FilePrompts(texts, (*notes, *keys.notes))


def file_prompts(workload: Workload, seed: int = 0) -> FilePrompts | FileSessions:
    """The prompts of a workload that has a file or source of them; of sessions, its conversations. Raises LoadError."""
    assert workload.prompts is not None  # noqa: S101 - the caller has looked
    return read_sessions(workload) if isinstance(workload, SessionsLoad) else read_prompts(workload.prompts, seed)


def workload_prompts(workload: Workload, seed: int, tokens: Callable[[], Tokenizer | Sequence[int]]) -> Prompts:
    """The prompts of any workload: of the user's files, and synthetic where there is none.

    `tokens`: called where synthetic prompts are counted in tokens; a tokenizer, or ids that stand for words. Raises LoadError.
    """

    def of_part(one: Workload, own_seed: int) -> Prompts:
        if one.prompts is not None:
            return file_prompts(one, own_seed)
        return make_prompts(one, () if one.prompt_as == "words" else tokens(), own_seed)

    return mix_prompts(workload, seed, of_part)


def read_sessions(workload: SessionsLoad) -> FileSessions:
    """The conversations of a file of `messages` or ShareGPT's `conversations`. Raises LoadError naming the line."""
    source = workload.prompts or ""
    if is_source(source):
        raise LoadError(f"--prompts {source}: has single prompts; sessions need a file of conversations")
    file = _opened("--prompts", Path(source))
    if file.layout == ".jsonl":
        rows = file.json_objects()
    elif file.layout == ".json":
        rows = enumerate(_objects(file), 1)
    else:
        raise file.error("sessions need a .jsonl or .json file, or a data set, of messages or conversations")
    chats, without, keys = [], 0, LineKeys()
    for number, line in rows:
        row = _request_of(line)
        try:
            chat = {**(chat_of(row) if "messages" in row else conversation_of(row)), **keys.of(line)}
        except ValueError as error:
            raise file.error(f"entry {number}: {error}") from None
        if not any(message["role"] == "user" for message in chat["messages"]):
            without += 1
            continue
        chats.append(chat)
    if not chats:
        raise file.error("holds no conversations")
    notes = [f"{without} of {without + len(chats)} entries have no user's turn and are left out"] if without else []
    return FileSessions(chats, (*notes, *keys.notes))


def with_identity(workload: Workload) -> Workload:
    """The workload with its file's sha256, or those of its parts. Raises LoadError for a file that cannot be read."""
    if isinstance(workload, MixLoad):
        parts = [
            part.model_copy(update={"file_sha256": _sha256(one)}) if part.files else part
            for part, one in zip(workload.parts, workload.alone, strict=True)
        ]
        workload = workload.model_copy(update={"parts": parts})
    digest = _sha256(workload)
    return workload if digest is None else workload.model_copy(update={"file_sha256": digest})


def _sha256(workload: Workload) -> str | None:
    """Of the file that a workload takes its requests from, if it has one."""
    for field, file in workload.files.items():
        return _opened(f"--{field}", file).sha256()
    if workload.prompts is None or is_source(workload.prompts):
        return None
    return _opened("--prompts", Path(workload.prompts)).sha256()


def input_notes(workload: Workload) -> tuple[str, ...]:
    """Read a workload's files and report what of them is not sent. Raises LoadError for a file that cannot be used."""
    return tuple(dict.fromkeys(note for one in workload.alone for note in _notes(one)))


def _notes(workload: Workload) -> tuple[str, ...]:
    if (trace := workload.recorded()) is not None:
        return tuple(f"--trace {workload.files['trace']}: {note}" for note in trace.notes)
    if (pairs := workload.length_pairs()) is not None:
        return tuple(f"--lengths {workload.lengths}: {note}" for note in pairs.notes)
    if workload.prompts is None:
        return ()
    prompts = file_prompts(workload)
    if isinstance(prompts, FilePrompts):
        if has_messages(prompts.texts[0]) and workload.endpoint == "completions":
            raise LoadError(f"--prompts {workload.prompts}: has messages, which only --endpoint chat takes")
        if workload.sends_lists and not all(isinstance(each, str) for each in prompts.texts):
            whole = "messages" if has_messages(prompts.texts[0]) else f"lines with {_listed(prompts.own_keys)}"
            raise LoadError(f"--prompts {workload.prompts}: has {whole}, and --batch-as list has none; leave it out")
    notes = prompts.notes
    if (lengths := prompts.own_keys & set(LENGTHS)) and not workload.leaves_length(0, 0):
        notes = (*notes, f"{_listed(lengths)} of lines is not sent: --output-tokens says how long answers are")
    return tuple(f"--prompts {workload.prompts}: {note}" for note in notes)


def _opened(flag: str, path: Path) -> InputFile:
    return Dataset(flag, path) if Dataset.is_one(path) else InputFile(flag, path)


def _text_lines(file: InputFile) -> Iterator[str]:
    return (line for _, line in file.lines())


def _json_lines(file: InputFile, keys: LineKeys) -> Iterator[str | Request]:
    for number, line in file.json_objects():
        where, row = f"{'row' if isinstance(file, Dataset) else 'line'} {number}", _request_of(line)
        try:
            own = keys.of(line)
        except ValueError as error:
            raise file.error(f"{where}: {error}") from None
        if "messages" in row:
            yield {**_chat(file, where, row), **own}
        elif "conversations" in row:
            yield _with_keys(_first_turn(file, where, row), own)
        elif "prompt" in row or "text" in row:
            yield _with_keys(_string(file, where, row["prompt"] if "prompt" in row else row["text"]), own)
        else:
            raise file.error('is not {"prompt": "…"} or {"messages": […]}', number)


def _request_of(row: dict[str, Any]) -> dict[str, Any]:
    """The row, or the request that it has as a line of an OpenAI batch."""
    request: dict[str, Any] = row["body"] if is_request(row) else row
    return request


def _with_keys(prompt: str, own: Request) -> str | Request:
    return {"prompt": prompt, **own} if own and prompt.strip() else prompt


def _listed(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys))


def _csv_lines(file: InputFile) -> Iterator[str]:
    column: str | None = None
    for _, row in file.rows():
        if column is None:
            named = {name.lower(): name for name in row}
            column = named.get("prompt") or named.get("text") or (next(iter(row)) if len(row) == 1 else None)
            if column is None:
                raise file.error(f"has no column named prompt, but {', '.join(row)}")
        yield row[column]


def _objects(file: InputFile) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = file.parsed(file.text())
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and entry.keys() & {"conversations", "messages"} for entry in entries
    ):
        raise file.error("is not a ShareGPT list of objects with conversations, or with messages")
    return entries


def _entries(file: InputFile) -> Iterator[str | Chat]:
    for number, entry in enumerate(_objects(file), 1):
        where = f"entry {number}"
        yield _chat(file, where, entry) if "messages" in entry else _first_turn(file, where, entry)


def _chat(file: InputFile, where: str, row: dict[str, Any]) -> Chat:
    try:
        return chat_of(row)
    except ValueError as error:
        raise file.error(f"{where}: {error}") from None


def _first_turn(file: InputFile, where: str, entry: dict[str, Any]) -> str:
    """The first human turn of a ShareGPT conversation; empty if there is none."""
    try:
        human = next((turn["value"] for turn in entry["conversations"] if turn["from"] in {"human", "user"}), "")
    except (KeyError, TypeError):
        raise file.error(f"{where} has a turn without from and value") from None
    return _string(file, where, human)


def _string(file: InputFile, where: str, text: object) -> str:
    if not isinstance(text, str):
        raise file.error(f"{where}: prompt must be a string")
    return text


def _read_source(name: str, folder: str | None, seed: int) -> list[str]:
    try:
        import datasets
    except ImportError:
        raise LoadError(f"--prompts {name}: needs the datasets library; pip install 'prunebench[datasets]'") from None
    source = SOURCES[name]
    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(
        logging.ERROR
    )  # it logs every try; the error below reports the outcome
    try:
        if folder:
            rows = datasets.load_dataset(folder, split=source.split)
        else:
            rows = datasets.load_dataset(source.path, source.name, split=source.split)
        texts = [source.prompt(row) for row in rows]
    except Exception as error:  # noqa: BLE001 - the hub, the disk and the data each raise their own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"--prompts {name}: {folder or source.path} cannot be read: {reason}") from None
    random.Random(seed).shuffle(texts)
    return texts
