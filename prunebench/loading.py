"""`prunebench load`: one trial against a server that is already there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from loadgen.drive import run_trial
from loadgen.endpoint import Endpoint, LoadError, check_endpoint, read_key
from loadgen.metering import pick_energy
from loadgen.prompts import Prompts, SyntheticPrompts, ordinary_tokens, read_prompts, served_tokens
from loadgen.records import Flag, Workload, WorkloadKind
from loadgen.store import write_trial
from loadgen.summary import summarize
from prunebench.progress import Steps
from reports.checks import check_trial

_DEFAULT_REQUESTS = 100
_SLO = re.compile(r"(ttft|tpot)=(\d+(?:\.\d+)?)ms")


@dataclass(frozen=True)
class LoadCommand:
    """The options of `prunebench load`."""

    url: str
    model: str
    output: Path
    kind: WorkloadKind
    concurrency: int | None
    batch_size: int | None
    rate: float | None
    requests: int | None
    duration_s: float | None
    warmup_requests: int
    prompt_tokens: int
    output_tokens: int
    natural_stop: bool
    prompts: Path | None
    energy: str
    slo: str | None
    seed: int
    tokenizer: Path | None
    api_key_file: Path | None

    def workload(self) -> Workload:
        """The workload they describe. Raises LoadError naming the option that does not fit."""
        objectives = _objectives(self.slo)
        requests = self.requests
        if requests is None and self.duration_s is None:
            requests = _DEFAULT_REQUESTS
        try:
            return Workload(
                name=self.kind,
                kind=self.kind,
                requests=requests,
                duration_s=self.duration_s,
                batch_size=self.batch_size,
                concurrency=self.concurrency,
                rate=self.rate,
                prompt_tokens=self.prompt_tokens,
                output_tokens=self.output_tokens,
                natural_stop=self.natural_stop,
                warmup_requests=self.warmup_requests,
                slo_ttft_ms=objectives.get("ttft"),
                slo_tpot_ms=objectives.get("tpot"),
            )
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise LoadError(f"--workload {self.kind}: {message}") from None

    def endpoint(self) -> Endpoint:
        """The server, with the key in --api-key-file. Raises LoadError for a file that cannot be read."""
        key = read_key(self.api_key_file, "--api-key-file")
        return Endpoint(self.url.rstrip("/"), self.model, api_key=key)

    def row(self, endpoint: Endpoint) -> Prompts:
        """The prompts: the user's file, or token ids by --tokenizer or the server's own /tokenize."""
        if self.prompts is not None:
            return read_prompts(self.prompts)
        pool = ordinary_tokens(self.tokenizer) if self.tokenizer else served_tokens(endpoint)
        return SyntheticPrompts(pool, self.prompt_tokens, self.seed)


def load_command(command: LoadCommand, *, as_json: bool, console: Console) -> int:
    """Offer the load, write the folder, print the summary. Returns the exit status: 1 if every request failed."""
    workload, endpoint = command.workload(), command.endpoint()
    if command.output.exists() and any(command.output.iterdir()):
        raise LoadError(f"--output {command.output}: is not empty")
    check_endpoint(endpoint)
    prompts = command.row(endpoint)
    energy = pick_energy(command.energy, endpoint)
    with Steps(Console(stderr=True), "loading", workload.requests or 0) as steps:
        result = run_trial(
            endpoint,
            workload,
            prompts,
            seed=command.seed,
            energy=energy,
            on_finished=lambda record: steps.advance(1, f"request {record.index + 1}"),
        )
    flags = check_trial(result.trial, result.records)
    write_trial(command.output, result, flags)
    summary = summarize(result.trial, result.records, flags)
    if as_json:
        console.print_json(json.dumps(summary))
    else:
        for line in _lines(summary, flags, command.output):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0 if summary["completed"] else 1


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
    lines += [f"{flag.outcome}: {flag.check}: {flag.reason}" for flag in flags]
    return [*lines, str(output)]


_LATENCIES = (("TTFT, ms", "ttft"), ("TPOT, ms", "tpot"), ("ITL, ms", "itl"), ("E2E, ms", "e2el"))


def _latency(summary: dict[str, Any], name: str) -> str:
    figures = {which: summary[f"{which}_{name}_ms"] for which in ("median", "mean", "p99")}
    return ", ".join(f"{which} {'none' if value is None else f'{value:.2f}'}" for which, value in figures.items())


def _objectives(text: str | None) -> dict[str, float]:
    """ttft=200ms,tpot=50ms as {"ttft": 200.0, "tpot": 50.0}."""
    found = [_SLO.fullmatch(part.strip()) for part in text.split(",")] if text else []
    if not all(found):
        raise LoadError(f"--slo {text}: must read like ttft=200ms,tpot=50ms")
    return {match[1]: float(match[2]) for match in found if match}
