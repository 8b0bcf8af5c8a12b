"""A trial on disk: requests.parquet, trial.json, summary.json, power.json, and the sha256 of each.

The folder appears whole or not at all. A file is verified by its sha256: in `SHA256SUMS`, as `sha256sum --check` reads it, or
wherever the caller keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from base.files import write_folder
from energy.records import PowerTimeline
from loadgen.metrics.request_joules import share_joules
from loadgen.metrics.summary import summarize
from loadgen.records.checksums import file_sha256, sums_file
from loadgen.records.parquet import read_parquet, write_parquet
from loadgen.records.schema import Flag, Trial
from loadgen.records.table import Records
from loadgen.results.result import TrialResult

Seal = Callable[[Mapping[str, str]], Mapping[str, str]]  # sha256 by file name -> the text of the file that keeps them


def write_trial(folder: Path, result: TrialResult, flags: Sequence[Flag], seal: Seal = sums_file) -> None:
    """Write a trial that was just measured; `seal` keeps the sha256 of its files."""
    write_folder(folder, lambda partial: _write_files(partial, result, flags, seal))


def _write_files(partial: Path, result: TrialResult, flags: Sequence[Flag], seal: Seal) -> None:
    shared = share_joules(result.trial.energy, result.metrics)
    write_parquet(Records.of(result.records).batches(), partial / "requests.parquet", shared.columns)
    texts = {
        "trial.json": result.trial.model_dump_json(indent=1),
        "power.json": result.power.model_dump_json(),
        "summary.json": json.dumps(summarize(result.trial, result.metrics, flags, result.power), indent=1),
    }
    _write_texts(partial, texts)
    _write_texts(partial, seal({file.name: file_sha256(file) for file in sorted(partial.iterdir())}))


def _write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        (folder / name).write_text(text.rstrip("\n") + "\n", encoding="utf-8")


def read_trial(folder: Path) -> TrialResult:
    """What `write_trial` wrote."""
    trial = Trial.model_validate_json((folder / "trial.json").read_bytes())
    records = Records(list(read_parquet(folder / "requests.parquet")))
    power = PowerTimeline.model_validate_json((folder / "power.json").read_bytes())
    return TrialResult(trial, records, power)
