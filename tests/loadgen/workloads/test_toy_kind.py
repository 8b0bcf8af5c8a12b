"""A kind of workload that the product does not have: one class and one call of `register`, here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Literal

import jsonschema
import pytest
from pydantic import Field

from loadgen.endpoint import Endpoint
from loadgen.energy.source import NoEnergy
from loadgen.metrics.summary import summarize
from loadgen.prompts.synthetic import SyntheticPrompts
from loadgen.records.schema import Trial
from loadgen.trial import run_trial
from loadgen.workloads.base import Workload
from loadgen.workloads.kinds import register
from loadgen.workloads.open_loop import OpenLoop
from prunebench.commands.schema import experiment_schema
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.resolve import load_experiment
from tests.loadgen.scripted import ScriptedServer, stream


class PulseLoad(OpenLoop):
    """A number of requests together, again and again."""

    kind: Literal["pulse"] = "pulse"
    pulse: int = Field(ge=1)  # requests in a pulse
    every_s: float = Field(default=1.0, gt=0)  # seconds between pulses

    def moments(self, seed: int) -> Iterator[float]:
        return (n // self.pulse * self.every_s for n in itertools.count())

    @property
    def words(self) -> str:
        return f"{self.pulse} requests every {self.every_s:g} s"


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
        ("pulse = 2\nrate = 1.0", "rate means nothing to a pulse workload"),
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
