"""A host starts vLLM with none of the options that could run other code or read other files, whichever this vLLM has."""

from __future__ import annotations

import dataclasses

import psutil
import pytest

from server.engines.vllm.entry import VLLM
from tests.prunebench.conftest import started
from tests.prunebench.servers.test_host import asking, host
from tests.prunebench.servers.test_host import wanted as wanted_over_http
from tests.prunebench.servers.test_pool import TUNABLES, refusal, servers, wanted

__all__ = ["host", "started"]
pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,  # importing vLLM
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def fields():
    """The names of all options."""
    return [field.name for field in dataclasses.fields(pytest.importorskip("vllm").AsyncEngineArgs)]


def test_every_option_of_vllm_that_is_not_a_tunable_is_refused_before_anything_starts(tmp_path, fields):
    hosted = servers(tmp_path)
    assert not TUNABLES["vllm"] - set(fields)
    dangerous = [name for name in fields if name not in TUNABLES["vllm"]]
    assert {"model", "tokenizer", "trust_remote_code", "worker_cls", "speculative_config", "download_dir"} < set(
        dangerous
    )
    for name in dangerous:
        status, why = refusal(hosted, wanted(engine="vllm", options={name: "true"}))
        assert (status, name in why) == (403, True)


def test_a_host_refuses_every_option_of_vllm_that_could_run_other_code_or_read_other_files(host, fields):
    url, process, _ = host
    names = set(fields) - VLLM.tunable_over_http()
    assert len(names) > 100
    with asking(url) as client:
        answers = {
            name: client.put("/servers/a", json=wanted_over_http(engine="vllm", options={name: "true"})).status_code
            for name in names
        }
        assert set(answers.values()) == {403}, answers
        assert client.get("/servers").json() == {"servers": []}
    assert not psutil.Process(process.pid).children()
