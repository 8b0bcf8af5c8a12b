"""Every finding follows from the data: an effect that is inserted is found, one that is removed is not."""

from __future__ import annotations

import pytest

from reports.errors import ReportError
from reports.published.analysis import analyse_study
from reports.published.study import RUNS, TABLE, load_study
from tests.reports.published.made import GRID, quality_table, run_rows, write_study
from tests.reports.published.test_shipped import check, claim


def analysed(folder, change=lambda _: None, table=None):
    return analyse_study(load_study(write_study(folder / "study", run_rows(change), table)))


def test_equal_widths_survive_no_claim_of_efficiency_and_trip_no_check_of_widths(tmp_path):
    found = analysed(tmp_path)
    for name in ("energy-per-token", "single-request-latency", "batch-benefits"):
        assert claim(found, name).standing == "does not survive"
    for name in ("width-unaligned", "output-length-differs", "runs-left-out", "thermal-drift", "window-too-short"):
        assert check(found, name).outcome == "pass", name


def test_energy_in_kg_of_carbon_is_found_with_its_factor_and_true_energy_is_not(tmp_path):
    found = analysed(tmp_path)
    assert found.facts.unit.factor == pytest.approx(1 / GRID, rel=1e-12)
    assert check(found, "unit-of-energy").outcome == "fail"
    true = analysed(tmp_path, lambda row: row.update(grid=1.0))
    assert check(true, "unit-of-energy").outcome == "pass"
    loose = analysed(tmp_path, lambda row: row.update(grid=0.4 + 0.1 * row["run"]))
    assert check(loose, "unit-of-energy").outcome == "warn"


def test_latency_from_length_is_distinguished_from_latency_from_time_per_token(tmp_path):
    def longer(row):
        row["total_new_tokens"] *= 8192 / row["intermediate_size"]

    found = claim(analysed(tmp_path, longer), "single-request-latency")
    assert (found.standing, found.figures["slower_per_token"]) == ("does not survive", 0)
    assert found.figures["largest"] == pytest.approx(2.0, rel=0.01)
    assert check(analysed(tmp_path, longer), "output-length-differs").outcome == "fail"

    def slower(row):
        row["throughput_tok_s"] *= row["intermediate_size"] / 8192

    found = claim(analysed(tmp_path, slower), "single-request-latency")
    assert (found.standing, found.figures["slower_per_token"]) == ("survives", 3)


def test_a_request_that_takes_longer_in_one_run_of_three_is_slower_by_means_alone(tmp_path):
    def unsteady(row):
        row["total_new_tokens"] *= 1.6 if row["intermediate_size"] == 4096 and row["run"] == 1 else 1.0
        row["total_new_tokens"] *= 1.2 if row["intermediate_size"] == 7373 else 1.0

    found = claim(analysed(tmp_path, unsteady), "single-request-latency")
    assert (found.figures["slower_in_latency"], found.figures["slower_by_means"]) == (1, 2)
    assert "take longer in 1 of 3 cells, a token in 0; by means alone requests do in 2" in found.because[0]


def test_an_odd_width_that_takes_more_is_found(tmp_path):
    def hungry(row):
        row["net_j"] *= 1.1 if row["intermediate_size"] % 2 else 1.0

    found = analysed(tmp_path, hungry)
    assert check(found, "width-unaligned").outcome == "pass"  # one pair a batch size has no interval
    assert [round(p.joules, 2) for p in found.facts.odd_pairs] == [1.1, 1.1]


def test_a_uniform_saving_at_batch_8_survives(tmp_path):
    def cheaper(row):
        if row["intermediate_size"] < 8192 and row["batch_size"] == 8:
            row["net_j"] *= 0.77
            row["throughput_tok_s"] *= 1.2

    found = analysed(tmp_path, cheaper)
    assert claim(found, "batch-benefits").standing == "survives"
    energy = claim(found, "energy-per-token")
    assert (energy.reproduced, energy.standing) == (True, "survives in part")  # its unit is wrong
    assert "long_b8" in energy.figures["where"]


def test_runs_left_out_are_named_with_what_they_change(tmp_path):
    def bent(row):
        if row["intermediate_size"] == 4096 and row["run"] == 3 and row["batch_size"] == 1:
            row["net_j"], row["used_in_published_mean"] = 2.0, 0

    found = analysed(tmp_path, bent)
    [one] = found.facts.left_out
    assert (one.width, one.kept, one.made) == (4096, 2, 3)
    assert one.all_joules_per_token > one.kept_joules_per_token
    assert check(found, "runs-left-out").outcome == "fail"


