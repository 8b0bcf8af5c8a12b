"""`prunebench compare` as a CI job calls it."""

import json
from pathlib import Path

import pytest

from base.errors import UserError
from prunebench.commands.compare import compare
from tests.reports.compare.test_runs import Slower, small
from tests.reports.example_run import Example, write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "before", Example(**small()))
    write_run(folder / "again", Example(**small(seed=12)))
    write_run(folder / "slower", Slower(**small()))
    write_run(folder / "once", Example(**small(blocks=1)))
    return folder


def test_a_regression_exits_1_and_the_same_again_0(prunebench, runs):
    worse = prunebench("compare", runs / "before", runs / "slower", "--fail-over", "5%")
    assert worse.returncode == 1, worse.stderr
    assert "▼ worse, regression" in worse.stdout
    assert prunebench("compare", runs / "before", runs / "again", "--fail-over", "0.05").returncode == 0
    assert prunebench("compare", runs / "before", runs / "slower").returncode == 0


def test_json_goes_to_the_file_that_is_named(prunebench, runs, tmp_path):
    done = prunebench("compare", runs / "before", runs / "slower", "--format", "json", "--output", "found.json")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["before"], found["after"], len(found["cells"])) == ("before", "slower", 2)
    assert "No limit was set" in done.stdout


def test_html_is_a_page_with_every_ratio_in_a_table_and_a_picture(runs, tmp_path):
    page = tmp_path / "found.html"
    compare(runs / "before", runs / "slower", form="html", output=page)
    text = page.read_text()
    assert "before → slower" in text
    assert text.count("<svg") == 1
    assert "▼" in text
    assert "src=" not in text


def test_a_wrong_folder_exits_2(prunebench, runs):
    done = prunebench("compare", runs / "before", runs / "nowhere")
    assert done.returncode == 2
    assert done.stderr.endswith("nowhere is not a run folder: it has no run.json\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fail_over": "5 percent"}, "--fail-over 5 percent: must be a percentage"),
        ({"margin": "-1%"}, "--margin -1%: must be a percentage"),
        ({"margin": "nan"}, "--margin nan: must be a percentage"),
        ({"quantity": ["speed"]}, "--quantity speed: not known; there are output_tokens_per_s"),
        ({"output": Path("no/such/folder.txt")}, "--output no/such/folder.txt: cannot be written"),
        ({"after": "once", "fail_over": "5%"}, "nothing can be decided; raise protocol.blocks"),
    ],
)
def test_what_cannot_be_compared_is_named(runs, changes, said):
    options = {"after": "again", "margin": "2%", "fail_over": None, "quantity": [], "form": "json", "output": None}
    options |= changes
    with pytest.raises(UserError) as caught:
        compare(runs / "before", runs / options.pop("after"), **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
