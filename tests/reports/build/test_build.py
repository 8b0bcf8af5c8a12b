from __future__ import annotations

import csv
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from reports.analysis.analyse import analyse_folder
from reports.build import build_report
from reports.document.markdown import plain
from reports.errors import ReportError
from reports.sections.contents import run_article
from tests.reports.example_run import BATCH, BLANK, NO_METER, REMEDY, SINGLE, Example, write_run

SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))
EVIL = "<script>alert(1)</script>"
pytestmark = pytest.mark.usefixtures("blank_pictures")


class Page(HTMLParser):
    """The page as a browser reads it: tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in {"script", "style"} else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def cells_of(run: Path) -> list[dict[str, str]]:
    with (run / "cells.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", Example(workloads=SMALL, widths=(1024, 512), blocks=3))


def test_a_report_is_four_files_in_the_run_folder(run):
    assert build_report([run]) == run / "report.html"
    assert {f.name for f in run.iterdir()} >= {"report.html", "report.md", "cells.csv", "report.json"}
    assert not list(run.glob("*.partial"))


def test_markdown_shows_every_plot_as_a_picture_that_lies_beside_it(run):
    build_report([run])
    named = re.findall(r"!\[.{40,}\]\(<(.+)>\)", (run / "report.md").read_text())
    charts = {f"{plot_id}.svg" for plot_id, plot, _ in run_article(analyse_folder(run), "run-1").plots() if plot.chart}
    assert charts
    assert {Path(name).name for name in named} == charts
    assert {f.name for f in (run / "report-plots").iterdir()} == {Path(name).name for name in named}


def test_the_figures_of_report_json_are_the_truth(run):
    build_report([run])
    [stored] = json.loads((run / "report.json").read_text())["runs"]
    cells = {(c["label"], c["workload"]): c for c in stored["cells"]}
    truth = Example().truth(512, BATCH)
    value = cells["width-512", "batch-8"]["values"]["median_tpot_ms"]
    assert value["median"] == pytest.approx(truth.tpot_ms, rel=1e-6)
    assert value["comparison"]["ratio"] == pytest.approx(0.8, rel=1e-6)
    assert value["comparison"]["verdict"] == "better"


def test_missing_figures_are_null_in_json_and_empty_in_csv(tmp_path):
    run = write_run(tmp_path / "run", Example(energy="none", workloads=SMALL, widths=(1024, 512), blocks=2))
    build_report([run])
    [stored] = json.loads((run / "report.json").read_text())["runs"]
    assert {c["values"]["joules_per_output_token"]["median"] for c in stored["cells"]} == {None}
    rows = cells_of(run)
    assert {row["joules_per_output_token"] for row in rows} == {""}
    assert {row["joules_per_output_token_reason"] for row in rows} == {NO_METER}


def test_the_csv_has_a_row_a_cell_and_modelled_energy_apart(tmp_path):
    run = write_run(tmp_path / "run", Example(energy="modelled", workloads=SMALL, widths=(1024, 512), blocks=2))
    build_report([run])
    rows = cells_of(run)
    assert [(row["label"], row["workload"]) for row in rows] == [
        ("width-1024", "single-request"),
        ("width-512", "single-request"),
        ("width-1024", "batch-8"),
        ("width-512", "batch-8"),
    ]
    assert all(row["joules_per_output_token"] == "" for row in rows)
    assert all(float(row["modelled_joules_per_output_token"]) > 0 for row in rows)


def test_a_simulated_run_says_so_everywhere_and_advises_nothing(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("reports.build.draw_picture", lambda *how: drawn.append(how[2]) or BLANK)
    run = write_run(tmp_path / "run", Example(workloads=SMALL, widths=(1024, 512), blocks=3, engine="synthetic"))
    page = build_report([run])
    assert (page, page.readlink()) == (run / "report.html", Path("report-simulated.html"))
    words = " ".join(Page(page.read_text()).text.split())
    assert words.startswith("example (simulated) · prunebench")
    assert "They decide nothing." in words
    assert "No advice: simulated figures decide nothing" in words
    assert "Choose" not in words
    assert set(drawn) == {"simulated"}
    text = (run / "report.md").read_text()
    assert text.startswith("# example (simulated)\n")
    assert "**Simulated: the synthetic engine's times" in text
    assert json.loads((run / "report.json").read_text())["runs"][0]["simulated"] is True
    assert build_report([run]).read_text() == page.read_text()  # over the link
    build_report([run], tmp_path / "mine.html")
    assert not (tmp_path / "mine.html").is_symlink()


def test_a_measured_run_is_not_called_simulated(run):
    build_report([run])
    assert not (run / "report.html").is_symlink()
    assert "simulated" not in (run / "report.md").read_text().partition("simultaneous")[0]


def test_the_foot_has_the_commands_that_made_the_run_and_the_report(run):
    page = " ".join(Page(build_report([run], margin=0.05).read_text()).text.split())
    commands = [f"prunebench run {run}/experiment.toml", f"prunebench report {run} --margin 5%"]
    assert all(command in page for command in commands)
    assert all(f"`{command}`" in (run / "report.md").read_text() for command in commands)


def test_the_page_is_self_contained(run):
    page = Page(build_report([run]).read_text())
    addresses = [value for _, attributes in page.tags for key, value in attributes.items() if key in {"src", "href"}]
    assert all(value.startswith(("#", "data:")) for value in addresses)
    assert page.count("script") == 2
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "Content-Security-Policy" in a.values())
    assert policy.startswith("default-src 'none'; script-src 'sha256-")


def test_the_page_opens_with_the_answer_then_its_evidence_and_limits_then_the_tables(run):
    text = build_report([run]).read_text()
    places = [
        text.index(mark)
        for mark in (
            'id="run-1-answer"',
            "For interactive use",
            "Price in quality",
            'id="run-1-evidence"',
            'id="run-1-limits"',
            "<caption>Medians over",
            'id="run-1-checks"',
        )
    ]
    assert places == sorted(places)


def test_tables_have_captions_and_scopes(run):
    page = Page(build_report([run]).read_text())
    assert page.count("caption") == page.count("table")
    assert all(attributes.get("scope") in {"col", "row"} for tag, attributes in page.tags if tag == "th")


def test_every_plot_has_a_text_alternative(run):
    page = Page(build_report([run]).read_text())
    charts = [a for t, a in page.tags if t == "div" and a.get("class") == "chart"]
    assert len(charts) == sum(plot.chart is not None for _, plot, _ in run_article(analyse_folder(run), "r").plots())
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in charts)


def test_modelled_energy_is_titled_as_such_and_measured_energy_says_why_it_is_missing(tmp_path):
    run = write_run(tmp_path / "run", Example(energy="modelled", workloads=SMALL, widths=(1024, 512), blocks=2))
    text = Page(build_report([run]).read_text()).text
    assert "batch-8: J/output token, modelled, not measured" in text
    assert f"No plot: {NO_METER}." in text
    assert f"To measure it: {REMEDY}." in text
    assert f"- To measure it: {plain(REMEDY)}." in (run / "report.md").read_text()


def test_text_from_outside_stays_text(tmp_path):
    name = "evil"
    example = Example(
        workloads=SMALL, widths=(1024, 512), blocks=2, name=EVIL, model=EVIL, labels={512: "<script>"},
        failed=frozenset({(0, 512, "batch-8")}), engine_options={512: {EVIL: EVIL}},
    )  # fmt: skip
    run = write_run(tmp_path / name, example)
    (run / "experiment.toml").write_text(f'name = "</code></pre>{EVIL}"\n```\n{EVIL}')
    environment = {"processor": EVIL, "packages": {EVIL: EVIL}}
    (run / "environment.json").write_text(json.dumps(environment))
    for failure in (run / "failures").iterdir():
        failure.write_text(failure.read_text().replace("out of memory", EVIL))
    page = Page(build_report([run]).read_text())
    assert page.count("script") == 2
    assert page.text.count(EVIL) > 10
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)


def test_text_from_outside_stays_text_in_markdown(tmp_path):
    example = Example(workloads=SMALL, widths=(1024, 512), blocks=2, name="a | b <i>\n# c", labels={512: "x|y"})
    run = write_run(tmp_path / "run", example)
    build_report([run])
    lines = (run / "report.md").read_text().splitlines()
    assert lines[0] == r"# a \| b \<i\> \# c"
    table = [line for line in lines if line.startswith("| x")]
    assert table
    assert all(re.split(r"(?<!\\)\|", line)[1].strip() == r"x\|y" for line in table)


def test_the_markdown_says_what_the_page_says(run):
    build_report([run])
    text = (run / "report.md").read_text()
    assert "**For interactive use:** Keep the baseline, width 1024" in text
    assert "- **window-too-short** (warn):" in text
    assert '```toml\nname = "example"' in text


def test_several_runs_stand_one_after_another_in_one_page(run, tmp_path):
    second = write_run(tmp_path / "second", Example(workloads=SMALL, widths=(1024, 768), blocks=2, name="second"))
    page = Page(build_report([run, second]).read_text())
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert page.count("article") == page.count("h1") == 2
    assert len(ids) == len(set(ids))
    assert [r["folder"] for r in json.loads((run / "report.json").read_text())["runs"]] == ["run", "second"]
    assert not (second / "report.html").exists()
    assert not (run / "index.json").exists(), "it is of one run"
    assert {row["run"] for row in cells_of(run)} == {"run", "second"}


def test_an_output_file_has_the_others_beside_it(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert build_report([run], tmp_path / "out" / "march.html") == tmp_path / "out" / "march.html"
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        "march.html", "march.md", "march.json", "march-plots", "march-cells.csv", "march-cells.parquet", "march-cells.json",
        "march-cells.md", "march-index.json",
    }  # fmt: skip
    assert not (run / "report.html").exists()


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(ReportError, match="nothing is not a run folder"):
        build_report([tmp_path / "nothing"])


def test_an_output_that_cannot_be_written_is_named(run, tmp_path):
    with pytest.raises(ReportError, match=r"missing/report\.html cannot be written: No such file or directory"):
        build_report([run], tmp_path / "missing" / "report.html")


def test_no_run_at_all_is_refused():
    with pytest.raises(ReportError, match="at least one run folder"):
        build_report([])


@pytest.mark.parametrize("what_is_left", ["nothing", "configurations", "one trial"])
def test_a_barely_started_run_has_a_page(run, what_is_left):
    for trial in sorted((run / "trials").iterdir())[1 if what_is_left == "one trial" else 0 :]:
        shutil.rmtree(trial)
    if what_is_left == "nothing":
        shutil.rmtree(run / "configurations")
        (run / "environment.json").unlink()
        (run / "experiment.toml").unlink()
    page = Page(build_report([run]).read_text())
    assert page.count("h1") == 1
    assert "Every check" in page.text


def test_at_a_margin_wider_than_every_effect_all_are_equivalent_and_the_margin_is_stated(run):
    build_report([run], margin=0.9)
    said = Page((run / "report.html").read_text()).text
    verdicts = {row["output_tokens_per_s_verdict"] for row in cells_of(run)} - {""}
    assert verdicts == {"equivalent"}
    assert "more than 90 % from 1" in " ".join(said.split())


def test_the_report_gives_the_order_of_trials_and_its_effect_on_a_drift(run):
    build_report([run])
    assert "Order shuffled: a linear drift of 1 % per block shifts a ratio" in (run / "report.md").read_text()
    info = json.loads((run / "run.json").read_text()) | {"order": "balanced", "block_counts": [3]}
    (run / "run.json").write_text(json.dumps(info))
    build_report([run])
    assert "Order balanced: a linear drift" in (run / "report.md").read_text()
