"""Results that are taken from earlier runs: only of what is the same in all that decides answers, time and joules."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from loadgen.endpoint import Endpoint, check_endpoint
from loadgen.energy.source import NoEnergy
from prunebench.experiment.file import Experiment
from prunebench.quality.evaluation import Target
from prunebench.quality.reuse import Evaluated, KnownTasks, Reuse
from prunebench.quality.run_tasks import ask_configurations
from prunebench.quality.suites import TaskChoice
from prunebench.servers.joined import JoinedServer
from reports.document.console import Console
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import EvaluationSettings, TaskResult
from tests.prunebench.conftest import TINYGLU
from tests.reports.example_run import Example, configure
from tests.reports.statistics.test_retention import accuracy
from tests.server.conftest import RunningServer, running_server

SETTINGS = EvaluationSettings(backend="endpoint", harness="lm-eval 0.4.13", chat_template=False, limit=8, seeds={})
PIQA = TaskChoice("piqa")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prunebench" / "quality"


def checkpoint(folder: Path, weights: bytes = b"1", card: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "README.md").write_text(card)
    return folder


def known(settings: EvaluationSettings = SETTINGS, include: tuple[Path, ...] = ()) -> KnownTasks:
    return KnownTasks(Reuse(wanted=True), settings, include)


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluated:
    resolved = {"max_num_seqs": "256", "num_gpu_blocks": "7000"}
    return Evaluated(checkpoint(tmp_path / "a"), "vllm", "0.32.0", "float16", {}, resolved, {"command": None}, ["auto"])


def test_a_result_is_found_for_the_same_weights_in_another_folder_and_with_other_free_memory(evaluated, tmp_path):
    known().keep(evaluated, PIQA, accuracy([1, 0]))
    moved = checkpoint(tmp_path / "b", card="made by a run of another name")
    other = replace(evaluated, checkpoint=moved, resolved={"max_num_seqs": "256", "num_gpu_blocks": "6500"}, how={})
    found = known().find(other, PIQA)
    assert found is not None
    assert (found.values, found.reused) == ([1.0, 0.0], True)


@pytest.mark.parametrize(
    "changed",
    [
        lambda one, folder: replace(one, checkpoint=checkpoint(folder / "b", weights=b"2")),
        lambda one, _: replace(one, version="0.33.0"),
        lambda one, _: replace(one, dtype="bfloat16"),
        lambda one, _: replace(one, options={"quantization": "fp8"}),
        lambda one, _: replace(one, resolved={"max_num_seqs": "64"}),
        lambda one, _: replace(one, how={"power_limit_w": 300}),
        lambda one, _: replace(one, energy=["none"]),
        lambda one, _: replace(one, concurrency=8),
    ],
    ids=["weights", "version", "dtype", "option", "resolved option", "power limit", "meter", "concurrency"],
)
def test_it_is_not_found_for_what_differs_in_anything_that_decides_it(
    evaluated: Evaluated, changed: Callable[[Evaluated, Path], Evaluated], tmp_path: Path
):
    known().keep(evaluated, PIQA, accuracy([1, 0]))
    assert known().find(changed(evaluated, tmp_path), PIQA) is None


def test_nor_for_a_task_that_is_asked_otherwise(evaluated, tmp_path):
    own = tmp_path / "tasks"
    own.mkdir()
    (own / "spelling.yaml").write_text("task: spelling\ndoc_to_text: '{{word}}'")
    choice, asked = TaskChoice("spelling"), known(include=(own,))
    asked.keep(evaluated, choice, accuracy([1, 0]))
    assert asked.find(evaluated, choice) is not None
    assert asked.find(evaluated, TaskChoice("spelling", 5)) is None
    assert known(SETTINGS.model_copy(update={"limit": 9}), (own,)).find(evaluated, choice) is None
    asked.keep(evaluated, TaskChoice("tinyglu_form"), accuracy([1, 0]))
    (own / "spelling.yaml").write_text("task: spelling\ndoc_to_text: 'Spell {{word}}'")
    assert asked.find(evaluated, choice) is None
    assert asked.find(evaluated, TaskChoice("tinyglu_form")) is not None


def test_the_folder_of_a_task_may_be_named_in_any_way(evaluated, tmp_path, monkeypatch):
    own = tmp_path / "tasks"
    own.mkdir()
    (own / "spelling.yaml").write_text("task: spelling")
    known(include=(own,)).keep(evaluated, TaskChoice("spelling"), accuracy([1, 0]))
    monkeypatch.chdir(tmp_path)
    assert known(include=(Path("tasks"),)).find(evaluated, TaskChoice("spelling")) is not None


def test_without_scores_or_unasked_nothing_is_kept(evaluated, cache):
    known().keep(evaluated, PIQA, accuracy([1, 0], scores=[], reason="it failed"))
    KnownTasks(Reuse(wanted=False), SETTINGS).keep(evaluated, PIQA, accuracy([1, 0]))
    assert not cache.exists()


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(TINYGLU, engine="synthetic", served_model_name="tinyglu") as running:
        yield running


class Asking:
    """What a run does after its trials, of one configuration; counts how often its server is needed."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.acquired = folder, 0
        self.endpoint = Endpoint(url, "tinyglu")
        folder.mkdir()

    def __call__(self, **quality: object) -> dict[str, list[TaskResult]]:
        asked = {"tasks": ["tinyglu_form"], "limit": 3, "reuse": True} | quality
        load = {"name": "one", "kind": "single", "requests": 1, "prompt_tokens": 8, "output_tokens": 8}
        plain = {"label": "plain", "checkpoint": str(TINYGLU)}
        experiment = Experiment.model_validate(
            {"name": "asked", "configurations": [plain], "quality": asked, "workloads": [load]}
        )
        done = ask_configurations(
            experiment,
            {"plain": self._info()},
            acquire=self._acquire,
            folder_of=lambda label: self.folder / label,
            logs=self.folder,
            console=Console(quiet=True),
        )
        assert done
        return {
            file.parent.name: [TaskResult.model_validate_json(file.read_bytes())]
            for file in self.folder.glob("*/*.json")
        }

    def _info(self) -> ConfigurationInfo:
        served = check_endpoint(self.endpoint)
        facts = {"engine_version": served.engine_version, "dtype": served.dtype, "resolved_options": served.options}
        about = {"label": "plain", "checkpoint": str(TINYGLU), "engine": served.engine, "engine_options": {}}
        return configure(Example(), 1024).model_copy(update=facts | about)

    def _acquire(self, _label: str, _progress: object) -> tuple[JoinedServer, NoEnergy]:
        self.acquired += 1
        return JoinedServer(self.endpoint), NoEnergy("not here")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # lm-eval's imports
def test_a_second_run_takes_the_answers_of_the_first_and_starts_no_server(server, cache, tmp_path):
    first, second, third = (Asking(tmp_path / name, server.url) for name in ("first", "second", "third"))
    (asked,) = first()["plain"]
    assert (first.acquired, asked.reused, len(asked.values)) == (1, False, 3)
    assert len(list(cache.iterdir())) == 1
    (taken,) = second()["plain"]
    assert second.acquired == 0
    assert taken == asked.model_copy(update={"reused": True})
    assert third(limit=2)["plain"][0].items == 2
    assert third.acquired == 1
    # `prunebench evaluate` of the same checkpoint finds them too: its key is the same.
    target = Target(None, TINYGLU, "tinyglu", "synthetic", {})
    settings = asked.settings
    of = target.evaluated(check_endpoint(first.endpoint), "auto", 32)
    assert of is not None
    assert known(settings).find(of, TaskChoice("tinyglu_form")) == taken
