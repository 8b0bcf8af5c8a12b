"""The order of a run: every cell once, no configuration ahead of the baseline on average, and resumed as it began."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunebench.run.schedule import Order, balanced_orders, schedule_visits
from reports.analysis.order import describe_order, imbalance
from reports.runs.records.run import RunInfo

LABELS = [f"width-{n}" for n in (1024, 922, 512, 410)]
WORKLOADS = ["single", "batch"]
names = st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True)
counts = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(lambda added: tuple(itertools.accumulate(added)))


def plan(labels=LABELS, workloads=WORKLOADS, *, counts=(5,), rule="balanced", seed=1):
    return schedule_visits(labels, workloads, Order(counts, rule), seed=seed, baseline=labels[0])


def cells(visits):
    return [cell for visit in visits for cell in visit.cells]


@given(labels=names, workloads=names, counts=counts, rule=st.sampled_from(["balanced", "shuffled"]), seed=st.integers())
def test_every_block_visits_every_configuration_once_and_measures_every_workload(labels, workloads, counts, rule, seed):
    visits = plan(labels, workloads, counts=counts, rule=rule, seed=seed)
    wanted = Counter((block, name) for block in range(counts[-1]) for name in labels)
    assert Counter((v.block, v.label) for v in visits) == wanted
    assert all(sorted(c.workload for c in v.cells) == sorted(workloads) for v in visits)
    assert [c.order for c in cells(visits)] == list(range(counts[-1] * len(labels) * len(workloads)))
    assert [v.block for v in visits] == sorted(v.block for v in visits)


@given(configurations=st.integers(1, 9), blocks=st.integers(2, 12), seed=st.integers())
def test_mean_places_are_those_of_the_baseline_whenever_they_can_be_and_else_a_place_in_one_block_off(
    configurations, blocks, seed
):
    labels = [f"c{n}" for n in range(configurations)]
    found = imbalance(cells(plan(labels, counts=(blocks,), seed=seed)), "c0")
    if blocks * (configurations + 1) % 2 == 0:
        assert found == 0
    else:  # sums of places are whole numbers whose mean is not one, so no order does better
        assert found == pytest.approx(1 / blocks / configurations)


@given(configurations=st.integers(2, 9), seed=st.integers())
def test_a_single_block_has_the_baseline_in_the_middle_which_no_order_improves(configurations, seed):
    labels = [f"c{n}" for n in range(configurations)]
    found = imbalance(cells(plan(labels, counts=(1,), seed=seed)), "c0")
    assert found == pytest.approx(configurations // 2 / configurations)


@given(configurations=st.integers(1, 7), begun=counts, more=st.integers(1, 5), seed=st.integers())
def test_blocks_added_later_extend_the_order_and_balance_it_wherever_blocks_that_are_there_let_them(
    configurations, begun, more, seed
):
    labels = [f"c{n}" for n in range(configurations)]
    before = plan(labels, counts=begun, seed=seed)
    after = plan(labels, counts=(*begun, begun[-1] + more), seed=seed)
    assert after[: len(before)] == before
    if more > 1:  # one block alone, added to balanced ones, has no other to be balanced by
        total = begun[-1] + more
        even = total * (configurations + 1) % 2 == 0
        assert imbalance(cells(after), "c0") == pytest.approx(0 if even else 1 / total / configurations)


@given(configurations=st.integers(2, 5), blocks=st.integers(2, 5), seed=st.integers(0, 20))
def test_one_block_added_to_balanced_ones_is_placed_as_well_as_any(configurations, blocks, seed):
    labels = [f"c{n}" for n in range(configurations)]
    found = imbalance(cells(plan(labels, counts=(blocks, blocks + 1), seed=seed)), "c0")
    sums = Counter()
    for order in balanced_orders(labels, (blocks,), seed=f"{seed}/configurations", middle="c0"):
        sums.update({label: place for place, label in enumerate(order)})
    best = min(
        max(abs(sums[label] + place - sums["c0"] - order.index("c0")) for place, label in enumerate(order))
        for order in itertools.permutations(labels)
    )
    assert found == pytest.approx(best / (blocks + 1) / configurations)


@given(workloads=names, blocks=st.integers(2, 9))
def test_workloads_are_balanced_within_a_visit_and_meet_all_configurations_of_a_block_in_one_order(workloads, blocks):
    visits = plan(workloads=workloads, counts=(blocks,))
    orders = {(v.block, tuple(c.workload for c in v.cells)) for v in visits}
    assert len(orders) == blocks
    sums = Counter(dict.fromkeys(workloads, 0))
    for _, order in orders:
        sums.update({name: place for place, name in enumerate(order)})
    assert max(sums.values()) - min(sums.values()) <= blocks * (len(workloads) + 1) % 2


def test_the_same_seed_plans_the_same_and_another_does_not():
    assert plan() == plan()
    assert plan() != plan(seed=2)


def test_the_seed_deals_every_place_to_every_configuration():
    first = {balanced_orders(LABELS, (4,), seed=f"{n}", middle=LABELS[0])[0][0] for n in range(60)}
    assert first == set(LABELS)


def decided(first, added, settled, configurations=5, seed=1):
    labels = [f"c{n}" for n in range(configurations)]
    order = Order((first,), singles=added, settled=settled)
    return schedule_visits(labels, WORKLOADS, order, seed=seed, baseline="c0")


@given(
    first=st.integers(1, 6),
    added=st.integers(0, 8),
    seed=st.integers(),
    gone=st.dictionaries(st.sampled_from(["c1", "c2", "c3"]), st.integers(1, 9)),
)
def test_blocks_that_results_ask_for_leave_out_what_is_settled_and_change_no_earlier_block(first, added, seed, gone):
    settled = {label: max(first, blocks) for label, blocks in gone.items() if max(first, blocks) < first + added}
    visits = decided(first, added, settled, seed=seed)
    for block in range(first + added):
        there = {visit.label for visit in visits if visit.block == block}
        assert there == {label for label in ("c0", "c1", "c2", "c3", "c4") if settled.get(label, 99) > block}
    before = decided(first, max(0, added - 1), {k: v for k, v in settled.items() if v < first + added - 1}, seed=seed)
    assert visits[: len(before)] == before


@given(blocks=st.integers(1, 6), configurations=st.integers(2, 8), seed=st.integers())
def test_blocks_that_results_ask_for_one_by_one_are_as_balanced_as_planned_ones(blocks, configurations, seed):
    found = imbalance(cells(decided(2, 2 * blocks, {}, configurations, seed)), "c0")
    assert found == 0


@given(gone=st.permutations([4, 6, 7, 9]), seed=st.integers())
def test_configurations_that_leave_make_no_other_late(gone, seed):
    settled = {f"c{n}": blocks for n, blocks in enumerate(gone, 1)}
    assert imbalance(cells(decided(4, 8, settled, 6, seed)), "c0") <= 2 / 4 / 6  # places of the shortest part of a run


def test_finished_cells_leave_a_visit():
    (visit,) = plan(["only"], counts=(1,))
    left = visit.without(lambda cell: cell.workload == "single")
    assert [cell.workload for cell in left.cells] == ["batch"]


def info(**facts):
    return RunInfo(
        name="run", created_at="2026-11-23T09:30:00+00:00", prunebench_version="0.1.0", baseline=LABELS[0],
        labels=LABELS, workloads=WORKLOADS, blocks=5, seed=1, status="interrupted", **facts,
    )  # fmt: skip


def test_a_run_recorded_before_there_was_a_balanced_order_goes_on_as_it_was_shuffled():
    order = Order.of_run(info(), 5)
    assert order == Order((5,), "shuffled")
    recorded = [
        "width-410",
        "width-922",
        "width-1024",
        "width-512",
    ]  # block 1 of seed 1, as the first version planned it
    assert [v.label for v in plan(rule="shuffled")][:4] == recorded


def test_a_resumed_run_keeps_the_blocks_that_it_began_with_and_remembers_those_that_were_added():
    assert Order.of_run(None, 5) == Order((5,))
    assert Order.of_run(info(order="balanced", block_counts=(3, 5)), 5) == Order((3, 5))
    assert Order.of_run(info(order="balanced", block_counts=(3, 5)), 8) == Order((3, 5, 8))


def test_what_an_order_leaves_of_a_drift_is_said_with_the_number_of_blocks_that_leave_nothing():
    assert describe_order("balanced", 0.0, blocks=4, configurations=4).endswith("shifts no ratio to the baseline")
    said = describe_order("balanced", 1 / 20, blocks=5, configurations=4)
    assert "by up to 0.050 %; a run of 6 blocks" in said
    assert "a run of 2 blocks" in describe_order("balanced", 1 / 3, blocks=1, configurations=3)
    assert "a run of 4 blocks" in describe_order("shuffled", 1 / 7, blocks=2, configurations=4)
