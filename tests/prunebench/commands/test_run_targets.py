"""`prunebench run URL URL`: two servers that are there, without an experiment file."""

from pathlib import Path

from prunebench.experiment.resolve import load_experiment
from prunebench.run.folder.run_writer import RunWriter
from tests.prunebench.command_line import run_command
from tests.prunebench.conftest import TINYGLU
from tests.server.conftest import running_server


def test_two_addresses_are_a_run_whose_folder_keeps_the_file_that_they_amount_to(tmp_path: Path):
    with running_server(TINYGLU, engine="synthetic") as first, running_server(TINYGLU, engine="synthetic") as second:
        words = ["run", first.url, second.url, "--blocks", "2", "--output", "out", "--prune-only"]
        done = run_command(words, tmp_path, 60)
        assert done.returncode == 0, done.stdout + done.stderr
        again = load_experiment(tmp_path / "out" / "experiment.toml")
    assert [one.url for one in again.configurations] == [first.url, second.url]
    found = {one.url: one for one in RunWriter(tmp_path / "out").stored_configurations().values()}
    assert found[first.url].is_baseline
    assert found[second.url].treatment == {"server": f"the server at {second.url}"}
