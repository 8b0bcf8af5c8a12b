"""The share of a score that is kept: its value by hand, and its interval against known truths."""

import numpy as np
import pytest

from reports.runs.records.quality import EvaluationSettings, Score, TaskResult
from reports.statistics.retention import Kept, average, kept, kept_more, slope

SETTINGS = EvaluationSettings(backend="endpoint", harness="lm-eval 0.4.13", chat_template=False, limit=None, seeds={})


def accuracy(values: "np.ndarray | list[float]", **changed: object) -> TaskResult:
    values = [float(v) for v in values]
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1) / len(values) ** 0.5)
    score = Score(metric="acc", filter="none", value=mean, standard_error=error, higher_is_better=True)
    facts = {
        "task": "piqa", "scores": [score], "statistic": "mean", "values": values,
        "items": len(values), "evaluated_at": "2026-11-24T00:00:00+00:00", "settings": SETTINGS,
    }  # fmt: skip
    return TaskResult.model_validate(facts | changed)


def perplexity(logs: "np.ndarray | list[float]", words: "np.ndarray | list[float]") -> TaskResult:
    value = float(np.exp(-np.sum(logs) / np.sum(words)))
    score = Score(metric="word_perplexity", filter="none", value=value, standard_error=0.1, higher_is_better=False)
    return accuracy([0, 0]).model_copy(
        update={
            "scores": [score],
            "statistic": "perplexity",
            "values": [float(v) for v in logs],
            "weights": [float(w) for w in words],
        }
    )


def share_of(own: TaskResult, baseline: TaskResult) -> Kept:
    found = kept(own, baseline)
    assert isinstance(found, Kept), found
    return found


def test_half_of_the_right_answers_is_a_share_of_a_half():
    assert share_of(accuracy([1, 0, 0, 0]), accuracy([1, 1, 0, 0])).share == 0.5


def test_a_perplexity_keeps_the_baselines_over_its_own():
    found = share_of(perplexity([-30.0, -66.0], [10, 20]), perplexity([-20.0, -40.0], [10, 20]))
    assert found.share == pytest.approx(np.exp(2.0) / np.exp(3.2))


def test_the_same_answers_keep_everything_for_certain():
    assert share_of(accuracy([1, 0, 1]), accuracy([1, 0, 1])).interval() == (1.0, 1.0)


@pytest.mark.parametrize("kind", ["mean", "perplexity"])
def test_the_interval_holds_the_truth_in_about_95_of_100_draws_of_items(kind):
    draw = np.random.default_rng(3)
    held, draws, n = 0, 400, 120
    for _ in range(draws):
        hard = draw.uniform(0.2, 0.95, n)  # what an item's difficulty does to both
        if kind == "mean":
            truth = 0.8
            own, base = draw.uniform(size=n) < 0.8 * hard, draw.uniform(size=n) < hard
            found = share_of(accuracy(own), accuracy(base))
        else:
            truth = float(np.exp(-0.2))
            words = draw.integers(20, 60, n).astype(float)
            base_logs = -words * (2 + hard)
            own_logs = base_logs - words * (0.2 + draw.normal(0, 0.1, n))
            found = share_of(perplexity(own_logs, words), perplexity(base_logs, words))
        low, high = found.interval() or (0, 0)
        held += low <= truth <= high
    assert 0.92 * draws <= held <= 0.98 * draws


def test_the_same_items_make_the_interval_narrower_than_the_standard_errors_would():
    draw = np.random.default_rng(4)
    base = draw.uniform(size=200) < 0.6
    own = base & (draw.uniform(size=200) < 0.95)  # it forgets a twentieth, and learns nothing new
    paired = share_of(accuracy(own), accuracy(base))
    apart = share_of(accuracy(own, statistic=None), accuracy(base, statistic=None))
    assert apart.share == pytest.approx(paired.share)
    assert paired.variance is not None
    assert apart.variance is not None
    assert paired.variance < apart.variance / 4


def test_tasks_with_different_settings_are_not_compared():
    other = accuracy([1, 0], settings=SETTINGS.model_copy(update={"limit": 10}))
    assert kept(other, accuracy([1, 0])) == "it was not asked as the baseline was"
    assert kept(accuracy([1, 0], shots=5), accuracy([1, 0])) == "it was not asked as the baseline was"
    assert "no ratio" in str(kept(accuracy([1, 0]), accuracy([0, 0])))


