from __future__ import annotations

import inspect
import json
import re
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from base.errors import UserError
from prunebench.commands.serve import serve as serve_command
from server.engines.base import EngineError
from server.serve import EXIT_ENGINE_DIED, serve
from server.settings import ServeError, ServeSettings, check_settings, read_api_key
from tests.server.conftest import serve_process, url_once_ready, wait_until, write_checkpoint


def settings(checkpoint, **given):
    return ServeSettings(checkpoint=checkpoint, **{"engine": "synthetic", **given})


def ends_in_order(process):
    """Whether the server ends soon, with status 0 and no traceback in its log."""
    _, log = process.communicate(timeout=20)
    return process.returncode == 0 and "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_idle_server_with_status_0(checkpoint, number):
    process = serve_process(checkpoint=checkpoint)
    url = url_once_ready(process)
    with httpx.Client(base_url=url) as client:  # its connection stays open
        assert client.get("/health").status_code == 200
        process.send_signal(number)
        assert ends_in_order(process)


def test_the_ready_line_and_the_metrics_report_what_loading_cost(checkpoint):
    process = serve_process(checkpoint=checkpoint)
    log = [process.stderr.readline() for _ in range(2)]
    assert log[0] == f"prunebench serve: loading {checkpoint} with the synthetic engine\n"
    ready = re.fullmatch(
        r"prunebench serve: ready at (\S+) as 'tiny', loaded in [\d.]+ s; ([\d.]+) GB resident.*\n", log[1]
    )
    metrics = httpx.get(f"{ready[1]}/metrics").text
    process.terminate()
    process.communicate(timeout=20)
    (resident,) = re.findall(r'^prunebench_load_resident_bytes{model_name="tiny"} (\S+)$', metrics, re.MULTILINE)
    assert float(resident) / 1e9 == pytest.approx(float(ready[2]), abs=0.006)
    assert 'prunebench_load_seconds{model_name="tiny"}' in metrics


def answer_to_one_in_flight_when_stopped(process, **asked):
    """Terminate the server once it works on the request; the answer that came all the same."""
    url = url_once_ready(process)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(httpx.post, f"{url}/v1/completions", json={"prompt": "x", **asked}, timeout=60)
        wait_until(lambda: 'num_requests_running{model_name="tiny"} 1.0' in httpx.get(f"{url}/metrics").text)
        process.terminate()
        return answer.result()


