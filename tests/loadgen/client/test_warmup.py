"""When a warm-up ends: as tables of group times, without a server."""

import itertools

import numpy as np
import pytest

from loadgen.client.exchange import Exchange
from loadgen.client.warmup import change_over, is_steady, warm_up
from loadgen.endpoint import LoadError
from loadgen.link.messages import Steadiness


def exchange(seconds: float, error: str | None = None) -> Exchange:
    return Exchange(sent_ns=0, end_ns=round(seconds * 1e9), body=bytearray(100), error=error)


def groups_of(times):
    """A server whose groups take these times in order, and the last of them from then on."""
    endless = itertools.chain(times, itertools.repeat(times[-1]))

    async def send(_group: int) -> list[Exchange]:
        return [exchange(next(endless))]

    return send


async def warmed(times, *, groups=1, until=Steadiness()):  # noqa: B008 - it does not change
    return await warm_up(groups_of(times), lambda e: e.error, groups=groups, until=until, where="there")


@pytest.mark.parametrize(
    ("times", "steady"),
    [
        ([1.0, 1.0, 1.0], True),
        ([1.0, 1.02, 1.04], True),
        ([1.0, 1.0], False),  # two lie on any line
        ([3.0, 2.0, 1.0], False),
        ([1.0, 1.1, 1.2], False),  # a GPU that gets slower as it gets hot is not steady either
        ([9.0, 3.0, 1.5, 1.0, 1.0, 1.0], True),  # only the last half counts
        ([0.0, 0.0, 0.0], True),
    ],
)
def test_steady_is_what_changes_by_no_more_than_the_tolerance(times, steady):
    assert is_steady(times, 0.05) == steady


def test_the_change_is_that_of_the_line_from_its_first_group_to_its_last():
    assert change_over([1.0, 1.1, 1.2]) == pytest.approx(0.2 / 1.1)
    assert change_over([5.0, 1.0, 1.1, 1.2]) == pytest.approx(0.2 / 1.1)


async def test_a_steady_server_gets_three_groups():
    found = await warmed([1.0])
    assert (found.groups, found.requests, found.steady) == (3, 3, True)


async def test_a_server_that_settles_slowly_gets_more():
    found = await warmed([4.0, 3.0, 2.0, 1.0])
    assert found.steady
    assert found.groups > 4


async def test_the_groups_asked_for_are_sent_in_any_case():
    assert (await warmed([1.0], groups=8)).groups == 8


async def test_without_a_tolerance_only_those_are_sent():
    found = await warmed([9.0, 1.0, 1.0], groups=2, until=None)
    assert (found.groups, found.steady, found.change) == (2, None, None)


async def test_a_server_that_never_settles_is_reported():
    slower = [1.5**n for n in range(1000)]
    found = await warmed(slower, until=Steadiness(0.05, limit_s=0.02))
    assert found.steady is False
    assert found.change > 0.05


async def test_noise_delays_the_end_and_does_not_prevent_it():
    rng = np.random.default_rng(4)
    counts = [(await warmed(list(1 + 0.05 * rng.normal(size=500)))).groups for _ in range(200)]
    assert np.mean(counts) < 8
    assert max(counts) < 60


async def test_a_group_that_failed_as_a_whole_ends_it():
    async def send(_group: int) -> list[Exchange]:
        return [exchange(1.0, "reset"), exchange(1.0, "reset")]

    with pytest.raises(LoadError, match="there: every warm-up request failed, the first with: reset"):
        await warm_up(send, lambda e: e.error, groups=5, until=None, where="there")
