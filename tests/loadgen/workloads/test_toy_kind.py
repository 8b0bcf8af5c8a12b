"""One class and one call of `register` make a kind of workload: the product's tree knows nothing of this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.metrics.summary import summarize
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.records.schema import Trial
from loadgen.trial import run_trial
from loadgen.workloads.base import Workload
from loadgen.workloads.kinds import register
from prunebench.commands.schema import experiment_schema
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.resolve import load_experiment
from tests.loadgen.scripted import ScriptedServer, stream
from tests.loadgen.workloads.toy_kind import PulseLoad
from tests.support.captured import captured

SOURCE = Path(__file__).parents[3]
MODELS = b'{"data": [{"id": "m"}]}'


@pytest.fixture(autouse=True)
def pulses():
    register(PulseLoad)
    yield
    del Workload.kinds["pulse"]


def test_it_loads_a_real_server_and_its_trial_is_read_back():
    load = PulseLoad(name="pulses", pulse=3, every_s=0.2, requests=6, warmup_requests=1, output_tokens=2)
    with ScriptedServer(lambda *_: stream(2, first_s=0.01, token_s=0.01)) as server:
        prompts = SyntheticPrompts(range(100, 200), 8, seed=0)
        result = run_trial(Endpoint(server.url, "m"), load, prompts, seed=0, energy=NoEnergy("not here"))
    first, *_, last = [record.scheduled_ns for record in result.records]
    assert [record.scheduled_ns - first for record in result.records] == [0] * 3 + [last - first] * 3
    assert last - first == 200_000_000
    assert all(record.error is None and record.sent_ns >= record.scheduled_ns for record in result.records)
    assert Trial.model_validate_json(result.trial.model_dump_json()) == result.trial
    assert summarize(result.trial, result.metrics, [])["completed"] == 6
    assert load.describe() == "3 requests every 0.2 s; 64 prompt tokens, exactly 2 output tokens; 6 requests a trial"


def experiment(folder, lines):
    (folder / "checkpoint").mkdir(exist_ok=True)
    (folder / "checkpoint" / "config.json").write_text("{}")
    file = folder / "experiment.toml"
    head = 'name = "toy"\nmodel.source = "checkpoint"\nprune.expansion_ratios = [2.0]\n'
    file.write_text(f'{head}[[workloads]]\nname = "beat"\nkind = "pulse"\nrequests = 4\n{lines}\n')
    return file


def test_an_experiment_file_may_name_it(tmp_path):
    loaded = load_experiment(experiment(tmp_path, "pulse = 2"))
    assert loaded.workloads == [PulseLoad(name="beat", pulse=2, requests=4)]


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("", "a pulse workload needs pulse"),
        ("pulse = 2\nrate = 1.0", "rate does not apply to a pulse workload"),
        ("pulse = 2\nevry_s = 1.0", "did you mean every_s?"),
    ],
)
def test_its_keys_are_checked_as_those_of_any_kind(tmp_path, lines, complaint):
    with pytest.raises(ExperimentError) as caught:
        load_experiment(experiment(tmp_path, lines))
    assert complaint in str(caught.value)


def test_the_schema_of_experiment_files_knows_it():
    schema = json.loads(experiment_schema())
    data = {"name": "toy", "model": {"source": "c"}, "prune": {"widths": [8]}}
    beat = {"name": "beat", "kind": "pulse", "requests": 4, "pulse": 2}
    jsonschema.validate(data | {"workloads": [beat]}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data | {"workloads": [beat | {"pulse": 0}]}, schema)


def prunebench_with_pulses(*words: object) -> subprocess.CompletedProcess[str]:
    code = """
from loadgen.workloads.kinds import register
from tests.loadgen.workloads.toy_kind import PulseLoad
register(PulseLoad)
from prunebench.cli import main
main()
"""
    command = [sys.executable, "-c", code, *map(str, words)]
    return captured(command, cwd=SOURCE, timeout=60)


def test_its_fields_are_options_of_the_command_line(tmp_path):
    (tmp_path / "p.txt").write_text("hello there\n")
    load = ["--workload", "pulse", "--pulse", 2, "--every", 0.1, "--requests", 4, "--output-tokens", 2]
    where = ["--model", "m", "--output", tmp_path / "out", "--prompts", tmp_path / "p.txt"]
    with ScriptedServer(lambda *_: stream(2), pages={"/v1/models": lambda: MODELS}) as server:
        done = prunebench_with_pulses("load", server.url, *where, *load)
    assert done.returncode == 0, done.stderr
    offered = Trial.model_validate_json((tmp_path / "out" / "trial.json").read_text()).workload
    assert (offered.pulse, offered.every_s, offered.requests) == (2, 0.1, 4)


def test_help_and_errors_name_its_options():
    said = " ".join(prunebench_with_pulses("load", "--help").stdout.split())
    assert "--every <float> For pulse: seconds between pulses. Default 1.0." in said
    wrong = prunebench_with_pulses("load", "http://127.0.0.1:9", "--workload", "pulse", "--pulse", 1, "--every", 0)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
