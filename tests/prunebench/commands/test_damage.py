"""Run folders that were damaged on disk: every command reports or refuses in one line, and none ends in a traceback.

With `PRUNEBENCH_LONG=1` everything is damaged in five more ways.
"""

import dataclasses
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from base.files import write_record
from loadgen.records.checksums import file_sha256
from prunebench.cli import main
from prunebench.experiment.resolve import load_experiment
from prunebench.run.folder.run_writer import RunWriter, cell_name
from reports.errors import ReportError
from reports.runs.reading import read_measured
from reports.runs.records.cells import CellRecord, FailedCell, Placement, TrialCell
from reports.runs.records.quality import EvaluationSettings, TaskResult
from reports.runs.run_folder import open_trial
from tests.loadgen.results.test_store import result
from tests.prunebench.conftest import SYNTHETIC
from tests.reports.example_run import BATCH, SINGLE, Example, write_run
from tests.reports.runs.test_reading import write_idle
from tests.support.long import long_only

WORKLOADS = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"name": "batch-4", "requests": 8}))
TRIAL = "trials/001-width-512-single-request"
OF_A_TRIAL = [f"{TRIAL}/{name}" for name in ("requests.parquet", "trial.json", "power.json", "cell.json")]
OF_THE_RUN = [
    "run.json",
    "experiment.json",
    "environment.json",
    "configurations/width-512.json",
    "idle/000-width-512-single-request.json",
    "failures/002-width-512-batch-4.json",
    "quality/width-512/hellaswag.json",
]


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def other_version(content: bytes) -> bytes:
    """As a later prunebench may write it: another version of the schema, or a key that is not known today."""
    try:
        fields = json.loads(content)
    except ValueError:
        return b"PAR9" + content[4:-4] + b"PAR9"
    return json.dumps({**fields, "schema_version": 2}).encode()


KINDS: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "truncated": lambda content, dice: content[: dice.randrange(1, len(content))],
    "empty": lambda content, dice: b"",
    "flipped": lambda content, dice: flipped(content, dice.randrange(8 * len(content))),
    "zeroed": lambda content, dice: bytes(len(content)),
    "missing": lambda content, dice: None,
    "wrong type": lambda content, dice: dice.choice([b"[]", b"null", b'"text"', b"3", b"{}", b"\xff\xfe"]),
    "another version": lambda content, dice: other_version(content),
}


def unsealed_run(folder: Path) -> Path:
    """A finished run as they were recorded before trials had a sha256, under the names that `run` gives."""
    run = write_run(folder / "run", dataclasses.replace(Example(), widths=(1024, 512), workloads=WORKLOADS, blocks=2))
    for trial in list((run / "trials").iterdir()):
        cell = TrialCell.model_validate_json((trial / "cell.json").read_bytes())
        trial.rename(trial.with_name(cell_name(cell)))
    experiment = folder / "tiny.toml"
    experiment.write_text(SYNTHETIC)
    shutil.copy(experiment, run / "experiment.toml")
    write_record(run / "experiment.json", load_experiment(experiment))
    write_idle(run, 0, 60.0, ["single-request"])
    failed = FailedCell(block=2, label="width-512", workload="batch-4", error="out of memory")
    write_record(run / "failures/002-width-512-batch-4.json", failed)
    asked = EvaluationSettings(backend="endpoint", harness="lm-eval", chat_template=False, limit=None, seeds={})
    task = TaskResult(task="hellaswag", reason="no data set", evaluated_at="2026-11-23T10:00:00+00:00", settings=asked)
    (run / "quality/width-512").mkdir(parents=True)
    write_record(run / "quality/width-512/hellaswag.json", task)
    return run


def seal(run: Path) -> Path:
    for trial in (run / "trials").iterdir():
        cell = TrialCell.model_validate_json((trial / "cell.json").read_bytes())
        files = {file.name: file_sha256(file) for file in trial.iterdir() if file.name != "cell.json"}
        write_record(trial / "cell.json", CellRecord.sealed(cell, files))
    return run


