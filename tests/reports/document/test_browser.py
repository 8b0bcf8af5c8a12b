"""The page in a real Chromium: drawn without errors or requests, in both themes, at the widths of a desk and a phone."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.analyse import analyse_folder
from reports.build import build_report
from reports.document.wording import TIMES, TO
from reports.sections.contents import run_article
from tests.reports.example_run import BATCH, SINGLE, Example, write_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    example = Example(
        noise=0.01, workloads=SMALL, labels={512: "<script>alert(1)"}, model="<img src=x onerror=alert(1)>"
    )
    return build_report([write_run(tmp_path_factory.mktemp("browser") / "run", example)])


@pytest.fixture(scope="module")
def plots(report: Path) -> int:
    """The number of plots that the page should have."""
    return sum(plot.chart is not None for _, plot, _ in run_article(analyse_folder(report.parent), "run-1").plots())


AXE = Path(__file__).parent / "axe" / "axe.min.js"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


class Visit:
    """A page opened in the browser, with its errors and requests."""

    def __init__(self, browser: Any, report: Path, *, theme: str, width: int) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)
        self.problems: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        self.page.on("request", lambda request: self._went_out(request.url))
        self.page.goto(report.as_uri())

    def open_all(self) -> None:
        self.ask("for (const fold of document.querySelectorAll('details')) fold.open = true")

    def _went_out(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.problems.append(url)

    def ask(self, script: str) -> Any:
        return self.page.evaluate(script)

    def wait(self, condition: str) -> None:
        """Wait until a condition holds; playwright's own waiting requires eval, which the page's policy forbids."""
        for _ in range(100):
            if self.ask(condition):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"it did not come true in ten seconds: {condition}")

    def close(self) -> None:
        self.page.close()


@pytest.fixture(scope="module", params=[("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)], ids=str)
def visit(request: pytest.FixtureRequest, browser: Any, report: Path) -> Iterator[Visit]:
    theme, width = request.param
    visit = Visit(browser, report, theme=theme, width=width)
    yield visit
    visit.close()


def test_the_first_screen_has_question_answers_pictures_price_and_checks_and_nothing_else_is_open(browser, report):
    visit = Visit(browser, report, theme="light", width=1280)
    assert (
        visit.ask("[...document.querySelectorAll('section')].filter(s => !s.querySelector(':scope > details')).length")
        == 1
    )
    assert visit.ask("document.querySelectorAll('details[open]').length") == 0
    bottom = "document.querySelector('%s').getBoundingClientRect().bottom"
    assert visit.ask("document.querySelectorAll('.answers .chart svg').length") == 2
    assert max(visit.ask(bottom % part) for part in (".answers", ".tally")) < 900
    visit.close()


def test_a_permalink_opens_its_fold(browser, report):
    visit = Visit(browser, report, theme="light", width=1280)
    is_open = "document.getElementById('run-1-checks').closest('details').open"
    assert not visit.ask(is_open)
    visit.page.locator("a.permalink[href='#run-1-checks']").focus()
    visit.page.keyboard.press("Enter")
    visit.wait(is_open)
    assert visit.ask(
        "Math.abs(document.getElementById('run-1-checks').closest('section').getBoundingClientRect().top) < 900"
    )
    again = browser.new_page()
    again.goto(f"{report.as_uri()}#run-1-power")
    assert again.evaluate("document.getElementById('run-1-power').closest('details').open")
    again.close()
    visit.close()


def test_a_table_is_copied_by_the_keyboard_as_markdown_and_csv(browser, report):
    visit = Visit(browser, report, theme="light", width=1280)
    visit.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    visit.open_all()
    table = visit.page.locator(".section-workloads .copy").first
    copied = {}
    for form in ("Markdown", "CSV"):
        table.get_by_role("button", name=f"Copy as {form}").focus()
        visit.page.keyboard.press("Enter")
        table.get_by_role("button", name="Copied").wait_for()
        copied[form] = visit.ask("navigator.clipboard.readText()")
        table.get_by_role("button", name=f"Copy as {form}").wait_for()
    assert copied["Markdown"].splitlines()[1].startswith("| --- | --- |")
    rows = list(csv.reader(io.StringIO(copied["CSV"])))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert "TTFT ms" in rows[0][5] or "TTFT" in " ".join(rows[0])
    visit.close()


def test_axe_finds_nothing_folded_or_open(browser, report):
    script = AXE.read_bytes()
    assert hashlib.sha256(script).hexdigest() == AXE_SHA256
    for theme, width in (("light", 1280), ("dark", 390)):
        visit = Visit(browser, report, theme=theme, width=width)
        visit.ask(script.decode())
        for is_open in (False, True) if theme == "light" else (True,):
            if is_open:
                visit.open_all()
            found = visit.ask("axe.run({resultTypes: ['violations']})")["violations"]
            assert [(one["id"], [node["html"][:200] for node in one["nodes"][:3]]) for one in found] == []
        visit.close()


def test_every_chart_is_drawn_without_a_complaint_and_nothing_is_fetched(visit, plots):
    visit.open_all()
    assert visit.ask("document.querySelectorAll('.chart svg').length") == plots
    assert visit.ask("[...document.querySelectorAll('.chart svg')].every(c => c.getBoundingClientRect().height > 100)")
    assert visit.problems == []


def test_the_value_of_a_point_is_shown_beside_the_pointer(visit):
    visit.open_all()
    chart = visit.page.locator(".chart").first
    chart.scroll_into_view_if_needed()
    x, y, text = visit.ask(
        "JSON.parse(document.getElementById('points').textContent)[document.querySelector('.chart').id][0]"
    )
    box = chart.locator("svg").bounding_box()
    visit.page.mouse.move(box["x"] + x * box["width"] + 3, box["y"] + y * box["height"])
    tip = visit.page.locator(".tip")
    assert tip.inner_text() == text
    assert tip.bounding_box()["x"] >= 0
    visit.page.mouse.move(0, 0)
    assert tip.is_hidden()


def test_every_chart_has_its_values_in_a_table(visit, plots):
    assert visit.ask("document.querySelectorAll('.values table tbody th').length") > 2 * plots
    assert visit.ask(
        "[...document.querySelectorAll('.plot:not(.absent)')].every(p => p.querySelector('.values summary'))"
    )


def test_the_page_is_never_wider_than_the_screen(visit):
    assert visit.ask("document.documentElement.scrollWidth <= innerWidth")


def test_charts_take_the_colours_of_the_theme(browser, report):
    colours = "[...document.querySelectorAll('.chart text')].map(text => getComputedStyle(text).fill)"
    light, dark = (Visit(browser, report, theme=theme, width=1280) for theme in ("light", "dark"))
    ink, pale_ink = "rgb(28, 28, 26)", "rgb(233, 231, 226)"
    assert ink in light.ask(colours)
    assert pale_ink not in light.ask(colours)
    assert pale_ink in dark.ask(colours)
    assert ink not in dark.ask(colours)
    light.page.emulate_media(color_scheme="dark")
    light.wait(f"{colours}.includes('{pale_ink}')")
    light.close()
    dark.close()


def test_paper_is_light_and_has_the_charts(browser, report, plots):
    visit = Visit(browser, report, theme="dark", width=1280)
    pages = visit.page.pdf(format="A4", tagged=True)
    assert pages.startswith(b"%PDF")
    assert 2 <= pages.count(b"/Type /Page\n") <= 3
    assert visit.ask("document.querySelectorAll('details[open]').length") == 0
    visit.open_all()
    visit.page.emulate_media(media="print", color_scheme="dark")
    shown = "[...document.querySelectorAll('%s')].filter(e => e.checkVisibility()).length"
    assert visit.ask(shown % ".chart svg") == plots
    assert visit.ask(shown % ".values") == 0
    assert visit.ask("getComputedStyle(document.querySelector('h1')).color") == "rgb(28, 28, 26)"
    assert visit.problems == []
    visit.close()


def test_paper_cuts_no_column_off_where_every_ratio_has_a_verdict(browser, report):
    between_margins = 673  # CSS pixels of A4's width, less 16 mm on either side
    decided = f"0.95{TIMES} (0.91{TO}0.99) \N{BLACK UP-POINTING TRIANGLE}"
    visit = Visit(browser, report, theme="light", width=between_margins)
    visit.ask("dispatchEvent(new Event('beforeprint'))")
    ratios = "[...document.querySelectorAll('.figures .change')].filter(e => e.textContent.includes('('))"
    visit.ask(f"for (const e of {ratios}) {{ e.textContent = '{decided}'; e.className = 'change better' }}")
    visit.page.emulate_media(media="print")
    tables = "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
    assert visit.ask(f"{tables}.length") >= 2
    assert visit.ask(f"{tables}.map(e => e.scrollWidth - e.clientWidth).filter(cut => cut > 0)") == []
    visit.close()


def test_charts_need_no_script(browser, report, plots):
    page = browser.new_page(java_script_enabled=False)
    page.goto(report.as_uri())
    page.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    assert page.locator(".chart svg:visible").count() == plots
    page.close()


def test_the_page_is_small(report):
    assert report.stat().st_size < 2_500_000


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => {
    const v = c[i] / 255;
    return sum + w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  }, 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgba(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll('main *')) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || node.closest('svg') || !node.checkVisibility()) continue;
    const [a, b] = [light(rgba(getComputedStyle(node).color)), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push(`${node.tagName}.${node.className}: ${ratio.toFixed(2)}`);
  }
  return [...new Set(low)];
}"""


