"""`prunebench load`: one trial, or a sweep of them, against a server that is already there."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from base.key_file import read_key
from loadgen import REQUEST_TIMEOUT_S
from loadgen.endpoint import (
    Endpoint,
    LoadError,
    ServedModel,
    check_endpoint,
    server_address,
)
from loadgen.energy.source import EnergySource, pick_energy
from loadgen.link.interrupt import Interrupt
from loadgen.locust.plan import Plan
from loadgen.metrics.summary import summarize
from loadgen.prompts.files import input_notes, read_prompts, with_identity
from loadgen.prompts.synthetic import (
    Prompts,
    check_served_tokenizer,
    count_tokens,
    make_prompts,
    read_tokenizer,
    served_tokens,
)
from loadgen.records.recorder import has_records, where_kept
from loadgen.records.schema import Flag, Workload
from loadgen.records.store import write_trial
from loadgen.trial import TrialResult, run_trial
from loadgen.workloads.lengths import most_tokens
from prunebench.load.locust import LocustSettings, run_locust
from prunebench.terminal.live import LiveView
from reports.checks.findings import check_trial
from reports.document.console import Console
from reports.statistics.confidence import needed_for

_DEFAULT_REQUESTS = 100
_SWEEP_S, _SWEEP_RATE = 60.0, 1.0  # of every rate of a sweep, and the lowest of them
_SLO = re.compile(r"(ttft|tpot)=(\d+(?:\.\d+)?)ms")
_FLAGS = {"duration_s": "--duration", "slo_ttft_ms": "--slo", "slo_tpot_ms": "--slo"}


@dataclass(frozen=True)
class LoadCommand:
    """The options of `prunebench load`. `fields` are those of the workload, None where the option was not given."""

    url: str
    model: str
    output: Path
    fields: Mapping[str, object]
    energy: str
    slo: str | None
    seed: int
    tokenizer: Path | None
    api_key_file: Path | None
    locust: LocustSettings | None = None  # None: the native driver
    processes: int = 1
    request_timeout_s: float = REQUEST_TIMEOUT_S
    idle_timeout_s: float | None = None

    def workload(self) -> Workload:
        """The workload they describe. Raises LoadError naming the option that does not fit."""
        kind = str(self.fields["kind"])
        given = {name: value for name, value in self.fields.items() if value is not None}
        if kind == "sweep":
            if "duration_s" not in given and "requests" not in given:
                given["duration_s"] = _SWEEP_S
            if "rate" not in given and "rates" not in given:
                given["rate"] = _SWEEP_RATE
        elif kind != "trace" and "duration_s" not in given:
            given.setdefault("requests", _DEFAULT_REQUESTS)
        try:
            return with_identity(Workload.model_validate({"name": kind, **given, **objectives(self.slo)}))
        except ValidationError as error:
            raise LoadError(_in_flags(kind, error)) from None

    def endpoint(self) -> Endpoint:
        """The server, with the key in --api-key-file. Raises UserError for a file that cannot be read."""
        key = None if self.api_key_file is None else read_key(self.api_key_file)
        return Endpoint(
            server_address(self.url),
            self.model,
            api_key=key,
            timeout_s=self.request_timeout_s,
            idle_timeout_s=self.idle_timeout_s,
        )

    def prompts(self, endpoint: Endpoint, workload: Workload, seed: int) -> Prompts:
        """The user's texts, or made up by --tokenizer or the server's own /tokenize."""
        if workload.prompts is not None:
            return read_prompts(workload.prompts, seed)
        if self.tokenizer is None:
            return make_prompts(workload, served_tokens(endpoint), seed)
        tokenizer = read_tokenizer(self.tokenizer)
        check_served_tokenizer(endpoint, tokenizer)
        return make_prompts(workload, tokenizer, seed)

    def plan(self, endpoint: Endpoint, workload: Workload, seed: int, workers: int) -> Plan:
        """The same for Locust's workers, which may be on other machines: what they make their prompts of goes along."""
        texts = list(read_prompts(workload.prompts, seed).texts) if workload.prompts is not None else None
        tokens: str | list[int] | None = None
        if texts is None:
            tokens = read_tokenizer(self.tokenizer).to_str() if self.tokenizer else served_tokens(endpoint)
        return Plan(
            url=endpoint.url,
            model=endpoint.model,
            timeout_s=endpoint.timeout_s,
            idle_timeout_s=endpoint.idle_timeout_s,
            workload=workload,
            seed=seed,
            workers=workers,
            tokens=tokens,
            texts=texts,
        )


