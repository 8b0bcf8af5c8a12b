"""The shipped table: what the command finds in it without the raw runs."""

from __future__ import annotations

import pytest

from reports.document.markdown import render_markdown
from reports.published.analysis import analyse_study
from reports.published.article import study_article
from reports.published.study import load_study


@pytest.fixture(scope="module")
def analysis():
    return analyse_study(load_study())


def claim(analysis, name):
    return next(c for c in analysis.claims if c.id == name)


def check(analysis, name):
    return next(c for c in analysis.checks if c.check == name)


def test_the_published_correlation_is_reproduced_and_1b_has_none(analysis):
    found = {a.model: a.correlation for a in analysis.facts.associations}
    assert (round(found["Llama-3.2-3B"].pearson, 3), round(found["Llama-3.2-3B"].pearson_p, 3)) == (-0.864, 0.012)
    assert (round(found["Llama-3.2-1B"].pearson, 3), round(found["Llama-3.2-1B"].pearson_p, 3)) == (-0.676, 0.096)
    own = claim(analysis, "knowledge-against-truthfulness")
    assert (own.reproduced, own.standing) == (True, "survives in part")


def test_ifevals_gains_are_46_to_75_percent_and_not_all_are_beyond_chance(analysis):
    own = claim(analysis, "instruction-following")
    gains = own.figures["gains"]
    assert (round(gains["Llama-3.2-1B 4916"], 2), round(gains["Llama-3.2-1B 5735"], 2)) == (0.46, 0.75)
    assert own.figures["significant"] == 4
    assert (own.reproduced, own.standing) == (True, "survives in part")


def test_the_claimed_23_percent_and_the_largest_reduction_are_located(analysis):
    own = claim(analysis, "energy-per-token")
    assert "Llama-3.2-3B at width 4096, hellaswag_throughput_b8" in own.figures["at_the_claimed"]
    assert own.figures["largest"] == pytest.approx(0.25, abs=0.001)


def test_without_raw_runs_efficiency_is_judged_by_means_alone(analysis):
    assert claim(analysis, "energy-per-token").standard == "by means alone"
    assert [j.standard for j in analysis.standards] == ["beyond chance", "by means alone", "not refuted"]


def test_latency_follows_output_length(analysis):
    own = claim(analysis, "single-request-latency")
    assert own.figures["r"] > 0.999
    assert own.figures["slower_in_latency"] == 32


def test_odd_widths_take_more_at_batch_8_every_one(analysis):
    found = next(a for a in analysis.facts.alignment if (a.batch_size, a.odd) == (8, None))
    assert (found.pairs, found.hungrier) == (18, 18)
    assert found.joules.low > 1.05
    assert found.ms_per_token.low > 1
    assert check(analysis, "width-unaligned").outcome == "fail"


def test_checks_that_require_raw_runs_have_no_data(analysis):
    for name in ("unit-of-energy", "modelled-energy", "window-too-short", "thermal-drift"):
        assert check(analysis, name).outcome == "no data"
    assert all(c.ratios["net_joules_per_token"].low is None for c in analysis.facts.cells)


def test_runs_left_out_of_the_published_means_are_named(analysis):
    assert {(o.workload, o.width, o.kept, o.made) for o in analysis.facts.left_out} == {
        ("ifeval_latency_b1", width, 1, 3) for width in (8192, 7373, 6554)
    }


def test_of_each_claim_it_is_known_which_versions_make_it_and_what_became_of_it(analysis):
    fates = {}
    for one in analysis.claims:
        fates.setdefault(one.fate, set()).add(one.id)
    assert fates == {
        "kept": {"knowledge-degrades", "perplexity-degrades", "reasoning-robust", "both-sizes"},
        "new": {"instruction-following-at-one-ratio"},
        "gone": {
            "instruction-following", "knowledge-against-truthfulness", "energy-per-token", "single-request-latency", "batch-benefits",
        },
    }  # fmt: skip
    said = {one.id: one.in_versions(analysis.versions) for one in analysis.claims}
    assert said["energy-per-token"] == "v1, v2; gone from v3"
    assert said["instruction-following-at-one-ratio"] == "v3"
    ids = {version.id for version in analysis.versions}
    assert all(one.stated.keys() <= ids for one in analysis.claims)
    assert all(version.copies for version in analysis.versions), "a reader can look it up"


def test_the_gains_of_the_last_version_follow_from_the_scores_and_none_is_beyond_chance_among_all_widths(analysis):
    own = claim(analysis, "instruction-following-at-one-ratio")
    assert (own.reproduced, own.standing) == (True, "survives in part")
    assert (own.figures["beyond_chance"], own.figures["beyond_chance_of_all"], own.figures["of"]) == (1, 0, 2)


def test_the_instructed_model_falls_where_the_headline_rises(analysis):
    for name in ("instruction-following", "instruction-following-at-one-ratio", "both-sizes"):
        assert (
            "Llama-3.2-1B-Instruct: 0.364 unpruned, 0.222 at 7373, 0.146 at 4916, 0.137 at 3277; the fall is beyond chance in 3 of 3 widths."
            in claim(analysis, name).because
        )


def test_perplexity_rises_at_every_width(analysis):
    own = claim(analysis, "perplexity-degrades")
    assert (own.standing, own.standard, own.figures) == ("survives", "by means alone", {"worse": 27, "of": 27})


def test_the_versions_are_side_by_side_on_one_page_with_the_source_of_each(analysis):
    study = load_study()
    page = render_markdown([study_article(study, analysis, "0")], None)
    assert "Of 9 claims of the abstracts before v3, 4 are in it and 5 are gone; 1 is new." in page
    [row] = [line for line in page.splitlines() if line.startswith("| Pruned configurations take up to 23 %")]
    assert [cell.strip() for cell in row.split("|")][2:5] == ["up to 23 %", "up to 23 %", "—"]
    [raw] = [line for line in page.splitlines() if line.startswith("| 7373 10 % pruned |")]
    assert "0.2218 -39.1 % ▼" in raw
    for source in (
        "arxiv.org/html/2512.22671v1",
        "prismix.dev",
        "llama_1b_I_complete_results_latest.json".replace("_", "\\_"),
        "97f9190",
    ):
        assert source in page
