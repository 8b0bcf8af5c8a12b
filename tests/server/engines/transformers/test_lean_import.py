"""What a server with the embedded engine does not import, though it is installed."""

import subprocess
import sys

import pytest

from tests.prunebench.conftest import TINYGLU

pytestmark = pytest.mark.slow

_LOAD = """
import sys
from server.engines.transformers.lean_import import import_transformers
import_transformers()
import server.engines.transformers.slot_scheduler
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1])
assert not {"sklearn", "scipy"} & sys.modules.keys()
import scipy.stats
"""


def test_a_model_is_loaded_without_scipy_and_scikit_learn_which_can_be_imported_afterwards():
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, TINYGLU], check=False, timeout=300, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