@pytest.fixture(scope="module")
def older_run(tmp_path_factory) -> Path:
    return unsealed_run(tmp_path_factory.mktemp("older"))


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    return seal(unsealed_run(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs the command line here; returns its exit status, and what it wrote to stdout and to stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["prunebench", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


def readers(run: Path, whole: Path) -> dict[str, list[object]]:
    """Commands that read all of a run and draw nothing, which is the slow part and the same whatever was read."""
    return {
        "compare": ["compare", whole, run],
        "report": ["report", run, "--format", "csv"],
        "energy": ["energy", "predict", run, "--prompt-tokens", 9, "--output-tokens", 9],
        "resume": ["run", whole.parent / "tiny.toml", "--output", run, "--resume", "--dry-run", "--json"],
    }


def damage(run: Path, name: str, kind: str, dice: random.Random) -> bool:
    """Whether the file is another one now."""
    before = (run / name).read_bytes()
    after = KINDS[kind](before, dice)
    if after is None:
        (run / name).unlink()
    else:
        (run / name).write_bytes(after)
    return after != before


def check(command, run: Path, whole: Path, name: str, *, sealed: bool, only: str | None = None) -> None:
    for reader, words in readers(run, whole).items():
        if only not in {None, reader} and reader != "resume":
            continue
        status, out, err = command(*words)  # a traceback would have been an exception other than SystemExit
        assert status in {0, 1, 2}, (reader, err)
        assert len(err.splitlines()) == len([line for line in err.splitlines() if line.startswith("prunebench: ")])
        if name.startswith("trials") and sealed:
            said = out if reader == "resume" else err
            assert str(run / TRIAL) in said, (reader, out, err)
            if reader == "resume":
                states = {(c["block"], c["label"], c["workload"]): c["state"] for c in json.loads(out)["resumed"]}
                assert states.pop((2, "width-512", "single-request")) == "set aside"
                assert set(states.values()) == {"reused"}
        elif status == 2:
            assert str(run) in err
            named = name.rsplit("/", maxsplit=1)[-1] in err
            assert named or (name == "experiment.json" and "the experiment has changed since" in err), (reader, err)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*OF_A_TRIAL, *OF_THE_RUN])
def test_whatever_is_damaged_is_one_line_that_names_the_file(command, whole_run, tmp_path, name, kind):
    run = shutil.copytree(whole_run, tmp_path / "run")
    dice = random.Random(f"{name} {kind}")
    assert damage(run, name, kind, dice)
    check(command, run, whole_run, name, sealed=True, only=dice.choice(["compare", "report", "energy"]))


@pytest.mark.slow
@long_only
@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_damaged_and_however_it_is_one_line(command, whole_run, tmp_path, seed):
    for name in (*OF_A_TRIAL, *OF_THE_RUN):
        for kind in KINDS:
            run = shutil.copytree(whole_run, tmp_path / "run")
            dice = random.Random(f"{name} {kind} {seed}")
            if damage(run, name, kind, dice):
                check(command, run, whole_run, name, sealed=True, only=dice.choice(["compare", "report", "energy"]))
            shutil.rmtree(run)


@pytest.mark.parametrize("name", OF_A_TRIAL)
def test_a_trial_without_a_sha256_ends_in_no_traceback_whatever_it_holds(command, older_run, tmp_path, name):
    dice = random.Random(name)
    for kind in KINDS:
        run = shutil.copytree(older_run, tmp_path / kind)
        damage(run, name, kind, dice)
        check(command, run, older_run, name, sealed=False, only=dice.choice(["compare", "report", "energy"]))


def test_a_trial_without_a_sha256_is_not_damaged(command, older_run, tmp_path):
    status, out, _ = command(*readers(older_run, older_run)["resume"])
    assert status == 0
    assert {cell["state"] for cell in json.loads(out)["resumed"]} == {"reused"}


def flip_bits(whole_run: Path, folder: Path, count: int) -> list[int]:
    """The bits of requests.parquet whose flip goes unseen."""
    trial = shutil.copytree(whole_run / TRIAL, folder / Path(TRIAL).name)
    file = trial / "requests.parquet"
    content = file.read_bytes()
    unseen = []
    for bit in random.Random(count).sample(range(8 * len(content)), count):
        file.write_bytes(flipped(content, bit))
        try:
            read_measured(trial)
        except ReportError:
            continue
        unseen.append(bit)
    file.write_bytes(content)
    read_measured(trial)
    return unseen


def test_thirty_single_bits_that_flip_in_the_requests_are_all_seen(whole_run, tmp_path):
    assert flip_bits(whole_run, tmp_path, 30) == []


@pytest.mark.slow
@long_only
def test_300_single_bits_that_flip_in_the_requests_are_all_seen(whole_run, tmp_path):
    assert flip_bits(whole_run, tmp_path, 300) == []


def test_a_report_goes_on_without_the_damaged_trial_and_says_so(command, whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    damage(run, f"{TRIAL}/requests.parquet", "flipped", random.Random(0))
    status, _, err = command("report", run)
    assert status == 0
    assert err.startswith(
        f"prunebench: damaged, left out: {run / TRIAL}/requests.parquet: has changed since it was written"
    )
    assert "1 of 8 are damaged on disk" in (run / "report.md").read_text()
    assert len(json.loads((run / "report.json").read_text())["runs"][0]["trials"]) == 7


def test_a_plan_goes_on_without_the_damaged_trial_and_says_so(command, whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    damage(run, f"{TRIAL}/trial.json", "empty", random.Random(0))
    words = ("--requests-per-day", "1e6", "--prompt-tokens", "64", "--output-tokens", "32")
    status, _, err = command("plan", run, *words)
    assert status == 0, err
    assert f"damaged, left out: {run / TRIAL}/trial.json" in err


def test_trials_that_were_set_aside_are_no_trials_and_none_is_overwritten(whole_run, tmp_path):
    run = shutil.copytree(whole_run, tmp_path / "run")
    writer = RunWriter(run)
    cell = TrialCell(block=1, label="width-512", workload="single-request", order=0)
    for number in (1, 2):
        assert writer.set_aside(cell) == run / f"{TRIAL}.damaged-{number}"
        assert len(writer.folder.trial_folders()) == 7
        shutil.copytree(whole_run / TRIAL, run / TRIAL)


def test_a_trial_that_was_measured_on_another_machine_keeps_its_sha256_and_gets_its_place(tmp_path):
    there, here = RunWriter(tmp_path / "there"), RunWriter(tmp_path / "here")
    cell = TrialCell(block=1, label="width-512", workload="single-request", order=3)
    there.write_trial(cell, result(), [])
    files = {file.relative_to(there.path).as_posix(): file.read_bytes() for file in there.path.glob("trials/*/*")}
    place = Placement(host="node-1", boot_id="b", kind="CPU")
    here.take_in(files, place)
    stored = open_trial(here.path / TRIAL)
    assert (stored.cell, stored.verified) == (cell.model_copy(update={"placement": place}), True)
