"""`python -P -m tests.docs`: write the generated pages of the docs anew."""

from __future__ import annotations

from pathlib import Path

from reports.checks.page import render_page
from tests.docs import command_line, criteria_table, engine_options, experiment_file, house_map

ROOT = Path(__file__).parents[2]
CHECKS = "docs/reference/checks.md"


def generated() -> dict[str, str]:
    """The text that each page ought to have, by its path."""
    before, _, rest = (ROOT / house_map.PAGE).read_text("utf-8").partition(house_map.BEGIN)
    return {
        command_line.PAGE: command_line.render(),
        experiment_file.PAGE: experiment_file.render(),
        house_map.PAGE: before + house_map.render() + rest.partition(house_map.END)[2],
        criteria_table.PAGE: criteria_table.render(),
        engine_options.PAGE: engine_options.render(),
        CHECKS: render_page(),
    }


if __name__ == "__main__":
    for page, text in generated().items():
        (ROOT / page).write_text(text, "utf-8")
