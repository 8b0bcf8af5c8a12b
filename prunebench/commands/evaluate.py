"""`prunebench evaluate`: quality tasks asked of a checkpoint, served or in process, or of a server that is already there."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from base.key_file import read_key
from base.records import Record
from loadgen.endpoint import Endpoint, server_address
from loadgen.energy.source import pick_energy
from prunebench.quality.harness import Harness
from prunebench.quality.suites import QualityError, choose_suite
from prunebench.quality.task_pass import Pass, Subject, result_line, settings_of
from prunebench.run.run_writer import write_record
from prunebench.servers.process import ServerCommand, ServerStartError, start_server
from prunebench.terminal.progress import Steps
from reports.analysis.cost import SuiteCost, suite_cost
from reports.document.console import Console
from reports.runs.run_folder import read_record

_START_S, _REQUEST_S = 600.0, 600.0
_SUBJECT = "subject.json"


class EvaluatedSubject(Record):
    """What a folder of results is of; `--resume` goes on only with the same."""

    target: str  # an absolute path, or a URL
    model: str | None
    engine: str
    engine_options: dict[str, str]


@dataclass(frozen=True)
class EvaluateCommand:
    """The options of `prunebench evaluate`."""

    target: str
    tasks: list[str]
    output: Path | None
    resume: bool
    include_paths: list[Path]
    limit: int | None
    chat_template: bool
    in_process: bool
    engine: str
    engine_options: dict[str, str]
    model: str | None
    tokenizer: Path | None
    concurrency: int
    energy: str
    modelled_watts_per_core: float | None
    api_key_file: Path | None

    @property
    def is_url(self) -> bool:
        """Whether the target is a server that is already there."""
        return self.target.startswith(("http://", "https://"))

    def subject(self) -> EvaluatedSubject:
        """What the results are of. Raises QualityError for options that do not go together, or a target that is none."""
        if self.is_url:
            if self.in_process:
                raise QualityError("--in-process evaluates a checkpoint, not a URL")
            if self.model is None:
                raise QualityError("--model: say which model of the server to ask")
            if self.tokenizer is None:
                raise QualityError("--tokenizer: name the folder of the served checkpoint, whose tokens are sent")
        elif not (Path(self.target) / "config.json").is_file():
            raise QualityError(f"{self.target}: no checkpoint there (it has no config.json), and not a URL")
        if self.in_process and set(self.engine_options) - {"dtype"}:
            raise QualityError("--engine-option: in process there is only dtype")
        return EvaluatedSubject(
            target=self.target.rstrip("/") if self.is_url else str(Path(self.target).resolve()),
            model=self.model if self.is_url else None,
            engine="lm-eval hf" if self.in_process else "" if self.is_url else self.engine,
            engine_options=self.engine_options,
        )

    def tokens_of(self) -> Path:
        """The folder with the tokenizer."""
        folder = self.tokenizer or Path(self.target)
        if not (folder / "tokenizer_config.json").is_file():
            raise QualityError(f"--tokenizer {folder}: no tokenizer_config.json there")
        return folder


def evaluate_command(command: EvaluateCommand, *, as_json: bool, console: Console) -> int:
    """Ask every task, print each as it is done. Returns the exit status: 1 if a task gave no score."""
    subject, suite = command.subject(), choose_suite(command.tasks, chat_template=command.chat_template)
    folder = _choose_folder(command)
    backend: Literal["in-process", "endpoint"] = "in-process" if command.in_process else "endpoint"
    harness = Harness(suite, command.include_paths, command.limit)
    asking = Pass(harness, suite, settings_of(suite, backend, command.limit))
    _claim(folder, subject, resume=command.resume)
    # With --json only the JSON goes to stdout; tasks are code of others and may print.
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with quiet, _subject(command, folder) as made, Steps(console, "evaluating", len(suite.tasks)) as steps:
        for result in asking.results(made, folder, folder / "lm-eval.log"):
            steps.say(result_line(result))
            steps.advance(1, result.task)
    results = [r for r in (asking.stored(folder, choice) for choice in suite.tasks) if r is not None]
    total = suite_cost(results)
    if as_json:
        document = {
            "subject": subject.model_dump(mode="json"),
            "results": [r.model_dump(mode="json", exclude={"values", "weights"}) for r in results],
            "cost": total.model_dump(mode="json"),
            "folder": str(folder),
        }
        console.print_json(json.dumps(document))
    else:
        for line in (cost_line(total), str(folder)):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0 if all(r.scores for r in results) else 1


def cost_line(cost: SuiteCost) -> str:
    """What the suite cost, measured joules or why there are none; modelled ones are called so."""
    if cost.joules is not None:
        joules = f"{cost.joules:.4g} J ± {cost.joules_uncertainty or 0:.2g} ({cost.source})"
        joules += "" if cost.joules_per_token is None else f", {cost.joules_per_token:.3g} J/token"
    else:
        joules = f"joules not measured: {cost.reason}"
    modelled = "" if cost.modelled_joules is None else f"; modelled, not measured: {cost.modelled_joules:.4g} J"
    tokens = "" if cost.tokens is None else f", {cost.tokens:,} tokens"
    return f"{cost.tasks} tasks in {cost.hours:.4f} h{tokens}; {joules}{modelled}"


@contextlib.contextmanager
def _subject(command: EvaluateCommand, folder: Path) -> Iterator[Subject]:
    """The model that is asked; a server of our own ends with it."""
    if command.in_process:
        yield Subject.in_process(Path(command.target), command.engine_options.get("dtype", "auto"), command.energy)
        return
    tokenizer = command.tokens_of()
    if command.is_url:
        key = None if command.api_key_file is None else read_key(command.api_key_file)
        endpoint = Endpoint(server_address(command.target), f"{command.model}", api_key=key, timeout_s=_REQUEST_S)
        yield Subject.served(endpoint, tokenizer, pick_energy(command.energy, endpoint), command.concurrency)
        return
    name = Path(command.target).resolve().name
    serve = ServerCommand(
        Path(command.target), name, command.engine, command.engine_options, command.modelled_watts_per_core
    )
    try:
        server = start_server(serve, folder / "server.log", start_timeout_s=_START_S, request_timeout_s=_REQUEST_S)
    except ServerStartError as error:
        raise QualityError(f"{command.target} cannot be served: {error}") from None
    try:
        energy = pick_energy(command.energy, server.endpoint)
        yield Subject.served(server.endpoint, tokenizer, energy, command.concurrency)
    finally:
        server.stop()


def _choose_folder(command: EvaluateCommand) -> Path:
    """--output, else evaluations/NAME-TIME; with --resume the newest of that name."""
    if command.output is not None:
        return command.output
    name = command.model.replace("/", "_") if command.model else Path(command.target).resolve().name
    if command.resume:
        mine = sorted(p.parent for p in Path("evaluations").glob(f"{name}-*/{_SUBJECT}"))
        if not mine:
            raise QualityError(f"--resume: no evaluation of {name} under {Path('evaluations').absolute()}")
        return mine[-1]
    return Path("evaluations") / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"


def _claim(folder: Path, subject: EvaluatedSubject, *, resume: bool) -> None:
    """Begin a folder, or go on with it if it is of the same subject."""
    stored = folder / _SUBJECT
    if stored.is_file():
        if not resume:
            raise QualityError(f"--output {folder} already holds an evaluation; add --resume to go on with it")
        before = read_record(stored, EvaluatedSubject)
        if before != subject:
            raise QualityError(f"--resume: {folder} is of {before.target}, asked another way")
    elif resume:
        raise QualityError(f"--resume: {folder} holds no evaluation to go on with")
    folder.mkdir(parents=True, exist_ok=True)
    write_record(stored, subject)