def test_all_text_has_enough_contrast(visit):
    visit.open_all()
    assert visit.ask(CONTRAST) == []


def test_headings_go_down_one_level_at_a_time_and_every_landmark_has_a_name(visit):
    levels = visit.ask("[...document.querySelectorAll('h1, h2, h3, h4, h5')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert visit.ask("document.querySelectorAll('main').length") == 1
    nameless = "[...document.querySelectorAll('section, nav, [role=group], [role=img]')].filter(e => !(%s)).length"
    named = (
        "e.getAttribute('aria-label') || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent.trim()"
    )
    assert visit.ask(nameless % named) == 0
    assert visit.ask("document.documentElement.lang") == "en"
    ids = visit.ask("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_every_picture_has_words_and_every_table_cell_a_heading(visit):
    assert visit.ask("[...document.querySelectorAll('.chart')].filter(c => c.ariaLabel.length < 20).length") == 0
    assert visit.ask("[...document.querySelectorAll('th')].filter(h => !h.scope).length") == 0
    assert visit.ask("[...document.querySelectorAll('table')].filter(t => !t.caption?.textContent.trim()).length") == 0


def test_the_keyboard_reaches_the_contents_every_wide_table_and_every_check(browser, report):
    visit = Visit(browser, report, theme="light", width=390)
    visit.page.keyboard.press("Tab")
    assert visit.ask("document.activeElement.closest('.answers summary') !== null")
    visit.open_all()
    reached = "[...document.querySelectorAll('%s')].every(e => e.tabIndex === 0)"
    assert visit.ask(reached % "a[href], summary, pre, .scroll")
    check = "document.querySelector('.checks details')"
    visit.ask(f"{check}.open = false")
    visit.ask(f"{check}.querySelector('summary').focus()")
    opened = visit.ask(f"{check}.open")
    visit.page.keyboard.press("Enter")
    assert visit.ask(f"{check}.open") is not opened
    assert visit.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
    targets = "[...document.querySelectorAll('main a')].every(a => document.querySelector(a.getAttribute('href')))"
    assert visit.ask(targets)
    visit.close()


def test_a_checkpoint_that_is_called_a_script_is_a_name(visit):
    assert visit.ask("document.querySelectorAll('main script, main iframe, main object, main svg script').length") == 0
    assert visit.ask("document.body.innerText.includes('<script>alert(1)')")
    handlers = "[...document.querySelectorAll('main *')].filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length"
    assert visit.ask(handlers) == 0
