from tests.prunebench.conftest import prunebench
from tests.server.conftest import checkpoint

__all__ = ["checkpoint", "prunebench"]
