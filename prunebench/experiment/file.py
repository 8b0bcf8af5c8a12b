"""The experiment file: one TOML that says what to prune, serve, load and measure.

    experiment = load_experiment(Path("experiments/demo.toml"))

Unknown keys are refused with the nearest known one; every message names the key to fix.
"""

from __future__ import annotations

import difflib
import json
import sysconfig
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from base.choices import OneOf
from base.errors import UserError
from base.records import Record
from loadgen import REQUEST_TIMEOUT_S
from loadgen.prompts.files import is_source, with_identity
from loadgen.workloads.base import Workload
from pruner.checkpoint.hub import find_source
from pruner.scoring.criteria import uncalibrated_choices
from pruner.scoring.selection import TieBreak
from pruner.scoring.targets import Target
from server.engines.registry import AUTO
from server.settings import EngineName

STDLIB_PREFIX = "stdlib:"


class ExperimentError(UserError):
    """The experiment file, or what it names, cannot be used; one line that names the key."""


class Model(Record):
    """Where the unpruned checkpoint is. A relative path is relative to the experiment file."""

    source: Path = Field(description="Folder of the unpruned checkpoint; `run --model` takes its place.")


class Prune(Record):
    """The widths to make. The source itself is always served too, as the baseline."""

    expansion_ratios: list[float] = Field(default=[], description="Target widths as width / hidden size.")
    pruning_percentages: list[float] = Field(
        default=[], description="Target widths as the share of the source's width to remove."
    )
    widths: list[int] = Field(default=[], description="Target widths themselves.")
    criterion: Annotated[str, OneOf(uncalibrated_choices)] = Field(
        default="maw", description="What ranks the neurons; the highest scores stay."
    )
    seed: int = Field(default=0, description="Seed of the `random` criterion.")
    multiple_of: int = Field(default=1, ge=1, description="Round each width to the nearest multiple of this.")
    tie_break: TieBreak = Field(
        default="stable", description="Which of equal scores stay: the lower index, or `torch.topk`'s set."
    )

    @model_validator(mode="after")
    def _something_to_prune(self) -> Prune:
        if not self.targets():
            raise ValueError("give expansion_ratios, pruning_percentages or widths")
        return self

    def targets(self) -> list[Target]:
        """In the order ratios, percentages, widths."""
        return [
            *(Target("ratio", r) for r in self.expansion_ratios),
            *(Target("percentage", p) for p in self.pruning_percentages),
            *(Target("width", w) for w in self.widths),
        ]


class Serve(Record):
    """How every configuration is served: the same engine and options for all."""

    engine: EngineName = Field(
        default=AUTO, description="What serves; `auto` is vLLM where it is installed with a GPU, else transformers."
    )
    options: dict[str, str] = Field(
        default={}, description="Options of the engine, as `serve --engine-option KEY=VALUE`."
    )
    keep_servers: bool = Field(
        default=False, description="Keep all configurations loaded side by side, if memory holds them."
    )
    start_timeout_s: float = Field(
        default=600,
        gt=0,
        description="Time from starting a server to its first healthy answer; a slower start fails the cell.",
    )


class Protocol(Record):
    """Repeats: every block visits every configuration once, in a balanced order."""

    blocks: int = Field(default=5, ge=1, description="Repeats; every block visits every configuration once.")
    cooldown_s: float = Field(default=0, ge=0, description="Rest before each trial, with its server idle.")
    steady_within: float = Field(
        default=0.05, gt=0, description="Warm up until the time per token changes by no more than this share;"
    )
    warmup_limit_s: float = Field(
        default=60, ge=0, description="or for this long. 0 sends the workload's `warmup_requests` and no more."
    )
    request_timeout_s: float = Field(
        default=REQUEST_TIMEOUT_S, gt=0, description="Time from sending a request to its end; a slower request fails."
    )


class EnergySettings(Record):
    """Which meter. Modelled energy needs its assumption stated; it never shares a column with measured energy."""

    source: str = Field(default="auto", description="`auto`, `none`, `local`, or the URL of a server with `/energy`.")
    modelled_watts_per_core: float | None = Field(
        default=None, gt=0, description="The assumption that modelled energy rests on; without it there is none."
    )
    idle_s: float = Field(
        default=30,
        ge=0,
        description="Idle power is measured for this long before a configuration's loads, and after them, over all blocks.",
    )


class QualitySettings(Record):
    """Held-out perplexity, over text files, and quality tasks of lm-eval; `stdlib:NAME` names a file of this Python's
    standard library. Perplexity is asked on a configuration's first visit, tasks after the last trial.
    """

    perplexity_files: list[str] = Field(
        default=[], description="Held-out texts; `stdlib:NAME` is a file of this Python's standard library."
    )
    context_tokens: int = Field(default=512, ge=8, description="Length of the windows into which each text is cut.")
    max_tokens: int = Field(default=16384, ge=8, description="Read at most this much of the texts.")
    tasks: list[str] = Field(
        default=[], description="As `evaluate --tasks`: `fragile-knowledge`, `offline`, `hellaswag`, `gsm8k:8` …"
    )
    include_paths: list[str] = Field(default=[], description="Folders with task files of your own.")
    limit: int | None = Field(default=None, ge=1, description="At most this many items a task; all without it.")
    concurrency: int = Field(default=32, ge=1, description="Prompts in flight.")


