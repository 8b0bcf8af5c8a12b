"""The figures in results/README.md are those of the files beside it."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

RESULTS = Path(__file__).parents[3] / "results"
README = (RESULTS / "README.md").read_text("utf-8")
WIDTHS = dict(zip(("10 %", "20 %", "30 %", "40 %", "50 %", "60 %"), (1383, 1229, 1076, 922, 768, 615), strict=True))
QUANTITIES = {"single-request": "median_e2e_ms", "batch-8": "output_tokens_per_s"}
_FIGURE = re.compile(r"\d[\d,]*(?:\.\d+)?")
Found = tuple[str, list[float]]  # as it is printed, and what its figures should be


@cache
def ratio(run: str, workload: str, configuration: str) -> list[float]:
    """Ratio to the baseline and its interval, corrected for the number of configurations."""
    for found in json.loads((RESULTS / run / "index.json").read_bytes())["ratios"]:
        if (found["workload"], found["quantity"], found["configuration"]) == (
            workload,
            QUANTITIES[workload],
            configuration,
        ):
            return [found["comparison"][key] for key in ("ratio", "low", "high")]
    raise KeyError(configuration)


def quality(run: str, label: str, *columns: str) -> list[float]:
    with (RESULTS / run / "cells.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["label"] == label)
    return [float(row[column]) for column in columns]


def score(label: str, task: str) -> list[float]:
    found = json.loads((RESULTS / "scores.json").read_bytes())[label][f"{task}_from_files"]
    return [found["value"], found["standard_error"]]


def table(heading: str) -> Iterator[list[str]]:
    """The rows of the table whose head begins so."""
    _, _, rest = README.partition(heading)
    assert rest, heading
    for line in rest.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def integers() -> Iterator[Found]:
    labels = {"8-bit integers": "int8", "30 %": "width 1076", "50 %": "width 768"}
    for name, single, batch, perplexity, bits in table("| | one request, E2E |"):
        label = next(label for begins, label in labels.items() if name.startswith(begins))
        yield single, ratio("vllm-bfloat16", "single-request", label)
        yield batch, ratio("vllm-bfloat16", "batch-8", label)
        plain = label.replace(" ", "-")
        yield perplexity, quality("vllm-bfloat16", plain, "perplexity_ratio")
        yield bits, quality("vllm-bfloat16", plain, "bits_per_byte", "bits_per_byte_ratio")


def widths() -> Iterator[Found]:
    for removed, single, batch, maw, act, maw_answers, act_answers in table(
        "| neurons removed | one request, E2E | batches"
    ):
        width = WIDTHS[removed]
        yield single, ratio("vllm", "single-request", f"width {width}")
        yield batch, ratio("vllm", "batch-8", f"width {width}")
        yield maw, quality("vllm", f"width-{width}", "perplexity_ratio", "bits_per_byte")
        yield act, quality("transformers", f"act-refit-{width}", "perplexity_ratio", "bits_per_byte")
        yield maw_answers, score(f"maw-{width}", "gsm8k_answers")
        yield act_answers, score(f"act-refit-{width}", "gsm8k_answers")


def tasks() -> Iterator[Found]:
    for asked, followed in table("| | followed |"):
        removed, _, criterion = asked.partition(" removed, ")
        label = f"{criterion.replace(' and ', '-')}-{WIDTHS[removed]}" if criterion else asked
        yield followed, score(label, "ifeval")


def criteria() -> Iterator[Found]:
    for removed, maw, act, maw_batch, act_batch in table("| neurons removed | one request, E2E, maw |"):
        for workload, cells in {"single-request": (maw, act), "batch-8": (maw_batch, act_batch)}.items():
            for cell, label in zip(cells, (f"width {WIDTHS[removed]}", f"act-refit-{WIDTHS[removed]}"), strict=True):
                yield cell, ratio("transformers", workload, label)


def agrees(printed: str, value: float) -> bool:
    """Whether it is the value, rounded to the decimals that are printed, or to three digits from 1,000 on."""
    whole, _, decimals = printed.replace(",", "").partition(".")
    unit = 10.0 ** (-len(decimals) if decimals else max(0, len(whole) - 3))
    return abs(float(printed.replace(",", "")) - value) <= unit * 0.501


@pytest.mark.parametrize(("found", "cells"), [(integers, 12), (widths, 36), (tasks, 4), (criteria, 24)])
def test_every_cell_has_the_figures_of_the_run(found, cells: int) -> None:
    rows = [(printed, _FIGURE.findall(printed), values) for printed, values in found()]
    assert len(rows) == cells
    wrong = [
        (printed, values)
        for printed, figures, values in rows
        if len(figures) != len(values) or not all(map(agrees, figures, values))
    ]
    assert wrong == []


def test_the_first_page_quotes_them() -> None:
    first = " ".join((RESULTS.parent / "README.md").read_text("utf-8").split())
    for begins, figures in {
        "request in ": ratio("vllm-bfloat16", "single-request", "int8")[1:],
        "gone it is ": ratio("vllm-bfloat16", "single-request", "width 768")[1:],
        "times the time at ": quality("vllm-bfloat16", "int8", "perplexity_ratio"),
        "times, at ": quality("vllm-bfloat16", "width-768", "perplexity_ratio"),
        "perplexity (": quality("transformers", "act-refit-768", "perplexity_ratio"),
    }.items():
        assert begins in first
        printed = _FIGURE.findall(first.partition(begins)[2])[: len(figures)]
        assert all(map(agrees, printed, figures)), (begins, printed, figures)
