"""lm-eval, one task at a time: resolves names, loads data sets, reads scores.

Raises QualityError for what the user can fix, before the first question.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import httpx
import numpy as np

from prunebench.quality.scores import Items, read_items, read_scores
from prunebench.quality.suites import SHIPPED, QualityError, Suite, TaskChoice
from prunebench.quality.task_index import known_tasks
from prunebench.terminal.progress import Progress, unseen
from reports.runs.records.quality import Score

if TYPE_CHECKING:
    from lm_eval.api.model import LM

SEEDS = {"random": 0, "numpy": 1234, "torch": 1234, "fewshot": 1234}  # lm-eval's own defaults
_BOOTSTRAP = 1000  # resamples for the standard error of what has no formula
_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Asked:
    """The results of a task."""

    version: str | None
    shots: int | None
    scores: list[Score]
    items: Items


class UnavailableError(Exception):
    """A task that cannot be asked here, while the others can; the message is one line with the reason."""


class Harness:
    """lm-eval with the tasks of one suite; a task is loaded once and asked of any number of models."""

    def __init__(self, suite: Suite, include_paths: Sequence[Path], limit: int | None) -> None:
        _import_harness()
        self._suite = suite
        self._limit = limit
        self._tasks = known_tasks(suite, include_paths)
        self._loaded: dict[TaskChoice, Any] = {}
        self._without_hub: str | None = None
        if any(not self._is_local(task) for task in suite.tasks):
            self._without_hub = _go_offline_without_hub()

    def load(self, choice: TaskChoice, log: IO[str]) -> str | None:
        """Load a task's data. Returns None, or in one line why the task cannot be asked here."""
        try:
            with _output_to(log):
                self._load(choice)
        except UnavailableError as error:
            return str(error)
        return None

    def ask(self, choice: TaskChoice, model: LM, log: IO[str], progress: Progress = unseen) -> Asked:
        """Ask one task and return every score. lm-eval's output goes to `log`, each answer is counted to `progress`.

        Raises UnavailableError if the task's data cannot be loaded, and what the model raises.
        """
        from lm_eval import evaluator

        with _output_to(log):
            loaded = self._load(choice)
            _seed()
            for task in loaded["tasks"].values():
                task.set_fewshot_seed(seed=SEEDS["fewshot"])
            model.set_cache_hook(_AnswerCounter(choice.name, list(loaded["tasks"].values()), progress))
            found = evaluator.evaluate(
                lm=model,
                task_dict=loaded,
                limit=self._limit,
                bootstrap_iters=_BOOTSTRAP,
                log_samples=True,
                apply_chat_template=self._suite.chat_template,
                fewshot_as_multiturn=self._suite.chat_template,
            )
        name = next(iter(loaded["groups"] or loaded["tasks"]))  # a group's own figures are over all its tasks
        scores = read_scores(found, name)
        if not scores:
            raise UnavailableError(f"lm-eval gave {choice.name} no score of its own; name its tasks instead")
        items = read_items(found, name, scores[0])
        version, shots = found["versions"].get(name), found["n-shot"].get(name)
        return Asked(
            version=None if version in {None, "N/A"} else str(version),
            shots=shots if isinstance(shots, int) else choice.shots,
            scores=[items.with_error(scores[0]), *scores[1:]],
            items=items,
        )

    def _load(self, choice: TaskChoice) -> Any:
        """A task or group, its data included, as lm-eval's TaskDict."""
        if choice not in self._loaded:
            try:
                loaded = self._tasks.load([choice.name])
            except Exception as error:  # noqa: BLE001 - a task is code of others
                raise UnavailableError(self._why_not(choice, error)) from None
            for task in loaded["tasks"].values():
                own = task.get_config("num_fewshot")
                if own is None or (
                    choice.shots is not None and own != 0
                ):  # 0 examples is part of such a task's definition
                    task.set_config(key="num_fewshot", value=choice.shots or 0)
            self._loaded[choice] = {"groups": {}, "group_map": {}, **loaded}
        return self._loaded[choice]

    def _why_not(self, choice: TaskChoice, error: Exception) -> str:
        if self._without_hub and not self._is_local(choice):
            return f"its data set is not in this machine's cache, and {self._without_hub}"
        return f"it cannot be loaded: {one_line(error)}"

    def _is_local(self, choice: TaskChoice) -> bool:
        entry = self._tasks.task_index.get(choice.name)
        return entry is None or (entry.yaml_path is not None and entry.yaml_path.is_relative_to(SHIPPED))


class _AnswerCounter:
    """In the place of lm-eval's cache, which models hand each answer to: only counts them."""

    def __init__(self, name: str, tasks: Sequence[Any], progress: Progress) -> None:
        self._name, self._tasks, self._progress = name, tasks, progress
        self._done = self._total = 0

    def add_partial(self, _method: str, request: object, _answer: object) -> None:
        """Count an answer; one without a request is only part of an answer."""
        if request is None:
            return
        # The tasks have no requests until lm-eval evaluates them.
        self._total = self._total or sum(one.repeats for task in self._tasks for one in task.instances)
        self._done += 1
        self._progress(self._done, self._total, f"{self._name}, requests answered")


def one_line(error: Exception) -> str:
    """An exception in one line, however many it has."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def harness_version() -> str:
    """lm-eval's name and version. Raises QualityError if it is not installed."""
    return f"lm-eval {_import_harness()}"


def _import_harness() -> str:
    # Its pools of processes would be forked from a process with threads, for a few seconds of resampling.
    os.environ.setdefault("DISABLE_MULTIPROC", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import lm_eval
    except ImportError:
        raise QualityError('quality tasks need lm-eval: pip install "prunebench[quality]"') from None
    return str(lm_eval.__version__)


def _go_offline_without_hub() -> str | None:
    """Why the hub is out of reach; None if it answers. Its libraries are set to use their cache: they would retry for minutes."""
    import datasets
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        httpx.head(constants.ENDPOINT, timeout=_HUB_TIMEOUT_S)
    except httpx.HTTPError:
        constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = True
        return f"{constants.ENDPOINT} does not answer"
    return None


def _seed() -> None:
    """Seed before every task, so that its random draws do not depend on the tasks before it."""
    random.seed(SEEDS["random"])
    np.random.seed(SEEDS["numpy"])  # noqa: NPY002 - the generator lm-eval's tasks draw from
    if torch := sys.modules.get("torch"):  # few tasks import it
        torch.manual_seed(SEEDS["torch"])


@contextlib.contextmanager
def _output_to(log: IO[str]) -> Iterator[None]:
    """Write progress bars, warnings and log lines of lm-eval and its libraries to a file, not between our lines."""
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stderr(log):
            yield
    finally:
        logging.getLogger().removeHandler(handler)
        log.flush()
