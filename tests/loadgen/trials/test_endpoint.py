from __future__ import annotations

import gzip
import json

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.endpoint import Endpoint, LoadError, ServedModel, check_endpoint, only_model, server_address
from tests.loadgen.scripted import ScriptedServer, sized
from tests.server.conftest import running_server, write_checkpoint


def serving(models):
    return ScriptedServer(lambda *_: [], pages={"/v1/models": lambda: models})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


def test_our_server_says_what_it_serves_with_what(checkpoint):
    with running_server(checkpoint) as server:
        served = check_endpoint(Endpoint(server.url, "tiny"))
    assert (served.max_model_len, served.engine, served.engine_version, served.dtype) == (
        4096,
        "synthetic",
        "1",
        "none",
    )
    assert served.options is not None
    assert (served.options["prefill_ms"], served.options["natural_length"]) == ("2.0", "None")


def test_a_server_that_says_less_is_taken_as_it_is():
    with serving(json.dumps({"data": [{"id": "m"}]}).encode()) as server:
        assert check_endpoint(Endpoint(server.url, "m")) == ServedModel(None, None, None, None)


def test_an_unknown_model_is_reported_with_those_that_are_served(checkpoint):
    with running_server(checkpoint) as server, pytest.raises(LoadError, match=r"--model other: .* serves tiny$"):
        check_endpoint(Endpoint(server.url, "other"))


def test_a_missing_or_wrong_key_names_its_flag(checkpoint):
    with running_server(checkpoint, api_key="secret") as server:
        for key in (None, "wrong"):
            with pytest.raises(LoadError, match="--api-key-file"):
                check_endpoint(Endpoint(server.url, "tiny", api_key=key))
        assert check_endpoint(Endpoint(server.url, "tiny", api_key="secret")).engine == "synthetic"


def test_a_server_that_is_not_ready_may_still_be_loading_its_model():
    with serving(sized(b"", "503 Service Unavailable")) as server, pytest.raises(LoadError, match="still be loading"):
        check_endpoint(Endpoint(server.url, "m"))


@pytest.mark.parametrize("key", ["schlüssel", "two\nlines"])
def test_a_key_that_cannot_travel_in_a_header_is_not_tried_and_not_shown(key):
    with pytest.raises(LoadError, match="--api-key-file") as raised:
        check_endpoint(Endpoint("http://127.0.0.1:9", "m", api_key=key))
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("https://host/v1/", "https://host"),
        (" http://[::1]:8000/v1 ", "http://[::1]:8000"),
        ("unix:/run/s.sock", "unix:/run/s.sock"),
        ("http+unix://%2Frun%2Fs.sock", "http+unix://%2Frun%2Fs.sock"),
    ],
)
def test_addresses_as_people_type_them_are_the_servers(typed, address):
    assert server_address(typed) == address


@pytest.mark.parametrize(
    "typed",
    [
        "", "8000", "localhost:8000", "http://", "http://[::1", "http://::1:8000", "http://h:99999", "http://h:0", "http://h:x",
        "http://h/v2", "http://h?x=1", "http://h#x", "http://me:secret@h", "http://me@h:8000/v1", "unix:", "unix:s.sock",
        "http+unix://s", "http://h h", "http://bücher", "http://h\n:80",
    ],
)  # fmt: skip
def test_other_addresses_are_one_line_without_the_password(typed):
    with pytest.raises(LoadError) as raised:
        server_address(typed)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@given(st.text() | st.text(alphabet="http://[]:@?#%unix.v1 \n").map("http://".__add__))
def test_any_text_is_an_address_or_one_line(typed):
    try:
        address = server_address(typed)
    except LoadError as error:
        assert str(error).startswith("URL ")  # noqa: PT017
    else:
        assert server_address(address) == address


def test_a_server_on_an_ipv6_address_is_asked():
    with ScriptedServer(lambda *_: [], pages={"/v1/models": lambda: b'{"data": [{"id": "m"}]}'}, host="::1") as server:
        assert check_endpoint(Endpoint(server.url, "m")).engine is None


