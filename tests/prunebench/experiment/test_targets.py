"""What `prunebench run TARGET TARGET…` amounts to."""

from pathlib import Path

import pytest

from base.errors import UserError
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.targets import TargetOptions, experiment_of

TINYGLU = Path(__file__).parents[3] / "examples" / "tinyglu"
ONE, TWO = "http://127.0.0.1:8000/v1", "http://127.0.0.1:8001"


def test_targets_are_configurations_under_one_load_and_the_first_is_the_baseline():
    found = load_experiment(experiment_of([ONE, TWO, f"{TINYGLU}"], TargetOptions()))
    assert [(one.label, one.url, one.checkpoint) for one in found.configurations] == [
        ("127.0.0.1-8000", "http://127.0.0.1:8000", None),
        ("127.0.0.1-8001", TWO, None),
        ("tinyglu", None, f"{TINYGLU}"),
    ]
    (workload,) = found.workloads
    assert (workload.name, workload.duration_s, workload.prompt_tokens) == ("concurrency-8", 20, 128)
    assert found.protocol.blocks == 5


def test_options_become_keys():
    options = TargetOptions(3, 2, "1m", "uniform:8-16", "4")
    found = load_experiment(experiment_of([ONE, TWO], options))
    (workload,) = found.workloads
    assert (workload.name, workload.duration_s, workload.in_flight) == ("concurrency-2", 60, 2)
    assert (workload.prompt_tokens, workload.output_tokens) == ("uniform:8-16", 4)
    assert found.protocol.blocks == 3


def test_targets_of_one_name_have_labels_of_their_own(tmp_path: Path):
    other = tmp_path / "tinyglu"
    other.mkdir()
    (other / "config.json").write_text("{}")
    found = load_experiment(experiment_of([f"{TINYGLU}", f"{other}"], TargetOptions()))
    assert [one.label for one in found.configurations] == ["tinyglu", "tinyglu-2"]


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        ([ONE], TargetOptions(), "is one target; give another"),
        ([f"{TINYGLU}"], TargetOptions(), "is one target; give another"),
        ([ONE, "demo.toml"], TargetOptions(), "an experiment file is run alone"),
        ([ONE, "nowhere/"], TargetOptions(), "TARGET nowhere/: is neither an address"),
        ([ONE, "http://"], TargetOptions(), "TARGET http://: must be like"),
        (["demo"], TargetOptions(concurrency=3), "--concurrency: is for two targets or more"),
    ],
)
def test_what_cannot_be_compared_is_refused(targets: list[str], options: TargetOptions, said: str):
    with pytest.raises(UserError, match=said):
        experiment_of(targets, options)
