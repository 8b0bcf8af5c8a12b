"""`prunebench load URL` and nothing else, against servers that say more or less of themselves."""

from __future__ import annotations

import json
import sys

import pytest

from loadgen.endpoint import Endpoint, LoadError, only_model
from loadgen.results.store import read_trial
from prunebench.cli import main
from prunebench.load import defaults
from reports.build import build_report
from tests.loadgen.scripted import ScriptedServer, stream


def server_of(*models):
    page = json.dumps({"data": [{"id": model} for model in models]}).encode()
    return ScriptedServer(
        lambda _, asked: stream(asked.body["max_tokens"], token_s=0.002), pages={"/v1/models": lambda: page}
    )


@pytest.fixture(scope="module")
def plain():
    """A server with one model, which does not tokenize."""
    with server_of("m") as server:
        yield server


def load(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["prunebench", "load", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_url_alone_is_loaded_at_concurrency_1_and_8_into_a_folder_of_the_day(plain, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(defaults, "DURATION_S", 0.5)
    assert load(monkeypatch, f"{plain.url}/v1", "--fail-on", "none") == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("load-20")
    said = capsys.readouterr()
    for number in (1, 8):
        trial = read_trial(folder / f"concurrency-{number}").trial
        assert (trial.workload.in_flight, trial.workload.duration_s, trial.workload.prompt_as) == (number, 0.5, "words")
        assert f"runs/{folder.name}/concurrency-{number}" in said.out
    assert said.out.count("prompt lengths in words") == 2
    assert said.err.count("prompt lengths in words") == 1
    assert "128 prompt words" in build_report([folder]).with_suffix(".md").read_text()


def test_the_second_load_of_a_day_has_a_folder_of_its_own(plain, prunebench, tmp_path):
    words = ["load", plain.url, "--requests", 2, "--output-tokens", 2, "--json", "--fail-on", "none"]
    summaries = [json.loads(prunebench(*words).stdout) for _ in range(2)]
    first, second = sorted((tmp_path / "runs").iterdir())
    assert second.name == f"{first.name}-2"
    assert [summary["prompt_as"] for summary in summaries] == ["words", "words"]
    assert len(plain.asked[-1].body["prompt"].split()) == 128


def test_several_models_are_listed_in_one_line_and_nothing_is_left_behind(prunebench, tmp_path):
    with server_of("small", "large") as server:
        done = prunebench("load", server.url)
        with pytest.raises(LoadError, match=r"--model: name one; .* serves small, large$"):
            only_model(Endpoint(server.url, ""))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_nothing_was_written_to_goes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with defaults.output_folder(None) as first, defaults.output_folder(None) as second:
        assert second.name == f"{first.name}-2"
        (second / "trial.json").touch()
    assert list((tmp_path / "runs").iterdir()) == [tmp_path / second]
