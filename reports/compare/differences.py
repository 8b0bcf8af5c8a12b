"""Differences between two runs: machine, packages, engine, checkpoints, protocol. Each of them affects the ratios between the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from base.records import Record
from loadgen.workloads.base import Workload
from loadgen.workloads.mix import MixLoad
from loadgen.workloads.mix_part import MixPart
from reports.analysis.records import Analysis
from reports.document.wording import name
from reports.runs.records.configuration import ConfigurationInfo

_PATHS = {"trace", "lengths", "prompts"}  # of a load's files


class Difference(Record):
    """One fact that differs; None: absent."""

    what: str
    before: str | None
    after: str | None


def find_differences(
    before: Analysis, after: Analysis, pairs: Sequence[tuple[ConfigurationInfo, ConfigurationInfo]]
) -> list[Difference]:
    """Machine, versions, run, configurations, in this order; a difference that all configurations share is listed once."""
    found = between_environments(before.environment, after.environment)
    found += _between(_run_facts(before), _run_facts(after))
    for one, other in pairs:
        found += _between(_served(one), _served(other))
    widths = [
        Difference(what=f"{name(one)}: {d.what}", before=d.before, after=d.after)
        for one, other in pairs
        for d in _between(_checkpoint(one), _checkpoint(other))
    ]
    return list(dict.fromkeys(found)) + widths


def between_environments(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The facts of the environments that differ."""
    return _between(_flat(before), _flat(after))


def workload_differences(before: Workload, after: Workload) -> str:
    """The settings that differ, in words; empty if the loads are equal.

    Files are equal if their contents are, where both runs recorded the hash; their paths then do not matter.
    """
    old, new = _settings(before, after), _settings(after, before)
    return ", ".join(f"{key} {old.get(key)} and {new.get(key)}" for key in old | new if old.get(key) != new.get(key))


def _settings(one: Workload | MixPart, other: Workload | MixPart) -> dict[str, Any]:
    """Those of a load or a part, with which file it is by content where both say that."""
    found = one.model_dump(exclude=_PATHS if one.file_sha256 and other.file_sha256 else {"file_sha256"})
    if isinstance(one, MixLoad) and isinstance(other, MixLoad) and len(one.parts) == len(other.parts):
        found["parts"] = [_settings(part, its) for part, its in zip(one.parts, other.parts, strict=True)]
    return found


def _between(old: dict[str, str], new: dict[str, str]) -> list[Difference]:
    return [
        Difference(what=what, before=old.get(what), after=new.get(what))
        for what in old | new
        if old.get(what) != new.get(what)
    ]


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested facts under dotted names, without unknown values."""
    flat: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[f"{prefix}{key}"] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return flat


def _run_facts(analysis: Analysis) -> dict[str, str]:
    info = analysis.info
    facts = {"blocks": str(info.blocks), "seed": str(info.seed), "status": info.status}
    return facts | ({"number of blocks": "decided by results"} if info.looks else {})


def _served(info: ConfigurationInfo) -> dict[str, str]:
    facts = {"engine": info.engine, "engine version": info.engine_version, "data type": info.dtype}
    options = {f"engine option {key}": value for key, value in info.engine_options.items()}
    return {key: value for key, value in (facts | options).items() if value is not None}


def _checkpoint(info: ConfigurationInfo) -> dict[str, str]:
    """The checkpoint: two of one width may be pruned from different sources or by different criteria."""
    facts = {"parameters": str(info.parameters)}
    if manifest := info.manifest:
        text = manifest.calibration
        facts |= {"criterion": manifest.criterion, "tie break": manifest.tie_break}
        facts |= {"refit": text.refit or "none", "calibration text": text.sha256[:12]} if text else {}
        gone = ", ".join(str(one.layer) for one in manifest.removed_layers)
        facts |= {"removed layers": gone} if gone else {}
        facts |= {f"source {file.name}": file.sha256[:12] for file in manifest.source_files}
    return facts
