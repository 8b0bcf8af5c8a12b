from __future__ import annotations

from math import log
from pathlib import Path

import pytest

from loadgen.workloads.closed_loop import ConcurrencyLoad
from loadgen.workloads.open_loop import PoissonLoad
from reports.analysis.analyse import analyse_folder
from reports.analysis.family import workload_of
from reports.analysis.quality.tasks import QualityFigures, TaskFigures, TaskScore
from reports.checks.results import Observation
from reports.decision.advice import advice
from reports.document.blocks import Answer
from reports.document.wording import TIMES, TO
from reports.statistics.ratios import Comparison
from tests.reports.example_run import BATCH, SINGLE, Example, Truth, write_run

SMALL_BATCH = BATCH.model_copy(update={"requests": 8})
SMALL_SINGLE = SINGLE.model_copy(update={"requests": 3})


def advised(path: Path, example: Example) -> dict[str, Answer]:
    return {answer.topic: answer for answer in advice(analyse_folder(write_run(path / "run", example)))}


def said(answer: Answer) -> str:
    return " ".join(answer.sentences).translate(str.maketrans({TIMES: "x", TO: "-"}))


class Mild(Example):
    """Quality hardly suffers."""

    def perplexity(self, width):
        return 8.0 * (1 + 0.1 * (1 - width / self.widths[0]))


def test_a_width_that_gains_and_keeps_its_quality_is_chosen(tmp_path):
    found = advised(tmp_path, Mild(widths=(1024, 768, 512), workloads=(SMALL_BATCH,)))["For batch work"]
    assert found.choice == "Choose width 512"
    assert said(found).startswith("It gives 1.25x to 1.25x the tokens/s and takes 0.80x to 0.80x the J/output token")


def test_where_tokenizers_differ_the_advice_is_per_character(tmp_path):
    """Its tokens come a quarter faster, and hold a third of the text."""
    other = {"tokenizers": {1024: "a", 512: "b"}, "workloads": (SMALL_BATCH.model_copy(update={"prompt_as": "text"}),)}
    fewer = Mild(widths=(1024, 512), characters={1024: 3, 512: 1}, **other)
    found = advised(tmp_path / "fewer", fewer)["For batch work"]
    assert found.choice == "Keep the baseline, width 1024: narrower widths gain nothing here"
    assert "Output characters/s is 0.42x to 0.42x that of the baseline" in said(found)
    more = Mild(widths=(1024, 512), characters={1024: 3, 512: 6}, **other)
    found = advised(tmp_path / "more", more)["For batch work"]
    assert found.choice == "Choose width 512"
    assert said(found).startswith("It gives 2.50x to 2.50x the characters/s and takes 0.40x to 0.40x the J/character")


def test_advice_from_an_extended_run_has_wider_intervals_and_says_what_they_allow_for(tmp_path):
    example = Mild(widths=(1024, 512), workloads=(SMALL_BATCH,), noise=0.01)
    before = analyse_folder(write_run(tmp_path / "run", example))
    info = before.info.model_copy(update={"block_counts": (3, before.info.blocks)})
    (tmp_path / "run" / "run.json").write_text(info.model_dump_json())
    after = analyse_folder(tmp_path / "run")
    for analysis, looked in ((before, False), (after, True)):
        (found,) = advice(analysis)
        assert found.choice == "Choose width 512"
        assert ("Intervals allow for every look after which the run could have ended." in said(found)) is looked
    for one, other in zip(before.family, after.family, strict=True):
        assert other.comparison.ratio == one.comparison.ratio
        assert other.comparison.high > one.comparison.high


def test_a_larger_gain_at_a_loss_of_quality_is_mentioned(tmp_path):
    class Steep(Example):
        def perplexity(self, width):
            return {1024: 8.0, 768: 8.2, 512: 16.0}[width]

    found = advised(tmp_path, Steep(widths=(1024, 768, 512), workloads=(SMALL_BATCH,), energy="none"))["For batch work"]
    assert found.choice == "Choose width 768"
    assert (
        "A larger gain costs more quality: width 512 gives 1.25x to 1.25x the tokens/s, at 2.00x the perplexity."
        in said(found)
    )


def test_a_gain_that_costs_too_much_quality_is_not_advised(tmp_path):
    found = advised(tmp_path, Example(workloads=(SMALL_BATCH,), energy="none"))["For batch work"]
    assert found.choice == "Keep the baseline, width 1024: the gain costs too much quality"
    assert "The mildest cut with a gain, width 896, gives 1.06x" in said(found)


