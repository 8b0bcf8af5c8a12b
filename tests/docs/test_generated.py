"""Generated pages are those of the code, and say something of everything they list."""

import json
from dataclasses import fields
from pathlib import Path

import grimp
import pytest

from prunebench.experiment.file import experiment_schema
from server.engines.synthetic.options import SyntheticOptions
from server.engines.transformers.options import TransformersOptions
from tests.docs import house_map
from tests.docs.__main__ import generated

PAGES = generated()


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_current(page: str):
    assert Path(page).read_text("utf-8") == PAGES[page], "python -P -m tests.docs"


def test_every_key_of_the_experiment_file_has_a_meaning():
    schema = json.loads(experiment_schema())
    models = [schema, *schema["$defs"].values()]
    keys = {key: value for model in models for key, value in model["properties"].items() if key not in _tables(schema)}
    assert len(keys) > 40
    assert [key for key, value in keys.items() if not value.get("description")] == []


def test_every_argument_and_option_has_a_meaning():
    rows = [line for line in PAGES["docs/reference/command-line.md"].splitlines() if line.startswith("| `")]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_wing_and_file_says_what_it_holds():
    rows = [line for line in PAGES["docs/structure.md"].splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if row.split(" | ")[1] == "—"] == []


def test_the_map_changes_with_an_import(tmp_path: Path):
    graph = grimp.build_graph(*house_map.ROOMS, cache_dir=None)
    drawn = house_map.render(graph)
    graph.add_import(importer="energy.units", imported="reports.build")
    assert house_map.render(graph) != drawn
    assert "energy --> reports" in house_map.render(graph)


def _tables(schema: dict) -> set[str]:
    return {key for key, value in schema["properties"].items() if "description" not in value and key != "name"}


def test_the_options_of_our_engines_are_listed_with_the_others():
    page = Path("docs/reference/engines.md").read_text("utf-8")
    names = [*SyntheticOptions.model_fields, *(field.name for field in fields(TransformersOptions))]
    assert [name for name in names if f"`{name}`" not in page] == []
