"""The ways of pruning that are compared: each writes all widths, in a process of its own whose time and memory are noted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PERCENTAGES = (10, 20, 30)
_OPTIPFAIR = """
import json, sys
import torch
from transformers import AutoModelForCausalLM
from optipfair import prune_model
source, output, percentages = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sequences = json.loads(open(sys.argv[4]).read()) if len(sys.argv) > 4 else []
batches = [{"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))} for ids in sequences] or None
for percentage in percentages:
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    model = prune_model(
        model, neuron_selection_method="MAW", pruning_percentage=percentage, dataloader=batches, show_progress=False
    )
    model.save_pretrained(f"{output}/{percentage}")
"""


@dataclass(frozen=True)
class Method:
    """Options of `prunebench prune`, or optipfair's MAW, of weights alone or with its data-driven mode."""

    options: tuple[str, ...] = ()
    optipfair: bool = False
    uses_text: bool = True


def _ours(*options: str) -> Method:
    if options == ("--criterion", "maw"):  # the study's: ties as optipfair breaks them, which rounded weights have
        return Method((*options, "--tie-break", "torch"), uses_text=False)
    return Method(options)


METHODS = {
    "optipfair MAW": Method(optipfair=True, uses_text=False),
    "optipfair MAW, data-driven": Method(optipfair=True),
    **{
        f"{criterion}{'' if how is None else f', {how} refit'}": _ours(
            "--criterion", criterion, *([] if how is None else ["--refit", f"--{how}"])
        )
        for criterion in ("maw", "act", "wanda", "obs", "taylor")
        for how in (None, "one-shot", "sequential")
    },
}


@dataclass(frozen=True)
class Cost:
    """Of making all widths."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run(
    method: Method,
    source: Path,
    output: Path,
    text: Path,
    sequences: Sequence[list[int]],
    *,
    percentages: Sequence[int] = PERCENTAGES,
) -> tuple[Cost, list[Path]]:
    """Prune to every width; returns the cost and the folders, in the order of `percentages`.

    text: the calibration file. sequences: its tokens as `prunebench` cuts them, for optipfair.
    """
    if method.optipfair:
        command = [sys.executable, "-P", "-c", _OPTIPFAIR, source, output, list(percentages)]
        if method.uses_text:
            tokens = output.with_name(f"{output.name}-tokens.json")
            tokens.write_text(json.dumps(sequences))
            command.append(tokens)
    else:
        widths = [word for percentage in percentages for word in ("--pruning-percentage", str(percentage))]
        command = [
            sys.executable,
            "-P",
            "-m",
            "prunebench",
            "prune",
            source,
            "--output",
            output,
            *method.options,
            *widths,
        ]
        command += ["--calibration", text] if method.uses_text else []
    cost = _timed(command)
    if method.optipfair:
        return cost, [output / str(percentage) for percentage in percentages]
    return cost, sorted(output.glob("width-*"), key=lambda folder: -int(folder.name.removeprefix("width-")))


def _timed(command: Sequence[Any]) -> Cost:
    started = time.monotonic()
    child = subprocess.Popen([str(word) for word in command], cwd=Path(__file__).parents[2])
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:9]))} …: status {child.returncode}")
    return Cost(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
