"""cells.csv: a row for every run, configuration and workload. An empty field has no value; its reason stands beside it."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from reports.analysis import Analysis, Cell, CellValue, ConfigurationFigures


def render_cells(analyses: Sequence[Analysis]) -> str:
    """The CSV of one or more runs. Measured and modelled energy are columns apart."""
    rows = [_row(a, c, a.cell(c.info.label, w)) for a in analyses for w in a.info.workloads for c in a.configurations]
    text = io.StringIO()
    if rows:
        columns = list(dict.fromkeys(key for row in rows for key in row))  # runs may differ in their quality tasks
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _row(analysis: Analysis, configuration: ConfigurationFigures, cell: Cell) -> dict[str, Any]:
    info, quality = configuration.info, configuration.info.quality
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
        "perplexity_reason": configuration.perplexity_reason,
        "trials": cell.trials,
        "requests": cell.requests,
        "failed_requests": cell.failed_requests,
        "mean_output_tokens": cell.mean_output_tokens,
        "energy_source": "+".join(cell.energy_sources),
        "energy_uncertainty": cell.energy_uncertainty,
        "modelled_basis": "; ".join(cell.modelled_basis),
    }
    for key, value in cell.values.items():
        row |= _columns(key, value)
    return row | _quality_columns(analysis, info.label)


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
        f"{key}_reason": value.reason or (found.reason if found else None),
    }
