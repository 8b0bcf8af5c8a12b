import pytest

from tests.server.conftest import serve_process, url_once_ready, write_checkpoint


@pytest.fixture(scope="module")
def url(request, tmp_path_factory):
    """A synthetic server; a module that needs another time per token says so in TOKEN_MS."""
    folder = write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")
    token_ms = getattr(request.module, "TOKEN_MS", "4")
    process = serve_process(checkpoint=folder, engine_options={"prefill_ms": "20", "token_ms": token_ms})
    yield url_once_ready(process)
    process.terminate()
    process.communicate(timeout=30)
