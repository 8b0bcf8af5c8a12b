"""What a run's experiment, files and checkpoint may be when it is resumed."""

import shutil
from pathlib import Path

import pytest

from prunebench.cli import main
from prunebench.experiment.changes import checkpoint_changes, experiment_changes, hash_checkpoint
from prunebench.experiment.file import ExperimentError
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.toml_text import TomlText
from prunebench.run.folder.opening import reopen
from prunebench.run.folder.resume import extended
from prunebench.run.folder.run_writer import RunWriter
from reports.analysis.analyse import analyse_folder
from reports.document.blocks import Findings
from reports.runs.records.run import RunInfo
from reports.sections.answer import limits_section
from tests.prunebench.conftest import SYNTHETIC, TINYGLU
from tests.reports.example_run import Example, write_run


@pytest.fixture
def begun(tmp_path) -> Path:
    """A run of tiny.toml, whose checkpoint and prompts are files beside it."""
    shutil.copytree(TINYGLU, tmp_path / "model")
    (tmp_path / "prompts.txt").write_text("One.\nTwo.\n")
    text = SYNTHETIC.replace(str(TINYGLU), "model").replace(
        'kind = "single"\n', 'kind = "single"\nprompts = "prompts.txt"\n'
    )
    file = tmp_path / "tiny.toml"
    file.write_text(text.replace("prompt_tokens = 8\n", "", 1))
    experiment = load_experiment(file)
    run = RunWriter(
        write_run(tmp_path / "out", Example(widths=(1024, 512), workloads=tuple(experiment.workloads), blocks=1))
    )
    (run.path / "quality").mkdir()
    files = tuple(hash_checkpoint(experiment.model.source))
    run.write("run.json", run.folder.info().model_copy(update={"checkpoint": files}))
    run.write("experiment.json", experiment)
    return file


def resume(file: Path, *, accept_changes: bool = False) -> RunWriter:
    run = RunWriter(file.parent / "out")
    reopen(run, load_experiment(file), TomlText.read(file), accept_changes=accept_changes)
    return run


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def test_a_run_whose_experiment_is_the_same_is_resumed_and_keeps_its_files(begun):
    before = {path: path.read_bytes() for path in (begun.parent / "out").rglob("*") if path.is_file()}
    assert resume(begun).folder.info().accepted_changes == ()
    assert {path: path.read_bytes() for path in (begun.parent / "out").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('token_ms = "1"', 'token_ms = "3"', "serve.options.token_ms was 1, is 3"),
        ("requests = 8", "requests = 9", "workloads.batch-4.requests was 8, is 9"),
        ("blocks = 2", "blocks = 3", "protocol.blocks was 2, is 3. Add --accept-changes .* more blocks are --blocks N"),
    ],
)
def test_a_setting_that_changed_is_named_with_both_values(begun, before, after, said):
    change(begun, before, after)
    with pytest.raises(ExperimentError, match=f"--resume: the experiment has changed since .*: {said}"):
        resume(begun)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seed = 7", "seed = 8", "seed was 7, is 8"),
        ("[4.0, 2.0]", "[4.0, 3.0]", "prune.expansion_ratios"),
        ('name = "batch-4"', 'name = "batch"', r"workloads\.batch-4\.name was batch-4, is not set"),
    ],
)
def test_what_leaves_other_cells_to_measure_is_another_run_even_if_accepted(begun, before, after, said):
    change(begun, before, after)
    with pytest.raises(ExperimentError, match=f"{said}.*another run: give it another --output"):
        resume(begun, accept_changes=True)


def test_workloads_in_another_order_are_another_run(begun):
    experiment = load_experiment(begun)
    turned = experiment.model_copy(update={"workloads": experiment.workloads[::-1]})
    assert experiment_changes(experiment, turned) == {"workloads": "the order of the workloads"}


def test_a_prompts_file_with_other_content_is_named(begun):
    (begun.parent / "prompts.txt").write_text("One.\nThree.\n")
    with pytest.raises(ExperimentError, match=r"workloads\.single-request: the content of its file"):
        resume(begun)


def test_a_file_of_the_checkpoint_with_other_content_is_named(begun):
    (begun.parent / "model" / "generation_config.json").write_text('{"max_length": 99}')
    with pytest.raises(ExperimentError, match=r"changed since .*: generation_config\.json of the checkpoint"):
        resume(begun)


def test_a_run_that_recorded_no_checkpoint_is_resumed_with_any(begun):
    assert checkpoint_changes((), hash_checkpoint(begun.parent / "model")) == {}


def test_changes_that_are_accepted_are_in_the_run_and_what_they_replace_is_kept(begun):
    change(begun, 'token_ms = "1"', 'token_ms = "3"')
    (begun.parent / "model" / "generation_config.json").write_text('{"max_length": 99}')
    run = resume(begun, accept_changes=True)
    token_ms, file = run.folder.info().accepted_changes
    assert token_ms == "serve.options.token_ms was 1, is 3, after 4 trials"
    assert file.startswith("generation_config.json of the checkpoint")
    assert run.stored_configurations() == {}
    kept = {path.name for path in run.path.glob("*.before-1")}
    assert kept == {
        "configurations.before-1",
        "quality.before-1",
        "experiment.json.before-1",
        "experiment.toml.before-1",
    }
    assert resume(begun).folder.info().accepted_changes == (token_ms, file)


def test_blocks_are_added_to_a_run_and_never_taken_away(begun):
    experiment = load_experiment(begun)
    there = RunInfo.model_validate_json((begun.parent / "out" / "run.json").read_bytes())
    five = there.model_copy(update={"blocks": 5})
    assert extended(experiment, None, None).protocol.blocks == 2
    assert extended(experiment, there, 6).protocol.blocks == 6
    assert extended(experiment, five, None).protocol.blocks == 5
    with pytest.raises(ExperimentError, match="--blocks 4: the run has 5 already"):
        extended(experiment, five, 4)


def test_the_report_says_what_changed_while_the_run_was_measured(begun):
    change(begun, 'token_ms = "1"', 'token_ms = "3"')
    run = resume(begun, accept_changes=True)
    for info in (run.path / "configurations.before-1").iterdir():
        shutil.copy(info, run.path / "configurations")
    [found] = limits_section(analyse_folder(run.path)).blocks
    assert isinstance(found, Findings)
    assert ("changed while it ran", "serve.options.token_ms was 1, is 3, after 4 trials.") in [
        (finding.name, finding.seen) for finding in found.findings
    ]


@pytest.mark.parametrize("option", [["--blocks", "9"], ["--accept-changes"]])
def test_options_of_resume_are_refused_without_it(begun, option, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["prunebench", "run", str(begun), *option])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert f"{option[0]} belongs to --resume" in capsys.readouterr().err
