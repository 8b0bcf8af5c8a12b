"""`prunebench run TARGET TARGET…`: the experiment that servers' addresses and checkpoints amount to, as a file that repeats it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from base.paths import matching
from loadgen.endpoint import server_address
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.shipped import find_experiment
from prunebench.experiment.toml_text import TomlText
from pruner.checkpoint.hub import find_source
from reports.analysis.precision import Goal

_ADDRESSES = ("http://", "https://", "unix:", "http+unix:")
_LONGEST_NAME = 60
_HEAD = """# Written by `prunebench run TARGET TARGET…`: the first configuration is the baseline. Run it again, or add to it:
# docs/how-to/compare-anything.md. Every key: docs/reference/experiment-file.md.

"""


@dataclass(frozen=True)
class TargetOptions:
    """How targets are compared; None: the default."""

    blocks: int | None = None
    concurrency: int | None = None
    duration: str | None = None
    prompt_tokens: str | None = None
    output_tokens: str | None = None
    until: str | None = None

    def given(self) -> list[str]:
        """The options that were given and mean nothing to an experiment file, which has them as keys."""
        names = ("concurrency", "duration", "prompt_tokens", "output_tokens", "until")
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]


def experiment_of(targets: Sequence[str], options: TargetOptions, *, fetch: bool = True) -> TomlText:
    """The experiment file that one argument names; or, of two targets or more, the one that they amount to.

    Without `fetch` nothing is downloaded. Raises ExperimentError or PruneError naming the argument or option to fix.
    """
    if len(targets) > 1:
        if file := next((one for one in targets if one.endswith(".toml")), None):
            raise ExperimentError(f"{file}: an experiment file is run alone; give it without other arguments")
        return TomlText(Path("experiment.toml"), experiment_text(targets, options, fetch=fetch))
    named = find_experiment(Path(targets[0]))
    if is_address(targets[0]) or (named / "config.json").is_file():
        raise ExperimentError(f"{targets[0]}: is one target; give another to compare it with, or an experiment file")
    if given := options.given():
        raise ExperimentError(f"{given[0]}: is for two targets or more; an experiment file has it as a key")
    return TomlText.read(named)


def experiment_text(targets: Sequence[str], options: TargetOptions, *, fetch: bool = True) -> str:
    """The file: a configuration for each target, the first the baseline, under one closed loop. Raises ExperimentError or PruneError."""
    name, tables = configurations(targets, fetch=fetch)
    concurrency = 8 if options.concurrency is None else options.concurrency
    lengths = {"prompt_tokens": options.prompt_tokens or "128", "output_tokens": options.output_tokens or "128"}
    parts = [
        f"{_HEAD}name = {json.dumps(name)}",
        *tables,
        _protocol(options),
        "[energy]\nidle_s = 10",
        '[quality]\nperplexity_files = ["stdlib:argparse.py", "stdlib:difflib.py"]\nmax_tokens = 4096',
        f'[[workloads]]\nname = "concurrency-{concurrency}"\nkind = "concurrency"\nconcurrency = {concurrency}\n'
        f"duration_s = {json.dumps(options.duration or '20s')}\n"
        + "\n".join(f"{key} = {value if value.isdecimal() else json.dumps(value)}" for key, value in lengths.items()),
    ]
    return "\n\n".join(parts) + "\n"


def configurations(targets: Sequence[str], *, fetch: bool = True) -> tuple[str, list[str]]:
    """A name for the comparison, and each target's table in the file. Raises ExperimentError or PruneError."""
    tables: dict[str, str] = {}
    for target in targets:
        key, value, name = _described(target, fetch=fetch)
        label = _free(_plain(name), tables)
        tables[label] = f"[[configurations]]\nlabel = {json.dumps(label)}\n{key} = {json.dumps(value)}"
    return "-vs-".join(tables)[:_LONGEST_NAME].rstrip("-._"), list(tables.values())


def each_target(given: Sequence[str]) -> list[str]:
    """What was given, `~` expanded and with every path that a pattern in quotes matches in its place."""
    return [found for one in given for found in ([one] if is_address(one) else map(str, matching(one)))]


def is_address(target: str) -> bool:
    """Whether it is a server's, and no checkpoint."""
    return target.startswith(_ADDRESSES)


def _protocol(options: TargetOptions) -> str:
    if options.until is None:
        return f"[protocol]\nblocks = {options.blocks or 5}"
    try:
        Goal.parse(options.until)
    except ValueError as error:
        raise ExperimentError(f"--until: {error}") from None
    most = "" if options.blocks is None else f"\nmin_blocks = {min(5, options.blocks)}\nmax_blocks = {options.blocks}"
    return f"[protocol]\nuntil = {json.dumps(options.until, ensure_ascii=False)}{most}"


def _described(target: str, *, fetch: bool) -> tuple[str, str, str]:
    """(key of the configuration, its value, a name)."""
    if is_address(target):
        address = server_address(target, "TARGET")
        return "url", address, urlsplit(address).netloc or Path(target.partition(":")[2]).name
    folder = find_source(target, fetch=fetch).resolve()
    if not (folder / "config.json").is_file():
        raise ExperimentError(
            f"TARGET {target}: is neither an address such as http://127.0.0.1:8000 nor a checkpoint (no config.json at {folder})"
        )
    return "checkpoint", str(folder), folder.name if Path(target).exists() else target


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:_LONGEST_NAME] or "target"


def _free(name: str, taken: dict[str, str]) -> str:
    """The name, or NAME-2, NAME-3 … if it is taken."""
    numbered = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(one for one in numbered if one not in taken)
