"""`prunebench prune` and `prunebench inspect` as a user runs them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from prunebench.terminal.progress import Steps
from reports.document.console import Console
from tests.prunebench.conftest import TINYGLU, fill
from tests.pruner.checkpoint.hub_server import COMMIT, Hub, running_hub

pytestmark = pytest.mark.slow  # every test starts a process of its own

HALF = ["--pruning-percentage", "50"]


@pytest.fixture
def hub(monkeypatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that offers TinyGLU as org/tinyglu, and an environment that knows no other."""
    with running_hub() as hub:
        hub.models["org/tinyglu"] = TINYGLU
        for name, value in hub.environment(tmp_path_factory.mktemp("cache")).items():
            monkeypatch.setenv(name, value)
        yield hub


def one_line(done) -> str:
    assert done.returncode == 2, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    return line


def test_before_the_first_byte_it_says_how_many_there_will_be_and_how_many_are_free(prunebench):
    done = prunebench("prune", TINYGLU, "--output", "out", *HALF)
    assert done.returncode == 0
    assert re.match(r"writing 9\.\d MB to out, [\d.,]+ [GT]B are free there\n", done.stderr)


def test_progress_ends_with_all_bytes_and_the_rate(prunebench):
    lines = prunebench("prune", TINYGLU, "--output", "out", *HALF).stderr.splitlines()
    assert re.fullmatch(r"pruning: 100 %, ([\d.]+ MB) of \1, [\d.]+ [kMG]B/s", lines[-1])


def test_a_second_time_nothing_is_written_and_nothing_is_announced(prunebench):
    first, again = (prunebench("prune", TINYGLU, "--output", "out", *HALF) for _ in range(2))
    assert (again.stdout, again.stderr) == (first.stdout, "")


def test_on_a_terminal_the_bar_shows_rate_and_time_left():
    console = Console(force_terminal=True, width=120, record=True, force_interactive=True)
    with Steps(console, "pruning") as steps:
        for done in range(1, 5):
            steps.bytes_done(done * 10_000_000, 50_000_000)
        steps._bar.refresh()
    shown = console.export_text()
    assert re.search(r"pruning: 40\.0 MB of 50\.0 MB, .*B/s .*80 % .*0:00:0\d", shown)


def test_inspection_says_what_each_width_is_a_multiple_of(prunebench):
    done = prunebench("inspect", TINYGLU, "--intermediate-size", "512", "--intermediate-size", "520", "--json")
    rows = json.loads(done.stdout)["targets"]
    assert [row["aligned_to"] for row in rows] == [[8, 16, 64, 128], [8]]
    table = prunebench("inspect", TINYGLU, "--intermediate-size", "512", "--intermediate-size", "520").stdout
    assert [line.split()[-2] for line in table.splitlines() if "width 5" in line] == ["128", "8"]


def test_memory_saved_is_what_the_narrower_tensors_no_longer_take(prunebench):
    found = json.loads(prunebench("inspect", TINYGLU, "--intermediate-size", "512", "--json").stdout)
    layers, hidden, bf16 = 6, 256, 2
    assert found["targets"][0]["memory_saved"] == layers * 3 * hidden * (1024 - 512) * bf16


