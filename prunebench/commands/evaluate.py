"""`prunebench evaluate`: quality tasks asked of a checkpoint, served or in process, or of a running server."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from base.files import write_record
from base.key_file import read_key
from base.records import Record
from loadgen.endpoint import Endpoint, only_model, server_address
from loadgen.energy.source import pick_energy
from prunebench.commands.options import (
    EnergySourceName,
    Engine,
    EngineOptions,
    Json,
    ModelledWattsPerCore,
    ServerKeyFile,
    engine_options,
)
from prunebench.quality.harness import Harness
from prunebench.quality.quick import WORDS, quality_line, quick_perplexity
from prunebench.quality.suites import QualityError, choose_suite
from prunebench.quality.task_pass import Pass, Subject, result_line, settings_of
from prunebench.servers.process import ServerCommand, start_server
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.progress import Steps
from pruner.checkpoint.hub import find_downloaded, find_source
from reports.analysis.cost import SuiteCost, suite_cost
from reports.runs.records import Quality
from reports.runs.run_folder import read_record
from server.engines.registry import AUTO

_START_S, _REQUEST_S = 600.0, 600.0
_SUBJECT = "subject.json"


class EvaluatedSubject(Record):
    """What a folder of results is of; `--resume` requires the same."""

    target: str  # an absolute path, or a URL
    model: str | None
    engine: str
    engine_options: dict[str, str]


@examples(
    ("The perplexity of a text that comes with Python", "prunebench evaluate ./model"),
    ("Offline, without a download", "prunebench evaluate ./model --tasks fragile-knowledge"),
    ("A hundred items of two tasks", "prunebench evaluate ./model --tasks hellaswag --tasks gsm8k:8 --limit 100"),
    (
        "What a running server serves",
        "prunebench evaluate http://127.0.0.1:8000 --model m --tokenizer ./model --tasks hellaswag",
    ),
)
def evaluate(
    target: Annotated[
        str,
        typer.Argument(help="A checkpoint, which is served: a folder or a downloaded OWNER/NAME. Or a server's URL."),
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            help="Tasks of lm-eval, TASK:SHOTS, YAML files, or fragile-knowledge[-instruct], offline; default: perplexity of a text."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder; default evaluations/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue: answered tasks are kept.")] = False,
    include_path: Annotated[
        list[Path] | None, typer.Option(help="A folder of task YAML; repeatable.", rich_help_panel="Tasks")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many items a task.")] = None,
    chat_template: Annotated[
        bool, typer.Option("--chat-template", help="Ask through the model's chat template.", rich_help_panel="Tasks")
    ] = False,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="lm-eval's own HF backend instead of HTTP.", rich_help_panel="Server")
    ] = False,
    engine: Engine = AUTO,
    engine_option: EngineOptions = None,
    model: Annotated[
        str | None, typer.Option(help="The model's name at the URL; default the only one.", rich_help_panel="Server")
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="The checkpoint behind the URL, a folder or OWNER/NAME; tasks require it.", rich_help_panel="Server"
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Prompts in flight.", rich_help_panel="Server")] = 32,
    energy: EnergySourceName = "auto",
    modelled_watts_per_core: ModelledWattsPerCore = None,
    api_key_file: ServerKeyFile = None,
    as_json: Json = False,
) -> None:
    """Ask every task, save and print each result. Exits with 1 if a task gave no score.

    Without --tasks: perplexity of a text that comes with Python.
    """
    options = engine_options(engine_option)
    key = None if api_key_file is None else read_key(api_key_file)
    url = server_address(target) if _is_url(target) else None
    served_as = model or ""
    if url is None:
        found, served_as = find_downloaded(target)
        target = f"{found}"
    elif model is None and not in_process:
        served_as = model = only_model(Endpoint(url, "", api_key=key))
    subject = _subject(target, model, engine, options, in_process=in_process)
    suite = choose_suite(tasks, chat_template=chat_template) if tasks else None
    if suite is not None and url is not None and tokenizer is None:
        raise QualityError(
            "--tokenizer: name the folder of the served checkpoint, or its OWNER/NAME: its tokens are sent"
        )
    folder = output or _default_folder(model or served_as, resume=resume)

    def served() -> contextlib.AbstractContextManager[Endpoint]:
        """The server at the URL, or one that is started for the checkpoint and stopped."""
        if url is not None:
            return contextlib.nullcontext(Endpoint(url, served_as, api_key=key, timeout_s=_REQUEST_S))
        return _started(ServerCommand(Path(target), served_as, engine, options, modelled_watts_per_core), folder)

    if suite is None:
        for option, value in {"--resume": resume, "--include-path": include_path, "--limit": limit,
                              "--chat-template": chat_template, "--in-process": in_process}.items():  # fmt: skip
            if value:
                raise QualityError(f"{option}: belongs to --tasks")
        with_tokens = None if url is not None and tokenizer is None else _with_tokenizer(tokenizer or target)
        _claim(folder, subject, resume=False)
        perplexity = _perplexity(subject, served(), with_tokens, folder, as_json=as_json)
        raise typer.Exit(0 if perplexity.perplexity is not None else 1)
    harness = Harness(suite, include_path or [], limit)
    asking = Pass(harness, suite, settings_of(suite, "in-process" if in_process else "endpoint", limit))
    folder_of_tokens = Path(target) if in_process else _with_tokenizer(tokenizer or target)
    _claim(folder, subject, resume=resume)

    @contextlib.contextmanager
    def opened() -> Iterator[Subject]:
        """The model that is asked."""
        if in_process:
            yield Subject.in_process(Path(target), options.get("dtype", "auto"), energy)
            return
        with served() as endpoint:
            yield Subject.served(endpoint, folder_of_tokens, pick_energy(energy, endpoint), concurrency)

    # With --json only the JSON goes to stdout; tasks are code of others and may print.
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with quiet, opened() as made, Steps(out, "evaluating", len(suite.tasks)) as steps:
        for result in asking.results(made, folder, folder / "lm-eval.log"):
            steps.print(result_line(result))
            steps.advance(1, result.task)
    results = [r for r in (asking.stored(folder, choice) for choice in suite.tasks) if r is not None]
    cost = suite_cost(results)
    if as_json:
        document: dict[str, Any] = {
            "subject": subject.model_dump(mode="json"),
            "results": [r.model_dump(mode="json", exclude={"values", "weights"}) for r in results],
            "cost": cost.model_dump(mode="json"),
            "folder": str(folder),
        }
        out.print_json(json.dumps(document))
    else:
        print_line(_cost_line(cost))
        print_line(str(folder))
    raise typer.Exit(0 if all(r.scores for r in results) else 1)


def _is_url(target: str) -> bool:
    return target.startswith(("http://", "https://"))


@contextlib.contextmanager
def _started(command: ServerCommand, folder: Path) -> Iterator[Endpoint]:
    server = start_server(command, folder / "server.log", start_timeout_s=_START_S, request_timeout_s=_REQUEST_S)
    try:
        yield server.endpoint
    finally:
        server.stop()


def _perplexity(
    subject: EvaluatedSubject,
    served: contextlib.AbstractContextManager[Endpoint],
    checkpoint: Path | None,
    folder: Path,
    *,
    as_json: bool,
) -> Quality:
    """Measure it, save it and print it."""
    print_line(f"note: no --tasks: {WORDS}; --tasks offline asks tasks that come with prunebench", err)
    with served as endpoint:
        found = quick_perplexity(endpoint, checkpoint)
    write_record(folder / "perplexity.json", found)
    if as_json:
        records = {"subject": subject.model_dump(mode="json"), "perplexity": found.model_dump(mode="json")}
        out.print_json(json.dumps(records | {"folder": str(folder)}))
    else:
        print_line(quality_line(found))
        print_line(str(folder))
    return found


def _subject(
    target: str, model: str | None, engine: str, options: dict[str, str], *, in_process: bool
) -> EvaluatedSubject:
    """What the results are of. Raises QualityError for options that do not go together, or a target that is none."""
    if _is_url(target):
        if in_process:
            raise QualityError("--in-process evaluates a checkpoint, not a URL")
        return EvaluatedSubject(target=target.rstrip("/"), model=model, engine="", engine_options=options)
    if not (Path(target) / "config.json").is_file():
        raise QualityError(f"{target}: no checkpoint there (it has no config.json), and not a URL")
    if in_process and set(options) - {"dtype"}:
        raise QualityError("--engine-option: in process there is only dtype")
    engine = "lm-eval hf" if in_process else engine
    return EvaluatedSubject(target=str(Path(target).resolve()), model=None, engine=engine, engine_options=options)


def _with_tokenizer(checkpoint: str) -> Path:
    """The checkpoint's folder. Raises QualityError if it holds no tokenizer."""
    folder = find_source(checkpoint, fetch=False)
    if not (folder / "tokenizer_config.json").is_file():
        raise QualityError(f"--tokenizer {folder}: no tokenizer_config.json there")
    return folder


