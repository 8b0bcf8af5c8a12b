"""The stages of the day, in the order of their worth, and what each needs. Only the standard library."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_day.day import SECONDS, Stage


@dataclass(frozen=True)
class Choice:
    """What the day's options choose."""

    work: Path
    is_rehearsal: bool = False
    may_set_power: bool = False
    engine: str = "transformers"


@dataclass(frozen=True)
class _Kind:
    title: str
    share: float  # of the time that is left
    module: str
    needs: tuple[str, ...]  # names of `benchmarks/gpu_day/probe.py`
    words: tuple[str, ...] = ()


_KINDS = {
    "a": _Kind("what is there", 0.06, "nvml_calls", ()),
    "b": _Kind("energy: the counter against integrated power", 0.14, "known_load", ("metering", "cuda")),
    "c": _Kind("prunebench run on random weights", 0.6, "first_run", ("runs", "engine", "cuda"), ("--letter", "c")),
    "d": _Kind("the same on vLLM", 0.45, "first_run", ("runs", "vllm", "cuda"), ("--letter", "d", "--engine", "vllm")),
    "e": _Kind("the server beside the engine alone", 0.45, "serving", ("runs", "engine", "serving", "cuda")),
    "f": _Kind("calibrated pruning", 0.6, "calibrated", ("runs", "calibration", "cuda")),
    "g": _Kind("reports", 1.0, "reporting", ("runs",)),
}
LETTERS = "".join(_KINDS)


def needs_of(letters: Sequence[str], choice: Choice) -> list[str]:
    """What the probe has to try for these stages."""
    return list(dict.fromkeys(need for letter in letters for need in _needs(letter, choice)))


def stages_of(letters: Sequence[str], choice: Choice, missing: Mapping[str, str | None]) -> list[Stage]:
    """The stages, each with why it is skipped if something that it needs is missing."""
    made = []
    for letter in letters:
        kind = _KINDS[letter]
        lacking = [why for need in _needs(letter, choice) if (why := missing.get(need))]
        made.append(
            Stage(letter, kind.title, kind.share, _command(letter, choice), "; ".join(dict.fromkeys(lacking)) or None)
        )
    return made


def _needs(letter: str, choice: Choice) -> list[str]:
    """A rehearsal needs no GPU, and an engine that is not torch's no torch."""
    found = list(_KINDS[letter].needs)
    if choice.is_rehearsal:
        found = [need for need in found if need != "cuda"]
    if letter == "c" and choice.engine != "transformers":
        found.remove("engine")
    return found


def _command(letter: str, choice: Choice) -> tuple[str, ...]:
    kind = _KINDS[letter]
    words = [sys.executable, "-P", "-m", f"benchmarks.gpu_day.measuring.{kind.module}", "--work", f"{choice.work}"]
    words += ["--profile", "rehearsal" if choice.is_rehearsal else "gpu", "--seconds", SECONDS, *kind.words]
    words += ["--engine", choice.engine] if letter == "c" else []
    words += ["--may-set-power"] if choice.may_set_power and letter in "cd" else []
    return tuple(words)