@pytest.mark.slow
def test_pruning_over_a_text_records_it(prunebench, tmp_path: Path):
    (tmp_path / "text.txt").write_text("Water boils at a hundred degrees at sea level. " * 200)
    words = ["prune", TINYGLU, "--output", "out", *HALF, "--criterion", "act", "--calibration", "text.txt", "--refit"]
    done = prunebench(*words, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["criterion"], row["calibration"]["name"]) == ("act", "text.txt")
    assert row["calibration"]["tokens"] > 500
    assert row["calibration"]["refit"] == "one-shot"
    assert row["held_out"]["perplexity_after"] > row["held_out"]["perplexity_before"] > 1
    assert re.search(r"pruning: 100 %, calibrating, layer (\d+) of \1\n", done.stderr)
    again = prunebench(*words)
    assert re.search(r"perplexity on \d+ tokens held out of the text: [\d.]+ before, [\d.]+ after", again.stdout)
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize("criterion", ["act", "taylor"])
def test_a_disk_that_runs_full_while_the_model_runs_is_one_line_and_leaves_nothing(
    criterion: str, prunebench, small_disk: Path, tmp_path: Path
):
    (tmp_path / "text.txt").write_text("Water boils at a hundred degrees at sea level. " * 1500)
    fill(small_disk, leave=11_000_000)  # the checkpoint takes 9.5 MB, the states before a layer more
    words = ["--criterion", criterion, "--calibration", "text.txt", "--refit"]
    done = prunebench("prune", TINYGLU, "--output", small_disk / "out", *HALF, *words)
    assert done.returncode == 2, done.stderr
    assert re.search(r"\nprunebench: .*/calibration-.*: No space left on device\n$", done.stderr)
    assert "Traceback" not in done.stderr
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--seed", "-1"], "Invalid value for '--seed': Input should be greater than or equal to 0"),
        (["--pruning-percentage", "100"], "--pruning-percentage 100: must be at least 0 and below 100"),
        (["--intermediate-size", "0"], "--intermediate-size 0: gives width 0, this checkpoint allows 1 to 1024"),
        (["--intermediate-size", "-8"], "--intermediate-size -8: gives width -8"),
        (["--expansion-ratio", "nan"], "--expansion-ratio nan: must be a finite number"),
        (["--intermediate-size", "9" * 400], "--intermediate-size inf: must be a finite number"),
        (["--criterion", "act"], "--criterion act: needs a text, --calibration FILE"),
        (
            ["--calibration", "text.txt"],
            "--calibration: only --criterion act, wanda, obs, taylor, --refit and --remove-layers use a text",
        ),
        (["--refit"], "--refit: needs a text, --calibration FILE"),
        (["--sequential"], "--sequential: is how to --refit; give that too"),
        (["--one-shot"], "--one-shot: is how to --refit; give that too"),
        (["--criterion", "act", "--calibration", "text.txt"], "--calibration text.txt: No such file"),
        (["--revision", "main"], "--revision main: "),
        (["--push", "tiny"], "--push tiny: must read OWNER/NAME"),
    ],
)
def test_a_mistake_is_named_in_one_line_and_leaves_nothing_behind(words, named: str, prunebench, tmp_path: Path):
    assert named in one_line(prunebench("prune", TINYGLU, "--output", "out", *HALF, *words))
    assert not list(tmp_path.iterdir())


def test_a_model_on_the_hub_is_pruned_by_its_id(hub: Hub, prunebench):
    done = prunebench("prune", "org/tinyglu", "--revision", "main", "--output", "out", *HALF, "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["source_id"], row["source_revision"], row["width"]) == ("org/tinyglu", COMMIT, 512)


def test_a_model_that_was_downloaded_once_can_be_pruned_without_a_network(hub: Hub, prunebench, monkeypatch):
    words = ["prune", "org/tinyglu", "--output", "out", *HALF]
    assert prunebench(*words).returncode == 0
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = prunebench(*words)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_cannot_be_pruned_is_not_downloaded(hub: Hub, prunebench, tmp_path: Path):
    assert "--expansion-ratio 9" in one_line(
        prunebench("prune", "org/tinyglu", "--output", "out", "--expansion-ratio", "9")
    )
    assert "at least one of --expansion-ratio" in one_line(prunebench("prune", "org/tinyglu", "--output", "out"))
    assert hub.sent_bytes < (TINYGLU / "model.safetensors").stat().st_size / 10
    assert not list(tmp_path.iterdir())


def test_a_model_on_the_hub_is_inspected_without_its_weights(hub: Hub, prunebench):
    remote, local = (json.loads(prunebench("inspect", source, "--json").stdout) for source in ("org/tinyglu", TINYGLU))
    assert remote == local
    assert hub.sent_bytes < local["bytes"] / 10


def test_without_a_network_a_model_on_the_hub_is_one_line(prunebench, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("cache")))
    for command in (["prune", "org/tinyglu", "--output", "out", *HALF], ["inspect", "org/tinyglu"]):
        assert "SOURCE org/tinyglu: no such folder here: no answer from" in one_line(prunebench(*command))


def test_pushing_uploads_each_width_and_prints_where_it_is(hub: Hub, prunebench, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "right")
    done = prunebench("prune", TINYGLU, "--output", "out", *HALF, "--push", "me/tinyglu")
    assert done.returncode == 0, done.stderr
    assert f"pushed to {hub.url}/me/tinyglu-width-512" in done.stdout
    assert set(hub.committed) == {"me/tinyglu-width-512"}


def test_a_push_that_cannot_work_stops_it_before_anything_is_written(hub: Hub, prunebench, tmp_path: Path):
    line = one_line(prunebench("prune", TINYGLU, "--output", "out", *HALF, "--push", "me/tinyglu"))
    assert "--push me/tinyglu: log in with `hf auth login`" in line
    assert not list(tmp_path.iterdir())
