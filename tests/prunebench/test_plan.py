from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from prunebench.plan import plan_visits

LABELS = [f"width-{n}" for n in (1024, 922, 512, 410)]
WORKLOADS = ["single", "batch"]
names = st.lists(st.text("abc", min_size=1), min_size=1, max_size=5, unique=True)


@given(labels=names, workloads=names, blocks=st.integers(1, 6), seed=st.integers())
def test_every_block_visits_every_configuration_once_and_measures_every_workload(labels, workloads, blocks, seed):
    visits = plan_visits(labels, workloads, blocks=blocks, seed=seed)
    assert Counter((v.block, v.label) for v in visits) == Counter((b, name) for b in range(blocks) for name in labels)
    assert all(sorted(c.workload for c in v.cells) == sorted(workloads) for v in visits)
    assert [c.order for v in visits for c in v.cells] == list(range(blocks * len(labels) * len(workloads)))


def test_blocks_are_not_interleaved_with_each_other():
    blocks = [v.block for v in plan_visits(LABELS, WORKLOADS, blocks=5, seed=1)]
    assert blocks == sorted(blocks)


def test_the_same_seed_plans_the_same_and_another_does_not():
    plan = plan_visits(LABELS, WORKLOADS, blocks=5, seed=1)
    assert plan == plan_visits(LABELS, WORKLOADS, blocks=5, seed=1)
    assert plan != plan_visits(LABELS, WORKLOADS, blocks=5, seed=2)


def test_the_order_differs_between_blocks_so_that_drift_meets_everyone():
    plan = plan_visits(LABELS, WORKLOADS, blocks=8, seed=1)
    orders = {tuple(v.label for v in plan if v.block == b) for b in range(8)}
    assert len(orders) > 1


def test_finished_cells_leave_a_visit():
    (visit,) = plan_visits(["only"], WORKLOADS, blocks=1, seed=1)
    left = visit.without(lambda cell: cell.workload == "single")
    assert [cell.workload for cell in left.cells] == ["batch"]
