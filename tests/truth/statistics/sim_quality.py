"""Kept shares of a score, standard errors of perplexities, and correlations, from drawn items with known truths."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from prunebench.quality.scores import Items
from reports.decision.dominance import beats
from reports.published.quality import changes
from reports.published.study import Study, StudyModel
from reports.runs.records.quality import EvaluationSettings, Score, TaskResult
from reports.statistics.correlation import correlate, holm
from reports.statistics.ratios import Comparison, compare, mean_interval
from reports.statistics.retention import Kept, average, kept, kept_likelihood, kept_mean, kept_more, slope
from tests.truth.registry import Outcome, covers, inside, rare, simulation

_SETTINGS = EvaluationSettings(backend="endpoint", harness="simulated", chat_template=False, limit=None, seeds={})
_PAIRED = "share of a score kept, paired by items"


def _accuracy(right: np.ndarray, *, paired: bool = True) -> TaskResult:
    values = right.astype(float)
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    score = Score(metric="acc", filter="none", value=float(values.mean()), standard_error=error, higher_is_better=True)
    return _result(score, "mean" if paired else None, values)


def _perplexity(logs: np.ndarray, words: np.ndarray) -> TaskResult:
    value = math.exp(-logs.sum() / words.sum())
    score = Score(metric="word_perplexity", filter="none", value=value, standard_error=None, higher_is_better=False)
    return _result(score, "perplexity", logs, words)


def _result(score: Score, statistic: str | None, values: np.ndarray, weights: np.ndarray | None = None) -> TaskResult:
    return TaskResult(
        task="t", scores=[score], statistic=statistic, values=values.tolist(), weights=[] if weights is None else weights.tolist(),
        items=len(values), evaluated_at="2026-11-24T00:00:00+00:00", settings=_SETTINGS,
    )  # fmt: skip


def _share(own: TaskResult, baseline: TaskResult) -> Kept:
    found = kept(own, baseline)
    assert isinstance(found, Kept)
    return found


def _covers(found: Kept, truth: float) -> bool:
    ends = found.interval()
    assert ends is not None
    return inside(truth, *ends)


def _answers(rng: np.random.Generator, n: int, keeps: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers of a configuration and the baseline to items of different difficulty, which is the same for both.

    Either is right where its own draw, half shared with the other's, lies below its chance; items have a mean chance of 0.6.
    """
    chance = rng.uniform(0.3, 0.9, n)
    draws = rng.uniform(size=(3, n))
    own = np.where(rng.uniform(size=n) < 0.5, draws[2], draws[0])
    other = np.where(rng.uniform(size=n) < 0.5, draws[2], draws[1])
    return own < keeps * chance, other < chance


@dataclass(frozen=True)
class _Texts:
    """Losses of both models over pieces of text, each in nats over the piece; `mean` and `lost` are the truth in nats a token."""

    tokens: np.ndarray
    baseline: np.ndarray
    own: np.ndarray
    mean: float  # of the baseline
    lost: float  # by the configuration, above that


def _texts(rng: np.random.Generator, *, items: tuple[int, int], tokens: tuple[int, int], most_lost: float) -> _Texts:
    n, lost, mean = int(rng.integers(*items)), rng.uniform(0, most_lost), rng.uniform(1, 4)
    lengths = rng.integers(*tokens, n).astype(float)
    baseline = lengths * (mean + rng.normal(0, 0.3, n))
    return _Texts(lengths, baseline, baseline + lengths * (lost + rng.normal(0, 0.1, n)), mean, lost)


@simulation(
    short=200,
    long=5000,
    paired=covers(_PAIRED, "100 to 1,000 items, keeps 50 to 105 %"),
    apart=covers("share of a score kept, from two standard errors", "the same, items independent"),
    loss=covers("loss a tenth of the width, by a straight line", "three widths, 100 to 1,000 items"),
    overall=covers("mean share kept over tasks", "2 to 8 tasks of 100 to 1,000 items"),
)
def kept_of_accuracy(rng: np.random.Generator) -> Outcome:
    """Right answers: the truth is the factor on each answer's probability."""
    n, keeps = int(rng.integers(100, 1000)), rng.uniform(0.5, 1.05)
    own, other = _answers(rng, n, keeps)
    apart = _share(
        _accuracy(rng.uniform(size=n) < keeps * 0.6, paired=False), _accuracy(rng.uniform(size=n) < 0.6, paired=False)
    )
    falls = rng.uniform(0.1, 0.9)
    chance = rng.uniform(0.3, 0.9, n)
    baseline = _accuracy(rng.uniform(size=n) < chance)
    line = slope(
        [
            (width, _share(_accuracy(rng.uniform(size=n) < chance * (1 - falls * (1 - width))), baseline))
            for width in (0.8, 0.6, 0.4)
        ]
    )
    assert isinstance(line, Kept)
    wanted = rng.uniform(0.5, 1.05, int(rng.integers(2, 9)))
    shares = [_share(*map(_accuracy, _answers(rng, int(rng.integers(100, 1000)), k))) for k in wanted]
    return {
        "paired": _covers(_share(_accuracy(own), _accuracy(other)), keeps),
        "apart": _covers(apart, keeps),
        "loss": _covers(line, falls),
        "overall": _covers(average(shares), float(wanted.mean())),
    }


