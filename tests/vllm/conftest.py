from tests.prunebench.conftest import prunebench
from tests.server.conftest import checkpoint, tokenizer

__all__ = ["checkpoint", "prunebench", "tokenizer"]
