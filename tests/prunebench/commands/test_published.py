"""`prunebench published` as a stranger uses it."""

import json

import pytest

from tests.reports.published.made import run_rows, write_study


def test_it_says_what_survives_and_writes_a_page_without_any_option(prunebench, tmp_path):
    done = prunebench("published")
    assert done.returncode == 0, done.stderr
    assert "does not survive" in done.stdout or "survives in part" in done.stdout
    assert "judged by: beyond chance" in done.stdout
    assert "by means alone (a ratio of published means" in " ".join(done.stdout.split())
    page = (tmp_path / "published.html").read_text()
    assert "MMLU against TruthfulQA-MC2" in page
    assert (tmp_path / "published.md").is_file()
    assert len(list((tmp_path / "published-plots").glob("*.svg"))) == 14


def test_json_holds_every_figure_and_writes_nothing(prunebench, tmp_path):
    done = prunebench("published", "--json")
    found = json.loads(done.stdout)
    assert {c["id"] for c in found["claims"]} >= {"energy-per-token", "single-request-latency"}
    assert len(found["facts"]["cells"]) == 72
    assert not list(tmp_path.iterdir())


def test_raw_runs_bring_intervals_and_the_unit_and_names_in_them_are_only_text(prunebench, tmp_path):
    rows = run_rows(lambda row: row.update(model="<script>alert(1)</script>"))
    data = write_study(tmp_path / "data", rows)
    done = prunebench("published", "--data", str(data), "--output", "page.html")
    assert done.returncode == 0, done.stderr
    assert "unit-of-energy" in done.stdout
    assert "<script>alert" not in (tmp_path / "page.html").read_text()
    found = json.loads(prunebench("published", "--data", str(data), "--json").stdout)
    assert all(c["ratios"]["net_joules_per_token"]["low"] for c in found["facts"]["cells"])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--data", "nowhere"], "--data nowhere"),
        (["--data", "."], "llama-3.2-efficiency-runs.csv"),
        (["--output", "nowhere/page.html"], "--output nowhere"),
        (["--margin", "much"], "--margin much"),
    ],
)
def test_a_mistake_is_named_in_one_line(prunebench, tmp_path, words, named):
    done = prunebench("published", *words)
    assert done.returncode == 2
    [line] = done.stderr.strip().splitlines()
    assert named in line
    assert not list(tmp_path.iterdir())
