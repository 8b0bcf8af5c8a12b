"""What a page of many runs shows of one: from its analysis, or from the `index.json` of a run that is kept without its trials."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from base.records import Record
from reports.analysis.family import Purpose
from reports.analysis.records import Analysis
from reports.decision.advice import advice
from reports.document.wording import SIMULATED, engine, name
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.run_folder import RunFolder, read_record
from reports.statistics.ratios import Comparison

FILE = "index.json"
_UNKNOWN = "unknown"
Shared = tuple[str, ...]  # machine, model, engine, settings, and whether figures are simulated


class SummaryRatio(Record):
    """One of the comparisons behind the advice."""

    purpose: Purpose
    workload: str
    quantity: str  # its key
    configuration: str  # its name in a sentence
    comparison: Comparison


class RunSummary(Record):
    """One run in a row."""

    schema_version: Literal[1] = 1
    created_at: str  # ISO 8601 UTC
    status: str
    simulated: bool
    blocks: int
    margin: float  # of the verdicts, a share
    machine: str  # GPUs where any were metered, and the processor
    model: str  # what was pruned, else what the baseline's server calls its model
    engine: str  # the baseline's
    treatments: list[str]  # kinds of what was done to the baseline: width, layers, options.KEY …
    advice: list[tuple[str, str]] | None  # purpose and choice
    advice_reason: str | None = None  # why there is none
    shared: (
        Shared | None
    )  # what comparable runs have in common; None: no baseline was started, so that nothing compares
    loads: dict[str, str]  # workload -> its settings as JSON, without name and files: equal where the loads were
    ratios: list[SummaryRatio] | None
    ratios_reason: str | None = None  # why there are none


def summarize(analysis: Analysis) -> RunSummary:
    """The row of an analysed run."""
    baseline = analysis.baseline.info if analysis.baseline else None
    machine, model = _machine(analysis), _model(analysis, baseline)
    own = engine(baseline) if baseline else _UNKNOWN
    named = {c.info.label: name(c.info) for c in analysis.configurations}
    choices = [(answer.topic, answer.choice or " ".join(answer.sentences)) for answer in advice(analysis)]
    return RunSummary(
        created_at=analysis.info.created_at,
        status=analysis.info.status,
        simulated=analysis.simulated,
        blocks=analysis.info.blocks,
        margin=analysis.margin,
        machine=machine,
        model=model,
        engine=own,
        treatments=_treatments(analysis),
        advice=choices or None,
        advice_reason=None if choices else "nothing was compared",
        shared=None
        if baseline is None
        else (machine, _identity(analysis) or model, own, *_settings(analysis, baseline)),
        loads={
            workload: load.model_dump_json(exclude={"name", "trace", "prompts"})
            for workload, load in analysis.workloads.items()
        },
        ratios=[
            SummaryRatio(
                purpose=one.purpose,
                workload=one.workload,
                quantity=one.quantity,
                configuration=named[one.label],
                comparison=one.comparison,
            )
            for one in analysis.family
        ],
    )


def kept_summary(folder: Path) -> RunSummary | None:
    """What `prunebench report` wrote of a run whose trials are not here; None of any other folder.

    Raises ReportError naming the file if it cannot be read.
    """
    file = folder / FILE
    if not file.is_file() or not (folder / "run.json").is_file() or RunFolder(folder).trial_folders():
        return None
    return read_record(file, RunSummary)


def _machine(analysis: Analysis) -> str:
    idles = [c.info.idle for c in analysis.configurations if c.info.idle]
    gpus = {part.info.name for idle in idles for part in idle.parts if part.info.domain == "gpu" and part.info.name}
    return ", ".join([*sorted(gpus), analysis.environment.get("processor") or _UNKNOWN])


def _model(analysis: Analysis, baseline: ConfigurationInfo | None) -> str:
    sources = (c.info.manifest.source_id for c in analysis.configurations if c.info.manifest)
    named = baseline and (
        baseline.served_model or baseline.model or (baseline.checkpoint and Path(baseline.checkpoint).name)
    )
    return next(sources, None) or named or _UNKNOWN


def _treatments(analysis: Analysis) -> list[str]:
    others = [c.info for c in analysis.configurations if not c.info.is_baseline]
    return list(dict.fromkeys(kind for info in others for kind in (info.treatment or _treatment_before(info))))


def _treatment_before(info: ConfigurationInfo) -> list[str]:
    """Of a run that did not record it."""
    return ["width"] if info.pruned_alone and info.width is not None else []


def _identity(analysis: Analysis) -> str:
    """The files of the unpruned checkpoint; those of other configurations are named after these."""
    files = [file for file in analysis.info.checkpoint if file.name.partition("/")[0] not in analysis.info.labels]
    return "\n".join(f"{file.name} {file.sha256}" for file in files)


def _settings(analysis: Analysis, baseline: ConfigurationInfo) -> tuple[str, str]:
    settings = {"options": baseline.engine_options, "dtype": baseline.dtype, "server": baseline.url}
    return json.dumps(settings, sort_keys=True), SIMULATED if analysis.simulated else "measured"
