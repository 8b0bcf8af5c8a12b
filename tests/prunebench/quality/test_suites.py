"""The words of --tasks, and lm-eval's results read as ours."""

import math

import pytest

from prunebench.quality.scores import read_items, read_scores
from prunebench.quality.suites import QualityError, TaskChoice, choose_suite


def test_the_study_has_thirteen_tasks_with_five_examples_where_it_had_five():
    suite = choose_suite(["fragile-knowledge"])
    assert len(suite.tasks) == 13
    assert [task for task in suite.tasks if task.shots] == [TaskChoice("mmlu", 5), TaskChoice("gsm8k", 5)]
    assert not suite.chat_template


def test_the_instruct_suite_asks_the_same_through_the_chat_template():
    suite = choose_suite(["fragile-knowledge-instruct"])
    assert suite.tasks == choose_suite(["fragile-knowledge"]).tasks
    assert suite.chat_template


def test_words_may_be_suites_tasks_files_and_numbers_of_examples():
    suite = choose_suite(["offline, hellaswag", "gsm8k:8", "mine/spelling.yaml"])
    assert suite.tasks[-3:] == (TaskChoice("hellaswag"), TaskChoice("gsm8k", 8), TaskChoice("mine/spelling.yaml"))
    assert [task.file_name for task in suite.tasks[-3:]] == ["hellaswag", "gsm8k", "spelling"]
    assert {task.name for task in suite.tasks[:-3]} == {"tinyglu_form", "tinyglu_signature", "tinyglu_text"}


def test_a_task_named_twice_is_asked_once_but_not_in_two_ways():
    assert choose_suite(["piqa", "piqa"]).tasks == (TaskChoice("piqa"),)
    with pytest.raises(QualityError, match="--tasks: gsm8k is named twice"):
        choose_suite(["fragile-knowledge", "gsm8k:8"])


def test_no_task_at_all_is_an_error_that_names_the_suites():
    with pytest.raises(QualityError, match="fragile-knowledge"):
        choose_suite([" , "])


def results(task: str, row: dict[str, object], samples: list[dict[str, object]], **better: bool) -> dict[str, object]:
    return {
        "results": {task: row},
        "higher_is_better": {task: better},
        "group_subtasks": {},
        "samples": {task: samples},
    }


def test_scores_keep_their_standard_errors_and_the_headline_stands_first():
    row = {
        "alias": "piqa",
        "acc,none": 0.5,
        "acc_stderr,none": 0.1,
        "acc_norm,none": 0.75,
        "acc_norm_stderr,none": "N/A",
    }
    first, second = read_scores(results("piqa", row, [], acc=True, acc_norm=True), "piqa")
    assert (first.metric, first.value, first.standard_error) == ("acc_norm", 0.75, None)
    assert (second.metric, second.value, second.standard_error) == ("acc", 0.5, 0.1)


def test_items_come_in_the_order_of_the_data_and_give_the_score_back():
    samples = [{"doc_id": i, "filter": "none", "acc": value} for i, value in ((2, 1.0), (0, 0.0), (1, 1.0), (3, 0.0))]
    found = results("boolq", {"acc,none": 0.5, "acc_stderr,none": 0.2}, samples, acc=True)
    (score,) = read_scores(found, "boolq")
    items = read_items(found, "boolq", score)
    assert (items.statistic, items.values, items.count) == ("mean", [0.0, 1.0, 1.0, 0.0], 4)


@pytest.mark.parametrize(
    ("offered", "values", "chance"),
    [
        ([4, 4, 2, 2], [0.0, 1.0, 1.0, 0.0], 0.375),  # one of the answers
        ([1, 1, 1, 1], [0.0, 1.0, 1.0, 0.0], 0.0),  # a free answer
        ([4, 4, 2, 2], [0.2, 0.4, 0.9, 0.5], None),  # the weight on several right ones
        ([0, 0, 0, 0], [0.0, 1.0, 1.0, 0.0], None),  # not logged
    ],
)
def test_guessing_scores_one_of_the_answers_that_were_offered(offered, values, chance):
    samples = [
        {"doc_id": i, "filter": "none", "acc": value, "arguments": [("question", "answer")] * n}
        for i, (n, value) in enumerate(zip(offered, values, strict=True))
    ]
    found = results("boolq", {"acc,none": 0.5}, samples, acc=True)
    (score,) = read_scores(found, "boolq")
    assert read_items(found, "boolq", score).chance == chance


def test_a_perplexity_has_a_standard_error_from_its_items():
    """Against 20,000 resamples of the documents, as lm-eval would estimate it had it a formula."""
    import numpy as np

    draw = np.random.default_rng(5)
    words = draw.integers(50, 150, 60).astype(float)
    logs = -words * draw.normal(3.0, 0.3, 60)
    value = math.exp(-logs.sum() / words.sum())
    samples = [
        {"doc_id": i, "filter": "none", "word_perplexity": (ll, w)}
        for i, (ll, w) in enumerate(zip(logs, words, strict=True))
    ]
    found = results("wikitext", {"word_perplexity,none": value, "word_perplexity_stderr,none": "N/A"}, samples)
    (score,) = read_scores(found, "wikitext")
    assert not score.higher_is_better
    items = read_items(found, "wikitext", score)
    assert items.statistic == "perplexity"
    picks = draw.integers(0, 60, (20_000, 60))
    resampled = np.exp(-logs[picks].sum(1) / words[picks].sum(1))
    error = items.with_error(score).standard_error
    assert error == pytest.approx(resampled.std(), rel=0.05)


def test_a_group_has_the_items_of_all_its_tasks():
    found = {
        "results": {"mmlu": {"acc,none": 0.6}},
        "higher_is_better": {"mmlu": {"acc": True}},
        "group_subtasks": {"mmlu": ["stem"], "stem": ["physics", "maths"]},
        "samples": {
            "physics": [{"doc_id": i, "filter": "none", "acc": v} for i, v in enumerate([1.0, 1.0, 1.0])],
            "maths": [{"doc_id": i, "filter": "none", "acc": v} for i, v in enumerate([0.0, 0.0])],
        },
    }
    (score,) = read_scores(found, "mmlu")
    assert read_items(found, "mmlu", score).values == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_a_score_that_is_no_mean_of_its_items_has_none():
    samples = [{"doc_id": i, "filter": "none", "f1": (1, 0)} for i in range(4)]
    found = results("some", {"f1,none": 0.3}, samples, f1=True)
    (score,) = read_scores(found, "some")
    items = read_items(found, "some", score)
    assert (items.statistic, items.values, items.count) == (None, [], 4)


def test_what_ships_is_known_without_asking_lm_eval():
    assert choose_suite(["offline"]).ships
    assert choose_suite(["tinyglu_form:2"]).ships
    assert not choose_suite(["offline", "hellaswag"]).ships
    assert not choose_suite(["my_tasks/tinyglu_form.yaml"]).ships