@simulation(
    short=200,
    long=5000,
    one=covers("difference of two scores over the baseline's, paired by items", "100 to 1,000 items, each right in 30 to 65 %"),
    several=covers("the same, mean over tasks", "2 to 8 tasks of 100 to 1,000 items"),
    false=rare("a score called better", "the same, equal in truth", 0.025),
)  # fmt: skip
def lead_in_scores(rng: np.random.Generator) -> Outcome:
    """Two configurations and the baseline answer the same items; the truth is in units of the baseline's measured score."""

    def task(own: float, other: float) -> tuple[Kept, float]:
        n = int(rng.integers(100, 1000))
        chance = rng.uniform(0.3, 0.9, n)
        shared, apart = rng.uniform(size=(3, n)), rng.uniform(size=n)
        answers = [
            np.where(rng.uniform(size=n) < 0.5, apart, draws) < k * chance
            for draws, k in zip(shared, (own, other, 1.0), strict=True)
        ]
        baseline = _accuracy(answers[2])
        found = kept_more(_accuracy(answers[0]), _accuracy(answers[1]), baseline)
        assert isinstance(found, Kept)
        return found, (own - other) * 0.6 / baseline.scores[0].value

    first, truth = task(rng.uniform(0.5, 1.05), rng.uniform(0.5, 1.05))
    parts = [task(*rng.uniform(0.5, 1.05, 2)) for _ in range(int(rng.integers(2, 9)))]
    equal, _ = task(*[rng.uniform(0.5, 1.05)] * 2)
    ends = equal.interval()
    assert ends is not None
    return {
        "one": _covers(first, truth),
        "several": _covers(average([found for found, _ in parts]), float(np.mean([t for _, t in parts]))),
        "false": ends[0] > 0,
    }


@simulation(
    short=300,
    long=5000,
    ratio=covers("ratio of perplexities, paired by documents", "30 to 300 documents of 20 to 500 words"),
    error=covers("standard error of a perplexity", "the same; value ± 1.96 standard errors"),
)  # fmt: skip
def kept_of_perplexity(rng: np.random.Generator) -> Outcome:
    """Documents differ in loss per word and in length; words of one document are correlated."""
    texts = _texts(rng, items=(30, 300), tokens=(20, 500), most_lost=1.0)
    words, logs, own = texts.tokens, -texts.baseline, -texts.own
    value = math.exp(-logs.sum() / words.sum())
    score = Score(metric="word_perplexity", filter="none", value=value, standard_error=None, higher_is_better=False)
    found = Items(len(words), "perplexity", logs.tolist(), words.tolist()).with_error(score)
    assert found.standard_error is not None
    return {
        "ratio": _covers(_share(_perplexity(own, words), _perplexity(logs, words)), math.exp(-texts.lost)),
        "error": bool(abs(value - math.exp(texts.mean)) <= 1.96 * found.standard_error),
    }


@simulation(
    short=400,
    long=5000,
    perplexity=covers("ratio of perplexities, paired by windows of text", "8 to 64 independent windows of 100 to 600 tokens"),
    bits=covers("ratio of bits per byte, paired by windows of text", "the same"),
)  # fmt: skip
def windows_of_text(rng: np.random.Generator) -> Outcome:
    """Windows differ in loss per token, which both models share, and in tokens; the truth is over endless text."""
    texts = _texts(rng, items=(8, 65), tokens=(100, 600), most_lost=0.5)
    bits = kept_mean(texts.own, texts.baseline)
    assert isinstance(bits, Kept)
    return {
        "perplexity": _covers(kept_likelihood(texts.own, texts.baseline, texts.tokens), math.exp(texts.lost)),
        "bits": _covers(bits, 1 + texts.lost / texts.mean),
    }


@simulation(
    short=400,
    long=5000,
    kl=covers("KL divergence of next tokens, mean over windows of text", "16 to 64 independent windows of 512 tokens"),
    agreement=covers("top-1 agreement of next tokens, mean over windows of text", "the same"),
)  # fmt: skip
def next_tokens(rng: np.random.Generator) -> Outcome:
    """Most tokens hardly differ and a few differ much; windows differ in how much, which their tokens share."""
    n, mean, agrees = int(rng.integers(16, 65)), 10 ** rng.uniform(-4, 0), rng.uniform(0.5, 0.98)
    harder = np.exp(rng.normal(0, 0.3, n) - 0.3**2 / 2)
    kl = [float(rng.gamma(0.2, mean * h / 0.2, 512).mean()) for h in harder]
    share = [float((rng.uniform(size=512) < chance).mean()) for chance in rng.beta(20 * agrees, 20 * (1 - agrees), n)]
    found = {"kl": (mean_interval(kl), mean), "agreement": (mean_interval(share), agrees)}
    return {key: inside(truth, one.low, one.high) for key, (one, truth) in found.items()}


