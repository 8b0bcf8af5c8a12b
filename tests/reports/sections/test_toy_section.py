"""A section of one's own is one function and one call: toy_section.py, which nothing in the product names."""

from __future__ import annotations

import importlib

import pytest

from reports.build import build_report
from reports.sections.contents import SECTIONS
from tests.reports.example_run import BLANK, SINGLE, Example, write_run

SMALL = SINGLE.model_copy(update={"requests": 3})


@pytest.fixture(autouse=True, scope="module")
def _registered():
    product = list(SECTIONS)
    importlib.import_module("tests.reports.sections.toy_section")
    yield
    SECTIONS[:] = product


@pytest.fixture(autouse=True)
def _blank_pictures(monkeypatch):
    monkeypatch.setattr("reports.build.draw_picture", lambda *_: BLANK)


def report_of(folder, blocks):
    return build_report([write_run(folder / "run", Example(widths=(1024, 512), workloads=(SMALL,), blocks=blocks))])


def test_it_is_the_last_section_of_page_and_markdown(tmp_path):
    page = report_of(tmp_path, 2)
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    assert html.index('id="run-1-again"') < html.index('id="run-1-blocks"')
    assert "More blocks &lt;narrow&gt; the intervals." in html
    assert markdown.partition("## Blocks, counted")[2].partition("\n\n- The run:")[0].strip().splitlines() == [
        r"More blocks \<narrow\> the intervals.",
        "",
        "Blocks of each configuration",
        "",
        "| Configuration | Blocks |",
        "| --- | --- |",
        "| width-1024 | 2 |",
        "| width-512 | 2 |",
    ]


def test_a_run_without_its_data_has_no_such_section(tmp_path):
    assert "Blocks, counted" not in report_of(tmp_path, 1).read_text()
