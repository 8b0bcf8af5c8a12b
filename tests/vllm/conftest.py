"""What starts or imports a whole vLLM: slow, so in one place, and in one process of `make test`."""

from importlib.util import find_spec

import pytest

from tests.prunebench.conftest import prunebench
from tests.server.conftest import checkpoint, tokenizer
from tests.vllm.forks import VllmForks

__all__ = ["checkpoint", "prunebench", "tokenizer"]


@pytest.fixture(scope="session")
def forks():
    if not find_spec("vllm"):
        pytest.skip("vLLM is not installed")
    forks = VllmForks()
    yield forks
    forks.close()
