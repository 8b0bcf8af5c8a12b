"""Reading an experiment file.

    experiment = load_experiment(Path("experiments/demo.toml"))

Unknown keys are refused with the nearest known one; every message names the line and the key to fix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from base.choices import nearest
from base.paths import expand
from base.records import Record
from energy.carbon import CarbonError
from loadgen.prompts.datasets import Dataset
from loadgen.prompts.files import is_source, with_identity
from loadgen.workloads.base import Workload
from loadgen.workloads.fields.body import names_a_file
from loadgen.workloads.mix import MixLoad
from loadgen.workloads.mix_part import MixPart
from prunebench.experiment.file import Experiment, ExperimentError, Model
from prunebench.experiment.tables.configuration import Configuration
from prunebench.experiment.tables.energy import EnergySettings
from prunebench.experiment.texts import STDLIB_PREFIX, text_path
from prunebench.experiment.toml_text import Location, TomlText
from pruner.checkpoint.hub import find_source

_JSON_OR_FILE = ("body", "parts")  # keys of a workload


def load_experiment(given: Path | TomlText, model: str | None = None, *, fetch: bool = True) -> Experiment:
    """Read and check an experiment file; paths in it become absolute.

    `model`, a folder or a model on the Hugging Face hub, takes the place of `model.source`; without `fetch` nothing is
    downloaded. Raises ExperimentError for a missing file, bad TOML, unknown or impossible values, and PruneError for a model that
    cannot be fetched.
    """
    file = given if isinstance(given, TomlText) else TomlText.read(given)
    try:
        experiment = Experiment.model_validate(_with_named_json(file))
    except ValidationError as error:
        raise _first_problem(file, error) from None
    if model and experiment.model is None:
        raise ExperimentError(f"--model {model}: {file.path} has no [model] that it could take the place of")
    workloads = [_resolve_files(workload, file) for workload in experiment.workloads]
    quality = experiment.quality and experiment.quality.model_copy(
        update={
            "perplexity_files": [_resolve_text(name, file) for name in experiment.quality.perplexity_files],
            "include_paths": [_resolve_folder(name, file) for name in experiment.quality.include_paths],
        }
    )
    prune = experiment.prune and experiment.prune.model_copy(
        update={"calibration": [_resolve_calibration(name, file) for name in experiment.prune.calibration]}
    )
    return experiment.model_copy(
        update={
            "model": experiment.model and _resolve_model(model, experiment.model, file, fetch=fetch),
            "prune": prune,
            "energy": _resolve_energy(experiment.energy, file),
            "configurations": [_resolve_served(n, one, file) for n, one in enumerate(experiment.configurations)],
            "quality": quality,
            "workloads": workloads,
        }
    )


def _resolve_model(instead: str | None, model: Model, file: TomlText, *, fetch: bool) -> Model:
    source = find_source(instead or f"{model.source}", beside=Path() if instead else file.path.parent, fetch=fetch)
    source = source.resolve()
    if not (source / "config.json").is_file():
        problem = f"no checkpoint at {source} (it has no config.json)"
        raise ExperimentError(f"--model {instead}: {problem}") if instead else file.error(("model", "source"), problem)
    return Model(source=source)


def _resolve_served(number: int, one: Configuration, file: TomlText) -> Configuration:
    """A configuration with its checkpoint and key file by their absolute paths. Nothing is downloaded."""
    found: dict[str, object] = {}
    if one.checkpoint is not None:
        folder = find_source(one.checkpoint, beside=file.path.parent, fetch=False).resolve()
        if not (folder / "config.json").is_file():
            problem = f"no checkpoint at {folder} (it has no config.json)"
            raise file.error(("configurations", number, "checkpoint"), problem)
        found["checkpoint"] = f"{folder}"
    if one.api_key_file is not None:
        found["api_key_file"] = _beside(file.path, one.api_key_file).resolve()
    return one.model_copy(update=found)


def _beside(experiment_file: Path, name: str | Path) -> Path:
    """The absolute path of a file or folder that an experiment file names."""
    return experiment_file.parent.resolve() / expand(name)


def _resolve_energy(energy: EnergySettings, file: TomlText) -> EnergySettings:
    found = energy
    if isinstance(energy.carbon, Path):
        found = energy.model_copy(update={"carbon": _beside(file.path, energy.carbon).resolve()})
    try:
        found.intensity()
    except CarbonError as error:
        raise file.error(("energy", "carbon"), f"{error}".removeprefix("energy.carbon ")) from None
    return found


def _resolve_calibration(name: Path, file: TomlText) -> Path:
    resolved = _beside(file.path, name).resolve()
    if not resolved.is_file():
        raise file.error(("prune", "calibration"), f"no file {name}")
    return resolved


def _resolve_text(name: str, file: TomlText) -> str:
    resolved = name if name.startswith(STDLIB_PREFIX) else str(_beside(file.path, name).resolve())
    if not text_path(resolved).is_file():
        raise file.error(("quality", "perplexity_files"), f"no file {name}")
    return resolved


def _with_named_json(file: TomlText) -> dict[str, Any]:
    """What the file says, with the files that `body` and `parts` of its workloads name by their absolute paths."""
    workloads = file.data.get("workloads")
    if not isinstance(workloads, list):
        return file.data
    return file.data | {"workloads": [_with_json_beside(file.path, given) for given in workloads]}


def _with_json_beside(experiment_file: Path, given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    named = {key: name for key in _JSON_OR_FILE if names_a_file(name := given.get(key))}
    return given | {key: str(_beside(experiment_file, name)) for key, name in named.items()}


def _resolve_files(workload: Workload, file: TomlText) -> Workload:
    """A workload's files beside the experiment, by their absolute paths; those of a mix's parts too."""
    place: Location = ("workloads", _place_of(workload, file))
    named: dict[str, Path] = dict(workload.files)
    if workload.prompts is not None:
        named["prompts"] = Path(workload.prompts)
    found: dict[str, object] = _beside_experiment(named, file, place)
    if isinstance(workload, MixLoad):
        found["parts"] = [
            part.model_copy(update=_beside_experiment(part.files, file, (*place, "parts", number)))
            for number, part in enumerate(workload.parts)
        ]
    return with_identity(workload.model_copy(update=found))


def _beside_experiment(named: Mapping[str, Path], file: TomlText, place: Location) -> dict[str, object]:
    """Files by field, resolved; a source of prompts stays as it is. Raises ExperimentError for one that is not there."""
    found: dict[str, object] = {}
    for key, name in named.items():
        if key == "prompts" and is_source(str(name)):
            continue
        resolved = _beside(file.path, name)
        if not (resolved.is_file() or (key == "prompts" and Dataset.is_one(resolved))):
            raise file.error((*place, key), f"no file {resolved}")
        found[key] = str(resolved) if key == "prompts" else resolved
    return found


def _resolve_folder(name: str, file: TomlText) -> str:
    resolved = _beside(file.path, name).resolve()
    if not resolved.is_dir():
        raise file.error(("quality", "include_paths"), f"no folder {name}")
    return str(resolved)


def _place_of(workload: Workload, file: TomlText) -> int:
    """Its place in the file's list; a point of a sweep has its sweep's."""
    names = [given["name"] for given in file.data["workloads"]]
    return names.index(getattr(workload, "sweep", None) or workload.name)


def _first_problem(file: TomlText, error: ValidationError) -> ExperimentError:
    """One line for the first thing pydantic found, with the nearest known key for an unknown one."""
    first = error.errors()[0]
    location: Location = first["loc"]
    if first["type"] == "extra_forbidden":
        return file.error(location, f"unknown key; {nearest(str(location[-1]), _known_keys(first['loc'][:-1]))}")
    if first["type"] == "missing":
        return file.error(location, "missing key")
    location = file.present(location)
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict) and (key := re.search(r"`(\w+)`", message)) and key[1] in first["input"]:
        location = [*location, key[1]]
        message = message.removeprefix(f"`{key[1]}`: ")
    return file.error(location, message.replace("`", ""))


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """The field names of the model at a pydantic error location."""
    if not location:
        return list(Experiment.model_fields)
    if location[0] == "workloads":
        return list(MixPart.model_fields) if "parts" in location else Workload.known_keys()
    section = Experiment.model_fields[str(location[0])].annotation  # a record, a list of one, or one of them or None
    (model,) = (kind for kind in (section, *get_args(section)) if _is_record(kind))
    return list(model.model_fields)


def _is_record(kind: object) -> bool:
    return isinstance(kind, type) and not get_args(kind) and issubclass(kind, Record)
