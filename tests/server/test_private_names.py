"""Names that libraries do not promise to keep: each is used in one module, and a new version that moves one fails here."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

SERVER = Path(__file__).parents[2] / "server"
# What a module's name begins with → the only file of server/ that may import it.
HOMES = {
    "uvicorn": "transport/connection.py",
    "vllm": "engines/vllm/interface.py",
    "transformers.": "engines/transformers/slot_cache.py",
}


def imported(file: Path) -> set[str]:
    tree = ast.walk(ast.parse(file.read_text()))
    return {
        name
        for node in tree
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }


def assigned(kind: type) -> set[str]:
    """Attributes that the class's own methods set on `self`."""
    tree = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    return {node.attr for node in tree if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


@pytest.mark.parametrize(("library", "home"), HOMES.items())
def test_one_module_imports_what_a_library_does_not_promise(library, home):
    users = {
        str(file.relative_to(SERVER))
        for file in SERVER.rglob("*.py")
        if any(f"{name}.".startswith(f"{library.rstrip('.')}.") and name + "." != library for name in imported(file))
    }
    assert users == {home}


def test_private_operators_of_torch_are_used_in_one_module():
    users = [str(file.relative_to(SERVER)) for file in SERVER.rglob("*.py") if "torch.ops" in file.read_text()]
    assert users == ["engines/transformers/packing.py"]


def test_uvicorns_connection_has_what_ours_overrides_and_reads():
    handlers = {
        *("connection_made", "connection_lost", "data_received", "on_headers_complete", "on_message_complete"),
        *("on_response_complete", "pause_writing", "resume_writing", "send_400_response", "timeout_keep_alive_handler"),
    }
    assert handlers <= vars(HttpToolsProtocol).keys()
    assert list(inspect.signature(HttpToolsProtocol._start_asgi_task).parameters) == ["self", "cycle", "app"]
    assert {"pipeline", "url", "headers", "transport", "loop"} <= assigned(HttpToolsProtocol)
    assert {
        *("scope", "transport", "flow", "message_event", "disconnected", "chunked_encoding"),
        *("more_body", "response_started", "response_complete"),
    } <= assigned(RequestResponseCycle)
    assert "write_paused" in assigned(FlowControl)
    assert "capture_signals" in vars(uvicorn.Server)


def test_transformers_has_what_the_slot_cache_is_built_on():
    import transformers
    from transformers.cache_utils import Cache, CacheLayerMixin
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    assert "layer_class_to_replicate" in inspect.signature(Cache).parameters
    assert {"update", "get_mask_sizes", "get_query_offset"} <= vars(Cache).keys()
    abstract = {"lazy_initialization", "update", "get_mask_sizes", "get_seq_length", "get_max_length"}
    assert CacheLayerMixin.__abstractmethods__ <= abstract
    leading = ["module", "query", "key", "value", "attention_mask"]
    assert list(inspect.signature(sdpa_attention_forward).parameters)[:5] == leading
    assert callable(transformers.AttentionInterface.register)
    assert callable(transformers.AttentionMaskInterface.register)


def test_torch_has_the_operators_that_pack_linear_layers():
    import torch

    operators = torch.ops.mkldnn
    weight = torch.randn(8, 4)
    packed = operators._reorder_linear_weight(weight, 16)
    found = operators._linear_pointwise(torch.ones(1, 4), packed, None, "none", [], "")
    torch.testing.assert_close(found, weight.sum(dim=1).unsqueeze(0))
