"""`docker-compose up` to the end on a real engine, and what happens when a part of it fails. `make test-containers` runs it."""

from __future__ import annotations

import time

import httpx
import pytest
import yaml

from tests.deployment.conftest import ROOT

pytestmark = pytest.mark.docker


def runs_of(chain):
    return sorted((chain.folder / "runs").glob("*/run.json"))


def test_up_leaves_a_report_on_the_host(finished):
    assert finished.exit_code("report") == finished.exit_code("loadgen") == 0, finished.logs()
    (run,) = runs_of(finished)
    page = run.with_name("report.html")
    assert page.stat().st_size > 100_000
    assert page.stat().st_uid == 1000
    assert "width-512" in (run.parent / "report.md").read_text()


def test_the_server_goes_on_serving_on_loopback_to_who_has_the_key(finished):
    server = finished.container("server")
    assert server["State"]["Health"]["Status"] == "healthy"
    address = "http://127.0.0.1:18000/v1/completions"
    assert httpx.post(address, json={"prompt": "Once"}).status_code == 401
    key = finished.docker("exec", server["Id"], "cat", "/keys/key")
    answered = httpx.post(address, json={"prompt": "Once"}, headers={"authorization": f"Bearer {key}"}, timeout=60)
    assert answered.json()["usage"]["completion_tokens"] > 0
    shown = finished.docker("inspect", *finished.compose("ps", "-q").stdout.split())
    assert key not in shown + finished.logs()
    bound = [one for ports in server["HostConfig"]["PortBindings"].values() for one in ports]
    assert {one["HostIp"] for one in bound} == {"127.0.0.1"}


def test_without_a_profile_the_cpus_services_are_made_and_no_others(finished):
    described = yaml.safe_load(finished.compose("config").stdout)["services"]
    made = {service for service in described if finished.container(service) is not None}
    assert made == {"setup", "pruner", "server", "loadgen", "report"}


def test_every_service_runs_as_an_ordinary_user_on_a_root_it_cannot_write(finished):
    for service in ("pruner", "server", "loadgen", "report"):
        found = finished.container(service)
        assert found["Config"]["User"] == "1000:1000"
        assert found["HostConfig"]["ReadonlyRootfs"] is True
        assert found["HostConfig"]["CapDrop"] == ["ALL"]
        assert not found["HostConfig"]["Privileged"]


def test_a_killed_load_generator_is_a_failed_report_of_what_there_is_and_up_goes_on(chain):
    (chain.folder / "experiments" / "long.toml").write_text(
        (ROOT / "experiments" / "quick.toml")
        .read_text()
        .replace("blocks = 3", "blocks = 40")
        .replace('"quick"', '"long"')
    )
    chain.environment["EXPERIMENT"] = "experiments/long.toml"
    chain.compose("up", "-d")
    deadline = time.monotonic() + 300
    while not list((chain.folder / "runs").glob("*/trials/*/cell.json")):
        assert time.monotonic() < deadline, chain.logs()
        time.sleep(0.5)
    chain.docker("kill", chain.container("loadgen")["Id"])
    assert chain.exit_code("report") == 1
    assert "killed" in chain.logs()
    (run,) = runs_of(chain)
    assert run.with_name("report.html").exists()
    finished = len(list(run.parent.glob("trials/*/cell.json")))
    chain.compose("up", "-d")
    deadline = time.monotonic() + 300
    while len(list(run.parent.glob("trials/*/cell.json"))) <= finished:
        assert time.monotonic() < deadline, chain.logs()
        time.sleep(0.5)
    assert runs_of(chain) == [run]


def test_a_server_that_never_gets_healthy_stops_the_chain_with_an_error(chain, tmp_path):
    broken = tmp_path / "broken.yml"
    service = {
        "entrypoint": ["sleep", "60"],
        "command": [],
        "healthcheck": {"interval": "1s", "retries": 2, "start_period": "1s"},
    }
    broken.write_text(yaml.safe_dump({"version": "3.9", "services": {"server": service}}))
    chain.overrides.append(broken)
    up = chain.compose("up", "-d")
    assert up.returncode != 0
    assert "unhealthy" in up.stderr
    for service in ("loadgen", "report"):
        made = chain.container(service)
        assert made is None or made["State"]["Status"] == "created"


def test_a_model_that_is_not_there_is_named_and_nothing_is_served(chain):
    chain.environment["MODEL"] = "/nowhere"
    up = chain.compose("up", "-d")
    assert up.returncode != 0
    assert chain.exit_code("pruner") == 2
    assert "--model /nowhere" in chain.logs()
    served = chain.container("server")
    assert served is None or served["State"]["Status"] == "created"
