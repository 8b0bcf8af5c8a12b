"""Which quality tasks are asked: the values of `--tasks` and `quality.tasks`, and the named suites.

fragile-knowledge      a suite: the thirteen tasks of the study, with its numbers of examples
hellaswag              any task, group or tag of lm-eval
gsm8k:8                the same with eight examples before each question
my_tasks/spelling.yaml a task of your own; `--include-path my_tasks` makes all of a folder known by name
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from base.errors import UserError
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.experiment.texts import read_text

SHIPPED = Path(__file__).parent / "tasks"  # lm-eval YAML and data that come with prunebench


class QualityError(UserError):
    """Quality cannot be evaluated as asked; one line that names the flag, key or package to fix."""


@dataclass(frozen=True)
class TaskChoice:
    """A task and the number of examples before each question; None: the task's own number."""

    name: str
    shots: int | None = None

    @property
    def file_name(self) -> str:
        """A plain file name; a path to a YAML file gives that file's stem."""
        stem = Path(self.name).stem if self.name.endswith(".yaml") else self.name
        return "".join(c if c.isalnum() or c in "._-" else "_" for c in stem)

    @property
    def ships(self) -> bool:
        """Whether it comes with prunebench."""
        return (SHIPPED / f"{self.name}.yaml").is_file()


@dataclass(frozen=True)
class Suite:
    """Tasks in the order in which they are asked, and whether questions go through the model's chat template."""

    tasks: tuple[TaskChoice, ...]
    chat_template: bool = False

    @property
    def ships(self) -> bool:
        """Whether all of its tasks come with prunebench."""
        return all(task.ships for task in self.tasks)


# arXiv 2512.22671: mmlu and gsm8k with five examples, the others as lm-eval defines them.
_STUDY = (
    TaskChoice("wikitext"),
    TaskChoice("lambada_openai"),
    TaskChoice("boolq"),
    TaskChoice("mmlu", 5),
    TaskChoice("arc_challenge"),
    TaskChoice("hellaswag"),
    TaskChoice("winogrande"),
    TaskChoice("piqa"),
    TaskChoice("truthfulqa_mc1"),
    TaskChoice("truthfulqa_mc2"),
    TaskChoice("gsm8k", 5),
    TaskChoice("ifeval"),
    TaskChoice("leaderboard_musr"),
)

SUITES = {
    "fragile-knowledge": Suite(_STUDY),
    "fragile-knowledge-instruct": Suite(_STUDY, chat_template=True),
    "offline": Suite(tuple(TaskChoice(p.stem) for p in sorted(SHIPPED.glob("*.yaml")))),
}

# The headline score of a task that has several; the others are kept beside it.
_HEADLINES = {
    "arc_challenge": "acc_norm",
    "gsm8k": "exact_match,strict-match",
    "hellaswag": "acc_norm",
    "ifeval": "prompt_level_strict_acc",
    "lambada_openai": "acc",
    "piqa": "acc_norm",
    "tinyglu_text": "byte_perplexity",  # code has few spaces, and so few words
    "wikitext": "word_perplexity",
}
_USUAL = ("acc_norm", "exact_match", "acc", "word_perplexity", "byte_perplexity")


def choose_suite(words: Sequence[str], *, chat_template: bool = False) -> Suite:
    """The tasks that `words` name, each once; a word may hold several with commas between.

    Raises QualityError if there is none, or if one is named with two numbers of examples.
    """
    chosen: dict[str, TaskChoice] = {}
    for word in (part.strip() for words_of_one in words for part in words_of_one.split(",")):
        if not word:
            continue
        suite = SUITES.get(word)
        chat_template = chat_template or (suite is not None and suite.chat_template)
        for task in suite.tasks if suite else (_choice(word),):
            if chosen.setdefault(task.file_name, task) != task:
                raise QualityError(f"--tasks: {task.name} is named twice, with different numbers of examples")
    if not chosen:
        raise QualityError(f"name a task of lm-eval, or a suite: {', '.join(SUITES)}")
    return Suite(tuple(chosen.values()), chat_template)


def measured_texts(settings: QualitySettings | None) -> dict[str, str]:
    """File -> text of all that quality is measured on and that is on this machine: held-out texts, and the items of tasks."""
    if settings is None:
        return {}
    texts = {name: read_text(name) for name in settings.perplexity_files}
    names = {task.file_name for task in choose_suite(settings.tasks).tasks} if settings.tasks else set()
    for folder in (SHIPPED, *map(Path, settings.include_paths)):
        for file in sorted(folder.glob("*.jsonl")):
            if file.stem in names:
                texts[str(file)] = file.read_text("utf-8", errors="replace")
    return texts


def headline_rank(task: str, metric: str, filter_name: str) -> int:
    """Sort key of a task's scores: its headline first, then the usual ones, then the rest."""
    if _HEADLINES.get(task) in {metric, f"{metric},{filter_name}"}:
        return -1
    return _USUAL.index(metric) if metric in _USUAL else len(_USUAL)


def _choice(word: str) -> TaskChoice:
    name, colon, shots = word.rpartition(":")
    return TaskChoice(name, int(shots)) if colon and name and shots.isdecimal() else TaskChoice(word)