def test_where_runs_of_the_unpruned_width_were_left_out_both_reductions_are_said_with_their_runs(tmp_path):
    def bent(row):
        """Published, 6554 takes the least; of all runs 4096, whose unpruned runs that took much were left out."""
        if row["workload"] == "short_b1":
            row["net_j"] *= {8192: 1.0 if row["run"] == 1 else 1.6, 4096: 0.9}.get(row["intermediate_size"], 1.0)
            row["used_in_published_mean"] = int(row["intermediate_size"] != 8192 or row["run"] == 1)
        elif row["intermediate_size"] == 6554:
            row["net_j"] *= 0.8

    found = analysed(tmp_path, bent)
    own = claim(found, "energy-per-token")
    assert ("6554" in own.figures["where"], "4096, short_b1" in own.figures["where_of_all"]) == (True, True)
    assert (own.figures["largest"], own.figures["largest_of_all"]) == pytest.approx(
        (0.2, 1 - 0.9 / 1.6 ** (2 / 3)), abs=0.02
    )
    [said] = [line for line in own.because if "no run left out" in line]
    assert "The published means say 10.1 % there" in said
    assert "they take 3 of 3 runs of that width and 1 of the unpruned one" in said
    [cell] = [c for c in found.facts.cells if (c.width, c.workload) == (4096, "short_b1")]
    assert cell.kept_in_words == "3 of 3, unpruned 1"


def test_constant_power_is_distinguished_from_a_meter(tmp_path):
    constant = {p.part: p.constant for p in analysed(tmp_path).facts.powers}
    assert constant == {"cpu": True, "ram": True, "gpu": False}
    metered = analysed(tmp_path, lambda row: row.update(cpu_w=40 + 3 * row["run"]))
    assert {p.part: p.constant for p in metered.facts.powers}["cpu"] is False


def test_short_windows_and_cold_starts_are_seen(tmp_path):
    def hasty(row):
        row["window_s"] = 10.0 + row["run"]
        row["temperature"] = 50 if row["run"] == 1 else 75

    found = analysed(tmp_path, hasty)
    assert check(found, "window-too-short").outcome == "warn"
    assert check(found, "thermal-drift").outcome == "warn"


def test_a_correlation_that_is_not_there_does_not_survive(tmp_path):
    table = quality_table(
        mmlu=[0.5, 0.4, 0.5, 0.4, 0.5, 0.4, 0.45], truthfulqa_mc2=[0.4, 0.4, 0.41, 0.41, 0.39, 0.4, 0.4]
    )
    found = claim(analysed(tmp_path, table=table), "knowledge-against-truthfulness")
    assert (found.reproduced, found.standing) == (False, "does not survive")


def test_a_correlation_in_every_way_survives(tmp_path):
    table = quality_table(
        mmlu=[0.5, 0.45, 0.41, 0.36, 0.3, 0.26, 0.2], truthfulqa_mc2=[0.3, 0.34, 0.4, 0.44, 0.5, 0.54, 0.6]
    )
    assert claim(analysed(tmp_path, table=table), "knowledge-against-truthfulness").standing == "survives"


@pytest.mark.parametrize(
    ("scores", "standing"),
    [([0.2, 0.4, 0.4, 0.4], "survives"), ([0.2, 0.4, 0.21, 0.2], "survives in part"), ([0.2, 0.21, 0.2, 0.19], "does not survive")],
)  # fmt: skip
def test_gains_of_ifeval_survive_where_they_exceed_chance(tmp_path, scores, standing):
    found = claim(analysed(tmp_path, table=quality_table(ifeval=scores)), "instruction-following")
    assert (found.standing, found.reproduced) == (standing, False)


@pytest.mark.parametrize(
    ("at_the_ratio", "elsewhere", "standing"),
    [(0.3, 0.3, "survives"), (0.15, 0.1, "survives in part"), (0.1, 0.3, "does not survive")],
)
def test_gains_at_one_ratio_survive_where_they_exceed_chance_among_all_widths(
    tmp_path, at_the_ratio, elsewhere, standing
):
    tables = [
        quality_table(model=model, ifeval=[0.1, *(at_the_ratio if i == named else elsewhere for i in range(1, 7))])
        for model, named in (("Llama-3.2-1B", 4), ("Llama-3.2-3B", 1))
    ]
    found = analysed(tmp_path, table={"models": [model for table in tables for model in table["models"]]})
    own = claim(found, "instruction-following-at-one-ratio")
    assert (own.standing, own.reproduced) == (standing, False)
    assert claim(found, "both-sizes").standing == "cannot be decided", "there is no score of knowledge"


