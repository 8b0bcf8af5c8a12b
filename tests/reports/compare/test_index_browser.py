"""The page of many runs in a real Chromium: sorted, filtered, on a desk and a phone."""

from __future__ import annotations

import pytest

from reports.compare.index_page import build_index
from tests.reports.compare.test_index import runs  # noqa: F401
from tests.reports.document.test_browser import AXE, Visit, browser  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SHOWN = "[...document.querySelectorAll('.runs tbody tr:not([hidden]) th')].map(e => e.textContent.split(' ')[0])"


@pytest.fixture(scope="module")
def page(runs):  # noqa: F811
    return build_index([path for path in sorted(runs.iterdir()) if (path / "run.json").exists()], runs / "index.html")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 400)])
def test_it_is_sorted_and_filtered_fits_the_screen_and_axe_finds_nothing(browser, page, theme, width):  # noqa: F811
    visit = Visit(browser, page, theme=theme, width=width)
    visit.page.get_by_role("button", name="Run", exact=True).click()
    up = visit.ask(SHOWN)
    visit.page.get_by_role("button", name="Run", exact=True).click()
    assert visit.ask(SHOWN) == up[::-1]
    if width > 720:  # above the columns, not one under the other: beside the word is the heading too
        heading = visit.page.get_by_role("columnheader", name="Run", exact=True)
        heading.click(position={"x": heading.bounding_box()["width"] - 16, "y": 12})
        assert visit.ask(SHOWN) == up
    assert sorted(up) == sorted(["first", "again", "longer", "<b>other"])
    assert visit.ask("document.documentElement.scrollWidth <= innerWidth")
    visit.ask(AXE.read_text("utf-8"))
    found = visit.ask("axe.run({resultTypes: ['violations']})")["violations"]
    assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []
    visit.page.get_by_label("Treatment").select_option("width")
    assert len(visit.ask(SHOWN)) == 4
    assert visit.ask("document.querySelectorAll('.group:not([hidden])').length") == 1
    assert visit.problems == []
    visit.close()
