"""The sections of a run's report, in order. Add a section to `SECTIONS`; `reports.document.blocks` shows how to build one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from reports.analysis.records import Analysis
from reports.document.blocks import Article, Section
from reports.document.wording import SIMULATED, counted, engine
from reports.sections.alignment import alignment_section
from reports.sections.answer import answer_section, evidence_section, limits_section
from reports.sections.energy.carbon import carbon_section
from reports.sections.energy.clocks import clocks_section
from reports.sections.energy.idle import idle_section
from reports.sections.energy.joules import energy_section
from reports.sections.energy.model import energy_model_section
from reports.sections.energy.power import timeline_section
from reports.sections.energy.requests import request_joules_section
from reports.sections.energy.startup import startup_section
from reports.sections.energy.steady import steady_section
from reports.sections.expected import expected_section
from reports.sections.fleet import fleet_section
from reports.sections.grid import grid_section
from reports.sections.loads.curves import curves_section
from reports.sections.loads.goodput import goodput_section
from reports.sections.loads.latency import latency_section
from reports.sections.loads.mixes import mixes_section
from reports.sections.loads.reasoning import reasoning_section
from reports.sections.loads.sessions import sessions_section
from reports.sections.precision import precision_section
from reports.sections.pruning import pruning_section
from reports.sections.quality.dominance import dominance_section
from reports.sections.quality.tasks import tasks_section
from reports.sections.quality.text import perplexity_section
from reports.sections.run import again_section, checks_section, compared_section, failures_section, order_section
from reports.sections.workloads import workloads_section

Builder = Callable[[Analysis], Section | None]  # None: the run has no data for the section

SECTIONS: list[Builder] = [
    answer_section,
    compared_section,
    evidence_section,
    limits_section,
    precision_section,
    workloads_section,
    grid_section,
    energy_section,
    request_joules_section,
    steady_section,
    timeline_section,
    clocks_section,
    energy_model_section,
    idle_section,
    startup_section,
    carbon_section,
    latency_section,
    curves_section,
    goodput_section,
    sessions_section,
    mixes_section,
    reasoning_section,
    tasks_section,
    perplexity_section,
    dominance_section,
    pruning_section,
    expected_section,
    alignment_section,
    fleet_section,
    order_section,
    checks_section,
    failures_section,
    again_section,
]
_OPEN = {"answer", "compared"}
_ON_PAPER = {"limits", "workloads"}


def run_article(analysis: Analysis, article_id: str) -> Article:
    """A run's report: on a screen all but the answer is folded, on paper what backs it is shown too."""
    built = (build(analysis) for build in SECTIONS)
    return Article(
        id=article_id,
        title=run_title(analysis),
        kicker=f"prunebench {analysis.info.prunebench_version}",
        subtitle=_subtitle(analysis),
        sections=[_folded(section) for section in built if section is not None],
        watermark=SIMULATED if analysis.simulated else "",
    )


def run_title(analysis: Analysis) -> str:
    """The run's name; that of a simulated run says so."""
    return f"{analysis.info.name} ({SIMULATED})" if analysis.simulated else analysis.info.name


def _folded(section: Section) -> Section:
    if section.id in _OPEN:
        return section
    return replace(section, fold="on screen" if section.id in _ON_PAPER else "everywhere")


def _subtitle(analysis: Analysis) -> str:
    """Date, hardware, engines, and the size of the run."""
    info, environment = analysis.info, analysis.environment
    started = [c.info for c in analysis.configurations if c.info.engine_version]
    engines = sorted({engine(info) for info in started or [c.info for c in analysis.configurations]})
    idles = [c.info.idle for c in analysis.configurations if c.info.idle]
    gpus = sorted({p.info.name for idle in idles for p in idle.parts if p.info.domain == "gpu" and p.info.name})
    parts = [
        info.created_at.replace("T", " ").removesuffix("+00:00") + " UTC",
        ", ".join(gpus) or environment.get("processor") or "an unnamed processor",
        ", ".join(engines),
        ", ".join(
            counted(number, what)
            for number, what in (
                (len(info.labels), "configuration"),
                (len(info.workloads), "workload"),
                (info.blocks, "block"),
            )
        ),
    ]
    return " · ".join(part for part in parts if part)
