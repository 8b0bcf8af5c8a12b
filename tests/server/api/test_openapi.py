"""/openapi.json: valid, complete, and true, which schemathesis tries to disprove with requests it makes up from it."""

from __future__ import annotations

import httpx
import pytest
import requests
from hypothesis import HealthCheck, given, settings

from tests.server.conftest import running_server, wait_until
from tests.support.lazy import Lazy
from tests.support.long import short_or_long

schemathesis = Lazy("schemathesis")
TRUTHS = ("content_type_conformance", "response_schema_conformance", "status_code_conformance")
EXAMPLES = {"GET": short_or_long(10, 20), "POST": short_or_long(50, 200)}  # of each kind for each operation

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def fast(checkpoint):
    options = {"prefill_ms": "0", "token_ms": "0", "max_model_len": "64"}
    with running_server(checkpoint, engine_options=options) as server:
        yield server


@pytest.fixture(scope="module")
def document(fast):
    return httpx.get(f"{fast.url}/openapi.json").json()


def test_the_document_is_openapi_31(fast, document):
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_url(f"{fast.url}/openapi.json").validate()


def test_definitions_stand_once_under_components(document):
    def references(part):
        if isinstance(part, dict):
            yield from [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            part = list(part.values())
        for inner in part if isinstance(part, list) else []:
            yield from references(inner)

    found = set(references(document))
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert found == known
    assert "$defs" not in str(document)


def test_every_path_has_its_errors_in_openais_shape(document):
    for path, operations in document["paths"].items():
        for operation in operations.values():
            refused = {status: response for status, response in operation["responses"].items() if status != "200"}
            assert {"500", "503"} <= refused.keys(), path
            for response in refused.values():
                assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}
    statuses = document["paths"]["/v1/completions"]["post"]["responses"].keys()
    assert statuses == {"200", "400", "401", "404", "408", "413", "429", "500", "503"}


def test_the_document_says_so_when_a_key_is_wanted(checkpoint, document):
    with running_server(checkpoint, api_key="k") as server:
        assert httpx.get(f"{server.url}/openapi.json").status_code == 401
        guarded = httpx.get(f"{server.url}/openapi.json", headers={"authorization": "Bearer k"}).json()
    assert guarded["security"] == [{"key": []}]
    assert "security" not in document


def statuses_of_made_up_requests(operation, mode, session):
    """Ask one operation many things; the statuses that came. Raises what schemathesis finds to be untrue."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    truths = [not_a_server_error, *(getattr(checks, name) for name in TRUTHS)]
    seen: set[int] = set()

    @settings(
        max_examples=EXAMPLES[operation.method.upper()],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode(mode)))
    def holds(case):
        response = case.call(session=session)
        seen.add(response.status_code)
        case.validate_response(response, checks=truths)

    holds()
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_made_up_from_the_document_disproves_it(fast, mode):
    schema = schemathesis.openapi.from_url(f"{fast.url}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    if mode == "negative":
        operations = [one for one in operations if one.body or one.query]  # elsewhere there is nothing to get wrong
    with requests.Session() as session:
        seen = {one.label: statuses_of_made_up_requests(one, mode, session) for one in operations}
    wait_until(lambda: fast.running == 0)
    wanted = {"positive": 200, "negative": 400}[mode]
    assert len(seen) >= 5
    assert all(wanted in statuses for statuses in seen.values()), seen
