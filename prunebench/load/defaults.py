"""What `prunebench load URL` does without further options: which folder, which loads, and prompts without a tokenizer."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from loadgen.endpoint import Endpoint, LoadError
from loadgen.prompts.tokens import served_tokens
from loadgen.workloads.base import Workload
from prunebench.load.workload_options import describe_workload

CONCURRENCIES = (1, 8)
DURATION_S = 30.0
RUNS = Path("runs")


def default_loads(slo: str | None) -> list[Workload]:
    """One user, then several: what a request costs, and what the server does for many."""
    options = {"duration_s": DURATION_S}
    loads = [describe_workload("concurrency", options | {"concurrency": number}, slo) for number in CONCURRENCIES]
    return [load.model_copy(update={"name": f"concurrency-{load.in_flight}"}) for load in loads]


@contextlib.contextmanager
def output_folder(given: Path | None) -> Iterator[Path]:
    """`--output`, or runs/load-DATE[-N], which is created at once, so that two loads never share it, and goes if nothing is written.

    Raises LoadError for an `--output` that holds something.
    """
    if given is not None:
        if given.exists() and (not given.is_dir() or any(given.iterdir())):
            raise LoadError(f"--output {given}: is not an empty folder")
        yield given
        return
    folder = _new_folder()
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # they hold something
            folder.rmdir()
            RUNS.rmdir()


def _new_folder() -> Path:
    RUNS.mkdir(exist_ok=True)
    day = f"load-{datetime.now(UTC):%Y%m%d}"
    for number in itertools.count(1):
        folder = RUNS / (day if number == 1 else f"{day}-{number}")
        if not folder.with_name(f"{folder.name}.records.arrows").exists():  # of a load that was killed
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                return folder
    raise AssertionError


def with_countable_prompts(loads: list[Workload], endpoint: Endpoint) -> tuple[list[Workload], list[str]]:
    """The loads, with prompt lengths in words where the server does not tokenize, and a note about that."""
    if not any(load.is_synthetic for load in loads):
        return loads, []
    why = "chats are text" if any(load.prompt_as == "text" for load in loads) else None
    try:
        if why is None:
            served_tokens(endpoint)
            return loads, []
    except LoadError:
        why = f"{endpoint.url} does not tokenize"
    note = f"{why}, and there is no --tokenizer: prompt lengths in words"
    return [load.model_copy(update={"prompt_as": "words"}) for load in loads], [note]
