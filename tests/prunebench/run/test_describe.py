"""How long idle power is measured around a visit, and that nothing is waited for without a meter."""

import time
from types import SimpleNamespace

import pytest

from loadgen.energy.source import NoEnergy
from prunebench.experiment.resolve import load_experiment
from prunebench.run.describe import Describer, visit_idle
from prunebench.servers.run_servers import ServerPool
from tests.server.conftest import running_server, write_checkpoint


@pytest.mark.parametrize(
    ("idle_s", "blocks", "expected"),
    [
        ("30", "5", (5.0, 6.0)),  # 30 s before and 30 s after, over the five blocks
        ("20", "5", (4.0, 4.0)),
        ("30", "100", (0.5, 0.5)),  # a counter needs some refreshes
        ("0.2", "2", (0.2, 0.2)),  # and yet no longer than asked for
        ("0", "5", (0.0, 0.0)),
    ],
)
def test_idle_power_is_measured_for_idle_s_over_all_blocks(experiment, idle_s, blocks, expected):
    assert visit_idle(load_experiment(experiment(idle_s=idle_s, blocks=blocks))) == expected


def test_without_a_meter_no_idle_power_is_measured_or_waited_for(experiment, monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    describer = Describer(load_experiment(experiment(idle_s="30")), serves_here=True, one_tokenizer=lambda: True)
    assert describer.idle_of_visit(NoEnergy("--energy none")) is None
    assert slept == []


@pytest.fixture(scope="module")
def meters(tmp_path_factory):
    """The URL of meters that read 50 W."""
    checkpoint = write_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    with running_server(checkpoint, engine_options={"idle_watts": "50"}) as server:
        yield server.url


def describer_of(experiment, *, source, idle_s="0.3", serves_here=True):
    loaded = load_experiment(experiment(idle_s=idle_s))
    settings = loaded.energy.model_copy(update={"source": source})
    one = loaded.model_copy(update={"energy": settings})
    return Describer(one, serves_here=serves_here, one_tokenizer=lambda: True)


def started(load_s):
    """Acquire a server that says it loaded for `load_s`; over the 0.3 s that this takes, it was up already."""

    def acquire():
        time.sleep(0.3)
        return SimpleNamespace(load_s=load_s)

    return acquire


def test_loading_has_its_joules_apart_from_the_idle_power_before_it(experiment, meters):
    pool = ServerPool(lambda *_: None, keep=False)
    _, facts = describer_of(experiment, source=meters).start(pool, "wide", started(0.25))
    assert facts["idle_without_model"].mean_watts == pytest.approx(50, rel=0.02)
    found = facts["load_energy"]
    assert found.gross_joules == pytest.approx(50 * 0.25, rel=0.02)
    assert facts["idle_without_model"].end_ns <= found.start_ns


def test_without_idle_power_loading_is_metered_all_the_same_and_without_a_meter_null_with_the_reason(
    experiment, meters
):
    pool = ServerPool(lambda *_: None, keep=False)
    _, facts = describer_of(experiment, source=meters, idle_s="0").start(pool, "wide", started(0.25))
    assert facts["load_energy"].gross_joules == pytest.approx(50 * 0.25, rel=0.02)
    _, facts = describer_of(experiment, source="none").start(pool, "wide", started(0.25))
    assert (facts["load_energy"].gross_joules, facts["load_energy"].reason) == (None, "--energy none")


def test_a_server_that_was_up_already_or_is_elsewhere_has_no_joules_of_loading(experiment, meters):
    pool = ServerPool(lambda *_: None, keep=False)
    _, facts = describer_of(experiment, source=meters).start(pool, "wide", started(60.0))
    assert "load_energy" not in facts
    assert describer_of(experiment, source=meters, serves_here=False).start(pool, "wide", started(0.25))[1] == {}


def test_servers_that_start_side_by_side_have_no_joules_of_their_own(experiment, meters):
    pool = ServerPool(lambda *_: None, keep=True, _together={"wide"})
    _, facts = describer_of(experiment, source=meters).start(pool, "wide", started(0.25))
    assert facts["load_energy"].gross_joules is None
    assert "other servers started at the same time" in facts["load_energy"].reason
