"""Generated pages are those of the code, and say something of everything they list."""

import json
import re
from dataclasses import fields
from pathlib import Path

import grimp
import pytest

from base.records import Record
from energy.records import (
    Conditions,
    Counter,
    EnergyCounters,
    EnergyTrace,
    FailedRead,
    GpuFacts,
    MeterInfo,
    MeterTrace,
    MissingMeter,
)
from loadgen.records import schema
from prunebench.commands.schema import experiment_schema
from reports.compare import summary
from reports.runs.records import cells, configuration, quality, run
from server.engines.synthetic.options import SyntheticOptions
from server.engines.transformers.options import TransformersOptions
from tests.docs import house_map
from tests.docs.__main__ import generated

PAGES = generated()


@pytest.mark.parametrize("page", PAGES)
def test_a_generated_page_is_current(page: str):
    assert Path(page).read_text("utf-8") == PAGES[page], "python -P -m tests.docs"


def test_every_key_of_the_experiment_file_has_a_meaning():
    file = json.loads(experiment_schema())
    models = [file, *file["$defs"].values()]
    keys = {key: value for model in models for key, value in model["properties"].items() if key not in _tables(file)}
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


def _tables(file: dict) -> set[str]:
    return {key for key, value in file["properties"].items() if "description" not in value and key != "name"}


def test_the_options_of_our_engines_are_listed_with_the_others():
    page = Path("docs/reference/engines.md").read_text("utf-8")
    names = [*SyntheticOptions.model_fields, *(field.name for field in fields(TransformersOptions))]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    "record",
    [EnergyCounters, Counter, EnergyTrace, MeterTrace, FailedRead, Conditions, MissingMeter, MeterInfo, GpuFacts],
)
def test_the_energy_trace_is_described_field_by_field(record: type[Record]):
    page = Path("docs/reference/energy-trace.md").read_text("utf-8")
    assert [name for name in record.model_fields if not re.search(rf"`(meters\[\]\.)?{name}(\[\].*)?`", page)] == []


def test_the_records_of_a_run_folder_are_named_as_they_are():
    named = re.findall(r"`([A-Z][a-z]+[A-Za-z]*)`", Path("docs/reference/run-folder.md").read_text("utf-8"))
    assert len(named) > 4
    homes = (cells, configuration, quality, run, schema, summary)
    assert [name for name in named if not any(hasattr(home, name) for home in homes)] == []
