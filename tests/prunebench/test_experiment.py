import re
from pathlib import Path

import pytest

from prunebench.experiment import ExperimentError, load_experiment, read_text

SHIPPED = sorted(Path("experiments").glob("*.toml"))

MINIMAL = """
name = "tiny"
[model]
source = "checkpoint"
[prune]
expansion_ratios = [2.0]
[[workloads]]
name = "one"
kind = "single"
requests = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    file = folder / "experiment.toml"
    file.write_text(text)
    return file


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(written(folder, text))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_paths_are_relative_to_the_experiment_file(folder: Path):
    experiment = load_experiment(written(folder, MINIMAL))
    assert experiment.model.source == folder / "checkpoint"


def test_a_resolved_experiment_reads_back_equal(folder: Path):
    experiment = load_experiment(written(folder, MINIMAL))
    assert type(experiment).model_validate_json(experiment.model_dump_json()) == experiment


def test_an_unknown_key_is_refused_with_the_nearest_known_one(folder: Path):
    assert "unknown key protocl; did you mean protocol?" in complaint(folder, "protocl = 1\n" + MINIMAL)
    assert "unknown key prune.expansion_ratio; did you mean expansion_ratios?" in complaint(
        folder, MINIMAL.replace("expansion_ratios", "expansion_ratio")
    )


def test_an_unknown_key_like_no_other_lists_what_there_is(folder: Path):
    assert "unknown key model.zzz; known are source" in complaint(
        folder, MINIMAL.replace('source = "checkpoint"', 'source = "checkpoint"\nzzz = 1')
    )


def test_an_unknown_key_of_a_workload_is_named_with_its_place(folder: Path):
    assert "unknown key workloads.0.request; did you mean requests?" in complaint(
        folder, MINIMAL.replace("requests = 1", "request = 1")
    )


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('name = "tiny"\n', "", "missing key name"),
        ('name = "tiny"', 'name = "../elsewhere"', "name: "),
        ("expansion_ratios = [2.0]", "", "prune: give expansion_ratios"),
        ("requests = 1", "", "requests and duration_s"),
        ('kind = "single"', 'kind = "batch"', "needs batch_size"),
        ('source = "checkpoint"', 'source = "nowhere"', "model.source: no checkpoint at "),
        ("[prune]", "[prune", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, before: str, after: str, said: str):
    assert said in complaint(folder, MINIMAL.replace(before, after))


def test_two_workloads_may_not_share_a_name(folder: Path):
    twice = MINIMAL + MINIMAL[MINIMAL.index("[[workloads]]") :]
    assert "two workloads have the same name" in complaint(folder, twice)


def test_a_missing_experiment_file_is_named(tmp_path: Path):
    with pytest.raises(ExperimentError, match=r"nothing\.toml: No such file"):
        load_experiment(tmp_path / "nothing.toml")


def test_a_missing_text_file_is_named(folder: Path):
    quality = '[quality]\nperplexity_files = ["stdlib:no_such_module.py"]\n'
    assert "quality.perplexity_files: no file stdlib:no_such_module.py" in complaint(folder, MINIMAL + quality)


def test_the_standard_library_can_be_read_by_name():
    assert "def wrap(" in read_text("stdlib:textwrap.py")


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_experiment_is_valid_or_lacks_only_its_weights(file: Path):
    try:
        assert load_experiment(file).workloads
    except ExperimentError as error:
        assert re.search(r"model\.source: no checkpoint at \S+Llama", str(error)), error  # noqa: PT017


def test_there_are_shipped_experiments():
    assert {"demo", "demo-vllm", "llama-3.2-1b"} <= {file.stem for file in SHIPPED}
