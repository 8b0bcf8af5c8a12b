"""The dashboard's queries, asked of a real Prometheus that scrapes real servers the way the compose file has it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests.project.deployment.conftest import ROOT
from tests.prunebench.conftest import TINYGLU

pytestmark = pytest.mark.docker  # requires Debian's prometheus, which `make test-containers` installs
KEY = "s3cret"
SERVERS = {"wide": "synthetic", "narrow": "synthetic", "embedded": "transformers"}


def until(check, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = check()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A function from PromQL to samples, after some load on two servers of a host."""
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus (apt-get install prometheus)")
    folder: Path = tmp_path_factory.mktemp("observed")
    (folder / "key").write_text(KEY)
    host, prometheus = "http://127.0.0.1:17000", "http://127.0.0.1:19090"
    configured = (ROOT / "deployment" / "prometheus.yml").read_text()
    configured = configured.replace("/keys/key", str(folder / "key")).replace("http://server:7000", host)
    (folder / "prometheus.yml").write_text(re.sub(r"(scrape|refresh)_interval: 5s", r"\1_interval: 1s", configured))
    serving = [
        sys.executable,
        "-m",
        "prunebench",
        "host",
        "--root",
        TINYGLU,
        "--port",
        "17000",
        "--first-port",
        "17001",
    ]
    scraping = ["prometheus", "--config.file", "prometheus.yml", "--storage.tsdb.path", "data"]
    processes = [
        subprocess.Popen([*serving, "--api-key-file", "key"], cwd=folder, stderr=subprocess.DEVNULL),
        subprocess.Popen([*scraping, "--web.listen-address", "127.0.0.1:19090"], cwd=folder, stderr=subprocess.DEVNULL),
    ]
    try:
        with httpx.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=60, trust_env=False) as client:
            until(lambda: client.get(f"{host}/health").is_success)
            wanted = {"checkpoint": str(TINYGLU), "modelled_watts_per_core": 7.5}
            ports = []
            for name, engine in SERVERS.items():
                wanted["engine"] = engine
                started = client.put(f"{host}/servers/{name}", json={**wanted, "model": name}).raise_for_status().json()
                ports.append(started["port"])

            def query(expression):
                for name, port in zip(SERVERS, ports, strict=True):
                    body = {"model": name, "prompt": [5], "max_tokens": 20, "ignore_eos": True}
                    client.post(f"http://127.0.0.1:{port}/v1/completions", json=body).raise_for_status()
                answer = client.get(f"{prometheus}/api/v1/query", params={"query": expression}).json()
                assert answer["status"] == "success", answer
                return answer["data"]["result"]

            until(lambda: len(query("count_over_time(vllm:generation_tokens_total[1m]) > 3")) == len(SERVERS))
            yield query
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def panels():
    board = json.loads((ROOT / "deployment/grafana/dashboards/prunebench.json").read_text())
    return [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]


@pytest.mark.parametrize(("title", "expression"), panels())
def test_every_query_of_the_dashboard_has_an_answer_for_every_server(asked, title, expression):
    """The synthetic engine has a meter of its own, and the embedded one here at most a modelled one."""
    expected = {"embedded"} if "modelled" in expression else {"wide", "narrow"}
    expected = set() if "wall" in expression else expected  # no meter there
    assert until(lambda: expected <= {sample["metric"].get("model_name") for sample in asked(expression)}), title


def test_joules_per_token_are_joules_over_tokens(asked):
    expression = next(expr for title, expr in panels() if title == "Energy per output token")
    found = {s["metric"]["model_name"]: float(s["value"][1]) for s in asked(expression)}
    assert found["wide"] > 0
    assert found["narrow"] > 0


def test_prometheus_and_grafana_read_what_the_compose_file_gives_them():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["observe"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
        for mount in services[name]["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith(".") or (ROOT / source).exists()
    source = yaml.safe_load((ROOT / "deployment/grafana/provisioning/datasources/prometheus.yml").read_text())
    board = json.loads((ROOT / "deployment/grafana/dashboards/prunebench.json").read_text())
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["datasources"][0]["uid"]}
