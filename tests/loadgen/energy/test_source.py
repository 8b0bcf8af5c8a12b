from __future__ import annotations

import threading
import time

import pytest

from energy.records import Conditions, Counter, EnergyCounters, EnergyTrace, MeterInfo, MeterTrace
from loadgen.endpoint import Endpoint, LoadError
from loadgen.energy.source import (
    LocalEnergy,
    NoEnergy,
    ServerEnergy,
    measure_idle,
    measure_idle_in_halves,
    meters_without_server,
    pick_energy,
)
from tests.loadgen.scripted import ScriptedServer
from tests.server.conftest import running_server, write_checkpoint

INFO = MeterInfo(source="synthetic", domain="synthetic", device="synthetic", refresh_s=0.0)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


def metered(ahead_ns=0, watts=40.0):
    """A machine at steady power whose monotonic clock is `ahead_ns` ahead of ours."""

    def now():
        return time.monotonic_ns() + ahead_ns

    def counters():
        row = Counter(info=INFO, joules=1.0, sampled_ns=now())
        return EnergyCounters(now_ns=now(), meters=[row], missing=[]).model_dump_json().encode()

    def trace():
        at = [now() - n * 50_000_000 for n in range(200, -1, -1)]
        joules = [watts * (t - at[0]) / 1e9 for t in at]
        meter = MeterTrace(info=INFO, before_ns=at, after_ns=at, joules=joules, watts=[None] * len(at))
        seen = [Conditions(at_ns=t, device="GPU-0") for t in at]
        return EnergyTrace(now_ns=now(), meters=[meter], conditions=seen, missing=[]).model_dump_json().encode()

    return ScriptedServer(lambda *_: [], pages={"/energy": counters, "/energy/trace": trace})


def test_the_servers_own_meters_are_the_first_choice(checkpoint):
    with running_server(checkpoint, engine_options={"idle_watts": "100"}) as server:
        source = pick_energy("auto", Endpoint(server.url, "tiny"))
        idle = measure_idle(source, 0.3)
    assert isinstance(source, ServerEnergy)
    assert source.clock.offset_ns == 0
    seconds = (idle.end_ns - idle.start_ns) / 1e9
    assert seconds >= 0.3
    assert idle.gross_joules == pytest.approx(100 * seconds, rel=0.01)


def test_idle_power_is_metered_as_a_whole_and_by_its_first_half(checkpoint):
    with running_server(checkpoint, engine_options={"idle_watts": "100"}) as server:
        found = measure_idle_in_halves(pick_energy("auto", Endpoint(server.url, "tiny")), 0.3)
    seconds = (found.whole.end_ns - found.whole.start_ns) / 1e9
    assert found.whole.gross_joules == pytest.approx(100 * seconds, rel=0.01)
    assert found.first_half_joules == pytest.approx(50 * seconds, rel=0.02)


@pytest.mark.parametrize("ahead_s", [-5000, 3600])
def test_a_clock_that_is_another_is_found_out_and_joules_are_on_the_servers_while_edges_are_on_ours(ahead_s):
    with metered(ahead_ns=ahead_s * 10**9) as server:
        source = pick_energy("auto", Endpoint(server.url, "m"))
        found = measure_idle(source, 0.2)
    assert source.clock.offset_ns == pytest.approx(ahead_s * 1e9, abs=50e6)
    assert found.gross_joules == pytest.approx(40 * (found.end_ns - found.start_ns) / 1e9, rel=0.01)
    assert found.conditions
    assert all(found.start_ns <= seen.at_ns <= found.end_ns for seen in found.conditions)


@pytest.mark.parametrize("ahead_s", [0, 3600])
def test_power_of_another_machine_is_on_our_clock(ahead_s):
    with metered(ahead_ns=ahead_s * 10**9) as server:
        source = pick_energy("auto", Endpoint(server.url, "m"))
        now = time.monotonic_ns()
        [power] = source.power(now - 2 * 10**9, now).meters
    assert power.start_ns == pytest.approx(now - 2 * 10**9, abs=50e6)
    assert power.start_ns + len(power.watts) * power.step_ns == pytest.approx(now, abs=power.step_ns + 50e6)
    assert power.watts == pytest.approx([40.0] * len(power.watts), rel=0.01)


def test_without_a_meter_there_is_no_power():
    assert NoEnergy("none").power(1, 2).meters == []


def test_without_meters_of_its_own_a_server_on_this_machine_gets_this_machines():
    with ScriptedServer(lambda *_: []) as server:
        source = pick_energy("auto", Endpoint(server.url, "m"))
    assert isinstance(source, LocalEnergy)
    # One sampler a process, however often it is asked for.
    assert pick_energy("local", Endpoint("http://10.0.0.1", "m")) is source
    found = measure_idle(source, 0.1)
    assert found.gross_joules is not None or found.reason


def test_meters_without_a_server_leave_no_thread_beside_the_client():
    threads = threading.active_count()
    with meters_without_server("auto") as meters:
        found = measure_idle(meters, 0.2)
    assert threading.active_count() == threads
    assert found.gross_joules is not None or found.reason
    with meters_without_server("none") as meters:
        assert measure_idle(meters, 60).reason == "--energy none"
    with metered() as server, meters_without_server(server.url) as meters:
        assert measure_idle(meters, 0.2).mean_watts == pytest.approx(40, rel=0.01)


def test_none_is_none_with_the_reason():
    source = pick_energy("none", Endpoint("http://127.0.0.1:9", "m"))
    assert isinstance(source, NoEnergy)
    found = source.over(1, 2)
    assert (found.gross_joules, found.reason) == (None, "--energy none")


def test_a_url_names_another_machines_meters_and_must_have_some():
    with metered() as server:
        assert isinstance(pick_energy(server.url, Endpoint("http://127.0.0.1:9", "m")), ServerEnergy)
    for url in (server.url, "sometimes"):
        with pytest.raises(LoadError, match=f"--energy {url}"):
            pick_energy(url, Endpoint("http://127.0.0.1:9", "m"))


def test_a_key_goes_to_the_server_it_is_for_and_to_no_other():
    with metered() as server:
        same = pick_energy(server.url + "/", Endpoint(server.url, "m", api_key="secret"))
        other = pick_energy(server.url, Endpoint("http://127.0.0.1:9", "m", api_key="secret"))
    assert (same.endpoint.api_key, other.endpoint.api_key) == ("secret", None)


def test_a_server_that_has_gone_gives_no_joules_and_says_so():
    with metered() as server:
        source = pick_energy("auto", Endpoint(server.url, "m"))
    found = measure_idle(source, 0.01)
    assert found.gross_joules is None
    assert "did not answer" in found.reason