def test_where_nothing_is_gained_the_baseline_is_kept(tmp_path):
    found = advised(tmp_path, Example(workloads=(SMALL_SINGLE,), energy="none"))["For interactive use"]
    assert found.choice == "Keep the baseline, width 1024: narrower widths gain nothing here"
    assert said(found) == "No width is shown to be better: E2E is 1.00x to 1.00x that of the baseline."


def test_where_a_width_is_undecided_the_baseline_is_kept_for_now(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_SINGLE,), energy="none", noise=0.05)
    found = advised(tmp_path, example)["For interactive use"]
    assert found.choice == "Keep the baseline, width 1024, for now: no gain is shown"
    assert "Width 512 is undecided: a ratio below 0." in said(found)


def test_joules_alone_are_reason_enough_unless_it_is_slower(tmp_path):
    class Frugal(Mild):
        def truth(self, width, workload):
            return Truth(ttft_ms=20.0, tpot_ms=10.0 if width != 512 else 12.0, watts=180.0 * width / 1024)

    found = advised(tmp_path, Frugal(widths=(1024, 768, 512), workloads=(SMALL_SINGLE,)))["For interactive use"]
    assert found.choice == "Choose width 768"
    assert said(found).startswith("It takes 0.75x to 0.75x the J/output token, at ")


def test_without_a_compared_quality_the_choice_is_conditional(tmp_path):
    found = advised(tmp_path, Example(widths=(1024, 512), workloads=(SMALL_BATCH,), quality=False))["For batch work"]
    assert found.choice == "Choose width 512, if its quality is sufficient"


def with_task(analysis, kept, own=0.8):
    """The run with one quality task, of which width 512 scores `own` and keeps `kept`."""
    scores = {
        "width-1024": TaskScore(value=0.8, standard_error=0.02),
        "width-512": TaskScore(value=own, standard_error=0.02, kept=kept),
    }
    task = TaskFigures(
        task="gsm8k", metric="acc", higher_is_better=True, version=None, shots=5, items=99, chance=0.0, scores=scores
    )
    quality = QualityFigures(
        settings=None,
        tasks=[task],
        overall={},
        overall_tasks=[],
        fragile={},
        fragile_tasks=[],
        costs={},
        correlations={},
    )
    return analysis.model_copy(update={"quality": quality})


def test_a_certain_loss_prevents_the_choice_and_a_possible_one_is_reported_as_inconclusive(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Mild(widths=(1024, 512), workloads=(SMALL_BATCH,))))
    [sure] = advice(with_task(analysis, Comparison(ratio=0.4, low=0.3, high=0.5)))
    assert sure.choice == "Keep the baseline, width 1024: the gain costs too much quality"
    assert "keeps 0.40x (0.30-0.50) of its score on gsm8k" in said(sure)
    [unsure] = advice(with_task(analysis, Comparison(ratio=0.9, low=0.8, high=1.0)))
    assert unsure.choice == "Choose width 512"
    shown = "1 of 1 quality tasks show neither a loss nor its absence: gsm8k (0.80x to 1.00x kept)"
    assert shown in said(unsure)
    [kept] = advice(with_task(analysis, Comparison(ratio=1.0, low=0.97, high=1.03)))
    assert "and keeps at least 95 % of its score on gsm8k" in said(kept)


def test_a_ruined_model_is_not_cleared_by_inconclusive_tasks(tmp_path):
    ruined = Example(widths=(1024, 512), workloads=(SMALL_BATCH,))
    analysis = analyse_folder(write_run(tmp_path / "run", ruined))
    [found] = advice(with_task(analysis, Comparison(ratio=2.0, low=0.5, high=3.5)))
    assert found.choice == "Keep the baseline, width 1024: the gain costs too much quality"
    assert "no quality task" not in said(found)
    assert "x the perplexity, and 1 of 1 quality tasks show neither a loss nor its absence" in said(found)


def test_without_a_perplexity_tasks_that_show_nothing_leave_the_choice_conditional(tmp_path):
    example = Example(widths=(1024, 512), workloads=(SMALL_BATCH,), quality=False)
    analysis = analyse_folder(write_run(tmp_path / "run", example))
    [silent] = advice(with_task(analysis, Comparison(ratio=0.9, low=0.6, high=1.2)))
    assert silent.choice == "Choose width 512, if its quality is sufficient"
    assert "No figure decides how much of its quality it keeps: measure that first." in said(silent)
    [kept] = advice(with_task(analysis, Comparison(ratio=1.0, low=0.98, high=1.02)))
    assert kept.choice == "Choose width 512"