def test_a_signal_lets_running_requests_finish(checkpoint):
    process = serve_process(checkpoint=checkpoint, engine_options={"prefill_ms": "1500"}, shutdown_grace_s=30)
    response = answer_to_one_in_flight_when_stopped(process)
    process.communicate(timeout=20)
    assert (response.status_code, process.returncode) == (200, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_requests_that_outlast_the_grace_get_an_error(checkpoint, stream):
    options = {"prefill_ms": "1", "token_ms": "100"}
    process = serve_process(checkpoint=checkpoint, engine_options=options, shutdown_grace_s=0.5)
    response = answer_to_one_in_flight_when_stopped(process, max_tokens=2000, stream=stream)
    assert ends_in_order(process)
    error = json.loads(response.text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    assert error["code"] == "stopping"
    assert response.status_code == (200 if stream else 503)


def test_a_dead_engine_ends_the_server_with_its_own_status(checkpoint):
    process = serve_process(checkpoint=checkpoint, engine_options={"fail_after": "5", "token_ms": "1"})
    url = url_once_ready(process)
    response = httpx.post(f"{url}/v1/completions", json={"prompt": "x", "max_tokens": 50}, timeout=20)
    _, log = process.communicate(timeout=20)
    assert response.status_code == 503
    assert process.returncode == EXIT_ENGINE_DIED == 3
    assert "the engine has died: fail_after=5" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_it_with_status_0(checkpoint, number):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = serve_process(checkpoint=checkpoint, port=port, engine_options={"start_s": "600"})
    assert process.stderr.readline().startswith("prunebench serve: loading")
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=20).json()["error"]["code"] == "loading"
    process.send_signal(number)
    assert ends_in_order(process)


def test_a_signal_ends_a_server_whose_log_nobody_reads_any_more(checkpoint):
    process = serve_process(checkpoint=checkpoint)
    url_once_ready(process)
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def test_a_taken_port_is_reported_before_the_engine_is_loaded(checkpoint):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = serve_process(checkpoint=checkpoint, port=port)
        _, log = process.communicate(timeout=20)
    assert log.splitlines() == [f"--port {port}: cannot listen on 127.0.0.1: Address already in use"]


def test_a_server_that_cannot_load_names_what_to_fix(checkpoint):
    process = serve_process(checkpoint=checkpoint, engine_options={"speed": "9"})
    _, log = process.communicate(timeout=20)
    assert log.splitlines()[-1].startswith("--engine-option speed: ")
    assert "Traceback" not in log


def test_a_port_is_free_again_at_once(checkpoint):
    first = serve_process(checkpoint=checkpoint)
    url = url_once_ready(first)
    with httpx.Client(base_url=url) as client:
        client.get("/health")
        first.terminate()
        first.communicate(timeout=20)
    second = serve_process(checkpoint=checkpoint, port=int(url.rsplit(":", 1)[1]))
    assert url_once_ready(second) == url
    second.terminate()
    second.communicate(timeout=20)


def test_the_key_of_the_file_is_the_key(checkpoint, tmp_path):
    (tmp_path / "key").write_text("s3cret\n")
    process = serve_process(checkpoint=checkpoint, api_key_file=tmp_path / "key")
    url = url_once_ready(process)
    assert httpx.get(f"{url}/v1/models").status_code == 401
    assert httpx.get(f"{url}/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
    process.terminate()
    process.communicate(timeout=20)


@pytest.mark.parametrize("content", [None, "", " \n", "two\nlines", "café"])
def test_a_key_file_without_a_usable_key_is_refused(tmp_path, checkpoint, content):
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match="--api-key-file"):
        read_api_key(settings(checkpoint, api_key_file=file))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_a_host_others_can_reach_requires_a_key(checkpoint, tmp_path, host):
    with pytest.raises(ServeError, match=r"^--host .*--api-key-file"):
        check_settings(settings(checkpoint, host=host))
    assert check_settings(settings(checkpoint, host=host, allow_open=True)).name == "synthetic"
    (tmp_path / "key").write_text("k")
    assert check_settings(settings(checkpoint, host=host, api_key_file=tmp_path / "key")).name == "synthetic"


def test_a_host_this_machine_has_not_is_named(checkpoint):
    for host in ("192.0.2.1", "no-such-host.invalid"):
        with pytest.raises(ServeError, match=f"^--host {host}"):
            serve(settings(checkpoint, host=host, allow_open=True, port=0))


def test_a_checkpoint_that_is_none_is_named(tmp_path):
    with pytest.raises(ServeError, match=r"CHECKPOINT .*no such folder"):
        serve(settings(tmp_path / "nowhere"))
    folder = write_checkpoint(tmp_path / "bare")
    with pytest.raises(EngineError, match=r"no config\.json"):
        check_settings(settings(folder, engine="transformers"))
    (folder / "config.json").write_text("{")
    with pytest.raises(EngineError, match=r"config\.json: "):
        check_settings(settings(folder, engine="transformers"))
    (folder / "config.json").write_text("[]")
    with pytest.raises(EngineError, match=r"config\.json: not a JSON object"):
        check_settings(settings(folder, engine="transformers"))
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ServeError, match=r"tokenizer\.json: not found"):
        serve(settings(folder))


def test_the_app_needs_neither_torch_nor_transformers():
    code = "import sys, server.serve; sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'vllm')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_setting_is_an_option_of_serve_with_the_same_default():
    options = {name: parameter.default for name, parameter in inspect.signature(serve_command).parameters.items()}
    assert options.pop("engine_option") is None  # KEY=VALUE, many times; becomes engine_options
    settings = {name: field.default for name, field in ServeSettings.model_fields.items()}
    assert settings.pop("engine_options") == {}
    assert options.keys() == settings.keys()
    del options["checkpoint"], settings["checkpoint"]  # the argument
    assert options == settings
