"""The advice: one choice for interactive use and one for batch work, with the evidence for each.

The rule, in full. A width is recommended for a purpose if, on the workload that represents it, its verdict is "better" than
the baseline in time or in joules and "worse" in neither, its perplexity is at most `BEARABLE` times the baseline's, and
no quality task is shown to keep less than 1 / `BEARABLE` of the baseline's score. If no figure decides its quality
(`reports.decision.quality_evidence`), the choice is conditional: "if its quality is sufficient". The fastest of these is chosen; of those that
only save joules, the one that saves most. Otherwise the advice is to keep the baseline: nothing was gained, or the gain costs too
much quality.

Verdicts and intervals are the simultaneous ones of `reports.analysis.family`, so that they also cover the width that was chosen for
being best. The best of several looks better than it is: its gain is given as an interval and never as its ratio alone.
A comparison that a failed check spoils (`spoils` in `reports.checks.rules`) is left out; without any comparison there is no advice.
"""

from __future__ import annotations

from dataclasses import dataclass

from reports.analysis.family import PURPOSES, FamilyComparison, Purpose, speed_of, workload_of
from reports.analysis.quantities import (
    CHARACTER_JOULES,
    CHARACTER_MS,
    E2E,
    JOULES,
    JOULES_KEYS,
    OF_TEXT,
    OUTPUT_CHARACTERS_PER_S,
    OUTPUT_TOKENS_PER_S,
    QUANTITIES,
    TPOT,
)
from reports.analysis.records import Analysis, ConfigurationFigures
from reports.decision.answers import ONLY_BASELINE
from reports.decision.quality_evidence import BEARABLE, LEAST_KEPT, Evidence, evidence_of
from reports.decision.withheld import concerns, left_out, usable, why_withheld
from reports.document.blocks import Answer
from reports.document.wording import LOOKED, from_to, listed, name, sentence, smallest_effect, times
from reports.statistics.ratios import Comparison, Verdict

_VERBS = {
    E2E: "answers in {} the time",
    TPOT: "takes {} the time per token",
    OUTPUT_TOKENS_PER_S: "gives {} the tokens/s",
    JOULES: "takes {} the J/output token",
    CHARACTER_MS: "takes {} the time per character",
    OUTPUT_CHARACTERS_PER_S: "gives {} the characters/s",
    CHARACTER_JOULES: "takes {} the J/character",
}


@dataclass(frozen=True)
class _Candidate:
    configuration: ConfigurationFigures
    speed: Comparison
    joules: Comparison | None  # None: not measured
    tasks: Evidence  # of the quality tasks

    @property
    def found(self) -> list[Comparison]:
        return [self.speed] if self.joules is None else [self.speed, self.joules]

    @property
    def verdicts(self) -> set[Verdict | None]:
        return {found.verdict for found in self.found}

    @property
    def gains(self) -> bool:
        return "better" in self.verdicts and "worse" not in self.verdicts

    @property
    def rank(self) -> tuple[bool, float]:
        """Sort key, larger is better: faster candidates first, by their ratio; then those that save joules."""
        faster = self.speed.verdict == "better"
        found = self.speed if faster or self.joules is None else self.joules
        return faster, found.distance

    @property
    def loss(self) -> float | None:
        return self.configuration.perplexity_ratio

    @property
    def is_judged(self) -> bool:
        return self.loss is not None or self.tasks.decides

    @property
    def is_bearable(self) -> bool:
        return self.is_judged and not self.tasks.lost and (self.loss is None or self.loss <= BEARABLE)


def advice(analysis: Analysis) -> list[Answer]:
    """An answer for each purpose that a workload represents; none from simulated figures."""
    if analysis.simulated:
        return [
            Answer(
                "For any use",
                ["Serve the checkpoints with a real engine."],
                "No advice: simulated figures decide nothing",
            )
        ]
    workloads = [(purpose, workload_of(analysis.workloads, purpose)) for purpose in PURPOSES]
    return [_answer(analysis, purpose, workload) for purpose, workload in workloads if workload is not None]


def _answer(analysis: Analysis, purpose: Purpose, workload: str) -> Answer:
    key = analysis.quantity(speed_of(analysis.workloads[workload], purpose))
    found, withheld = usable(analysis, purpose)
    candidates = _candidates(analysis, found)
    topic = f"For {purpose}"
    if not candidates and withheld:
        reasons = why_withheld(analysis, withheld, workload)
        return Answer(topic, reasons, f"No advice: {listed(list(withheld))} fail{'s' * (len(withheld) == 1)}")
    if not candidates:
        why = analysis.why_uncompared(workload, key) or ONLY_BASELINE
        text = sentence(f"no {analysis.noun} can be compared with the baseline on {workload}: {why}")
        return Answer(topic, [text], "No answer yet")
    gaining = sorted((c for c in candidates if c.gains), key=lambda c: c.rank, reverse=True)
    bearable = [c for c in gaining if c.is_bearable]
    unjudged = [c for c in gaining if not c.is_judged]
    if bearable:
        choice, sentences = _chosen(bearable[0], gaining[0], key)
    elif unjudged:
        choice, sentences = _if_quality_is_sufficient(unjudged[0], key)
    elif gaining:
        choice, sentences = _too_much_loss(analysis, gaining, key)
    else:
        choice, sentences = _nothing_gained(analysis, candidates, key)
    sentences += left_out(withheld, {c.info.label: name(c.info) for c in analysis.configurations})
    if analysis.info.looks:
        sentences.append(sentence(LOOKED))
    picked = next((c.configuration.info.label for c in (bearable or unjudged)[:1]), None)
    return Answer(topic, sentences, choice, _basis(analysis, workload, picked))