@simulation(
    short=400,
    long=5000,
    false=rare("a configuration called dominated", "equal on one axis, up to 2 x worse on the other; 3 to 12 blocks, 8 to 64 windows"),
    both=rare("the same", "equal on both axes", 0.01),
)  # fmt: skip
def dominance(rng: np.random.Generator) -> Outcome:
    """Costs in blocks and perplexities over windows of two configurations, whose true ratios are known."""
    blocks, n = int(rng.integers(3, 13)), int(rng.integers(8, 65))
    tokens = rng.integers(100, 600, n).astype(float)

    def is_dominated(cost: float, loss: float) -> bool:
        shared = rng.normal(0, 0.1, blocks)
        own, other = (dict(enumerate(np.exp(m + shared + rng.normal(0, 0.02, blocks)))) for m in (0.0, cost))
        nats = tokens * (3 + rng.normal(0, 0.3, n))
        ends = kept_likelihood(nats, nats + tokens * (loss + rng.normal(0, 0.1, n)), tokens).interval()
        assert ends is not None
        quality = Comparison(ratio=1.0, low=ends[0], high=ends[1])
        return beats(compare(own, other, "lower", margin=0.0), "lower") and beats(quality, "lower")

    gap = rng.uniform(0, math.log(2))
    return {"false": is_dominated(*rng.permutation([gap, 0.0])), "both": is_dominated(0.0, 0.0)}


@simulation(
    short=400,
    long=20_000,
    fisher=covers("Pearson's r, Fisher's interval", "4 to 20 pairs, normal, true r up to 0.95 either way"),
    pearson=rare("Pearson's p-value below 0.05", "4 to 20 normal pairs that do not go together"),
    spearman=rare("Spearman's p-value below 0.05", "4 to 20 pairs of any shape that do not go together"),
    holm=rare("any false finding after Holm", "10 correlated tests, 3 of them real"),
)  # fmt: skip
def correlations(rng: np.random.Generator) -> Outcome:
    """Normal pairs of known correlation, and pairs that have none."""
    n, truth = int(rng.integers(4, 21)), rng.uniform(-0.95, 0.95)
    x, noise = rng.normal(size=(2, n))
    found = correlate(x.tolist(), (truth * x + math.sqrt(1 - truth**2) * noise).tolist())
    apart = correlate(x.tolist(), rng.normal(size=n).tolist())
    shaped = correlate(rng.gamma(1, size=n).tolist(), rng.gamma(0.5, size=n).tolist())
    assert apart.pearson_p is not None
    assert shaped.spearman_p is not None
    common = rng.normal()
    tests = 0.7 * common + math.sqrt(0.51) * rng.normal(size=10) + np.array([3.0] * 3 + [0.0] * 7)
    corrected = holm((2 * stats.norm.sf(np.abs(tests))).tolist())
    return {
        "fisher": inside(truth, found.pearson_low, found.pearson_high),
        "pearson": apart.pearson_p < 0.05,
        "spearman": shaped.spearman_p < 0.05,
        "holm": any(p is not None and p < 0.05 for p in corrected[3:]),
    }


@simulation(
    short=300,
    long=5000,
    covered=covers("published score against the unpruned one", "two proportions of 500 to 2,000 questions"),
)
def published_change(rng: np.random.Generator) -> Outcome:
    """Independent draws per question, as the interval of `prunebench published` assumes."""
    n, baseline, ratio = int(rng.integers(500, 2000)), rng.uniform(0.2, 0.7), rng.uniform(0.5, 1.3)
    scores = [float(rng.binomial(n, chance) / n) for chance in (baseline, baseline * ratio)]
    study = Study(
        source={}, hardware={}, items={"mmlu": n}, chance={}, versions=[], remarks=[], files={}, claims=[],
        models=[_model(scores)], runs=[], raw=False,
    )  # fmt: skip
    [found] = changes(study, "mmlu")
    return {"covered": inside(ratio, found.ratio.low, found.ratio.high)}


def _model(scores: list[float]) -> StudyModel:
    about = {"pruning_percentage": 0, "expansion_ratio": 1, "parameters_millions": 1}
    rows = [
        about | {"intermediate_size": size, "quality": {"mmlu": score}}
        for size, score in zip((4096, 2048), scores, strict=True)
    ]
    return StudyModel.model_validate(
        {"model": "base", "hidden_size": 1024, "base_intermediate_size": 4096, "configurations": rows}
    )