def test_a_pattern_in_one_size_alone_is_not_consistent(tmp_path):
    falls = {"mmlu": [0.6, 0.4, 0.3], "gsm8k": [0.5, 0.2, 0.1], "musr": [0.4, 0.4, 0.4]}
    rising = quality_table(model="Llama-3.2-1B", ifeval=[0.1, 0.3, 0.3], **falls)["models"]
    same = quality_table(model="Llama-3.2-3B", ifeval=[0.1, 0.1, 0.1], **falls)["models"]
    (tmp_path / "both").mkdir()
    assert claim(analysed(tmp_path, table={"models": [*rising, *same]}), "both-sizes").standing == "does not survive"
    both = [*rising, {**rising[0], "model": "Llama-3.2-3B"}]
    assert claim(analysed(tmp_path / "both", table={"models": both}), "both-sizes").standing == "survives"


def test_a_perplexity_that_stays_does_not_degrade(tmp_path):
    found = analysed(tmp_path, table=quality_table(wikitext_word_perplexity=[10.0, 12.0, 10.05]))
    own = claim(found, "perplexity-degrades")
    assert (own.standing, own.figures) == ("survives in part", {"worse": 1, "of": 2})


def test_a_task_at_chance_has_nothing_to_lose(tmp_path):
    at_chance = claim(analysed(tmp_path, table=quality_table(musr=[0.34, 0.35, 0.33])), "reasoning-robust")
    assert at_chance.standing == "survives in part"
    above = claim(analysed(tmp_path, table=quality_table(musr=[0.6, 0.6, 0.61])), "reasoning-robust")
    assert above.standing == "survives"
    fallen = claim(analysed(tmp_path, table=quality_table(musr=[0.6, 0.4, 0.6])), "reasoning-robust")
    assert fallen.standing == "does not survive"


def test_each_claim_names_the_standard_that_it_was_judged_by_and_claims_are_counted_by_it(tmp_path):
    found = analysed(tmp_path)
    assert claim(found, "energy-per-token").standard == "beyond the margin"
    assert claim(found, "knowledge-degrades").standard == "beyond chance"
    assert claim(found, "reasoning-robust").standard == "not refuted"
    counted = {j.standard: sum(j.standings.values()) for j in found.standards}
    assert counted == {"beyond chance": 5, "beyond the margin": 3, "by means alone": 1, "not refuted": 1}
    (tmp_path / "fallen").mkdir()
    fallen = analysed(tmp_path / "fallen", table=quality_table(musr=[0.6, 0.4, 0.6]))
    assert claim(fallen, "reasoning-robust").standard == "beyond chance"


def test_a_verdict_needs_the_margin(tmp_path):
    def slightly(row):
        row["net_j"] *= 0.97 if row["intermediate_size"] < 8192 else 1.0

    study = load_study(write_study(tmp_path / "study", run_rows(slightly)))
    assert claim(analyse_study(study, margin=0.01), "energy-per-token").standing == "survives in part"
    assert claim(analyse_study(study, margin=0.05), "energy-per-token").standing == "does not survive"


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda f: (f / RUNS).unlink(), f"it has no {RUNS}"),
        (lambda f: (f / RUNS).write_text("model,run\nX,1\n"), "column"),
        (lambda f: (f / RUNS).write_text((f / RUNS).read_text().replace(",8192,", ",wide,", 1)), "intermediate_size"),
        (lambda f: (f / RUNS).write_bytes(b"\xff\xfe\x00"), "cannot be read"),
        (lambda f: (f / RUNS).write_text("\n".join((f / RUNS).read_text().splitlines()[:2])), "single width"),
        (
            lambda f: (f / RUNS).write_text((f / RUNS).read_text().replace(",100,2,", ",100,1,", 1)),
            "two runs with the same number",
        ),
        (lambda f: (f / RUNS).write_text((f / RUNS).read_text().replace(",5000,", ",0,", 1)), "must be above 0"),
        (lambda f: (f / TABLE).write_text("{"), TABLE),
        (lambda f: (f / TABLE).write_text('{"models": [{}]}'), "models.0"),
    ],
)
def test_data_that_cannot_be_used_is_named(tmp_path, spoil, named):
    folder = write_study(tmp_path / "study", run_rows())
    spoil(folder)
    with pytest.raises(ReportError, match=named) as error:
        load_study(folder)
    assert "\n" not in str(error.value)