@pytest.mark.parametrize(
    ("blocks", "missing"), [(1, frozenset()), (2, frozenset({(0, 1024, "batch-8"), (1, 1024, "batch-8")}))]
)
def test_without_intervals_or_a_baseline_there_is_no_answer(tmp_path, blocks, missing):
    example = Example(widths=(1024, 512), workloads=(SMALL_BATCH,), blocks=blocks, missing=missing)
    assert advised(tmp_path, example)["For batch work"].choice == "No answer yet"


def test_an_answer_names_the_checks_behind_it(tmp_path):
    found = advised(tmp_path, Mild(widths=(1024, 717), workloads=(SMALL_BATCH,), blocks=3))["For batch work"]
    assert found.checks.startswith("Judged by batch-8 over 3 blocks, with 2 simultaneous 95 % intervals. ")
    assert "checks pass" in found.checks
    assert "too-few-repeats, width-unaligned and window-too-short warn" in found.checks


def test_the_lightest_load_represents_interactive_use_and_the_heaviest_batch_work(exact):
    loads = [
        ConcurrencyLoad(name="in-16", concurrency=16, requests=8),
        PoissonLoad(name="slow", rate=2, requests=8),
        PoissonLoad(name="quick", rate=9, requests=8),
    ]
    known = {w.name: w for w in loads}
    assert workload_of(known, "interactive use") == "slow"
    assert workload_of(exact.workloads | known, "interactive use") == "single-request"
    assert workload_of(exact.workloads | known, "batch work") == "in-16"
    assert workload_of({"slow": loads[1]}, "batch work") is None


def test_advice_on_a_width_that_a_failed_check_spoils_is_withheld(tmp_path):
    example = Mild(widths=(1024, 768, 512), workloads=(SMALL_BATCH,), engine_options={512: {"dtype": "float16"}})
    found = advised(tmp_path, example)["For batch work"]
    assert found.choice == "Choose width 768"
    assert said(found).endswith("Left out because engine-differs fails: width 512.")


def test_where_every_width_is_spoilt_there_is_no_advice_but_the_checks_remedy(tmp_path):
    example = Mild(widths=(1024, 512), workloads=(SMALL_BATCH,), engine_options={1024: {"dtype": "float16"}})
    found = advised(tmp_path, example)["For batch work"]
    assert found.choice == "No advice: engine-differs fails"
    assert "Engine-differs fails: " in said(found)
    assert "Serve all configurations with the same settings" in said(found)
    assert "1.25x" not in said(found)


def test_joules_that_a_failed_check_spoils_are_left_out_and_speed_is_not(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Mild(widths=(1024, 512), workloads=(SMALL_BATCH,))))
    seen = Observation(outcome="fail", label="width-512", workload="batch-8", trials=1, reason="they are 9 % apart")
    checks = [
        c.model_copy(update={"outcome": "fail", "observations": [seen]}) if c.check == "counter-disagrees" else c
        for c in analysis.checks
    ]
    [found] = advice(analysis.model_copy(update={"checks": checks}))
    assert said(found).startswith("It gives 1.25x to 1.25x the tokens/s, at ")
    assert said(found).endswith("Left out because counter-disagrees fails: the joules of width 512.")


def test_the_intervals_of_the_advice_are_wider_than_those_of_a_single_cell_and_its_verdicts_are_read_off_them(tmp_path):
    example = Mild(widths=(1024, 512), workloads=(SMALL_SINGLE, SMALL_BATCH), noise=0.02)
    analysis = analyse_folder(write_run(tmp_path / "run", example))
    assert len(analysis.family) == 4
    for one in analysis.family:
        alone = analysis.cell(one.label, one.workload).values[one.quantity].comparison
        assert one.comparison.ratio == pytest.approx(alone.ratio)
        # Student's t of 4 degrees of freedom at 95 % and, for four comparisons, at 98.75 %
        assert log(one.comparison.high / one.comparison.low) == pytest.approx(
            log(alone.high / alone.low) * 4.3147 / 2.7764, rel=1e-3
        )
