"""The simulated server itself against closed forms, since other simulations depend on it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.truth.servers.batching import Engine, saturated_rate, serve

ENGINE = Engine(a=8e-3, b=1e-4, c=4e-5, budget=2048, slots=64)


def test_one_request_takes_its_own_steps():
    log = serve(ENGINE, lambda: (5000, 11), 1, in_flight=1)
    assert log.first[0] == pytest.approx(3 * ENGINE.a + 5000 * ENGINE.c)  # in three pieces
    assert log.ended[0] - log.first[0] == pytest.approx(10 * (ENGINE.a + ENGINE.b))


@pytest.mark.parametrize("lengths", [(512, 128), (64, 400), (128, 16)])
def test_a_full_server_completes_a_request_per_its_work(lengths):
    """A request takes part in `output` steps shared by 64, decodes in all but one, and prefills once."""
    prompt, output = lengths
    work = output * ENGINE.a / 64 + (output - 1) * ENGINE.b + prompt * ENGINE.c
    assert saturated_rate(ENGINE, lambda: lengths, 4000) == pytest.approx(1 / work, rel=0.02)


def test_a_small_budget_makes_the_tokens_share_the_steps_instead():
    engine = Engine(a=8e-3, b=1e-4, c=4e-5, budget=128, slots=64)
    work = (1000 + 31) / 128 * engine.a + 31 * engine.b + 1000 * engine.c
    assert saturated_rate(engine, lambda: (1000, 32), 4000) == pytest.approx(1 / work, rel=0.02)


def test_the_backlog_stays_below_the_saturated_rate_and_grows_above_it():
    limit = saturated_rate(ENGINE, lambda: (512, 128), 4000)
    waits = {}
    for factor in (0.9, 1.1):
        log = serve(ENGINE, lambda: (512, 128), 6000, rate=factor * limit, rng=np.random.default_rng(1))
        times = np.array(log.first) - np.array(log.sent)
        waits[factor] = (times[1000:2000].mean(), times[-1000:].mean())
    assert waits[0.9][1] < 2 * waits[0.9][0]
    assert waits[1.1][1] > 2 * waits[1.1][0]


def test_joules_are_watts_times_seconds():
    engine = Engine(a=8e-3, b=0, c=0, budget=2048, slots=4, idle_watts=50, busy_watts=200)
    log = serve(engine, lambda: (10, 10), 200, rate=1.0, rng=np.random.default_rng(2))
    busy = sum(np.diff(log.step_end)[np.array(log.decodes[1:]) > 0])
    assert log.joules[-1] == pytest.approx(50 * log.step_end[-1] + 150 * busy, rel=0.02)
