"""Each rule of a run on a run that trips it and on one that does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadgen.records import Workload
from reports.reading import read_run
from reports.run_checks import check_run
from tests.reports.example_run import SINGLE, Example, write_run

SHORT = SINGLE.model_copy(update={"requests": 2})
PAIR = (1024, 512)


def outcomes(path: Path, check: str, label: str = "width-512") -> list[str]:
    return [f.finding.outcome for f in check_run(read_run(path)) if (f.check, f.label) == (check, label)]


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_run(tmp_path / "clean", Example(widths=PAIR, workloads=(SHORT,)))


def test_five_paired_blocks_are_enough(clean):
    assert outcomes(clean, "too-few-repeats") == ["pass"]
    assert outcomes(clean, "baseline-missing") == ["pass"]


@pytest.mark.parametrize(("blocks", "expected"), [(4, "warn"), (1, "fail")])
def test_fewer_blocks_are_too_few_repeats(tmp_path, blocks, expected):
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), blocks=blocks))
    assert outcomes(run, "too-few-repeats") == [expected]


def test_a_block_without_its_baseline_warns(tmp_path):
    missing = frozenset({(2, 1024, SHORT.name)})
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), missing=missing))
    [found] = [f for f in check_run(read_run(run)) if f.check == "baseline-missing"]
    assert (found.finding.outcome, found.finding.reason) == ("warn", "no baseline in block 3")


def test_a_run_without_its_baseline_fails(tmp_path):
    missing = frozenset((b, 1024, SHORT.name) for b in range(5))
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), missing=missing))
    assert outcomes(run, "baseline-missing") == ["fail"]
    assert outcomes(run, "too-few-repeats") == []


def test_odd_widths_are_unaligned_and_named_with_an_aligned_neighbour(tmp_path):
    run = write_run(tmp_path / "run", Example(widths=(8192, 7373, 6552), workloads=(SHORT,), blocks=1))
    found = {f.label: f.finding for f in check_run(read_run(run)) if f.check == "width-unaligned"}
    assert found["width-8192"].outcome == "pass"
    assert found["width-7373"].reason == "7373 is not a multiple of 8; 7360 is one of 64"
    assert found["width-6552"].reason == "6552 is not a multiple of 64; 6528 is one of 64"
    assert {found[label].outcome for label in ("width-7373", "width-6552")} == {"warn"}


def test_another_engine_option_than_the_baselines_fails(tmp_path, clean):
    options = {512: {"dtype": "float16", "slots": "4"}}
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(SHORT,), blocks=1, engine_options=options))
    [found] = [f for f in check_run(read_run(run)) if f.check == "engine-differs"]
    assert found.finding.outcome == "fail"
    assert found.finding.reason == "dtype is float16, not float32; slots is 4, not None"
    assert outcomes(clean, "engine-differs") == ["pass"]


@pytest.mark.parametrize(("joules", "expected"), [(120.0, "pass"), (150.0, "warn")])
def test_idle_power_far_from_the_baselines_drifts(clean, joules, expected):
    file = clean / "configurations" / "width-512.json"
    configuration = json.loads(file.read_text())
    configuration["idle"]["gross_joules"] = joules  # over two seconds; the baseline has 120 J
    file.write_text(json.dumps(configuration))
    found = [f for f in check_run(read_run(clean)) if f.check == "idle-drift" and f.block is None]
    assert [f.finding.outcome for f in found] == [expected]


@pytest.mark.parametrize(("joules", "expected"), [(125.0, "pass"), (150.0, "warn"), (0.0, "warn")])
def test_idle_power_that_is_another_after_the_trials_drifts(clean, joules, expected):
    file = clean / "configurations" / "width-512.json"
    configuration = json.loads(file.read_text())
    configuration["idle_again"] = {**configuration["idle"], "gross_joules": joules}  # 120 J before them
    file.write_text(json.dumps(configuration))
    found = [f.finding for f in check_run(read_run(clean)) if f.check == "idle-drift" and f.block is None]
    assert expected in [f.outcome for f in found if "after its last trial" in f.reason]


def test_models_that_stop_at_other_lengths_are_flagged(tmp_path):
    """The published study's trap: 19 tokens against the baseline's 5 were read as a latency penalty."""
    verbose = LengthByWidth(widths=PAIR, workloads=(SHORT.model_copy(update={"natural_stop": True}),), blocks=2)
    run = write_run(tmp_path / "run", verbose)
    [found] = [f for f in check_run(read_run(run)) if f.check == "output-length-differs"]
    assert (found.finding.outcome, found.label) == ("warn", "width-512")
    assert found.finding.reason == "19.0 tokens a request on average, the baseline 5.0"


def test_models_that_stop_at_the_same_length_pass(tmp_path):
    natural = SHORT.model_copy(update={"natural_stop": True})
    run = write_run(tmp_path / "run", Example(widths=PAIR, workloads=(natural,), blocks=2))
    assert outcomes(run, "output-length-differs") == ["pass"]


class LengthByWidth(Example):
    """The baseline stops after 5 tokens, a pruned model after 19."""

    def offered(self, width: int, workload: Workload) -> Workload:
        return workload.model_copy(update={"output_tokens": 5 if width == self.widths[0] else 19})
