"""The page of many runs: what is in a row, what may be in one picture, and what is left out."""

import json
import re
import shutil
from dataclasses import replace

import pytest

from pruner.output.manifest import SourceFile
from reports.analysis.analyse import analyse_folder
from reports.build import build_report
from reports.compare.index import Row, groups_of
from reports.compare.index_page import build_index, index_page
from reports.compare.summary import summarize
from reports.errors import ReportError
from tests.prunebench.command_line import run_command
from tests.reports.compare.test_runs import small
from tests.reports.example_run import Example, write_run

ALIKE = Example(**small())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two that are alike, one of another engine, one of other loads, and what is no run."""
    folder = tmp_path_factory.mktemp("runs")
    longer = tuple(workload.model_copy(update={"requests": 24}) for workload in ALIKE.workloads)
    for name, example in {
        "first": ALIKE,
        "again": replace(ALIKE, seed=12),
        "<b>other": replace(ALIKE, engine="vllm"),
        "longer": replace(ALIKE, workloads=longer),
    }.items():
        write_run(folder / name, example)
    (folder / "checkpoints").mkdir()
    (folder / "first" / "report.html").write_text("a report")
    return folder


@pytest.fixture(scope="module")
def page(runs):
    notes = []
    folders = sorted(path for path in runs.iterdir() if path.is_dir())
    written = build_index(folders, runs / "index.html", notice=notes.append)
    return written.read_text("utf-8"), notes


def rows_of(text):
    return re.findall(r"<tr data-machine.*?</tr>", text, re.DOTALL)


def test_every_run_has_a_row_with_a_link_to_its_report_where_there_is_one(page):
    rows = rows_of(page[0])
    assert len(rows) == 4
    assert sum('<a href="first/report.html">first</a>' in row for row in rows) == 1
    assert sum("(no report yet)" in row for row in rows) == 3
    assert all('data-machine="Example GPU, Example CPU"' in row and 'data-model="tinyglu"' in row for row in rows)
    assert all('<span class="for">For ' in row for row in rows)


def test_a_name_is_never_markup(page):
    assert "&lt;b&gt;other" in page[0]
    assert "<b>other" not in page[0]


def test_what_is_no_run_is_left_out_by_name(page, runs):
    assert page[1] == [f"left out: {runs / 'checkpoints'} is not a run folder: it has no run.json"]


def test_only_runs_of_the_same_baseline_on_the_same_machine_are_in_a_group_and_only_the_same_loads_in_a_picture(page):
    text = page[0]
    (group,) = re.findall(r'<section class="group".*?</section>', text, re.DOTALL)
    for label in re.findall(r'aria-label="([^"]*)"', group.partition("</section>")[0]):
        assert "other" not in label
        assert ("first, width" in label) == ("again, width" in label)
        assert "longer" not in label
    assert group.count("<svg") == 2
    assert [row for row in rows_of(text) if "&lt;b&gt;other" in row and "—" in row]


def test_simulated_runs_are_never_beside_measured_ones(runs):
    analysis = analyse_folder(runs / "first")
    own, simulated = summarize(analysis), summarize(analysis.model_copy(update={"simulated": True}))
    apart = [Row("a", own, None), Row("b", simulated, None)]
    assert groups_of(apart) == []
    assert "No two of these runs can be compared, so that there is no chart" in index_page(apart)
    (group,) = groups_of([Row("a", own, None), Row("b", own, None)])
    assert group.words == "tinyglu on Example GPU, Example CPU, baseline served by transformers 5.19.0"


def test_runs_whose_other_checkpoints_differ_are_comparable_and_those_without_a_baseline_are_not(runs):
    analysis = analyse_folder(runs / "first")

    def shared(*files):
        checkpoint = tuple(SourceFile(name=file, bytes=1, sha256=digest * 64) for file, digest in files)
        return summarize(
            analysis.model_copy(update={"info": analysis.info.model_copy(update={"checkpoint": checkpoint})})
        ).shared

    assert shared(("config.json", "a"), ("width-512/config.json", "b")) == shared(("config.json", "a"))
    assert shared(("config.json", "a")) != shared(("config.json", "c"))
    none = summarize(analysis.model_copy(update={"configurations": [], "family": []}))
    assert (none.shared, groups_of([Row("a", none, None), Row("b", none, None)])) == (None, [])


def test_treatments_are_kinds_and_those_of_older_runs_are_known_by_their_widths(runs):
    analysis = analyse_folder(runs / "first")
    assert summarize(analysis).treatments == ["width"]
    last = analysis.configurations[-1]
    treated = last.model_copy(update={"info": last.info.model_copy(update={"treatment": {"options.dtype": "int8"}})})
    changed = analysis.model_copy(update={"configurations": [*analysis.configurations[:-1], treated]})
    assert summarize(changed).treatments[-1] == "options.dtype"


@pytest.fixture
def published(runs, tmp_path):
    """A run as it is published: its report and a few of its files, but no trials."""
    build_report([runs / "again"], tmp_path / "report.html")
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copy(runs / "again" / "run.json", folder)
    for name in ("report.md", "index.json"):
        shutil.copy(tmp_path / name, folder)
    return folder


def test_a_published_run_has_the_row_and_the_pictures_that_it_had_with_its_trials(runs, published, tmp_path):
    pages = [
        build_index([runs / "first", folder], tmp_path / "index.html").read_text("utf-8")
        for folder in (runs / "again", published)
    ]
    whole, kept = ([cells_of(row) for row in rows_of(page)] for page in pages)
    assert kept == whole
    assert [page.count("<svg") for page in pages] == [2, 2]
    assert 'href="published/report.md"' in pages[1]


def cells_of(row):
    """Without the name of the folder and the link."""
    return re.findall(r"<td.*?</td>", row, re.DOTALL)


def test_a_published_run_without_a_figure_says_why_and_keeps_its_margin(runs, published, tmp_path):
    kept = json.loads((published / "index.json").read_text())
    kept |= {"advice": None, "advice_reason": "its report was lost", "ratios": None, "ratios_reason": "so were they"}
    (published / "index.json").write_text(json.dumps(kept))
    notes = []
    page = build_index([published], tmp_path / "index.html", margin=0.05, notice=notes.append).read_text("utf-8")
    assert "none: its report was lost" in page
    both = build_index([published, runs / "again"], tmp_path / "index.html").read_text("utf-8")
    assert "published has no ratios here: so were they." in both
    assert notes == [f"{published}: kept without its trials, so that its verdicts are at a margin of 1 %"]
    (published / "index.json").write_text("{}")
    with pytest.raises(ReportError, match="none of these is a run"):
        build_index([published], tmp_path / "index.html", notice=notes.append)
    assert notes[-1].startswith(f"left out: {published / 'index.json'}: cannot be read")


def test_without_a_run_there_is_no_page(tmp_path):
    with pytest.raises(ReportError, match="--index: none of these is a run that can be read"):
        build_index([tmp_path], tmp_path / "index.html")
    assert not (tmp_path / "index.html").exists()


def test_the_command_takes_a_folder_of_runs_and_puts_the_page_into_it(runs, tmp_path):
    done = run_command(["report", str(runs), "--index", "--margin", "2%"], tmp_path, 120)
    assert (done.returncode, done.stdout) == (0, f"{runs / 'index.html'}\n"), done.stderr
    refused = run_command(["report", str(runs), "--index", "--png"], tmp_path, 60)
    assert (refused.returncode, "--png does not go with --index" in refused.stderr) == (2, True)
