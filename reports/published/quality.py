"""The study's quality: correlations of metrics, and differences beyond chance."""

from __future__ import annotations

import math

from base.distributions import normal_quantile, normal_two_sided
from base.records import Record
from reports.published.study import Study, StudyModel
from reports.statistics.confidence import CONFIDENCE
from reports.statistics.correlation import Correlation, correlate, correlate_all, holm
from reports.statistics.ratios import MARGIN, Comparison, judged

KNOWLEDGE, TRUTHFULNESS = "mmlu", "truthfulqa_mc2"


class Association(Record):
    """Two metrics over the widths of one model.

    `without_one` has the p-values of Pearson's r with each width left out in turn. Of all pairs of metrics of this model,
    `pairs_surviving` of `pairs` remain below 0.05 after Holm; `survives_all_pairs`: whether this one does.
    """

    model: str
    correlation: Correlation
    without_one: dict[int, float]
    pairs: int
    pairs_surviving: int
    survives_all_pairs: bool


class Change(Record):
    """A metric of one width against the unpruned model; the interval treats each question as an independent draw.

    `p` is two-sided, `p_holm` corrected for all widths of the base models or of the instructed one.
    """

    model: str
    width: int
    metric: str
    value: float
    baseline: float
    change: float  # of the value, as a share of the baseline's
    questions: int
    ratio: Comparison
    p: float | None
    p_holm: float | None = None


class Perplexities(Record):
    """A perplexity of one model by width, from the widest; each was measured once and has no interval."""

    model: str
    metric: str
    values: dict[int, float]


def associations(study: Study) -> list[Association]:
    """MMLU against TruthfulQA-MC2 in every model, Holm-corrected over the models."""
    columns = [(m, m.metric(KNOWLEDGE), m.metric(TRUTHFULNESS)) for m in study.models]
    found = [correlate(a, b) for _, a, b in columns]
    corrected = holm([c.pearson_p for c in found])
    spearman = holm([c.spearman_p for c in found])
    return [
        _association(m, c.model_copy(update={"pearson_p_holm": p, "spearman_p_holm": s}))
        for (m, _, _), c, p, s in zip(columns, found, corrected, spearman, strict=True)
    ]


def _association(model: StudyModel, correlation: Correlation) -> Association:
    names = [n for n in model.configurations[0].quality if sum(v is not None for v in model.metric(n)) >= 3]
    family = correlate_all({n: model.metric(n) for n in names})
    own = family.get((KNOWLEDGE, TRUTHFULNESS)) or family.get((TRUTHFULNESS, KNOWLEDGE))
    without: dict[int, float] = {}
    for left_out in model.configurations:
        rest = [c for c in model.configurations if c is not left_out]
        p = correlate([c.quality.get(KNOWLEDGE) for c in rest], [c.quality.get(TRUTHFULNESS) for c in rest]).pearson_p
        if p is not None:
            without[left_out.intermediate_size] = p
    return Association(
        model=model.model,
        correlation=correlation,
        without_one=without,
        pairs=len(family),
        pairs_surviving=sum(c.pearson_p_holm is not None and c.pearson_p_holm < 0.05 for c in family.values()),
        survives_all_pairs=own is not None and own.pearson_p_holm is not None and own.pearson_p_holm < 0.05,
    )


def changes(study: Study, metric: str, *, margin: float = MARGIN) -> list[Change]:
    """A metric's change at every pruned width of every model; p-values corrected separately for base and instructed models."""
    questions = study.items[metric]
    found = [
        _change(model.model, c.intermediate_size, metric, (value, baseline), questions=questions, margin=margin)
        for model in study.models
        if (baseline := model.configurations[0].quality.get(metric))
        for c in model.configurations[1:]
        if (value := c.quality.get(metric)) is not None
    ]
    corrected: list[Change] = []
    for instructed in (False, True):
        family = [c for c in found if is_instructed(c.model) == instructed]
        p_holm = holm([c.p for c in family])
        corrected += [c.model_copy(update={"p_holm": p}) for c, p in zip(family, p_holm, strict=True)]
    return corrected


def perplexities(study: Study) -> list[Perplexities]:
    """Every perplexity that a model has at two widths or more, the unpruned one included."""
    found = [
        Perplexities(
            model=model.model,
            metric=metric,
            values={c.intermediate_size: v for c in model.configurations if (v := c.quality.get(metric)) is not None},
        )
        for model in study.models
        for metric in model.configurations[0].quality
        if metric.endswith("perplexity") and model.configurations[0].quality[metric] is not None
    ]
    return [one for one in found if len(one.values) > 1]


def at_chance(study: Study, metric: str) -> dict[str, list[int]]:
    """Model -> the widths whose score does not differ detectably (95 %) from guessing; empty where guessing has no known score."""
    chance, questions = study.chance.get(metric), study.items[metric]
    if chance is None:
        return {}
    far = normal_quantile((1 + CONFIDENCE) / 2) * math.sqrt(chance * (1 - chance) / questions)
    return {
        model.model: [
            c.intermediate_size
            for c in model.configurations
            if (value := c.quality.get(metric)) is not None and abs(value - chance) < far
        ]
        for model in study.models
    }


def is_instructed(model: str) -> bool:
    """Whether a model was tuned to follow instructions, by its name."""
    return "instruct" in model.lower()


def _change(
    model: str, width: int, metric: str, scores: tuple[float, float], *, questions: int, margin: float
) -> Change:
    """Ratio of two proportions, its logarithm's variance being (1 - p)/(n p) for each (Katz et al., Biometrics 34, 1978)."""
    (value, baseline), n = scores, questions
    comparison, p = Comparison(reason="one of the two is 0"), None
    if value > 0:
        error = math.sqrt((1 - value) / (n * value) + (1 - baseline) / (n * baseline))
        middle = math.log(value / baseline)
        half = normal_quantile((1 + CONFIDENCE) / 2) * error
        comparison = judged(middle, middle - half, middle + half, "higher", margin)
        p = normal_two_sided(middle / error) if error > 0 else None
    return Change(
        model=model,
        width=width,
        metric=metric,
        value=value,
        baseline=baseline,
        change=value / baseline - 1,
        questions=questions,
        ratio=comparison,
        p=p,
    )
