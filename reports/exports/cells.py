"""The table of figures: a row for every run, configuration and workload, as CSV, Parquet, JSON and Markdown.

An empty field has no value; the column beside it gives the reason. Measured and modelled energy are separate columns.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nanoarrow as na
from nanoarrow.c_array_stream import CArrayStream

from loadgen.records.parquet import write_arrow
from reports.analysis.records import Analysis, Cell, CellValue, ConfigurationFigures
from reports.document.markdown import plain
from reports.exports.csv_table import csv_text
from reports.statistics.ratios import Interval


def cell_rows(analyses: Sequence[Analysis]) -> list[dict[str, Any]]:
    """The rows of one or more runs, all with the same columns: runs may differ in their quality tasks."""
    rows = [_row(a, c, a.cell(c.info.label, w)) for a in analyses for w in a.info.workloads for c in a.configurations]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return [{column: row.get(column) for column in columns} for row in rows]


def as_csv(rows: Sequence[dict[str, Any]]) -> bytes:
    """For spreadsheets."""
    return csv_text(list(rows[0]), rows).encode() if rows else b""


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """For analysis: typed columns; a column without any value has floats."""
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ["run"])}
    types = {name: _arrow_type(values) for name, values in columns.items()}
    children = [na.c_array(values, types[name]) for name, values in columns.items()]
    table = na.c_array_from_buffers(na.struct(types), len(rows), [None], null_count=0, children=children)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cells.parquet"
        write_arrow(na.ArrayStream(CArrayStream.from_c_arrays([table], table.schema)), file)
        return file.read_bytes()


def _arrow_type(values: Sequence[Any]) -> Any:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and kinds != {int}:
        return na.float64()
    return {frozenset({bool}): na.bool_(), frozenset({int}): na.int64()}.get(frozenset(kinds), na.string())


def as_json(rows: Sequence[dict[str, Any]]) -> bytes:
    """An array of objects."""
    return (json.dumps(list(rows), indent=1, allow_nan=False) + "\n").encode()


def as_markdown(rows: Sequence[dict[str, Any]]) -> bytes:
    """A table for each row, since a table of all columns would be too wide to read. Missing values are left out."""
    parts = []
    for row in rows:
        head = f"## {plain(str(row['run']))}: {plain(str(row['label']))}, {plain(str(row['workload']))}"
        lines = [f"| {key} | {plain(str(value))} |" for key, value in row.items() if value not in {None, ""}]
        parts.append("\n".join([head, "", "| Figure | Value |", "| --- | --- |", *lines]))
    return ("\n\n".join(parts) + "\n").encode()


def _row(analysis: Analysis, configuration: ConfigurationFigures, cell: Cell) -> dict[str, Any]:
    info, quality = configuration.info, configuration.info.quality
    perplexity, bits = configuration.perplexity, configuration.bits_per_byte
    row = {
        "run": analysis.folder,
        "label": info.label,
        "is_baseline": info.is_baseline,
        "workload": cell.workload,
        "width": info.width,
        "expansion_ratio": info.expansion_ratio,
        "pruning_percentage": info.pruning_percentage,
        "parameters": info.parameters,
        "checkpoint_bytes": info.checkpoint_bytes,
        "perplexity": quality.perplexity if quality else None,
        "perplexity_standard_error": quality.standard_error if quality else None,
        "perplexity_ratio": configuration.perplexity_ratio,
        "perplexity_ratio_low": perplexity.low if perplexity else None,
        "perplexity_ratio_high": perplexity.high if perplexity else None,
        "perplexity_reason": configuration.perplexity_reason,
        "bits_per_byte": quality.bits_per_byte if quality else None,
        "bits_per_byte_ratio": bits.ratio if bits else None,
        "bits_per_byte_ratio_low": bits.low if bits else None,
        "bits_per_byte_ratio_high": bits.high if bits else None,
        **_mean("kl_nats", configuration.kl_nats),
        **_mean("top1_agreement", configuration.top1_agreement),
        "next_tokens_reason": configuration.next_tokens_reason,
        "trials": cell.trials,
        "requests": cell.requests,
        "failed_requests": cell.failed_requests,
        "offered_rate": cell.offered_rate,
        "saturated_trials": cell.saturated,
        "draft_acceptance": cell.draft_acceptance,
        "mean_prompt_tokens": cell.mean_prompt_tokens,
        "mean_output_tokens": cell.mean_output_tokens,
        "mean_output_characters": cell.mean_output_characters,
        "energy_source": "+".join(cell.energy_sources),
        "energy_uncertainty": cell.energy_uncertainty,
        "net_uncertainty": cell.net_uncertainty,
        "modelled_basis": "; ".join(cell.modelled_basis),
    }
    for key, value in cell.values.items():
        row |= _columns(key, value)
    return row | _quality_columns(analysis, info.label)


def _mean(key: str, found: Interval | None) -> dict[str, Any]:
    ends = (found.mean, found.low, found.high) if found else (None, None, None)
    return dict(zip((key, f"{key}_low", f"{key}_high"), ends, strict=True))


def _quality_columns(analysis: Analysis, label: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for task in analysis.quality.tasks if analysis.quality else ():
        score = task.scores[label]
        row |= {
            f"{task.task}_{task.metric}": score.value,
            f"{task.task}_standard_error": score.standard_error,
            f"{task.task}_kept": score.kept.ratio if score.kept else None,
            f"{task.task}_kept_low": score.kept.low if score.kept else None,
            f"{task.task}_kept_high": score.kept.high if score.kept else None,
            f"{task.task}_reason": score.reason,
        }
    return row


def _columns(key: str, value: CellValue) -> dict[str, Any]:
    found = value.comparison
    return {
        key: value.median,
        f"{key}_ratio": found.ratio if found else None,
        f"{key}_ratio_low": found.low if found else None,
        f"{key}_ratio_high": found.high if found else None,
        f"{key}_verdict": found.verdict if found else None,
        f"{key}_reason": value.why_missing,
    }
