from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loadgen.metrics.measuring import gaps as module
from loadgen.metrics.measuring.gaps import Gaps

QUANTILES = (0, 5, 25, 50, 75, 95, 99, 100)
PARTS = st.lists(
    hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(0, 1e6, width=32).map(abs)), min_size=1, max_size=5
)


@pytest.fixture(scope="module", params=["sorted", "counted into bins"], autouse=True)
def _way(request):
    """Few numbers are sorted; here they are counted too, as many would be."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "sorted":
            patch.setattr(module, "_FEW", 0)
        yield


@given(PARTS)
def test_the_figures_of_parts_are_those_numpy_gives_for_the_whole(parts):
    gaps, whole = Gaps(parts), np.concatenate(parts).astype(np.float64)
    if not whole.size:
        assert (gaps.mean, gaps.std, gaps.percentiles(QUANTILES)) == (None, None, {})
        return
    found = gaps.percentiles(QUANTILES)
    assert [found[p] for p in QUANTILES] == pytest.approx(list(np.percentile(whole, QUANTILES)), rel=1e-12)
    assert gaps.mean == pytest.approx(whole.mean(), rel=1e-9)
    assert gaps.std == pytest.approx(whole.std(), rel=1e-6, abs=1e-9)


def test_order_statistics_are_exact_numbers_of_the_row():
    values = np.random.default_rng(0).gamma(2.0, 5.0, 10_001).astype(np.float32)
    found = Gaps(np.array_split(values, 7)).percentiles((1, 50, 99))
    assert found == {p: float(np.sort(values)[p * 100]) for p in (1, 50, 99)}
