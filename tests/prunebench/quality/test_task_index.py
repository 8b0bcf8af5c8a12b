"""Tasks found by reading where lm-eval's files name them, held against lm-eval's own index of all that they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from prunebench.quality.suites import QualityError, Suite, TaskChoice
from prunebench.quality.task_index import known_tasks, own_folders

if TYPE_CHECKING:  # it takes seconds to import
    from lm_eval.tasks import TaskManager

pytestmark = [
    pytest.mark.slow,  # importing lm-eval
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # its imports
]


def index(*names: str) -> TaskManager:
    return known_tasks(Suite(tuple(map(TaskChoice, names))), [])


@pytest.fixture(scope="module")
def whole() -> TaskManager:
    """Fifteen seconds' work."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def test_every_task_is_found_where_the_whole_index_has_it(whole):
    own, _ = own_folders([])
    assert own.keys() == set(whole.all_subtasks)
    assert all(whole.task_index[name].yaml_path.is_relative_to(*folders) for name, folders in own.items())


def test_only_the_folders_of_what_is_wanted_are_parsed():
    found = index("piqa", "tinyglu_form")
    assert {"piqa", "tinyglu_form"} <= set(found.all_subtasks)
    assert "hellaswag" not in found.all_tasks


def test_a_tag_is_refused_with_its_tasks(whole, monkeypatch):
    manager = type(whole)
    monkeypatch.setattr(
        "lm_eval.tasks.TaskManager",
        lambda **given: whole if given.get("include_defaults", True) else manager(**given),
    )
    with pytest.raises(QualityError, match=r"ai2_arc is a tag; name its tasks: arc_challenge, arc_easy"):
        index("piqa", "ai2_arc")


def test_a_word_of_no_file_is_no_task_and_the_nearest_are_named():
    with pytest.raises(QualityError, match=r"knows no task helaswagg; did you mean .*hellaswag"):
        index("helaswagg")
