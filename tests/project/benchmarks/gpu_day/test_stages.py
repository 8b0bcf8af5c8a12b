"""The plan shrinks to what is there, and the stages about NVML say what an older driver, or none, does not answer."""

from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_day.measuring.lag import lag
from benchmarks.gpu_day.preparing import probe, with_stand_in
from benchmarks.gpu_day.stages import LETTERS, Choice, needs_of, stages_of
from energy.records import MeterInfo, MeterTrace
from tests.energy.conftest import build
from tests.support.captured import captured

ROOT = Path(__file__).parents[4]


def skipped(choice: Choice, **missing: str) -> dict[str, str]:
    return {one.letter: one.missing for one in stages_of(LETTERS, choice, missing) if one.missing}


def test_without_vllm_only_its_stage_is_skipped(tmp_path):
    assert skipped(Choice(tmp_path), vllm="vllm is not installed") == {"d": "vllm is not installed"}


def test_without_a_gpu_only_nvml_is_asked_and_what_needs_none_is_done(tmp_path):
    assert list(skipped(Choice(tmp_path), cuda="torch finds no GPU")) == ["b", "c", "d", "e", "f"]
    assert skipped(Choice(tmp_path, is_rehearsal=True), cuda="torch finds no GPU") == {}


def test_without_a_package_that_could_not_be_carried_nvml_is_still_asked(tmp_path):
    why = "ModuleNotFoundError: No module named 'pydantic'"
    found = skipped(Choice(tmp_path), metering=why, runs=why, engine=why)
    assert found == dict.fromkeys("bcdefg", why)


def test_a_synthetic_rehearsal_needs_no_torch(tmp_path):
    choice = Choice(tmp_path, is_rehearsal=True, engine="synthetic")
    assert needs_of("abc", choice) == ["metering", "runs"]


def test_power_is_only_set_where_that_is_allowed(tmp_path):
    def setting(may: bool) -> list[str]:
        return [s.letter for s in stages_of(LETTERS, Choice(tmp_path, may_set_power=may), {}) if _sets(s.command)]

    def _sets(command: tuple[str, ...]) -> bool:
        return "--may-set-power" in command

    assert (setting(False), setting(True)) == ([], ["c", "d"])


def test_the_probe_names_what_cannot_be_imported(tmp_path):
    for name in ("server", "httpx"):  # a package of another project's with our name, and a broken one
        (tmp_path / f"{name}.py").write_text("raise ImportError('it is broken')\n")
    path = os.pathsep.join([f"{tmp_path}", f"{ROOT}"])
    found = probe(["metering", "vllm"], {**os.environ, "PYTHONPATH": path})
    assert found["missing"]["metering"] == "ImportError: it is broken"
    assert found["packages"]["pydantic"]


def run_stage(module: str, work: Path, environment: dict[str, str], seconds: float = 3) -> tuple[int, str]:
    words = ["-P", "-m", f"benchmarks.gpu_day.measuring.{module}", "--work", work, "--profile", "rehearsal"]
    environment = {**environment, "PYTHONPATH": f"{ROOT}"}
    done = captured([sys.executable, *words, "--seconds", f"{seconds}"], env=environment)
    return done.returncode, done.stderr


def test_calls_that_an_old_driver_lacks_are_named_and_the_others_are_answered(tmp_path):
    environment, _ = with_stand_in(tmp_path / "scratch", os.environ)
    build(tmp_path / "scratch" / "nvml", "-DOLD_DRIVER")
    assert run_stage("nvml_calls", tmp_path, environment) == (0, "")
    (gpu,) = json.loads((tmp_path / "a" / "nvml.json").read_text())["gpus"]
    assert gpu["CurrentClocksEventReasons"] == {"error": "Function Not Found", "code": 13}
    assert "Function Not Found" in gpu["field 83, energy of the GPU"]["error"]
    assert gpu["changes"]["instant power"] == {"error": "Function Not Found"}
    assert gpu["EnforcedPowerLimit"]["value"] == 700_000
    assert gpu["changes"]["counter"]["reads"] > 0


def test_without_nvml_the_first_two_stages_fail_with_its_reason_and_what_is_known_is_written(tmp_path):
    environment, _ = with_stand_in(tmp_path / "scratch", os.environ)
    (tmp_path / "scratch" / "nvml" / "libnvidia-ml.so.1").unlink()
    said = "nvmlInit: NVML Shared Library Not Found"
    assert run_stage("nvml_calls", tmp_path, environment) == (1, f"{said}\n")
    assert json.loads((tmp_path / "a" / "nvml.json").read_text()) == {"error": said}
    status, printed = run_stage("known_load", tmp_path, environment)
    assert (status, printed.partition(":")[0]) == (1, "no GPU can be metered")


def test_a_library_of_another_version_than_the_driver_is_named(tmp_path):
    environment, _ = with_stand_in(tmp_path / "scratch", os.environ)
    Path(environment["FAKE_NVML"]).write_text("-1 init 18\n-1 gpus 1\n")
    status, printed = run_stage("nvml_calls", tmp_path, environment)
    assert (status, "RM has detected" in printed) == (1, True), printed


def trace(kind: str, shown: list[tuple[float, float]]) -> MeterTrace:
    """Readings: seconds, and watts."""
    moments = [round(at * 1e9) for at, _ in shown]
    watts = [one for _, one in shown]
    joules = [0.0]
    for (before, _), (after, one) in itertools.pairwise(shown):
        joules.append(joules[-1] + (after - before) * one)
    info = MeterInfo(source="nvml-counter", domain="gpu", device="GPU-0", kind=kind)
    return MeterTrace(info=info, before_ns=moments, after_ns=moments, joules=joules, watts=watts)


@pytest.mark.parametrize("kind", ["counter", "power"])
def test_lag_is_the_time_from_an_edge_to_the_reading_that_shows_it(kind):
    steps = [(0.1 * step, 600.0 if 1.25 <= 0.1 * step < 2.35 else 100.0) for step in range(40)]
    found = lag(trace(kind, steps), [(1_000_000_000, True), (2_000_000_000, False)], 100, 600)
    assert found["seen"] == 2
    assert found["median_s"] == pytest.approx(0.35)
    assert found["longest_s"] == pytest.approx(0.4)


def test_a_load_that_power_does_not_follow_has_no_lag_but_a_reason():
    flat = trace("power", [(0.1 * step, 100.0) for step in range(40)])
    edges = [(1_000_000_000, True), (2_000_000_000, False)]
    assert lag(flat, edges, 100, 110)["reason"] == "the load is not seen: 100 W idle, 110 W under load"
    assert lag(flat, edges, 100, 600)["reason"] == "no edge is seen"
