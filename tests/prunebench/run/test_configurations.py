"""A run of everything that can be compared: settings, a pruned width, a server that is there, another project's."""

import subprocess
import sys
from pathlib import Path

import pytest

from reports.analysis.analyse import analyse_folder
from reports.runs.reading import read_run
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import TINYGLU, TWO_BLOCKS
from tests.server.conftest import running_server

pytestmark = pytest.mark.slow

EXPERIMENT = """
name = "anything"
baseline = "plain"
[model]
source = "{model}"
[serve]
engine = "synthetic"
options = {{ prefill_ms = "2", token_ms = "1" }}
start_timeout_s = 60
[[configurations]]
label = "slow"
options = {{ token_ms = "2" }}
[[configurations]]
label = "plain"
[[configurations]]
label = "narrow"
width = 512
[[configurations]]
label = "there"
url = "{url}"
energy = "none"
[[configurations]]
label = "theirs"
command = "{command}"
{blocks}[quality]
perplexity_files = ["stdlib:heapq.py"]
max_tokens = 512
[[workloads]]
name = "single"
kind = "single"
requests = 3
prompt_tokens = 8
output_tokens = 8
"""
SERVE = f"{sys.executable} -P -m prunebench serve {{checkpoint}} --engine synthetic --port {{port}}"


def run(folder: Path, url: str, command: str = SERVE) -> "subprocess.CompletedProcess[str]":
    (folder / "anything.toml").write_text(EXPERIMENT.format(model=TINYGLU, blocks=TWO_BLOCKS, url=url, command=command))
    return run_command(["run", "anything.toml", "--output", "out"], folder, 240)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, subprocess.CompletedProcess[str]]":
    folder = tmp_path_factory.mktemp("anything")
    with running_server(TINYGLU, engine="synthetic", engine_options={"token_ms": "1"}) as server:
        return folder / "out", run(folder, server.url)


def test_every_configuration_is_measured_in_every_block(finished):
    folder, done = finished
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_run(folder)
    assert found.info.labels == ["plain", "slow", "narrow", "there", "theirs"]
    assert found.info.baseline == "plain"
    assert len(found.trials) == 5 * 2
    assert not found.failures


def test_what_is_not_known_of_a_server_is_missing_and_not_made_up(finished):
    folder, _ = finished
    there = next(c.info for c in analyse_folder(folder).configurations if c.info.label == "there")
    assert (there.width, there.parameters, there.checkpoint, there.load_s) == (None, None, None, None)
    assert there.served_model == "tinyglu"
    assert there.quality is not None
    assert there.quality.perplexity is not None  # tokenized by the server


def test_all_got_the_same_texts_and_the_run_says_so(finished):
    folder, done = finished
    assert "note: the tokenizers are not all known" in done.stdout
    assert {t.trial.workload.prompt_as for t in read_run(folder).trials} == {"text"}


def test_the_treatment_is_recorded_and_said_and_a_difference_that_nobody_asked_for_fails_a_check(finished):
    folder, done = finished
    slow = next(c for c in read_run(folder).configurations if c.label == "slow")
    assert slow.treatment == {"options.token_ms": "token_ms = 2 instead of 1"}
    assert "\nslow: token_ms = 2 instead of 1\n" in done.stdout
    assert "What is compared" in (folder / "report.md").read_text()
    unlike = {"engine-differs", "resolved-options-differ", "model-changed"}
    checks = [check for check in analyse_folder(folder).checks if check.check in unlike]
    (failed,) = [one for check in checks for one in check.observations if one.outcome == "fail"]
    assert failed.label == "theirs"  # its command line leaves out an option that [serve] has
    assert "prefill_ms is " in failed.reason


def test_a_server_is_asked_the_same_before_every_block(finished):
    found = {c.label: c.answers for c in read_run(finished[0]).configurations}
    assert [sorted(answers) for answers in found.values()] == [[0, 1]] * 5
    assert all(len({*answers.values()}) == 1 for answers in found.values())


def test_ratios_are_those_of_the_settings(finished):
    cells = {c.label: c.values["median_tpot_ms"].median for c in analyse_folder(finished[0]).cells}
    assert cells["slow"] / cells["plain"] > 1.3


def test_a_command_whose_server_does_not_come_up_is_named_before_anything_is_measured(tmp_path: Path):
    command = f"{sys.executable} -c 'import sys; sys.exit(\\\"no GPU\\\")' {{port}}"
    with running_server(TINYGLU, engine="synthetic") as server:
        done = run(tmp_path, server.url, command)
    assert done.returncode == 2
    assert "configuration theirs: command: the server ended with status 1: no GPU" in done.stderr
    assert not list((tmp_path / "out" / "trials").iterdir())
