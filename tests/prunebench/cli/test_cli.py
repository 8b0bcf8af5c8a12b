"""Mistakes at the command line: one line that names what to fix, status 2, nothing left behind."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

import prunebench.commands
from prunebench.cli import COMMANDS, app
from tests.prunebench.conftest import TINYGLU
from tests.support.captured import captured


def one_line(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


MODEL = ["--model", "m", "--output", "out"]
LOAD = ["load", "http://127.0.0.1:9", *MODEL]  # nothing listens there
MISTAKES = {
    "a missing checkpoint": (["prune", "nowhere", "--output", "out", "--expansion-ratio", "2"], "nowhere"),
    "no target": (["prune", TINYGLU, "--output", "out"], "--expansion-ratio"),
    "an impossible ratio": (["prune", TINYGLU, "--output", "out", "--expansion-ratio", "9"], "--expansion-ratio 9"),
    "an impossible width": (["prune", TINYGLU, "--output", "out", "--intermediate-size", "0"], "--intermediate-size 0"),
    "an impossible percentage": (["inspect", TINYGLU, "--pruning-percentage", "101"], "--pruning-percentage 101"),
    "an unknown criterion": (["prune", TINYGLU, "--output", "out", "--criterion", "best"], "--criterion"),
    "an unknown command": (["prnue"], "prnue"),
    "an unknown option": (["doctor", "--jsn"], "--jsn"),
    "a missing argument": (["prune", "--output", "out"], "'SOURCE'"),
    "a missing experiment": (["run", "nothing.toml"], "nothing.toml"),
    "a checkpoint that is none": (["serve", "."], "config.json"),
    "an engine option that is none": (["serve", TINYGLU, "--engine-option", "dtype"], "KEY=VALUE"),
    "a host without a key": (["serve", TINYGLU, "--engine", "synthetic", "--host", "0.0.0.0"], "--host 0.0.0.0"),
    "a margin that is no share": (["report", ".", "--margin", "150%"], "--margin 150%"),
    "a run that is none": (["report", "."], "run.json"),
    "a URL with a path": (["load", "http://127.0.0.1:1/api", *MODEL], "must be like http://127.0.0.1:8000"),
    "a server that is not there": (LOAD, "does not answer"),
    "an unknown workload": (
        [*LOAD, "--workload", "steady"],
        "prunebench: Invalid value for '--workload': 'steady' is not one of 'single', 'batch'",
    ),
    "a batch without its size": ([*LOAD, "--workload", "batch"], "--batch-size"),
    "an option of another workload": (
        [*LOAD, "--workload", "single", "--rate", "2"],
        "--rate does not apply to a single workload",
    ),
    "a length that reads wrong": ([*LOAD, "--prompt-tokens", "uniform:9-3"], "--prompt-tokens: 'uniform:9-3'"),
    "workers without Locust": ([*LOAD, "--workers", "2"], "--workers 2: is for --driver locust"),
    "objectives that read wrong": ([*LOAD, "--slo", "fast"], "--slo fast"),
}


@pytest.mark.parametrize(("words", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_in_one_line_and_leaves_nothing_behind(prunebench, tmp_path: Path, words, named):
    assert named in one_line(prunebench(*words))
    assert not list(tmp_path.iterdir())


def test_a_taken_port_is_named(prunebench):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}" in one_line(prunebench("serve", TINYGLU, "--engine", "synthetic", "--port", port))


def test_an_engine_that_is_not_installed_is_named_with_how_to_get_it(tmp_path: Path):
    code = (
        "import importlib.util, sys; real = importlib.util.find_spec;"
        "importlib.util.find_spec = lambda name, *a: None if name == 'vllm' else real(name, *a);"
        f"sys.argv = ['prunebench', 'serve', {str(TINYGLU)!r}, '--engine', 'vllm'];"
        "from prunebench.cli import main; main()"
    )
    done = captured([sys.executable, "-c", code], cwd=tmp_path, timeout=60)
    assert "--engine vllm: not installed; " in one_line(done)
    assert "pip install 'prunebench[vllm]'" in one_line(done)


def test_an_impossible_width_in_an_experiment_leaves_no_checkpoint_behind(prunebench, experiment, tmp_path: Path):
    assert "ratio 40" in one_line(prunebench("run", experiment(expansion_ratios="[40.0]"), "--output", "out"))
    assert not (tmp_path / "out").exists()


def test_an_engine_option_that_does_not_exist_stops_a_run_before_its_folder(prunebench, experiment, tmp_path: Path):
    file = experiment()
    file.write_text(file.read_text().replace("prefill_ms", "prefil_ms"))
    assert "prefil_ms" in one_line(prunebench("run", file, "--output", "out"))
    assert not (tmp_path / "out").exists()


def test_help_lists_every_command_and_imports_none(prunebench):
    done = prunebench("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert f"  {command} " in done.stdout
    script = "import sys; from prunebench.cli import main; sys.argv[1:] = ['--help']\ntry: main()\nfinally: print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    modules = found.stdout.splitlines()[-1].split()
    assert not [name for name in modules if name.startswith("prunebench.commands.")]
    assert not {"numpy", "pydantic", "httpx", "duckdb", "nanoarrow", "rich"} & set(modules)


def test_every_command_is_the_function_of_its_name_in_the_module_of_its_name():
    files = {file.stem for file in Path(prunebench.commands.__file__).parent.glob("*.py")} - {"__init__", "options"}
    assert files == {name.replace("-", "_") for name in COMMANDS}
    group = typer.main.get_command(app)
    assert [name for name, _ in group.commands.items()] == list(COMMANDS)
    assert all(command.help == COMMANDS[name] for name, command in group.commands.items())


def test_ctrl_c_is_one_line_and_status_130(tmp_path: Path):
    script = """
import sys
from prunebench import cli

def toy():
    raise KeyboardInterrupt

cli.app.command()(toy)
sys.argv = ["prunebench", "toy"]
cli.main()
"""
    done = captured([sys.executable, "-c", script], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "prunebench: interrupted\n")


def test_pruning_prints_what_it_wrote(prunebench, tmp_path: Path):
    done = prunebench(
        "prune", TINYGLU, "--output", "out", "--expansion-ratio", "2", "--pruning-percentage", "10", "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["width"] for row in rows] == [512, 922]
    assert (tmp_path / rows[0]["folder"] / "pruning.json").is_file()


def test_inspecting_shows_the_papers_widths_and_writes_nothing(prunebench, tmp_path: Path):
    done = prunebench("inspect", TINYGLU, "--json")
    assert [row["width"] for row in json.loads(done.stdout)["targets"]] == [922, 820, 717, 615, 512, 410]
    assert not list(tmp_path.iterdir())
    assert "7,0" in prunebench("inspect", TINYGLU).stdout.replace("6,95", "7,0")


def test_the_doctor_says_what_cannot_be_measured_and_why(prunebench):
    findings = json.loads(prunebench("doctor", "--json").stdout)
    assert findings["engines"]["transformers"]["version"]
    energy = findings["energy"]
    assert (energy["headline"] is None) == (energy["reason"] is not None)
    assert "energy" in prunebench("doctor").stdout


def test_every_room_is_found_from_a_foreign_folder_that_has_its_own_server(tmp_path: Path):
    for room in ("reports", "pruner", "server", "loadgen", "energy", "prunebench"):
        code = f"import {room}; print({room}.__file__)"
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        assert Path(done.stdout.strip()).parts[-2] == room
        assert Path(done.stdout.strip()).is_relative_to(TINYGLU.parents[1])
