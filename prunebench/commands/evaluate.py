"""`prunebench evaluate`: quality tasks asked of a checkpoint, served or in process, or of a running server."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from base.files import write_record
from base.key_file import read_key
from loadgen.endpoint import check_endpoint
from loadgen.energy.source import pick_energy
from prunebench.commands.options import (
    EnergySourceName,
    Engine,
    EngineOptions,
    Json,
    ModelledWattsPerCore,
    ServerKeyFile,
    engine_options,
    server_option,
)
from prunebench.quality.evaluation import (
    EvaluatedSubject,
    Target,
    claim_folder,
    default_folder,
    find_target,
    find_tokenizer,
    is_url,
)
from prunebench.quality.harness import Harness
from prunebench.quality.quick import WORDS, quality_line, quick_perplexity
from prunebench.quality.reuse import KnownTasks, Reuse
from prunebench.quality.suites import QualityError, choose_suite
from prunebench.quality.task_pass import Pass, Subject, cost_line, result_line, settings_of
from prunebench.terminal.command_help import examples
from prunebench.terminal.console import err, out, print_line
from prunebench.terminal.progress import Progress, Steps
from reports.analysis.quality.cost import suite_cost
from server.engines.registry import AUTO

_task_option = partial(typer.Option, rich_help_panel="Tasks")


@examples(
    ("The perplexity of a text that comes with Python", "prunebench evaluate ./model"),
    ("Three tasks that come with prunebench, without a download", "prunebench evaluate ./model --tasks offline"),
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
            help="Tasks of lm-eval, TASK:SHOTS, YAML files, or a suite: fragile-knowledge[-instruct], offline; default: perplexity of a text."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder; default evaluations/NAME-TIME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue: answered tasks are kept.")] = False,
    include_path: Annotated[list[Path] | None, _task_option(help="A folder of task YAML; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many items a task.")] = None,
    reuse: Annotated[
        bool,
        _task_option(
            "--reuse",
            help="Take results of the same weights, engine and settings from earlier runs, and keep new ones.",
        ),
    ] = False,
    chat_template: Annotated[
        bool, _task_option("--chat-template", help="Ask through the model's chat template.")
    ] = False,
    in_process: Annotated[
        bool, server_option("--in-process", help="lm-eval's own HF backend instead of HTTP.")
    ] = False,
    engine: Engine = AUTO,
    engine_option: EngineOptions = None,
    model: Annotated[str | None, server_option(help="The model's name at the URL; default the only one.")] = None,
    tokenizer: Annotated[
        str | None,
        server_option(help="The checkpoint behind the URL, a folder or OWNER/NAME; tasks require it."),
    ] = None,
    concurrency: Annotated[int, server_option(min=1, help="Prompts in flight.")] = 32,
    energy: EnergySourceName = "auto",
    modelled_watts_per_core: ModelledWattsPerCore = None,
    api_key_file: ServerKeyFile = None,
    as_json: Json = False,
) -> None:
    """Ask every task, save and print each result. Exits with 1 if a task gave no score.

    Without --tasks: perplexity of a text that comes with Python.
    """
    if in_process and is_url(target):
        raise QualityError("--in-process evaluates a checkpoint, not a URL")
    found = find_target(
        target,
        model,
        engine,
        engine_options(engine_option),
        watts_per_core=modelled_watts_per_core,
        api_key=None if api_key_file is None else read_key(api_key_file),
    )
    subject = found.subject(in_process=in_process)
    suite = choose_suite(tasks, chat_template=chat_template) if tasks else None
    folder = output or default_folder(model or found.model, resume=resume)
    if suite is None:
        for option, value in {"--resume": resume, "--include-path": include_path, "--limit": limit,
                              "--chat-template": chat_template, "--in-process": in_process, "--reuse": reuse}.items():  # fmt: skip
            if value:
                raise QualityError(f"{option}: belongs to --tasks")
        tokens = None if found.url is not None and tokenizer is None else find_tokenizer(tokenizer or target)
        claim_folder(folder, subject, resume=False)
        answered = _measure_perplexity(found, subject, tokens, folder, as_json=as_json)
        raise typer.Exit(0 if answered else 1)
    if found.url is not None and tokenizer is None:
        raise QualityError(
            "--tokenizer: name the folder of the served checkpoint, or its OWNER/NAME: prompts are sent as its token ids"
        )
    if found.url is not None and reuse:
        raise QualityError("--reuse: needs the checkpoint itself; what a server at a URL serves is not known")
    tokens = None if in_process else find_tokenizer(tokenizer or target)
    harness = Harness(suite, include_path or [], limit)  # reads thousands of files for a task of lm-eval's own
    how = settings_of(suite, "in-process" if in_process else "endpoint", limit)
    asking = Pass(harness, suite, how, KnownTasks(Reuse(wanted=reuse), how, include_path or []))
    claim_folder(folder, subject, resume=resume)

    @contextlib.contextmanager
    def opened(progress: Progress) -> Iterator[Subject]:
        """The model that is asked: by HTTP with a tokenizer, else in process."""
        if tokens is None:
            evaluated = found.evaluated(None, energy, concurrency) if reuse else None
            yield Subject.in_process(Path(subject.target), found.options.get("dtype", "auto"), energy, evaluated)
            return
        with found.served(folder, progress) as endpoint:
            evaluated = found.evaluated(check_endpoint(endpoint), energy, concurrency) if reuse else None
            yield Subject.served(endpoint, tokens, pick_energy(energy, endpoint), concurrency, evaluated)

    answered = _ask_tasks(asking, opened, subject, folder, as_json=as_json)
    raise typer.Exit(0 if answered else 1)


def _measure_perplexity(
    target: Target, subject: EvaluatedSubject, tokens: Path | None, folder: Path, *, as_json: bool
) -> bool:
    """Measure it, save it and print it; whether there is a figure."""
    print_line(f"note: no --tasks: {WORDS}; --tasks offline asks tasks that come with prunebench", err)
    with Steps(err, "perplexity") as steps:
        steps.reach(0, 1, "the model is loaded")
        with target.served(folder, steps.part) as endpoint:
            found = quick_perplexity(endpoint, tokens, steps.reach)
    write_record(folder / "perplexity.json", found)
    if as_json:
        _print_json({"subject": subject.model_dump(mode="json"), "perplexity": found.model_dump(mode="json")}, folder)
    else:
        print_line(quality_line(found))
        print_line(str(folder))
    return found.perplexity is not None


def _ask_tasks(
    asking: Pass,
    opened: Callable[[Progress], contextlib.AbstractContextManager[Subject]],
    subject: EvaluatedSubject,
    folder: Path,
    *,
    as_json: bool,
) -> bool:
    """Ask every task that is not answered, print each result and the cost of all; whether every task gave a score."""
    # With --json only the JSON goes to stdout; tasks are code of others and may print.
    quiet = contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
    with quiet, Steps(out, "evaluating", len(asking.suite.tasks)) as steps, opened(steps.part) as made:
        for result in asking.results(made, folder, folder / "lm-eval.log", steps.part):
            steps.print(result_line(result))
            steps.advance(1, result.task)
    results = [r for r in (asking.stored(folder, choice) for choice in asking.suite.tasks) if r is not None]
    cost = suite_cost(results)
    if as_json:
        rows = [r.model_dump(mode="json", exclude={"values", "weights"}) for r in results]
        _print_json(
            {"subject": subject.model_dump(mode="json"), "results": rows, "cost": cost.model_dump(mode="json")}, folder
        )
    else:
        print_line(cost_line(cost))
        print_line(str(folder))
    return all(r.scores for r in results)


def _print_json(document: dict[str, Any], folder: Path) -> None:
    out.print_json(json.dumps(document | {"folder": str(folder)}))
