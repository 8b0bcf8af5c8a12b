"""The report says how every configuration was pruned, and what the pruner found that it cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reports.analysis.analyse import analyse_folder
from reports.document.wording import TIMES
from reports.sections.pruning import pruning_section
from tests.reports.example_run import SINGLE, Example, write_run

CALIBRATION = {
    "name": "chats.jsonl",
    "sha256": "0" * 64,
    "tokens": 20480,
    "sequence_tokens": 512,
    "dtype": "bfloat16",
    "measured_with": {},
    "refit": "one-shot",
}
HELD_OUT = {"tokens": 1000, "perplexity_before": 10.0, "perplexity_after": 12.5}


def section_of(folder: Path, **manifest: Any) -> Any:
    run = write_run(
        folder / "run", Example(widths=(1024, 512), workloads=(SINGLE.model_copy(update={"requests": 3}),), blocks=2)
    )
    file = run / "configurations" / "width-512.json"
    info = json.loads(file.read_text())
    info["manifest"] |= manifest
    file.write_text(json.dumps(info))
    return pruning_section(analyse_folder(run))


def texts(table: Any) -> list[list[str]]:
    return [[entry.text for entry in row.entries] for row in table.rows]


def test_recipe_text_and_perplexity_before_and_after_are_there(tmp_path):
    layers = [{"layer": 3, "perplexity": 11.0}, {"layer": 1, "perplexity": 12.0}]
    section = section_of(tmp_path, calibration=CALIBRATION, held_out=HELD_OUT, removed_layers=layers, criterion="act")
    lede, costs, recipes = section.blocks
    assert "held out" in lede.text
    assert texts(costs) == [["width-512", "10.0", "12.5", f"1.25{TIMES}", "1,000"]]
    assert texts(recipes)[0][2:6] == ["act", "one-shot", "3, 1", "chats.jsonl, 20,480 tokens"]


def test_without_a_text_there_is_the_recipe_alone_and_a_missing_figure_has_its_reason(tmp_path):
    (recipes,) = section_of(tmp_path / "none").blocks
    assert texts(recipes)[0][2:6] == ["maw", "—", "—", "—"]
    unscored = {"tokens": 0, "perplexity_before": None, "perplexity_after": None, "reason": "the text is too short"}
    costs = section_of(tmp_path / "short", calibration=CALIBRATION, held_out=unscored).blocks[1]
    assert texts(costs) == [["width-512", "—", "—", "—", "—"]]
    assert list(costs.notes.values()) == ["the text is too short"]
