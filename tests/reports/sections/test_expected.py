from __future__ import annotations

import pytest

from loadgen.workloads.closed_loop import ConcurrencyLoad
from loadgen.workloads.open_loop import PoissonLoad
from reports.analysis.analyse import analyse_folder
from reports.analysis.energy.roofline import decode_cost
from reports.analysis.quantities import JOULES, TPOT
from reports.document.blocks import Plots, Prose
from reports.document.wording import TIMES
from reports.sections.alignment import alignment_section, misfits
from reports.sections.expected import expected_section, in_flight
from reports.sections.loads.curves import curves_section, families
from tests.reports.example_run import BATCH, SINGLE, Example, Truth, write_run

SMALL = (SINGLE.model_copy(update={"requests": 3}), BATCH.model_copy(update={"requests": 8}))


def plots_of(section):
    return [plot for block in section.blocks if isinstance(block, Plots) for plot in block.plots]


def test_the_expected_speed_up_is_a_ratio_of_costs_and_the_measured_one_of_times(exact):
    batch = plots_of(expected_section(exact))[1]
    by_bytes, by_flops, measured = batch.chart.marks
    infos = {c.info.width: c.info for c in exact.configurations}
    wide, narrow = (decode_cost(infos[w], 8, 64 + 16) for w in (1024, 512))
    assert by_bytes.x == [2.0, 2.5, 3.0, 3.5, 4.0]
    assert by_bytes.y[0] == pytest.approx(wide.bytes / narrow.bytes)
    assert by_flops.y[0] == pytest.approx(wide.flops / narrow.flops)
    assert by_bytes.y[-1] == by_flops.y[-1] == 1.0
    assert measured.y[-1] == pytest.approx(1.25)  # example_run: half of what is cut comes back as speed
    assert "width 512: expected" in batch.alt


def test_an_unknown_shape_is_reported_and_nothing_is_expected(exact):
    bare = [c.model_copy(update={"info": c.info.model_copy(update={"shape": None})}) for c in exact.configurations]
    section = expected_section(exact.model_copy(update={"configurations": bare}))
    assert {plot.absent for plot in plots_of(section)} == {"the model's shape or the served data type is not known"}


def test_requests_in_flight_are_as_configured_or_by_littles_law(tmp_path, exact):
    assert (in_flight(exact, "single-request"), in_flight(exact, "batch-8")) == (1.0, 8.0)
    open_loop = PoissonLoad(name="steady", rate=4, requests=4, output_tokens=8)
    analysis = analyse_folder(
        write_run(tmp_path / "run", Example(widths=(1024, 512), workloads=(open_loop,), blocks=2))
    )
    values = analysis.cell("width-1024", "steady").values
    expected = values["output_tokens_per_s"].median * values[TPOT].median / 1000
    assert in_flight(analysis, "steady") == pytest.approx(max(1.0, expected))


class Odd(Example):
    """Width 717 takes a quarter more time than its size implies."""

    def truth(self, width, workload):
        tpot = 10 + width / 100
        return Truth(ttft_ms=20.0, tpot_ms=tpot * (1.25 if width == 717 else 1.0))


def test_an_odd_width_is_compared_with_the_line_between_its_neighbours(tmp_path):
    example = Odd(widths=(1024, 768, 717, 640), workloads=SMALL[:1], blocks=3)
    analysis = analyse_folder(write_run(tmp_path / "run", example))
    [found] = misfits(analysis, "single-request")
    assert (found.width, found.divisor, found.neighbours) == (717, 1, (640, 768))
    assert found.costs[TPOT].ratio == pytest.approx(1.25, rel=1e-3)
    assert found.costs[TPOT].verdict == "worse"
    assert found.costs[JOULES].ratio > 1.2
    [plot, _] = plots_of(alignment_section(analysis))
    assert f"width 717: 1.25{TIMES}" in plot.alt


def test_a_single_neighbour_must_be_near(tmp_path):
    for width, neighbours in ((500, (512,)), (400, None)):
        example = Example(widths=(1024, 512, width), workloads=SMALL[:1], blocks=2)
        analysis = analyse_folder(write_run(tmp_path / str(width), example))
        found = misfits(analysis, "single-request")
        assert [m.neighbours for m in found] == ([neighbours] if neighbours else [])
    prose = [block.text for block in alignment_section(analysis).blocks if isinstance(block, Prose)]
    assert "Add 384 (multiple_of = 64) to measure what the unaligned widths cost." in prose[-1]


def test_aligned_widths_have_no_section(exact):
    assert alignment_section(exact) is None


def test_workloads_that_differ_in_load_alone_make_a_curve(exact):
    loads = {f"in-{n}": ConcurrencyLoad(name=f"in-{n}", concurrency=n, requests=8) for n in (8, 1, 4)}
    loads["long"] = ConcurrencyLoad(name="long", concurrency=4, requests=8, output_tokens=99)
    loads["open"] = PoissonLoad(name="open", rate=3, requests=8)
    assert families(loads) == {"in flight, 64 prompt tokens, 64 output tokens": ["in-1", "in-4", "in-8"]}
    ttft = plots_of(curves_section(exact))[0]
    assert ttft.chart.marks[0].name == "width 1024"
    assert ttft.chart.marks[0].y == pytest.approx([20.0, 60.0])


def test_a_percentile_of_too_few_requests_has_no_curve_and_says_why(exact):
    tails = next(plot for plot in plots_of(curves_section(exact)) if plot.title.startswith("TTFT p99"))
    assert tails.chart is None
    assert "requests" in tails.absent


def test_a_single_load_is_no_curve(tmp_path):
    analysis = analyse_folder(write_run(tmp_path / "run", Example(workloads=SMALL[:1], widths=(1024, 512), blocks=1)))
    assert curves_section(analysis) is None
