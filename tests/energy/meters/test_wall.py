"""Wall meters through both doors, against a real HTTP server; what they say is never added to the other meters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from energy.meters import registry, wall
from energy.meters.base import EnergyError, MeterLost, Reading
from energy.meters.wall import VARIABLE, WallAddress, WallMeter, find_wall
from energy.records import MeterEnergy, MeterInfo, MissingMeter, WindowEnergy
from energy.sampler import Sampler
from energy.wall import wall_energy, wall_words
from energy.window import window_energy

GPU = MeterInfo(source="toy", domain="gpu", device="toy-0")
CPU = MeterInfo(source="rapl", domain="cpu-package", device="zone-0")
PLUG = MeterInfo(source="wall-http", domain="wall", device="plug", kind="power", lag_s=1.0)


class Plug(ThreadingHTTPServer):
    """Answers every request with `body`, and notes its path."""

    body = json.dumps({"StatusSNS": {"ENERGY": [{"Power": "120.5"}]}, "apower": 120.5})
    status = 200

    def __init__(self) -> None:
        self.paths: list[str] = []
        plug = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                plug.paths.append(self.path)
                self.send_response(plug.status)
                self.end_headers()
                self.wfile.write(plug.body.encode())

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def plug() -> Iterator[Plug]:
    with Plug() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def found(*addresses: str):
    return find_wall({VARIABLE: " ".join(addresses)})


@pytest.mark.parametrize("path", ["apower", "StatusSNS.ENERGY.0.Power"])
def test_a_path_leads_to_the_watts_of_a_plug(plug, path):
    (meter,), missing = found(f"{plug.url}/rpc/Switch.GetStatus?id=0#{path}")
    reading = meter.read()
    meter.stop()
    assert (reading.watts, missing) == (120.5, [])
    assert reading.before_ns <= reading.after_ns
    assert plug.paths[0] == "/rpc/Switch.GetStatus?id=0"
    assert (meter.info.source, meter.info.domain, meter.info.kind, meter.info.lag_s) == (
        "wall-http",
        "wall",
        "power",
        1.0,
    )


def test_a_prometheus_query_is_asked_as_its_api_has_it(plug):
    plug.body = json.dumps({"status": "success", "data": {"result": [{"metric": {}, "value": [1.7e9, "431"]}]}})
    (meter,), _ = found(f'prometheus:{plug.url}?query=sum(watts{{rack="a"}})#&lag=30')
    assert meter.read().watts == 431
    meter.stop()
    assert plug.paths[0] == "/api/v1/query?query=sum%28watts%7Brack%3D%22a%22%7D%29"
    assert (meter.info.source, meter.info.lag_s) == ("wall-prometheus", 30.0)


@pytest.mark.parametrize(
    "text",
    [
        "plug#apower",
        "http://plug/status",
        "http://#apower",
        "prometheus:http://h:9090",
        "http://p/#w&lag=0",
        "http://p/#w&age=1",
    ],
)
def test_a_wrong_address_is_refused_with_how_one_reads(text):
    with pytest.raises(EnergyError, match=rf"{VARIABLE}: .* must read like http://HOST/STATUS#path.to.watts"):
        WallAddress.parse(text)


def test_a_password_is_sent_and_never_shown(plug):
    address = WallAddress.parse(f"http://me:secret@127.0.0.1:{plug.server_port}/s#apower")
    meter = WallMeter(address)
    assert meter.info.device == f"{plug.url}/s#apower"
    with pytest.raises(EnergyError) as refused:
        WallAddress.parse("http://me:secret@plug/status")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ('{"power": 3}', 200, "there is no apower in"),
        ('{"apower": null}', 200, "None is no power in watts"),
        ('{"apower": -3}', 200, "-3 is no power in watts"),
        ('{"apower": NaN}', 200, "nan is no power in watts"),
        ("<html>", 200, "Expecting value"),
        ('{"apower": 3}', 500, "500"),
    ],
)
def test_what_is_no_power_leaves_a_missing_meter_with_the_reason(plug, body, status, why):
    plug.body, plug.status = body, status
    meters, (missing,) = found(f"{plug.url}/s#apower")
    assert meters == []
    assert why in missing.reason
    assert (missing.domain, missing.device) == ("wall", f"{plug.url}/s#apower")


def test_without_the_variable_there_is_neither_a_meter_nor_a_missing_one():
    assert find_wall({}) == ([], [])


def test_a_meter_that_falls_silent_has_gaps_and_then_is_lost(plug, monkeypatch):
    monkeypatch.setattr(wall, "_EVERY_S", 0.01)
    (meter,), _ = found(f"{plug.url}/s#apower")
    assert meter.read().watts == 120.5
    plug.status = 503
    while (reading := meter.read()).error is None:
        time.sleep(0.01)
    assert "503" in reading.error
    assert (reading.watts, reading.joules) == (None, None)
    monkeypatch.setattr(wall, "_SILENT_S", 0.0)
    with pytest.raises(MeterLost, match="the wall meter has not answered"):
        read_on(meter)
    meter.stop()


def read_on(meter: WallMeter) -> None:
    while meter.read():
        time.sleep(0.01)


class Board:
    """60 W, counted exactly."""

    info = GPU.model_copy(update={"refresh_s": 0.0})

    def read(self) -> Reading:
        now = time.monotonic_ns()
        return Reading(now, now, 60.0 * now / 1e9, 60.0)


def test_over_a_window_it_stands_beside_the_headline_with_its_ratio_and_the_rest(plug, monkeypatch):
    monkeypatch.setattr(wall, "_EVERY_S", 0.02)
    monkeypatch.setenv(VARIABLE, f"{plug.url}/s#apower&lag=0.05")
    monkeypatch.setattr(registry, "_FINDERS", [lambda _: ([Board()], []), lambda _: find_wall()])
    sampler = Sampler(*registry.find_meters(registry.Metered()), 0.005)
    while len((read := sampler.trace(0).meters[1]).joules) < 20:
        time.sleep(0.02)
    sampler.stop()
    start, end = read.after_ns[4], read.before_ns[-4]
    energy = window_energy(sampler.trace(0), start, end)
    seconds = (end - start) / 1e9
    assert energy.gross_joules == pytest.approx(60 * seconds, rel=1e-3)
    assert energy.source == "toy"
    found = wall_energy(energy)
    assert abs(found.joules - 120.5 * seconds) <= found.joules_uncertainty
    assert abs(found.over_gross - 120.5 / 60) <= found.over_gross_uncertainty
    assert found.rest_joules == pytest.approx(60.5 * seconds, rel=0.05)
    assert found.covered == ("gpu",)


def part(info: MeterInfo, joules: float | None, half: float = 0.0, **other) -> MeterEnergy:
    return MeterEnergy(info=info, joules=joules, uncertainty_joules=half, **other)


def energy_of(*parts: MeterEnergy, gross: float | None = 100.0, **other) -> WindowEnergy:
    return WindowEnergy(
        start_ns=0, end_ns=10**9, gross_joules=gross, gross_joules_uncertainty=3.0, parts=list(parts), **other
    )


def test_two_supplies_add_up_and_only_parts_that_do_not_overlap_are_taken_off():
    second = PLUG.model_copy(update={"device": "plug-2"})
    other = MeterInfo(source="rapl", domain="psys", device="zone-9")
    parts = [part(GPU, 100), part(CPU, 30), part(other, 99), part(PLUG, 150, 3), part(second, 50, 4)]
    found = wall_energy(energy_of(*parts))
    assert (found.joules, found.joules_uncertainty, found.rest_joules) == (200, 5, 70)
    assert found.covered == ("cpu-package", "gpu")
    assert found.over_gross == 2
    assert found.over_gross_uncertainty == pytest.approx(2 * (0.025**2 + 0.03**2) ** 0.5)
    assert wall_words(found) == (
        "at the wall 200.0 J ± 5.0 J, all of the machine: 2.00 ± 0.08 times the joules above; "
        "70.0 J of it are of parts that no meter of cpu-package, gpu covers"
    )


def test_a_wall_meter_that_is_missing_leaves_no_sum_but_a_reason():
    gone = MissingMeter(source="wall-http", domain="wall", device="plug-2", reason="plug-2: no answer")
    found = wall_energy(energy_of(part(PLUG, 150), missing=[gone]))
    assert (found.joules, found.reason) == (None, "plug-2: no answer")
    assert wall_energy(energy_of(part(PLUG, None, reason="lost"))).reason == "plug: lost"
    assert wall_energy(energy_of(part(GPU, 100))) is None


def test_a_simulated_headline_or_none_has_no_ratio():
    engine = MeterInfo(source="synthetic", domain="synthetic", device="synthetic", simulated=True)
    assert wall_energy(energy_of(part(engine, 100), part(PLUG, 150))).over_gross_reason.startswith(
        "the headline is simulated"
    )
    found = wall_energy(energy_of(part(PLUG, 150), gross=None, reason="there is no meter"))
    assert (found.over_gross, found.over_gross_reason, found.joules) == (None, "there is no meter", 150)