@dataclass(frozen=True)
class Loading:
    """A load that has been checked and can be offered."""

    command: LoadCommand
    endpoint: Endpoint
    energy: EnergySource

    def trial(
        self, workload: Workload, seed: int, folder: Path, interrupt: Interrupt | None = None
    ) -> tuple[TrialResult, list[Flag]]:
        """One trial, written to its folder, and what its checks say; with `interrupt`, after Ctrl-C too."""
        prompts = self.command.prompts(self.endpoint, workload, seed)
        if self.command.locust is not None:
            if self.command.processes > 1:
                raise LoadError("--processes: is of the native driver; --driver locust has --workers")
            plan = self.command.plan(self.endpoint, workload, seed, self.command.locust.workers)
            result = run_locust(
                self.endpoint, plan, prompts, self.command.locust, energy=self.energy, interrupt=interrupt
            )
            return result, _written(result, folder)
        kept = records_file(self.command.output)
        with LiveView(Console(stderr=True), workload, self.energy) as view, _telling(kept):
            result = run_trial(
                self.endpoint,
                workload,
                prompts,
                seed=seed,
                energy=self.energy,
                processes=self.command.processes,
                keep=kept,
                count_tokens=count_tokens(self.command.tokenizer) if self.command.tokenizer else None,
                watcher=view,
                interrupt=interrupt,
            )
            flags = _written(result, folder)
        kept.unlink()
        return result, flags


def _written(result: TrialResult, folder: Path) -> list[Flag]:
    flags = check_trial(result.trial, result.records)
    write_trial(folder, result, flags)
    return flags


def records_file(output: Path) -> Path:
    """Beside the folder to come: what a load writes as its requests end, and removes when it is whole."""
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    return output.with_name(f"{output.name}.records.arrows")


@contextlib.contextmanager
def _telling(kept: Path) -> Iterator[None]:
    """Say where the records of a load are that was cut short."""
    try:
        yield
    except BaseException:
        if kept.exists():
            Console(stderr=True).print(where_kept(kept), highlight=False, markup=False, soft_wrap=True)
            if not has_records(kept):
                kept.unlink()
        raise


def load_command(command: LoadCommand, *, as_json: bool, console: Console) -> int:
    """Offer the load, write the folder, print the summary. Returns the exit status: 1 if every request failed, 130 after a
    Ctrl-C, which leaves the folder and summary of what had ended.
    """
    workload, endpoint = command.workload(), command.endpoint()
    if command.output.exists() and (not command.output.is_dir() or any(command.output.iterdir())):
        raise LoadError(f"--output {command.output}: is not an empty folder")
    check_fits(check_endpoint(endpoint), workload)
    if endpoint.proxy is not None:
        note = f"note: the environment's proxy is not used, the load goes straight to {endpoint.host}"
        Console(stderr=True).print(note, highlight=False, markup=False, soft_wrap=True)
    for note in input_notes(workload):
        Console(stderr=True).print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    loading = Loading(command, endpoint, pick_energy(command.energy, endpoint))
    if workload.kind == "sweep":
        from prunebench.load.sweep import sweep_command

        return sweep_command(loading, workload, as_json=as_json, console=console)
    with Interrupt() as interrupt:
        result, flags = loading.trial(workload, command.seed, command.output, interrupt)
    summary = summarize(result.trial, result.records, flags)
    if as_json:
        console.print_json(json.dumps(summary))
    else:
        for line in _lines(summary, flags, command.output):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if result.trial.interrupted:
        return 130
    return 0 if summary["completed"] else 1