def _default_folder(name: str, *, resume: bool) -> Path:
    """evaluations/NAME-TIME; with --resume the newest of that name."""
    name = name.replace("/", "_")
    if resume:
        mine = sorted(p.parent for p in Path("evaluations").glob(f"{name}-*/{_SUBJECT}"))
        if not mine:
            raise QualityError(f"--resume: no evaluation of {name} under {Path('evaluations').absolute()}")
        return mine[-1]
    return Path("evaluations") / f"{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"


def _claim(folder: Path, subject: EvaluatedSubject, *, resume: bool) -> None:
    """Start a folder, or resume it if it is of the same subject."""
    stored = folder / _SUBJECT
    if stored.is_file():
        if not resume:
            raise QualityError(f"--output {folder} already holds an evaluation; add --resume to continue it")
        before = read_record(stored, EvaluatedSubject)
        if before != subject:
            raise QualityError(f"--resume: {folder} is of {before.target}, asked another way")
    elif resume:
        raise QualityError(f"--resume: {folder} holds no evaluation to continue")
    folder.mkdir(parents=True, exist_ok=True)
    write_record(stored, subject)


def _cost_line(cost: SuiteCost) -> str:
    """What the suite cost, measured joules or why there are none; modelled ones are called so."""
    if cost.joules is not None:
        joules = f"{cost.joules:.4g} J ± {cost.joules_uncertainty or 0:.2g} ({cost.source})"
        joules += "" if cost.joules_per_token is None else f", {cost.joules_per_token:.3g} J/token"
    else:
        joules = f"joules not measured: {cost.reason}"
    modelled = "" if cost.modelled_joules is None else f"; modelled, not measured: {cost.modelled_joules:.4g} J"
    tokens = "" if cost.tokens is None else f", {cost.tokens:,} tokens"
    return f"{cost.tasks} tasks in {cost.hours:.4f} h{tokens}; {joules}{modelled}"
