"""One trial of `prunebench load`, by the native driver or by Locust, written to its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from energy.carbon import Intensity
from loadgen.endpoint import Endpoint
from loadgen.energy.source import EnergySource
from loadgen.link.interrupt import Interrupt
from loadgen.locust.processes import LocustSettings
from loadgen.locust.shared_load import SharedLoad
from loadgen.locust.trial import run_locust
from loadgen.prompts.base import Prompts
from loadgen.prompts.files import file_prompts, workload_prompts
from loadgen.prompts.sessions import FileSessions
from loadgen.prompts.tokens import check_served_tokenizer, count_tokens, read_tokenizer, served_tokens
from loadgen.records.schema import Flag
from loadgen.results.recorder import has_records, where_kept
from loadgen.results.result import TrialResult
from loadgen.results.store import write_trial
from loadgen.trial import run_trial
from loadgen.workloads.base import Workload
from prunebench.terminal.console import err, print_line
from prunebench.terminal.live import LiveView
from reports.checks.findings import check_trial


@dataclass(frozen=True)
class TrialRunner:
    """A server that has been checked, and how it is loaded and metered."""

    endpoint: Endpoint
    energy: EnergySource
    output: Path  # of the whole command; the records under way are kept beside it
    tokenizer: Path | None  # None: ask the server
    locust: LocustSettings | None = None  # None: the native driver
    processes: int = 1  # of the native driver
    engine: str | None = None  # as the server calls it
    intensity: Intensity | None = None  # of the grid, where it was stated

    def run(
        self, workload: Workload, seed: int, folder: Path, interrupt: Interrupt | None = None
    ) -> tuple[TrialResult, list[Flag]]:
        """Measure one trial and write it; with `interrupt`, after Ctrl-C too. Returns it with what its checks found."""
        prompts = self._prompts(workload, seed)
        if self.locust is not None:
            shared = self._shared_load(workload, seed, self.locust.workers)
            result = run_locust(self.endpoint, shared, prompts, self.locust, energy=self.energy, interrupt=interrupt)
            return self._write(result, folder)
        kept = _records_file(self.output)
        with LiveView(err, workload, self.energy) as view, _naming(kept):
            result = run_trial(
                self.endpoint,
                workload,
                prompts,
                seed=seed,
                energy=self.energy,
                processes=self.processes,
                keep=kept,
                count_tokens=count_tokens(self.tokenizer) if self.tokenizer else None,
                watcher=view,
                interrupt=interrupt,
            )
            written = self._write(result, folder)
        kept.unlink()
        return written

    def _prompts(self, workload: Workload, seed: int) -> Prompts:
        """The user's texts, or made up of words, by --tokenizer or by the server's own /tokenize."""
        return workload_prompts(workload, seed, lambda: self._tokens)

    @cached_property
    def _tokens(self) -> Tokenizer | Sequence[int]:
        """Of the server: --tokenizer, which must be its own, or those that it gives for ordinary words."""
        if self.tokenizer is None:
            return served_tokens(self.endpoint)
        tokenizer = read_tokenizer(self.tokenizer)
        check_served_tokenizer(self.endpoint, tokenizer)
        return tokenizer

    def _write(self, result: TrialResult, folder: Path) -> tuple[TrialResult, list[Flag]]:
        """Check it and write it with the engine's name, and with carbon where its intensity was stated."""
        trial = result.trial.model_copy(update={"engine": self.engine})
        result = replace(result, trial=trial.with_carbon(self.intensity))
        flags = check_trial(result.trial, result.metrics)
        write_trial(folder, result, flags)
        return result, flags

    def _shared_load(self, workload: Workload, seed: int, workers: int) -> SharedLoad:
        """The trial for Locust's workers, which may be on other machines: the source of the prompts is part of it."""
        texts = [_own_texts(one, workload.seed_of(seed, part)) for part, one in enumerate(workload.alone)]
        tokens: str | list[int] | None = None
        if workload.prompt_as != "words" and None in texts:
            tokens = self._tokens.to_str() if isinstance(self._tokens, Tokenizer) else list(self._tokens)
        return SharedLoad(
            url=self.endpoint.url,
            model=self.endpoint.model,
            timeout_s=self.endpoint.timeout_s,
            idle_timeout_s=self.endpoint.idle_timeout_s,
            headers=[name for name, _ in self.endpoint.headers],
            workload=workload,
            seed=seed,
            workers=workers,
            tokens=tokens,
            texts=texts,
        )


def _own_texts(workload: Workload, seed: int) -> list[Any] | None:
    """The user's prompts or chats; None where they are synthetic."""
    if workload.prompts is None:
        return None
    own = file_prompts(workload, seed)
    return list(own.chats if isinstance(own, FileSessions) else own.texts)


def _records_file(output: Path) -> Path:
    """Beside the output folder: the records of requests as they end, removed when the trial is whole."""
    output.absolute().parent.mkdir(parents=True, exist_ok=True)
    return output.with_name(f"{output.name}.records.arrows")


@contextlib.contextmanager
def _naming(kept: Path) -> Iterator[None]:
    """Name the file of records if the trial is cut short."""
    try:
        yield
    except BaseException:
        if kept.exists():
            print_line(where_kept(kept), err)
            if not has_records(kept):
                kept.unlink()
        raise