def check_fits(served: ServedModel, workload: Workload) -> None:
    """Raise LoadError if a request can be longer than what the model holds, before the first is sent."""
    prompt = 0 if workload.prompts is not None else most_tokens(workload.prompt_tokens) or 0
    longest = prompt + (most_tokens(workload.output_tokens) or 0)
    if workload.kind != "trace" and served.max_model_len is not None and longest > served.max_model_len:
        raise LoadError(
            f"--prompt-tokens {workload.prompt_tokens} and --output-tokens {workload.output_tokens}: "
            f"the model holds {served.max_model_len:,} tokens"
        )


def _in_flags(kind: str, error: ValidationError) -> str:
    """Pydantic's first complaint, in the words of the command line."""
    first = error.errors()[0]
    message = re.sub(r"`(\w+)`", lambda match: _flag(match[1]), first["msg"].removeprefix("Value error, "))
    return f"{_flag(str(first['loc'][0])) if first['loc'] else f'--workload {kind}'}: {message}"


def _flag(field: str) -> str:
    return _FLAGS.get(field, f"--{field.replace('_', '-')}")


def _lines(summary: dict[str, Any], flags: list[Flag], output: Path) -> list[str]:
    energy = summary["energy"]
    joules = summary["joules_per_output_token"]
    measured = f"{joules} ({energy['source']})"
    lines = [
        f"requests         {summary['completed']} completed, {summary['failed']} failed, window {summary['duration']:.1f} s",
        f"output tokens/s  {summary['output_throughput']:.1f}",
        *(f"{title:<16} {_latency(summary, name)}" for title, name in _LATENCIES),
        f"J/output token   {energy['reason'] if joules is None else measured}",
    ]
    if 0 < summary["completed"] < needed_for(99):
        lines.insert(-1, f"p99 of latencies takes {needed_for(99)} requests; {summary['completed']} completed")
    if summary["request_goodput"] is not None:
        lines.insert(2, f"goodput          {summary['request_goodput']:.2f} requests/s met every objective")
    lines += [f"{flag.outcome}: {flag.check}: {flag.reason}" for flag in flags]
    return [*lines, str(output)]


_LATENCIES = (("TTFT, ms", "ttft"), ("TPOT, ms", "tpot"), ("ITL, ms", "itl"), ("E2E, ms", "e2el"))


def _latency(summary: dict[str, Any], name: str) -> str:
    """Without the p99 of a few requests, which summary.json has all the same: it holds what vLLM's own does."""
    few = summary["completed"] < needed_for(99)
    return ", ".join(
        f"{which} {_figure(summary, which, name)}" for which in ("median", "mean", *(() if few else ("p99",)))
    )


def _figure(summary: dict[str, Any], which: str, name: str) -> str:
    """Median and p99 with failed requests above any; a mean has no such thing, and is of completed ones."""
    key = f"{which}_{name}_ms"
    value = summary.get(f"{key}_with_failures", summary[key])
    among = "failed requests" in (summary.get(f"{key}_with_failures_reason") or "")
    return f"{value:.2f}" if value is not None else "> timeout" if among else "none"


def objectives(text: str | None) -> dict[str, float]:
    """ttft=200ms,tpot=50ms as {"slo_ttft_ms": 200.0, "slo_tpot_ms": 50.0}."""
    found = [_SLO.fullmatch(part.strip()) for part in text.split(",")] if text else []
    if not all(found):
        raise LoadError(f"--slo {text}: must read like ttft=200ms,tpot=50ms")
    return {f"slo_{match[1]}_ms": float(match[2]) for match in found if match}