def _candidates(analysis: Analysis, found: list[FamilyComparison]) -> list[_Candidate]:
    """The configurations whose speed can be judged."""
    by_label = {(one.label, one.quantity in JOULES_KEYS): one.comparison for one in found}
    return [
        _Candidate(
            c,
            speed,
            by_label.get((c.info.label, True)),
            evidence_of(analysis.quality, c.info.label, analysis.info.baseline),
        )
        for c in analysis.configurations
        if (speed := by_label.get((c.info.label, False)))
    ]


def _chosen(chosen: _Candidate, best: _Candidate, key: str) -> tuple[str, list[str]]:
    sentences = [sentence(f"it {_gain(chosen, key)}, {_price(chosen)}")]
    if best is not chosen:
        sentences.append(
            sentence(f"a larger gain costs more quality: {_named(best)} {_gain(best, key)}, {_price(best)}")
        )
    return f"Choose {_named(chosen)}", sentences


def _if_quality_is_sufficient(best: _Candidate, key: str) -> tuple[str, list[str]]:
    sentences = [sentence(f"it {_gain(best, key)}"), *map(sentence, best.tasks.words())]
    if best.tasks.inconclusive:
        sentences.append("No figure decides how much of its quality it keeps: measure that first.")
    else:
        sentences.append("Its quality was not compared with the baseline's: measure it first.")
    return f"Choose {_named(best)}, if its quality is sufficient", sentences


def _too_much_loss(analysis: Analysis, gaining: list[_Candidate], key: str) -> tuple[str, list[str]]:
    mildest = min(gaining, key=lambda c: c.loss or 0.0)
    sentences = [
        sentence(
            f"the mildest {analysis.cut} with a gain, {_named(mildest)}, {_gain(mildest, key)}, but {_price(mildest)}"
        ),
        f"That exceeds the limits of this report: {times(BEARABLE)} the perplexity, or {LEAST_KEPT} of a score kept.",
    ]
    return f"Keep the baseline, {_baseline(analysis)}: the gain costs too much quality", sentences


def _nothing_gained(analysis: Analysis, candidates: list[_Candidate], key: str) -> tuple[str, list[str]]:
    decided = [c for c in candidates if c.speed.verdict is not None]
    if not decided:
        why = next((c.speed.reason for c in candidates if c.speed.reason), "there is no interval")
        return "No answer yet", [f"{sentence(why)} Resume the run, or raise protocol.blocks."]
    lowest, highest = min(c.speed.low or 1.0 for c in decided), max(c.speed.high or 1.0 for c in decided)
    title, span = QUANTITIES[key].title, f"{times(lowest)} to {times(highest)}"
    sentences = [f"No {analysis.noun} is shown to be better: {title} is {span} that of the baseline."]
    worse = [_named(c) for c in decided if "worse" in c.verdicts]
    if worse:
        sentences.append(sentence(f"{listed(worse)} {'is' if len(worse) == 1 else 'are'} worse"))
    undecided = [c for c in decided if "worse" not in c.verdicts and "undecided" in c.verdicts]
    if not undecided:
        others = "narrower widths" if analysis.noun == "width" else "the others"
        return f"Keep the baseline, {_baseline(analysis)}: {others} gain nothing here", sentences
    effects = [found.smallest_effect or 1.0 for c in undecided for found in c.found if found.verdict == "undecided"]
    are = "is" if len(undecided) == 1 else "are"
    sentences.append(
        sentence(f"{listed([_named(c) for c in undecided])} {are} undecided: {smallest_effect(max(effects))}")
    )
    return f"Keep the baseline, {_baseline(analysis)}, for now: no gain is shown", sentences


def _gain(candidate: _Candidate, key: str) -> str:
    """The quantities that are better, in words."""
    parts = [_VERBS[key].format(from_to(candidate.speed))] if candidate.speed.verdict == "better" else []
    if candidate.joules is not None and candidate.joules.verdict == "better":
        verb = _VERBS[CHARACTER_JOULES if key in OF_TEXT.values() else JOULES]
        parts.append(verb.format(from_to(candidate.joules)))
    return " and ".join(parts)


def _price(candidate: _Candidate) -> str:
    parts = [] if candidate.loss is None else [f"at {times(candidate.loss)} the perplexity"]
    parts += candidate.tasks.words()
    return ", and ".join(parts) or "its quality was not compared"


def _named(candidate: _Candidate) -> str:
    return name(candidate.configuration.info)


def _baseline(analysis: Analysis) -> str:
    return name(analysis.baseline.info) if analysis.baseline else analysis.info.baseline


def _basis(analysis: Analysis, workload: str, label: str | None) -> str:
    """The checks behind an answer: how many pass, and which warn or fail, for this workload and the width chosen."""
    passed, noted = 0, []
    for check in analysis.checks:
        own = [o for o in check.observations if concerns(o, analysis, workload, label)]
        worst = next((outcome for outcome in ("fail", "warn") if any(o.outcome == outcome for o in own)), None)
        if worst:
            noted.append((worst, check.check))
        elif any(o.outcome == "pass" for o in own):
            passed += 1
    parts = [f"{passed} checks pass"]
    for outcome in ("fail", "warn"):
        names = [check for found, check in noted if found == outcome]
        if names:
            parts.append(f"{listed(names)} {outcome}{'s' * (len(names) == 1)}")
    blocks = len({t.block for t in analysis.trials if t.workload == workload})
    together = sum(one.comparison.low is not None for one in analysis.family)
    held = f", with {together} simultaneous 95 % intervals" if together > 1 else ""
    return f"Judged by {workload} over {blocks} block{'s' * (blocks != 1)}{held}. {sentence('; '.join(parts))}"
