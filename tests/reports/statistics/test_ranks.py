from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.statistics.ranks import mean_ranks


@given(st.lists(st.integers(0, 9) | st.floats(allow_nan=False), min_size=1))
def test_ranks_are_scipys_also_with_ties_and_failed_requests(values):
    assert np.array_equal(mean_ranks(values), stats.rankdata(values))