def test_no_right_answer_is_a_share_of_nothing_without_an_interval():
    found = share_of(accuracy([0, 0, 0]), accuracy([1, 0, 1]))
    assert (found.share, found.interval()) == (0.0, None)
    assert found.comparison(0.01).verdict is None


def test_the_slope_of_a_straight_line_is_its_slope():
    pulls = np.zeros(5)
    line = slope([(0.75, Kept(0.9, 0, pulls)), (0.5, Kept(0.8, 0, pulls))])
    assert isinstance(line, Kept)
    assert line.share == pytest.approx(0.4)
    assert line.interval() == (pytest.approx(0.4), pytest.approx(0.4))
    assert slope([(0.5, Kept(0.8, 0, pulls))]) == "a slope takes the baseline and two other widths"
    assert slope([(0.75, Kept(0.9, 0, pulls)), (0.5, Kept(0.8, 0))]) == "its items are not known"


def test_the_slopes_interval_holds_the_truth_in_about_95_of_100_draws():
    draw = np.random.default_rng(8)
    held, draws, n = 0, 300, 150
    for _ in range(draws):
        chance = draw.uniform(0.3, 0.9, n)
        base = accuracy(draw.uniform(size=n) < chance)
        shares = [
            (w, share_of(accuracy(draw.uniform(size=n) < chance * (1 - 0.6 * (1 - w))), base)) for w in (0.8, 0.6, 0.4)
        ]
        line = slope(shares)
        assert isinstance(line, Kept)
        low, high = line.interval() or (0, 0)
        held += low <= 0.6 <= high
    assert 0.92 * draws <= held <= 0.98 * draws


def test_the_mean_over_tasks_adds_their_variances():
    found = average([Kept(0.9, 0.04), Kept(0.7, 0.12)])
    assert (found.share, found.variance) == (pytest.approx(0.8), pytest.approx(0.04))
    assert average([Kept(0.9, 0.04), Kept(0.7, None)]).interval() is None


def more(own: TaskResult, other: TaskResult, baseline: TaskResult) -> Kept:
    found = kept_more(own, other, baseline)
    assert isinstance(found, Kept), found
    return found


def test_one_more_right_answer_of_four_is_a_quarter_of_the_baselines_score_more():
    own, other, baseline = accuracy([1, 1, 1, 0]), accuracy([1, 1, 0, 0]), accuracy([1, 1, 1, 1])
    found = more(own, other, baseline)
    assert found.share == 0.25
    turned = more(other, own, baseline)
    assert turned.share == -0.25
    assert turned.variance == found.variance == pytest.approx(1 / 16)  # of a mean of 1, 0, 0 and 0
    assert more(baseline, own, baseline).share == 0.25


def test_perplexities_are_apart_by_the_difference_of_what_they_keep_item_by_item():
    own, other, baseline = (perplexity(logs, [10, 20]) for logs in ([-30.0, -66.0], [-40.0, -86.0], [-20.0, -40.0]))
    found = more(own, other, baseline)
    assert found.share == pytest.approx(share_of(own, baseline).share - share_of(other, baseline).share)
    assert found.influences is not None
    assert more(baseline, own, baseline).share == pytest.approx(1 - share_of(own, baseline).share)


def test_of_a_baseline_that_hardly_answers_right_no_lead_is_shown():
    few, none = accuracy([1] * 3 + [0] * 97), accuracy([0] * 100)
    ends = more(few, none, few).interval()
    assert ends is not None
    assert ends[0] < 0 < 1 < ends[1]


def test_equal_numbers_of_right_answers_have_an_interval_too():
    ends = more(accuracy([1, 0, 1, 0]), accuracy([0, 1, 1, 0]), accuracy([1, 1, 1, 1])).interval()
    assert ends is not None
    assert ends[0] < 0 < ends[1]


def test_without_items_the_variances_of_both_add():
    apart = accuracy([1, 0, 1, 1]), accuracy([1, 0, 0, 1]), accuracy([1, 1, 1, 1])
    own, other, baseline = (one.model_copy(update={"values": [], "statistic": None}) for one in apart)
    found = more(own, other, baseline)
    parts = [share_of(one, baseline).variance for one in (own, other)]
    assert found.variance == pytest.approx(sum(part for part in parts if part is not None))
