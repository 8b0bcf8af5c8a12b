"""Sessions by turn: how latencies and the prefix cache's share go with the length of what was said before."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from reports.analysis.records import Analysis, TrialFigures
from reports.document.blocks import Block, Entry, Prose, Row, Section, Table, columns
from reports.document.wording import ABSENT, figure, or_absent, with_interval
from reports.statistics.ratios import compare

_LEDE = (
    "Each turn is sent with all that was said before it, so that prompts grow from turn to turn. Figures are medians over trials of "
    "means over the completed requests of the window; ratios are in pairs within blocks, to the baseline's same turn."
)


def sessions_section(analysis: Analysis) -> Section | None:
    """A table for each workload of sessions; None without one."""
    held = [name for name, workload in analysis.workloads.items() if workload.holds_sessions]
    if not held:
        return None
    blocks: list[Block] = [Prose(_LEDE, "lede")]
    return Section("sessions", "Sessions by turn", [*blocks, *(_table(analysis, workload) for workload in held)])


def _table(analysis: Analysis, workload: str) -> Table:
    rows = []
    labels = [configuration.info.label for configuration in analysis.configurations]
    trials = {label: [t for t in analysis.trials if (t.label, t.workload) == (label, workload)] for label in labels}
    for label in labels:
        turns = sorted({turn for trial in trials[label] for turn in trial.turns})
        for turn in turns:
            found = [trial.turns[turn] for trial in trials[label] if turn in trial.turns]
            cached = _median(each.cached_share for each in found)
            own, base = (_ttft(trials[each], turn) for each in (label, analysis.info.baseline))
            ratio = (
                None
                if label == analysis.info.baseline
                else with_interval(compare(own, base, "lower", margin=analysis.margin, looks=analysis.info.looks))
            )
            rows.append(
                Row(
                    [
                        Entry(label),
                        Entry(f"{turn}"),
                        Entry(or_absent(_median(each.prompt_tokens for each in found))),
                        Entry(ABSENT if cached is None else f"{figure(100 * cached)} %"),
                        Entry(or_absent(_median(each.ttft_ms for each in found))),
                        Entry(ratio or ABSENT),
                        Entry(or_absent(_median(each.tpot_ms for each in found))),
                        Entry(or_absent(_median(each.joules for each in found))),
                    ]
                )
            )
    titles = ("Configuration", "Turn", "Prompt tokens", "From the cache", "TTFT, ms", "to the baseline's", "TPOT, ms")
    return Table(workload, columns(*titles, "J/request"), rows, {})


def _ttft(trials: Iterable[TrialFigures], turn: int) -> dict[int, float]:
    return {
        trial.block: ttft
        for trial in trials
        if not trial.unfit and turn in trial.turns and (ttft := trial.turns[turn].ttft_ms) is not None
    }


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None
