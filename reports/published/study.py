"""The published study as a table: quality and efficiency per width, the claims of its versions, and, from `--data`, its raw runs.

The shipped `study.json` has facts and figures with their source. A folder of raw data adds `llama-3.2-efficiency-runs.csv`, one row
per run, and may replace the shipped quality figures by `llama-3.2-width-pruning.json`.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from base.records import Record
from reports.errors import ReportError

TABLE, RUNS = "llama-3.2-width-pruning.json", "llama-3.2-efficiency-runs.csv"
_SHIPPED = Path(__file__).with_name("study.json")


class _Row(Record):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Configuration(_Row):
    """One width of one model. `quality` has one evaluation a metric, None where there was none."""

    intermediate_size: int
    pruning_percentage: float
    expansion_ratio: float
    parameters_millions: float
    quality: dict[str, float | None]


class StudyModel(_Row):
    """A model at its widths, widest first: the unpruned one is the baseline."""

    model: str
    hidden_size: int
    base_intermediate_size: int
    configurations: list[Configuration] = Field(min_length=1)

    @field_validator("configurations")
    @classmethod
    def _widest_first(cls, found: list[Configuration]) -> list[Configuration]:
        return sorted(found, key=lambda c: -c.intermediate_size)

    def metric(self, name: str) -> list[float | None]:
        """A metric by width."""
        return [c.quality.get(name) for c in self.configurations]


class Version(_Row):
    """A version of the paper or the repository, and where its claims can be read; `date` is None where it is not known."""

    id: str
    kind: Literal["paper", "repository"]
    date: str | None = None
    criterion: str  # its name for the score by which neurons were chosen
    source: str
    copies: list[str] = []  # addresses


class Claim(_Row):
    """A claim of the study, with its figures. `stated`: by the id of each version that makes it, how it does."""

    id: str
    says: str
    figures: dict[str, float] = {}
    model: str | None = None
    widths: dict[str, int] = {}  # by model, where the claim is about one width of each
    stated: dict[str, str] = {}


class Run(_Row):
    """One run, or the mean of those that the authors kept (`run` 0). Units are in the names; "claimed" kWh are kWh by name only.

    `kept`: whether it is in the published mean. `latency_ms` is of a whole generation (batch 1) or a whole batch.
    """

    model: str
    width: int
    workload: str
    batch_size: int
    num_prompts: int
    run: int = 0
    kept: bool = True
    runs_kept: int = 1
    runs_made: int = 1
    new_tokens: float
    tokens_per_s: float
    joules_per_token: float  # as claimed
    latency_ms: float | None = None
    window_s: float | None = None
    loop_s: float | None = None
    raw_claimed_kwh: float | None = None
    idle_claimed_kwh: float | None = None
    net_claimed_kwh: float | None = None
    total_kwh: float | None = None  # the tracker's own counters
    cpu_kwh: float | None = None
    gpu_kwh: float | None = None
    ram_kwh: float | None = None
    temperature_c: float | None = None

    @property
    def tokens_per_prompt(self) -> float:
        """Output tokens over all prompts of the run, warm-up among them."""
        return self.new_tokens / self.num_prompts


class Study(_Row):
    """All data of the study. `raw`: whether `runs` are single runs rather than published means."""

    source: dict[str, Any]
    hardware: dict[str, Any]
    items: dict[str, int]  # number of questions of a task
    chance: dict[str, float]  # score of guessing among a task's choices
    versions: list[Version]
    remarks: list[str]  # on the versions
    files: dict[str, str]  # by model, the repository's file of its quality
    claims: list[Claim]
    models: list[StudyModel]
    runs: list[Run]
    raw: bool

    def cells(self) -> dict[tuple[str, str], dict[int, list[Run]]]:
        """(model, workload) -> width -> runs, widths from the widest."""
        found: dict[tuple[str, str], dict[int, list[Run]]] = {}
        for run in sorted(self.runs, key=lambda r: -r.width):
            found.setdefault((run.model, run.workload), {}).setdefault(run.width, []).append(run)
        order = list(dict.fromkeys((r.model, r.workload) for r in self.runs))
        return {key: found[key] for key in order}


def load_study(data: Path | None = None) -> Study:
    """The shipped table, with the raw runs of folder `data` if given. Raises ReportError naming the file that cannot be read."""
    table = json.loads(_SHIPPED.read_text("utf-8"))
    raw = data is not None
    if data is not None:
        if not data.is_dir():
            raise ReportError(f"--data {data}: there is no such folder")
        if not (data / RUNS).is_file():
            raise ReportError(f"--data {data}: it has no {RUNS}")
        if (data / TABLE).is_file():
            table |= _own_table(data / TABLE)
    try:
        runs = _read_runs(data / RUNS) if data is not None else table["efficiency"]
        study = Study.model_validate(table | {"runs": runs, "raw": raw})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"--data {data}: {where}: {first['msg']}") from None
    for key, widths in study.cells().items():
        if len(widths) < 2:
            raise ReportError(f"--data {data}: {RUNS}: {' '.join(key)} has a single width, so nothing to compare with")
        for width, runs in widths.items():
            if len({run.run for run in runs}) < len(runs):
                raise ReportError(
                    f"--data {data}: {RUNS}: {' '.join(key)} at {width} has two runs with the same number"
                )
    return study


def _own_table(path: Path) -> dict[str, Any]:
    try:
        own = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"{path}: it cannot be read as JSON: {error}") from None
    if not isinstance(own, dict) or not isinstance(own.get("models"), list):
        raise ReportError(f'{path}: it has no list "models"')
    return {key: own[key] for key in ("source", "hardware", "models") if key in own}


def _read_runs(path: Path) -> list[Run]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = sorted(set(_COLUMNS.values()) - set(reader.fieldnames or []))
            if missing:
                raise ReportError(f"{path}: column {missing[0]} is missing")
            return [_run(row, f"{path}: line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReportError(f"{path}: it cannot be read: {error}") from None


def _run(row: dict[str, str], where: str) -> Run:
    """A run from a row of the CSV file; an empty field was not recorded. Raises ReportError naming line and column."""
    values: dict[str, Any] = {key: row[column] or None for key, column in _COLUMNS.items()}
    values["latency_ms"] = row.get("ttlt_ms") or row.get("batch_time_ms") or None
    present = {key: value for key, value in values.items() if value is not None}
    try:
        run = Run.model_validate(present)
    except ValidationError as error:
        first = error.errors()[0]
        column = _COLUMNS.get(str(first["loc"][0]), str(first["loc"][0]))
        raise ReportError(f"{where}: {column}: {first['msg']}") from None
    if min(run.new_tokens, run.num_prompts, run.tokens_per_s, run.joules_per_token) <= 0:
        raise ReportError(f"{where}: tokens, prompts, tokens/s and joules per token must be above 0")
    return run


_COLUMNS = {
    "model": "model",
    "width": "intermediate_size",
    "workload": "workload",
    "batch_size": "batch_size",
    "num_prompts": "num_prompts",
    "run": "run",
    "kept": "used_in_published_mean",
    "new_tokens": "total_new_tokens",
    "tokens_per_s": "throughput_tok_s",
    "joules_per_token": "published_joules_per_token",
    "window_s": "inference_duration_s",
    "loop_s": "total_loop_time_s",
    "raw_claimed_kwh": "published_energy_raw_claimed_kwh",
    "idle_claimed_kwh": "published_energy_idle_claimed_kwh",
    "net_claimed_kwh": "published_energy_net_claimed_kwh",
    "total_kwh": "codecarbon_total_energy_kwh",
    "cpu_kwh": "codecarbon_cpu_energy_kwh",
    "gpu_kwh": "codecarbon_gpu_energy_kwh",
    "ram_kwh": "codecarbon_ram_energy_kwh_derived",
    "temperature_c": "gpu_temperature_c",
}
