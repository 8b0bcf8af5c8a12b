"""`docker-compose up` to the end on a real engine, and what happens when a part of it fails. `make test-containers` runs it."""

from __future__ import annotations

import json
import shutil
import time

import httpx
import pytest
import yaml

from loadgen.results.store import read_trial
from tests.project.deployment.conftest import ROOT

pytestmark = pytest.mark.docker
ALIKE = (
    "command",
    "image",
    "user",
    "read_only",
    "cap_drop",
    "security_opt",
    "tmpfs",
)  # what both print in the same form


def runs_of(chain):
    return sorted((chain.folder / "runs").glob("*/run.json"))


def until(check, chain, seconds=240):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, chain.logs()
        time.sleep(0.5)


def override(chain, services):
    """A second compose file, as a user would add one."""
    file = chain.folder / f"override-{len(chain.overrides)}.yml"
    file.write_text(yaml.safe_dump({"version": "3.9", "services": services}))
    chain.overrides.append(file)


def shown(chain):
    """All that an onlooker gets to see of a project."""
    return json.dumps(chain.containers()) + chain.logs() + chain.docker("history", "--no-trunc", "prunebench:cpu")


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
    address = f"http://127.0.0.1:{finished.environment['PRUNEBENCH_PORTS'][:5]}/v1/completions"
    assert httpx.post(address, json={"prompt": "Once"}).status_code == 401
    key = finished.docker("exec", server["Id"], "cat", "/keys/key")
    answered = httpx.post(address, json={"prompt": "Once"}, headers={"authorization": f"Bearer {key}"}, timeout=60)
    assert answered.json()["usage"]["completion_tokens"] > 0
    assert len(key) == 48
    assert key not in shown(finished)
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
    long = (ROOT / "experiments" / "quick.toml").read_text().replace("blocks = 3", "blocks = 40")
    (chain.folder / "experiments" / "long.toml").write_text(long.replace('"quick"', '"long"'))
    chain.environment["EXPERIMENT"] = "experiments/long.toml"
    chain.up()
    until(lambda: list((chain.folder / "runs").glob("*/trials/*/cell.json")), chain)
    chain.docker("kill", chain.container("loadgen")["Id"])
    assert chain.exit_code("report") == 1
    assert "killed" in chain.logs()
    (run,) = runs_of(chain)
    assert run.with_name("report.html").exists()
    finished = len(list(run.parent.glob("trials/*/cell.json")))
    chain.up()
    until(lambda: len(list(run.parent.glob("trials/*/cell.json"))) > finished, chain)
    assert runs_of(chain) == [run]


def test_a_server_that_never_gets_healthy_stops_the_chain_with_an_error(chain):
    health = {"interval": "1s", "retries": 2, "start_period": "1s"}
    override(chain, {"server": {"entrypoint": ["sleep", "60"], "command": [], "healthcheck": health}})
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


def test_two_locust_workers_fill_one_folder_in_which_every_request_and_token_is_once(chain):
    """With an API key of the user's own, which the master, the workers and the server have as a file."""
    (chain.folder / "own-key").write_text("a-key-of-my-own")
    chain.environment |= {
        "API_KEY_FILE": "./own-key",
        "COMPOSE_PROFILES": "locust",
        "LOAD": "--workload concurrency --concurrency 4 --requests 31 --prompt-tokens 16 --output-tokens uniform:3-12",
    }
    chain.up("--scale", "loadgen-worker=2")
    assert chain.exit_code("loadgen-master") == 0, chain.logs()
    (folder,) = (chain.folder / "runs").iterdir()
    result = read_trial(folder)
    assert [(r.index, r.error) for r in result.records] == [(index, None) for index in range(31)]
    assert [r.output_tokens for r in result.records] == [r.asked_tokens for r in result.records]
    total = sum(r.output_tokens for r in result.records)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["completed"], summary["total_output_tokens"]) == (31, total)
    assert result.trial.server_generated_tokens == total
    assert result.trial.client.processes == 2
    assert (folder / "report.html").exists()
    workers = chain.containers("loadgen-worker")
    assert [one["State"]["ExitCode"] for one in workers if one["State"]["Status"] == "exited"] == [0, 0]
    assert len(workers) == 2
    assert "a-key-of-my-own" not in shown(chain)
    ports = chain.container("loadgen-master")["HostConfig"]["PortBindings"]
    assert [one["HostIp"] for one in ports["8089/tcp"]] == ["127.0.0.1"]


_GATED = """
import sys
sys.path.insert(0, "/hub")
from pathlib import Path
from threading import Event
from hub_server import running_hub
with running_hub(("0.0.0.0", 9000)) as hub:
    hub.models["meta-llama/Llama-3.2-1B"] = Path("/app/examples/tinyglu")
    hub.token = Path("/hub/token").read_text()
    Event().wait()
"""


def test_a_gated_model_is_fetched_with_a_token_that_nobody_gets_to_see(chain):
    """The hub is a stand-in; asking it is huggingface_hub's own, from the container that a real model is fetched in."""
    hub = chain.folder / "hub"
    hub.mkdir()
    shutil.copyfile(ROOT / "tests/pruner/checkpoint/hub_server.py", hub / "hub_server.py")
    (hub / "token").write_text("hf_a-token")
    mounted = ["./hub:/hub:ro"]
    gated = {
        "image": "prunebench:cpu",
        "entrypoint": ["python3", "-c", _GATED],
        "volumes": mounted,
        "profiles": ["cpu"],
    }
    override(chain, {"hub": gated, "pruner": {"depends_on": {"hub": {"condition": "service_started"}}}})
    chain.environment |= {"MODEL": "meta-llama/Llama-3.2-1B", "HF_ENDPOINT": "http://hub:9000"}
    chain.compose("up", "-d", "pruner")
    assert chain.exit_code("pruner") == 2
    assert "access is restricted" in chain.logs()
    chain.environment["HF_TOKEN_FILE"] = "./hub/token"
    chain.compose("up", "-d", "pruner")
    assert chain.exit_code("pruner") == 0, chain.logs()
    (run,) = runs_of(chain)
    assert "meta-llama/Llama-3.2-1B" in (run.parent / "configurations" / "width-512.json").read_text()
    assert "hf_a-token" not in shown(chain)


def test_both_generations_of_compose_read_the_same_services_from_the_file(chain, compose_v2):
    for profile in ("cpu", "gpu", "observe", "locust"):
        read = []
        for command in ("docker-compose", compose_v2):
            chain.command = command
            done = chain.compose("--profile", profile, "config")
            assert done.returncode == 0, done.stderr
            services = yaml.safe_load(done.stdout)["services"].items()
            read.append({k: [v.get(of) for of in ALIKE] for k, v in services if profile in v["profiles"]})
        assert read[0] == read[1]
        assert read[0]
