"""Many runs at a glance: a row for each, and those that can be compared in one picture.

Runs are comparable whose baselines are alike: the same checkpoint, engine and settings on the same machine. In a group a picture has
the ratios under one workload, with the same settings in each run; every ratio is to the baseline of its own run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.analysis.family import FamilyComparison
from reports.analysis.records import Analysis
from reports.decision.advice import advice
from reports.document.wording import SIMULATED, engine, name
from reports.runs.records.configuration import ConfigurationInfo

_UNKNOWN = "unknown"
Shared = tuple[str, ...]  # machine, model, engine and settings


@dataclass(frozen=True)
class Row:
    """One run."""

    analysis: Analysis
    page: str | None  # its report, relative to the index; None: it has none

    @property
    def title(self) -> str:
        """The name of its folder."""
        return self.analysis.folder

    @property
    def baseline(self) -> ConfigurationInfo | None:
        """Where it was started."""
        found = self.analysis.baseline
        return found.info if found else None

    @property
    def machine(self) -> str:
        """GPUs where any were metered, and the processor."""
        idles = [c.info.idle for c in self.analysis.configurations if c.info.idle]
        gpus = {part.info.name for idle in idles for part in idle.parts if part.info.domain == "gpu" and part.info.name}
        processor = self.analysis.environment.get("processor") or _UNKNOWN
        return ", ".join([*sorted(gpus), processor])

    @property
    def model(self) -> str:
        """What was pruned, else what the baseline's server calls its model."""
        sources = (c.info.manifest.source_id for c in self.analysis.configurations if c.info.manifest)
        own = self.baseline
        named = own and (own.served_model or own.model or (own.checkpoint and Path(own.checkpoint).name))
        return next(sources, None) or named or _UNKNOWN

    @property
    def engine(self) -> str:
        """The baseline's."""
        return engine(self.baseline) if self.baseline else _UNKNOWN

    @property
    def treatments(self) -> list[str]:
        """The kinds of what was done to the baseline: width, layers, options.KEY …"""
        others = [c.info for c in self.analysis.configurations if not c.info.is_baseline]
        kinds = dict.fromkeys(kind for info in others for kind in (info.treatment or _treatment_before(info)))
        return list(kinds)

    @property
    def status(self) -> str:
        """With what is simulated."""
        return self.analysis.info.status + (f", {SIMULATED}" if self.analysis.simulated else "")

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The advice: purpose and choice."""
        return [(answer.topic, answer.choice or " ".join(answer.sentences)) for answer in advice(self.analysis)]

    @property
    def shared(self) -> Shared:
        """What comparable runs have in common."""
        own = self.baseline
        files = [f"{file.name} {file.sha256}" for file in self.analysis.info.checkpoint]
        identity = "\n".join(files) or self.model
        settings = {} if own is None else {"options": own.engine_options, "dtype": own.dtype, "server": own.url}
        return (
            self.machine,
            identity,
            self.engine,
            json.dumps(settings, sort_keys=True),
            SIMULATED if self.analysis.simulated else "measured",
        )


def _treatment_before(info: ConfigurationInfo) -> list[str]:
    """Of a run that did not record it."""
    return ["width"] if info.pruned_alone and info.width is not None else []


@dataclass(frozen=True)
class Compared:
    """Ratios of several runs under one workload, each with the name of its run."""

    workload: str
    quantity: str
    ratios: Sequence[tuple[Row, str, FamilyComparison]]  # with the configuration's name


@dataclass(frozen=True)
class Group:
    """Comparable runs, two or more."""

    rows: Sequence[Row]

    @property
    def words(self) -> str:
        """What they have in common."""
        first = self.rows[0]
        return f"{first.model} on {first.machine}, baseline served by {first.engine}"

    def compared(self) -> list[Compared]:
        """What more than one run measured."""
        found: dict[tuple[str, str, str], list[tuple[Row, str, FamilyComparison]]] = {}
        for row in self.rows:
            names = {c.info.label: name(c.info) for c in row.analysis.configurations}
            for one in row.analysis.family:
                if one.comparison.low is not None:
                    load = row.analysis.workloads[one.workload].model_dump_json(exclude={"name", "trace", "prompts"})
                    found.setdefault((one.purpose, load, one.quantity), []).append((row, names[one.label], one))
        return [
            Compared(own[0][2].workload, quantity, own)
            for (_, _, quantity), own in found.items()
            if len({id(row) for row, _, _ in own}) > 1
        ]


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """The largest first."""
    found: dict[Shared, list[Row]] = {}
    for row in rows:
        found.setdefault(row.shared, []).append(row)
    return [Group(own) for own in sorted(found.values(), key=len, reverse=True) if len(own) > 1]
