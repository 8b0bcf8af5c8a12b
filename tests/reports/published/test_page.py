"""The study's page in a real Chromium, at the widths of a desk and a phone."""

from __future__ import annotations

import shutil

import pytest

from reports.build import write_articles
from reports.published.analysis import analyse_study
from reports.published.article import study_article
from reports.published.study import load_study
from tests.reports.document.test_browser import Visit

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_every_plot_is_drawn_and_nothing_goes_wrong(tmp_path, theme, width):
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    study, page = load_study(), tmp_path / "published.html"
    write_articles([study_article(study, analyse_study(study), "0")], page)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        visit = Visit(browser, page, theme=theme, width=width)
        assert visit.ask("document.querySelectorAll('.chart svg').length") == 14
        assert visit.ask("document.documentElement.scrollWidth <= innerWidth")
        assert visit.problems == []
        browser.close()
