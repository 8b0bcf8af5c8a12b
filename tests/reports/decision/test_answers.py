from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from loadgen.workloads.base import Workload
from loadgen.workloads.open_loop import PoissonLoad
from reports.analysis.analyse import analyse_folder
from reports.decision.answers import answers, progress
from reports.document.wording import TIMES, TO
from reports.runs.run_folder import LOCK_NAME
from tests.reports.example_run import BATCH, SINGLE, Example, Truth, write_run

SMALL_BATCH = BATCH.model_copy(update={"requests": 8})
SMALL_SINGLE = SINGLE.model_copy(update={"requests": 3})


def said(path: Path, example: Example) -> dict[str, str]:
    found = answers(analyse_folder(write_run(path / "run", example)))
    plain = str.maketrans({TIMES: "x", TO: "-"})
    return {answer.topic: " ".join(answer.sentences).translate(plain) for answer in found}


def test_the_absence_of_a_gain_is_stated(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_SINGLE,), energy="none")
    assert said(tmp_path, example)["single-request"] == (
        "No width is shown to be faster than the baseline; width 512 is equivalent to it within 1 %."
    )


def test_a_gain_comes_with_its_interval_and_its_price(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_BATCH,), energy="none")
    assert (
        said(tmp_path, example)["batch-8"] == "Width 512 gives 1.25x (1.25-1.25) the tokens/s at 4.48x the perplexity."
    )


def test_the_mildest_cut_that_gains_is_named_too(tmp_path):
    text = said(tmp_path, Example(workloads=(SMALL_BATCH,), energy="none"))["batch-8"]
    assert text.startswith("Width 512 gives 1.25x")
    assert "the mildest cut that is faster, width 896, gives 1.06x" in text


def test_an_unmeasured_quality_is_mentioned(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_BATCH,), energy="none", quality=False)
    assert said(tmp_path, example)["batch-8"].endswith("the tokens/s (its quality was not compared).")


def test_measured_joules_have_a_sentence_of_their_own(tmp_path):
    text = said(tmp_path, Example(widths=(1024, 512), workloads=(SMALL_BATCH,)))["batch-8"]
    assert "Width 512 takes 0.80x (0.80-0.80) the J/output token at 4.48x the perplexity." in text


def test_missing_joules_are_mentioned_once_with_a_note_on_modelled_ones(tmp_path):
    found = said(tmp_path, Example(widths=(1024, 512), workloads=(SMALL_SINGLE, SMALL_BATCH), energy="modelled"))
    assert found["Energy"].startswith("Joules were not measured: no NVIDIA driver answers")
    assert found["Energy"].endswith("Modelled J/output token is an assumption and is reported separately.")
    assert not any("joules" in text.lower() for topic, text in found.items() if topic != "Energy")


class Slower(Example):
    """Unaligned widths that lose a fifth, as in the published study."""

    def truth(self, width: int, workload: Workload) -> Truth:
        return Truth(ttft_ms=20.0, tpot_ms=10.0 if width % 2 == 0 else 12.5)


def test_widths_that_are_slower_are_named(tmp_path):
    example = Slower(widths=(1024, 921, 819, 512), workloads=(SMALL_SINGLE,), energy="none")
    assert said(tmp_path, example)["single-request"] == (
        "No width is shown to be faster than the baseline; widths 921 and 819 are slower; "
        "width 512 is equivalent to it within 1 %."
    )


def test_a_check_that_fails_is_named_beside_the_figures_it_touches(tmp_path):
    example = Example(
        widths=(1024, 512),
        workloads=(SMALL_SINGLE, SMALL_BATCH),
        energy="none",
        engine_options={512: {"dtype": "float16"}},
    )
    found = said(tmp_path, example)
    assert found["single-request"].endswith("Note that engine-differs fails.")
    assert found["batch-8"].endswith("Note that engine-differs fails.")


class Short(Example):
    """Every trial of the narrow model generates fewer tokens than requested."""

    def offered(self, width: int, workload: Workload) -> Workload:
        return workload.model_copy(update={"output_tokens": workload.output_tokens - (width == 512)})


def test_a_check_that_fails_in_some_trials_has_their_number(tmp_path):
    found = said(tmp_path, Short(widths=(1024, 512), workloads=(SMALL_SINGLE,), energy="none"))
    assert found["single-request"].endswith("Note that output-length-differs fails in 5 of 10 trials.")


def test_a_single_block_gives_no_verdict(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_BATCH,), energy="none", blocks=1)
    assert said(tmp_path, example)["batch-8"] == "Width 512 has a single block and so no interval."


def test_what_could_not_be_compared_is_named(tmp_path):
    failed = frozenset((b, 640, "batch-8") for b in range(5))
    text = said(tmp_path, Example(workloads=(SMALL_BATCH,), energy="none", failed=failed))["batch-8"]
    assert text.endswith("width 640 could not be compared.")


def test_a_run_without_its_baseline_compares_nothing_and_says_why(tmp_path):
    missing = frozenset((b, 1024, "batch-8") for b in range(5))
    text = said(tmp_path, Example(workloads=(SMALL_BATCH,), energy="none", missing=missing))["batch-8"]
    assert text == "No width can be compared: no block has both this configuration and the baseline."


def test_an_open_loop_is_judged_by_its_time_per_token(tmp_path):
    steady = PoissonLoad(name="steady", rate=4, requests=4, output_tokens=8)
    text = said(tmp_path, Example(widths=(1024, 512), workloads=(steady,), energy="none"))["steady"]
    assert text.startswith("Width 512 takes 0.80x (0.80-0.80) the time per output token at 4.48x the perplexity.")


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("complete", None),
        ("interrupted", "This run is interrupted: 2 of 2 trials are finished. Add --resume to continue it."),
        (
            "running",  # without a runner: it was killed
            "This run stopped without ending after 2026-11-23 09:31 UTC: 2 of 2 trials are finished. Add --resume to continue it.",
        ),
    ],
)
def test_an_unfinished_run_states_its_progress(tmp_path, status, expected):
    example = Example(widths=(1024, 512), workloads=(SMALL_SINGLE,), blocks=1, status=status)
    assert progress(analyse_folder(write_run(tmp_path / "run", example))) == expected


def test_configurations_that_failed_are_named_with_their_cells(tmp_path):
    failed = frozenset({(0, 512, SMALL_SINGLE.name), (1, 512, SMALL_SINGLE.name), (1, 640, SMALL_SINGLE.name)})
    example = Example(widths=(1024, 640, 512), workloads=(SMALL_SINGLE,), blocks=2, status="failed", failed=failed)
    said = progress(analyse_folder(write_run(tmp_path / "run", example)))
    assert said == (
        "This run is failed: 3 of 6 trials are finished; width 512 failed in all 2 of its cells; width 640 failed in 1 of its 2 cells. "
        "Add --resume to continue it."
    )


def test_a_run_under_way_is_running_and_not_stopped(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_SINGLE,), blocks=1, status="running")
    with (write_run(tmp_path / "run", example) / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = progress(analyse_folder(tmp_path / "run"))
    assert said == "This run is running: 2 of 2 trials are finished."