def _unique_names(workloads: list[Workload]) -> list[Workload]:
    workloads = [point for workload in workloads for point in workload.points()]
    names = [w.name for w in workloads]
    if len(set(names)) != len(names):
        raise ValueError("two workloads have the same name")
    return workloads


class Experiment(Record):
    """Everything `prunebench run` needs, every default written out; saved resolved in the run folder."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run folder.")
    seed: int = Field(default=0, description="Seed of the order, prompts, lengths and arrivals.")
    model: Model
    prune: Prune
    serve: Serve = Serve()
    protocol: Protocol = Protocol()
    energy: EnergySettings = EnergySettings()
    quality: QualitySettings | None = None
    workloads: Annotated[list[Workload], Field(min_length=1), AfterValidator(_unique_names)]


def load_experiment(path: Path, model: str | None = None) -> Experiment:
    """Read and check an experiment file; paths in it become absolute.

    `model`, a folder or a model on the Hugging Face hub, takes the place of `model.source`. Raises ExperimentError for a
    missing file, bad TOML, unknown or impossible values, and PruneError for a model that cannot be fetched.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ExperimentError(f"experiment file {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ExperimentError(f"experiment file {path} is not TOML: {error}") from None
    try:
        experiment = Experiment.model_validate(data)
    except ValidationError as error:
        raise ExperimentError(f"{path}: {_first_problem(error)}") from None
    source = (find_source(model) if model else path.parent / experiment.model.source).resolve()
    if not (source / "config.json").is_file():
        named = f"--model {model}" if model else f"{path}: model.source"
        raise ExperimentError(f"{named}: no checkpoint at {source} (it has no config.json)")
    workloads = [_resolve_files(workload, path) for workload in experiment.workloads]
    quality = experiment.quality and experiment.quality.model_copy(
        update={
            "perplexity_files": [_resolve_text(name, path) for name in experiment.quality.perplexity_files],
            "include_paths": [_resolve_folder(name, path) for name in experiment.quality.include_paths],
        }
    )
    return experiment.model_copy(update={"model": Model(source=source), "quality": quality, "workloads": workloads})


def experiment_schema() -> str:
    """The JSON Schema of an experiment file, for editors; it lies beside the shipped ones as experiment.schema.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def read_text(name: str) -> str:
    """The text behind one entry of `quality.perplexity_files`."""
    return text_path(name).read_text("utf-8", errors="replace")


def text_path(name: str) -> Path:
    """Where an entry of `quality.perplexity_files` is on this machine."""
    if name.startswith(STDLIB_PREFIX):
        return Path(sysconfig.get_paths()["stdlib"]) / name.removeprefix(STDLIB_PREFIX)
    return Path(name)


def _resolve_text(name: str, experiment_file: Path) -> str:
    resolved = name if name.startswith(STDLIB_PREFIX) else str((experiment_file.parent / name).resolve())
    if not text_path(resolved).is_file():
        raise ExperimentError(f"{experiment_file}: quality.perplexity_files: no file {name}")
    return resolved


def recorded_as(before: Experiment, now: Experiment) -> Experiment:
    """`before`, with the sha256 of `now`'s files where runs did not note any yet."""
    files = {workload.name: workload.file_sha256 for workload in now.workloads}
    workloads = [
        w if w.file_sha256 else w.model_copy(update={"file_sha256": files.get(w.name)}) for w in before.workloads
    ]
    return before.model_copy(update={"workloads": workloads})


def _resolve_files(workload: Workload, experiment_file: Path) -> Workload:
    """A trace or a file of prompts beside the experiment, by its absolute path."""
    found: dict[str, object] = {}
    if workload.trace_file is not None:
        found["trace"] = experiment_file.parent.resolve() / workload.trace_file
    if workload.prompts is not None and not is_source(workload.prompts):
        found["prompts"] = str(experiment_file.parent.resolve() / workload.prompts)
    for key, file in found.items():
        if not Path(str(file)).is_file():
            raise ExperimentError(f"{experiment_file}: workload {workload.name}: {key}: no file {file}")
    return with_identity(workload.model_copy(update=found))


def _resolve_folder(name: str, experiment_file: Path) -> str:
    resolved = (experiment_file.parent / name).resolve()
    if not resolved.is_dir():
        raise ExperimentError(f"{experiment_file}: quality.include_paths: no folder {name}")
    return str(resolved)


def _first_problem(error: ValidationError) -> str:
    """One line for the first thing pydantic found, with the nearest known key for an unknown one."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "experiment"
    if first["type"] == "extra_forbidden":
        known = _known_keys(first["loc"][:-1])
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
        return f"unknown key {where}{hint}"
    if first["type"] == "missing":
        return f"missing key {where}"
    message = first["msg"].removeprefix("Value error, ").replace("`", "")
    return f"{where}: {message}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The field names of the model at a pydantic error location."""
    sections: dict[str, type[Record]] = {
        "model": Model,
        "prune": Prune,
        "serve": Serve,
        "protocol": Protocol,
        "energy": EnergySettings,
        "quality": QualitySettings,
    }
    if location and location[0] == "workloads":
        return Workload.known_keys()
    model = sections[str(location[0])] if location else Experiment
    return list(model.model_fields)
