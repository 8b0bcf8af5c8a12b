"""`prunebench energy` as a user calls it: without a GPU, on stand-in GPUs, and against a server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reports.analysis.analyse import analyse_folder
from reports.sections.energy.model import energy_model_section
from tests.energy.conftest import fake_library, settings_text
from tests.prunebench.conftest import one_at_a_time, one_width
from tests.reports.example_run import Example, write_run
from tests.server.conftest import running_server, write_checkpoint

__all__ = ["fake_library"]  # a fixture
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
ACTIVE, IDLE = 100.0, 50.0  # watts of the synthetic engine below
SHAPES = f"""{one_width("shapes", prefill_ms=4, prefill_token_ms=0.5, token_ms=2, idle_watts=IDLE, active_watts=ACTIVE)}
[protocol]
blocks = 2
warmup_limit_s = 0
[energy]
idle_s = 0.2
"""


@pytest.fixture
def energy(tmp_path, fake_library):
    """Start `prunebench energy …`; `gpus` are stand-ins, none of them a machine without a driver."""

    def start(*words: object, gpus: list[dict] | None = None, **settings: int) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
        if gpus is not None:
            (tmp_path / "gpus.txt").write_text(settings_text(*gpus, **settings))
            environment |= {"LD_LIBRARY_PATH": str(fake_library.parent), "FAKE_NVML": str(tmp_path / "gpus.txt")}
        return subprocess.Popen(
            [sys.executable, "-m", "prunebench", "energy", *map(str, words)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return start


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    said, errors = process.communicate(timeout=60)
    assert process.returncode == status, said + errors
    return said


def test_watch_prints_a_line_an_interval_and_the_whole(energy):
    lines = ended(
        energy("watch", "--duration", 1.5, "--interval", 0.5, gpus=[{"watts": 300}, {"watts": 100}])
    ).splitlines()
    assert len(lines) >= 3
    assert all(" W, " in line and "J in all" in line for line in lines[:-1])
    joules = float(lines[-1].split()[0])
    seconds = float(lines[-1].partition(" J over ")[2].split()[0])
    assert joules == pytest.approx(400 * seconds, rel=0.1)
    assert lines[-1].endswith("(nvml-counter)")


def test_watch_as_json_is_an_object_a_line_and_joules_are_watts_times_seconds(energy):
    lines = ended(energy("watch", "--duration", 1, "--interval", 0.5, "--json", gpus=[{"watts": 250}])).splitlines()
    *ticks, whole = [json.loads(line) for line in lines]
    assert all(tick["joules"] == pytest.approx(250 * tick["seconds"], rel=0.15) for tick in ticks)
    found = whole["energy"]
    assert found["gross_joules"] == pytest.approx(250 * (found["end_ns"] - found["start_ns"]) / 1e9, rel=0.1)


def test_power_above_a_limit_is_an_alarm_on_stderr_and_status_1(energy):
    watching = [
        energy("watch", "--duration", 1, "--interval", 0.5, "--json", "--alarm-above", limit, gpus=[{"watts": 250}])
        for limit in (200, 300)
    ]
    (said, errors), (_, none) = (process.communicate(timeout=60) for process in watching)
    assert [process.returncode for process in watching] == [1, 0]
    assert re.search(r"ALARM: above 200 W: 2\d\d", errors)
    assert json.loads(said.splitlines()[0])["above_limit"] is True
    assert "ALARM" not in none


def test_ctrl_c_ends_a_watch_with_its_sum(energy):
    process = energy("watch", "--interval", 0.2, gpus=[{}])
    process.stdout.readline()  # it is under way
    process.send_signal(signal.SIGINT)
    assert "W on average" in ended(process)


def test_idle_says_watts_with_their_uncertainty_and_both_halves(energy):
    found = json.loads(ended(energy("idle", "--duration", 1, "--json", gpus=[{"watts": 73}])))
    assert found["watts"] == pytest.approx(73, rel=0.05)
    assert abs(found["watts"] - 73) <= found["watts_uncertainty"] < 20
    assert found["first_half_watts"] == pytest.approx(found["second_half_watts"], rel=0.2)
    assert "W ± " in ended(energy("idle", "--duration", 1, gpus=[{"watts": 73}]))


def test_a_command_is_metered_and_its_status_and_output_are_its_own(energy, tmp_path):
    words = [sys.executable, "-c", "import time; print('at work'); time.sleep(1.5); raise SystemExit(7)"]
    process = energy("run", "--idle", 0.5, "--output", tmp_path / "joules.json", "--", *words, gpus=[{"watts": 200}])
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 7, errors
    assert said == "at work\n"
    assert " J ± " in errors
    idle = re.search(r"less the idle power of (\S+) W", errors)
    assert idle
    assert float(idle[1]) == pytest.approx(200, rel=0.1)
    found = json.loads((tmp_path / "joules.json").read_text())
    assert found["status"] == 7
    assert found["energy"]["gross_joules"] == pytest.approx(200 * found["wall_s"], rel=0.1)
    assert abs(found["energy"]["net_joules"]) <= found["energy"]["net_joules_uncertainty"]
    assert found["idle_before"]["mean_watts"] == pytest.approx(200, rel=0.1)


def test_a_command_runs_without_a_meter_and_its_joules_are_null_with_the_reason(energy):
    if Path("/sys/class/powercap/intel-rapl:0").exists():
        pytest.skip("this machine has package counters")
    process = energy("run", "--json", "--modelled-watts-per-core", 10, "--", "true", gpus=[], init=9)
    said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    found = json.loads(errors)
    assert found["energy"]["gross_joules"] is None
    assert found["energy"]["reason"]
    assert found["energy"]["modelled_joules"] == pytest.approx(10 * found["cpu_s"])


def test_a_file_that_cannot_be_written_is_named_before_the_command_runs(energy, tmp_path):
    for place, said in ((tmp_path, "is a folder"), (tmp_path / "none" / "joules.json", "its folder is not there")):
        process = energy("run", "--output", place, "--", "touch", tmp_path / "ran")
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors.splitlines()) == (2, [f"prunebench: --output {place}: {said}"])
    assert not (tmp_path / "ran").exists()


def test_a_gpu_that_cannot_be_read_gives_no_figure_its_reason_and_status_1(energy):
    said = ended(energy("idle", "--duration", 1, gpus=[{}, {"mig": 1}]), status=1)
    assert "MIG is on" in said
    assert "nvidia-smi -mig 0" in said


def test_without_any_meter_each_reason_is_reported_at_once(energy):
    if Path("/sys/class/powercap/intel-rapl:0").exists():
        pytest.skip("this machine has package counters")
    began = time.monotonic()
    said = ended(energy("idle", "--duration", 500, gpus=[], init=9), status=1)
    assert "modprobe nvidia" in said
    assert "no rapl" in said
    missing = json.loads(ended(energy("watch", "--json", gpus=[], init=9), status=1))
    assert missing["energy"] is None
    assert time.monotonic() - began < 300


def test_a_server_is_watched_by_its_url_and_one_that_is_not_there_is_named(energy, tmp_path):
    with running_server(write_checkpoint(tmp_path / "tiny"), engine_options={"idle_watts": "80"}) as server:
        found = json.loads(ended(energy("idle", "--url", server.url, "--duration", 1, "--json")))
    assert found["watts"] == pytest.approx(80, rel=0.01)
    assert found["energy"]["source"] == "synthetic"
    process = energy("watch", "--url", server.url)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"--url {server.url}" in errors
    assert len(errors.strip().splitlines()) == 1


@pytest.mark.alone
def test_prefill_and_decode_joules_of_a_known_engine_are_found_and_predict_another_shape(prunebench, tmp_path):
    """A request draws 150 W for 4 ms, 0.5 ms a prompt token and 2 ms an output token after the first."""
    shapes = [(p, o) for p in (8, 128) for o in (8, 64)]
    loads = [one_at_a_time(4, prompt_tokens=p, output_tokens=o, name=f"p{p}-o{o}") for p, o in shapes]
    (tmp_path / "shapes.toml").write_text(SHAPES + "".join(loads))
    run = prunebench("run", "shapes.toml", "--output", "out", timeout=400)
    assert run.returncode == 0, run.stderr
    models = analyse_folder(tmp_path / "out").energy_models
    assert [(m.load, m.reason, m.trials) for m in models] == [("single", None, 8)] * 2
    watts = ACTIVE + IDLE
    for model in models:
        assert model.prompt_token.joules == pytest.approx(watts * 0.5e-3, rel=0.1)
        assert model.output_token.joules == pytest.approx(watts * 2e-3, rel=0.1)
        assert model.prompt_token.low < model.prompt_token.joules < model.prompt_token.high
    command = ("energy", "predict", "out", "--prompt-tokens", 64, "--output-tokens", 32)
    rows = json.loads(prunebench(*command, "--json").stdout)["rows"]
    truth = watts * (4 + 0.5 * 64 + 2 * 31) / 1e3
    assert [row["joules_per_request"] for row in rows] == pytest.approx([truth, truth], rel=0.1)
    assert "J/output token" in prunebench(*command).stdout
    page = (tmp_path / "out" / "report.md").read_text()
    assert "Joules by prompt token, output token and request" in page
    assert "Every trial against its line" in page
    assert "Power at rest" in page


def test_a_run_of_one_shape_predicts_nothing_and_says_what_it_lacks(energy, tmp_path):
    run = write_run(tmp_path / "run", Example(widths=(1024, 512), blocks=2))
    said = ended(energy("predict", run, "--prompt-tokens", 64, "--output-tokens", 32), status=1)
    assert "not identified (1 shape of requests under this load)" in said
    section = energy_model_section(analyse_folder(run))
    assert "experiments/energy-model.toml" in section.blocks[-1].text