def test_a_redirect_is_not_followed_and_names_where_it_leads():
    moved = sized(b"", "307 Temporary Redirect", "Location: http://elsewhere/v1/models\r\n")
    with serving(moved) as server, pytest.raises(LoadError, match="redirects to http://elsewhere"):
        check_endpoint(Endpoint(server.url, "m", api_key="secret"))


@pytest.mark.parametrize("drip", [b"HTTP/1.1 200 OK\r\nA: ", b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"])
def test_a_server_that_drips_is_not_waited_for_beyond_the_deadline(drip):
    steps = [drip, *(step for _ in range(1000) for step in (0.01, b"a"))]
    with (
        ScriptedServer(lambda *_: steps) as server,
        Endpoint(server.url, "m").client(deadline_s=0.3) as client,
        pytest.raises(httpx.ReadTimeout, match=r"no whole answer within 0\.3 s"),
    ):
        client.post("/v1/completions", json={})


def test_control_answers_come_compressed_too():
    body = gzip.compress(b'{"data": [{"id": "m"}]}')
    answer = sized(body, headers="Content-Encoding: gzip\r\n")
    with serving(answer) as server:
        assert check_endpoint(Endpoint(server.url, "m")).engine is None


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a", "http://", "http://127.0.0.1:1/v2"])
def test_a_url_that_is_none_is_reported_before_anything_is_asked(url):
    with pytest.raises(LoadError, match="must be like"):
        check_endpoint(Endpoint(url, "m"))


def test_nobody_there_names_the_url():
    with pytest.raises(LoadError, match=r"http://127.0.0.1:9 does not answer"):
        check_endpoint(Endpoint("http://127.0.0.1:9", "m"))


@pytest.mark.parametrize("page", [b"hello", b"{}", b'{"data": 5}', b'{"data": [5]}', b'{"data": [{}]}', b"[]"])
def test_another_kind_of_server_is_reported_as_such(page):
    with serving(page) as server, pytest.raises(LoadError, match="not an OpenAI list of models"):
        check_endpoint(Endpoint(server.url, "m"))


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "500 Internal Server Error"])
def test_a_server_without_a_list_of_models_is_taken_at_the_user_s_word_and_without_one_asks_for_it(status):
    with serving(sized(b"", status)) as server:
        assert check_endpoint(Endpoint(server.url, "m")) == ServedModel(None, None, None, None)
        with pytest.raises(LoadError, match=f"answered {status[:3]}: --model names the model"):
            only_model(Endpoint(server.url, ""))


def test_an_empty_list_of_models_says_nothing_of_the_one_that_is_named():
    with serving(b'{"data": []}') as server:
        assert check_endpoint(Endpoint(server.url, "m")) == ServedModel(None, None, None, None)
        with pytest.raises(LoadError, match=r"--model: name one; .* lists none"):
            only_model(Endpoint(server.url, ""))


def test_every_error_is_one_line():
    with serving(b"{}") as server, pytest.raises(LoadError) as raised:
        check_endpoint(Endpoint(server.url, "m"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_that_applies_to_the_server_is_refused_with_what_to_do(monkeypatch, name):
    for each in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(name, "http://proxy.test:3128")
    with pytest.raises(LoadError, match=r"add server\.test to NO_PROXY"):
        check_endpoint(Endpoint("http://server.test:8000", "m"))
    monkeypatch.setenv("NO_PROXY", "server.test")
    assert Endpoint("http://server.test:8000", "m").proxy is None
    assert Endpoint("unix:/run/server.sock", "m").proxy is None


@pytest.mark.parametrize("url", ["unix:/run/s.sock", "unix:///run/s.sock", "http+unix://%2Frun%2Fs.sock"])
def test_a_unix_socket_has_a_path_and_is_local(url):
    endpoint = Endpoint(url, "m")
    assert (endpoint.socket_path, endpoint.is_local, endpoint.host_header) == ("/run/s.sock", True, "localhost")


# httpcore leaves a Unix socket that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_a_unix_socket_without_a_path_or_a_server_is_reported_in_one_line():
    with pytest.raises(LoadError, match="must be like unix:/run"):
        check_endpoint(Endpoint("unix:server.sock", "m"))
    with pytest.raises(LoadError, match="does not answer"):
        check_endpoint(Endpoint("unix:/nowhere/server.sock", "m"))
