"""What `prunebench evaluate` asks: a checkpoint that it serves or a server's URL, and the folder of the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from base.files import write_record
from base.records import Record
from loadgen.endpoint import Endpoint, ServedModel, only_model, server_address
from prunebench.quality.reuse import Evaluated
from prunebench.quality.suites import QualityError
from prunebench.servers.commands import ServerCommand
from prunebench.servers.process import start_server
from prunebench.terminal.progress import Progress
from pruner.checkpoint.hub import find_downloaded, find_source
from reports.runs.run_folder import read_record

_START_S, _REQUEST_S = 600.0, 600.0
_SUBJECT = "subject.json"


class EvaluatedSubject(Record):
    """What a folder of results is of; `--resume` requires the same."""

    target: str  # an absolute path, or a URL
    model: str | None
    engine: str
    engine_options: dict[str, str]


@dataclass(frozen=True)
class Target:
    """What is asked: a server at a URL, or a checkpoint that is served for it. One of `url` and `checkpoint` is None."""

    url: str | None
    checkpoint: Path | None
    model: str  # its name at the server
    engine: str
    options: dict[str, str]
    watts_per_core: float | None = None  # of a server that is started
    api_key: str | None = None

    @contextlib.contextmanager
    def served(self, folder: Path, progress: Progress) -> Iterator[Endpoint]:
        """The server at the URL, or one that is started for the checkpoint, logs into `folder`, and is stopped."""
        if self.checkpoint is None:
            yield Endpoint(self.url or "", self.model, api_key=self.api_key, timeout_s=_REQUEST_S)
            return
        command = ServerCommand(self.checkpoint, self.model, self.engine, self.options, self.watts_per_core)
        log = folder / "server.log"
        server = start_server(command, log, start_timeout_s=_START_S, request_timeout_s=_REQUEST_S, progress=progress)
        try:
            yield server.endpoint
        finally:
            server.stop()

    def subject(self, *, in_process: bool) -> EvaluatedSubject:
        """What the results are of. Raises QualityError for a checkpoint that is none, or is not asked so."""
        if self.checkpoint is None:
            return EvaluatedSubject(target=self.url or "", model=self.model, engine="", engine_options=self.options)
        if not (self.checkpoint / "config.json").is_file():
            raise QualityError(f"{self.checkpoint}: no checkpoint there (it has no config.json), and not a URL")
        if in_process and set(self.options) - {"dtype"}:
            raise QualityError("--engine-option: in process there is only dtype")
        engine = "lm-eval hf" if in_process else self.engine
        return EvaluatedSubject(
            target=str(self.checkpoint.resolve()), model=None, engine=engine, engine_options=self.options
        )

    def evaluated(self, served: ServedModel | None, energy: str, concurrency: int) -> Evaluated | None:
        """All that the results of a checkpoint depend on; None if its engine does not say which version it is.

        `served` is what its server says of it, None in process; `energy` the source of joules.
        """
        if self.checkpoint is None:
            return None
        if served is None:
            versions = f"lm-eval hf, torch {metadata.version('torch')}, transformers {metadata.version('transformers')}"
            return Evaluated(self.checkpoint, "in process", versions, options=self.options, energy=[energy])
        if served.engine is None or served.engine_version is None:
            return None
        return Evaluated(
            self.checkpoint,
            served.engine,
            served.engine_version,
            served.dtype,
            self.options,
            served.options,
            energy=[energy, self.watts_per_core],
            concurrency=concurrency,
        )


def is_url(text: str) -> bool:
    """Whether it names a server, not a checkpoint."""
    return text.startswith(("http://", "https://"))


def find_target(
    text: str,
    model: str | None,
    engine: str,
    options: Mapping[str, str],
    *,
    watts_per_core: float | None = None,
    api_key: str | None = None,
) -> Target:
    """What a command line names. Raises LoadError for a server that does not answer, PruneError for a model that is not here."""
    if is_url(text):
        url = server_address(text)
        name = model or only_model(Endpoint(url, "", api_key=api_key))
        return Target(url, None, name, engine, dict(options), api_key=api_key)
    checkpoint, name = find_downloaded(text)
    return Target(None, checkpoint, name, engine, dict(options), watts_per_core)


def find_tokenizer(checkpoint: str) -> Path:
    """The checkpoint's folder. Raises QualityError if it holds no tokenizer."""
    folder = find_source(checkpoint, fetch=False)
    if not (folder / "tokenizer_config.json").is_file():
        raise QualityError(f"--tokenizer {folder}: no tokenizer_config.json there")
    return folder


def default_folder(name: str, *, resume: bool) -> Path:
    """evaluations/NAME-TIME; with --resume the newest of that name."""
    name = name.replace("/", "_")
    if resume:
        mine = sorted(p.parent for p in Path("evaluations").glob(f"{name}-*/{_SUBJECT}"))
        if not mine:
            raise QualityError(f"--resume: no evaluation of {name} under {Path('evaluations').absolute()}")
        return mine[-1]
    return Path("evaluations") / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"


def claim_folder(folder: Path, subject: EvaluatedSubject, *, resume: bool) -> None:
    """Start a folder, or resume it if it is of the same subject."""
    stored = folder / _SUBJECT
    if stored.is_file():
        if not resume:
            raise QualityError(f"--output {folder} already holds an evaluation; add --resume to continue it")
        before = read_record(stored, EvaluatedSubject)
        if before != subject:
            raise QualityError(f"--resume: {folder} holds an evaluation of {before.target} with other settings")
    elif resume:
        raise QualityError(f"--resume: {folder} holds no evaluation to continue")
    folder.mkdir(parents=True, exist_ok=True)
    write_record(stored, subject)
