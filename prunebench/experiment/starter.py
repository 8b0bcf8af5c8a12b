"""The experiment file that `prunebench init` writes, by what this machine has: for one checkpoint, or to compare servers and checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil

from energy.machine import MachineEnergy
from pruner.inspection import ALIGNMENTS, Inspection
from server.engines.entry import EngineEntry

PERCENTAGES = (20.0, 40.0)
_WIDTHS_TO_CHOOSE = 16  # a coarser alignment would leave few widths to choose from
_TEXTS = ("argparse", "difflib", "statistics", "textwrap")


@dataclass(frozen=True)
class Starter:
    """What the file depends on."""

    source: str  # as it is to stand in the file
    found: Inspection  # with the targets of `PERCENTAGES`
    multiple_of: int
    context: int | None  # the longest sequence, by config.json
    engine: EngineEntry | None  # None: none is installed
    metering: MachineEnergy

    def text(self) -> str:
        """The whole file."""
        parts = [self._head(), self._model(), self._prune(), self._serve(), _protocol("width"), _energy(self.metering)]
        return "\n\n".join([*parts, _quality(), _workloads(self.context)]) + "\n"

    def _head(self) -> str:
        return _head("prune, serve every width, load it, meter it, report", Path(self.source).name)

    def _model(self) -> str:
        size = f"{self.found.parameters:,} parameters, {self.found.layers} layers, width {self.found.width}"
        return f"[model]\n# {self.found.family}, {size}. The source itself is always served too, as the baseline.\nsource = {_quoted(self.source)}"

    def _prune(self) -> str:
        rows = "\n".join(
            f"# {row.pruning_percentage:.1f} % removed: width {row.width}, {row.parameters:,} parameters"
            for row in self.found.targets
        )
        aligned = (
            "widths that GPU kernels do not pad" if self.multiple_of >= 64 else "of what divides the source's width"
        )
        return (
            f"[prune]\n{rows}\npruning_percentages = {json.dumps([*PERCENTAGES])}\n"
            f"multiple_of = {self.multiple_of} # {aligned}\n"
            'criterion = "maw" # which neurons stay; docs/explanation/pruning.md compares them'
        )

    def _serve(self) -> str:
        if self.engine is None:
            return '[serve]\nengine = "auto" # none is installed here yet: `prunebench doctor` says how to get one'
        side_by_side = self.found.bytes * (1 + len(PERCENTAGES)) < psutil.virtual_memory().available / 4
        keep = self.engine.name != "vllm" and side_by_side
        return (
            f"[serve]\nengine = {json.dumps(self.engine.name)} # what `auto` takes on this machine\n"
            f"keep_servers = {json.dumps(keep)} # true: all widths loaded side by side, if memory holds them"
        )


def alignment(width: int) -> int:
    """The coarsest alignment that the width has, and that leaves enough widths below it."""
    fitting = (n for n in sorted(ALIGNMENTS, reverse=True) if width % n == 0 and width >= _WIDTHS_TO_CHOOSE * n)
    return next(fitting, 1)


def context_of(config: dict[str, Any]) -> int | None:
    """The longest sequence by a config.json, which may nest the language model's part."""
    nested = config.get("text_config")
    part = nested if isinstance(nested, dict) else config
    found = part.get("max_position_embeddings")
    return found if isinstance(found, int) else None


def comparison(name: str, configurations: Sequence[str], metering: MachineEnergy) -> str:
    """The file that compares servers and checkpoints: a table of each, the first the baseline."""
    parts = [
        _head("serve each checkpoint, load it and each server, meter it, compare it with the first, report", name),
        f"{_CONFIGURATIONS}\n{configurations[0]}",
        *configurations[1:],
        *([_ANOTHER] if len(configurations) == 1 else []),
        _protocol("configuration"),
        _energy(metering),
        _quality(asked=False),
        _workloads(None),
    ]
    return "\n\n".join(parts) + "\n"


_CONFIGURATIONS = """\
# What is compared: the first is the baseline. A server that is already there is never stopped; model = "NAME" is for one that
# lists several, energy = "URL" for the server with /energy where its GPUs are. All of it: docs/how-to/compare-anything.md."""
_ANOTHER = """\
# Something to compare it with: another server, or a checkpoint, which is served here.
# [[configurations]]
# label = "other"
# url = "http://127.0.0.1:8001\""""


def _head(done: str, name: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "experiment"
    return (
        f"# What `prunebench run` does with this file: {done}.\n"
        "# First `prunebench run FILE --dry-run`: how long it takes. Every key: docs/reference/experiment-file.md.\n\n"
        f"name = {json.dumps(name)} # names the run folder, runs/NAME-TIME"
    )


def _protocol(each: str) -> str:
    return f"[protocol]\nblocks = 5 # repeats; every block visits every {each} once. More blocks show smaller effects"


def _energy(metering: MachineEnergy) -> str:
    meters = ", ".join(sorted({meter.source for meter in metering.meters}))
    if metering.headline is not None:
        return f'[energy]\nsource = "auto" # found here: {meters}\nidle_s = 10 # seconds of rest before and after each load'
    return (
        f"[energy]\n# No joules are measured here: {_one_line(metering.reason)}.\n"
        "# An assumption instead, in columns called modelled:\n# modelled_watts_per_core = 7.5\nidle_s = 0"
    )


def _workloads(context: int | None) -> str:
    tokens = 128 if context is None else max(8, min(128, context // 4))
    lengths = f"prompt_tokens = {tokens}\noutput_tokens = {tokens}"
    return (
        "# Interactive use: one request at a time.\n"
        f'[[workloads]]\nname = "single-request"\nkind = "single"\nrequests = 20\n{lengths}\n\n'
        "# Batch use: eight in flight at all times. Other kinds: docs/reference/workloads.md.\n"
        f'[[workloads]]\nname = "concurrency-8"\nkind = "concurrency"\nconcurrency = 8\nrequests = 160\n{lengths}'
    )


def _quality(*, asked: bool = True) -> str:
    """Tasks that are not `asked` stand there as a comment: a server of another project may not score texts."""
    texts = json.dumps([f"stdlib:{name}.py" for name in _TEXTS])
    tasks = 'tasks = ["offline"] # three small tasks that ship; docs/how-to/measure-quality.md has others'
    if find_spec("lm_eval") is None:
        tasks = f"# {tasks}; needs lm-eval: pip install 'prunebench[quality]'"
    elif not asked:
        tasks = f"# {tasks}"
    return f"[quality]\nperplexity_files = {texts} # files of Python's library; better: texts of your own\n{tasks}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _one_line(text: str | None) -> str:
    return " ".join((text or "no meter").split()).rstrip(".")
