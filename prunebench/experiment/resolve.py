"""Reading an experiment file.

    experiment = load_experiment(Path("experiments/demo.toml"))

Unknown keys are refused with the nearest known one; every message names the key to fix.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from base.paths import expand
from base.records import Record
from loadgen.prompts.files import is_source, with_identity
from loadgen.workloads.base import Workload
from prunebench.experiment.file import Experiment, ExperimentError, Model
from prunebench.experiment.texts import STDLIB_PREFIX, text_path
from pruner.checkpoint.hub import find_source


def load_experiment(path: Path, model: str | None = None, *, fetch: bool = True) -> Experiment:
    """Read and check an experiment file; paths in it become absolute.

    `model`, a folder or a model on the Hugging Face hub, takes the place of `model.source`; without `fetch` nothing is
    downloaded. Raises ExperimentError for a missing file, bad TOML, unknown or impossible values, and PruneError for a model that
    cannot be fetched.
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
    source = find_source(
        model or f"{experiment.model.source}", beside=Path() if model else path.parent, fetch=fetch
    ).resolve()
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


def _beside(experiment_file: Path, name: str | Path) -> Path:
    """The absolute path of a file or folder that an experiment file names."""
    return experiment_file.parent.resolve() / expand(name)


def _resolve_text(name: str, experiment_file: Path) -> str:
    resolved = name if name.startswith(STDLIB_PREFIX) else str(_beside(experiment_file, name).resolve())
    if not text_path(resolved).is_file():
        raise ExperimentError(f"{experiment_file}: quality.perplexity_files: no file {name}")
    return resolved


def _resolve_files(workload: Workload, experiment_file: Path) -> Workload:
    """A trace or a file of prompts beside the experiment, by its absolute path."""
    found: dict[str, object] = {}
    if workload.trace_file is not None:
        found["trace"] = _beside(experiment_file, workload.trace_file)
    if workload.prompts is not None and not is_source(workload.prompts):
        found["prompts"] = str(_beside(experiment_file, workload.prompts))
    for key, file in found.items():
        if not Path(str(file)).is_file():
            raise ExperimentError(f"{experiment_file}: workload {workload.name}: {key}: no file {file}")
    return with_identity(workload.model_copy(update=found))


def _resolve_folder(name: str, experiment_file: Path) -> str:
    resolved = _beside(experiment_file, name).resolve()
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
    if not location:
        return list(Experiment.model_fields)
    if location[0] == "workloads":
        return Workload.known_keys()
    section = Experiment.model_fields[str(location[0])].annotation  # a record, or one of them or None
    (model,) = (kind for kind in (section, *get_args(section)) if isinstance(kind, type) and issubclass(kind, Record))
    return list(model.model_fields)
