"""Which tasks lm-eval knows: parsing its own 14,000 YAML files takes fifteen seconds, so only those are parsed that are needed."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.quality.suites import SHIPPED, QualityError, Suite, TaskChoice

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

_TASK = re.compile(
    rb"""^["']?task["']?:[ \t]*["']?([^\s"'#\[]+)""", re.MULTILINE
)  # where a file names the task it defines
_MOST_FOLDERS = 20  # of lm-eval's own: with more, its whole index is no slower


def known_tasks(suite: Suite, include_paths: Sequence[Path]) -> TaskManager:
    """An index of lm-eval's in which every task of the suite is. Raises QualityError naming what is none."""
    from lm_eval.tasks import TaskManager

    missing = next((path for path in include_paths if not path.is_dir()), None)
    if missing is not None:
        raise QualityError(f"--include-path {missing}: no such folder")
    given: list[str | Path] = [SHIPPED, *include_paths]
    index = TaskManager(include_path=given, include_defaults=False)
    wanted = [task.name for task in suite.tasks if not _is_known(task, index)]
    if not wanted:
        return index
    own, mentioned = own_folders(wanted)
    for name in wanted:
        if name not in mentioned:
            raise _unknown(name, [*own, *index.all_tasks])
    folders = sorted({folder for name in wanted for folder in own.get(name, ())})
    if set(wanted) <= own.keys() and len(folders) <= _MOST_FOLDERS:
        return TaskManager(include_path=[*folders, *given], include_defaults=False)
    index = TaskManager(include_path=given)  # a group's tasks may be in any folder, and a tag's are
    for task in suite.tasks:
        if not _is_known(task, index):
            raise _unknown(task.name, index.all_tasks)
        if task.name in index.all_tags:
            names = sorted(name for name, entry in index.task_index.items() if task.name in entry.tags)
            raise QualityError(f"{task.name} is a tag; name its tasks: {', '.join(names)}")
    return index


def own_folders(wanted: Sequence[str]) -> tuple[dict[str, set[Path]], set[str]]:
    """The folders of lm-eval that define each of its tasks, and which of the wanted words stand anywhere in its files."""
    import lm_eval.tasks

    root = Path(lm_eval.tasks.__file__).parent
    defined: dict[str, set[Path]] = defaultdict(set)
    unseen = {name: name.encode() for name in wanted}
    for file in root.rglob("*.yaml"):
        text = file.read_bytes()
        for name in _TASK.findall(text):
            defined[name.decode("utf-8", "replace")].add(root / file.relative_to(root).parts[0])
        for name in [name for name, word in unseen.items() if word in text]:
            del unseen[name]
    return dict(defined), set(wanted) - unseen.keys()


def _is_known(task: TaskChoice, index: TaskManager) -> bool:
    return task.name in index.all_tasks or (task.name.endswith(".yaml") and Path(task.name).is_file())


def _unknown(name: str, known: Sequence[str]) -> QualityError:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else "; `lm-eval ls tasks` names them all"
    return QualityError(f"lm-eval knows no task {name}{hint}")
