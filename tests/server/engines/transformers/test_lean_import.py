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
assert not {"sklearn", "scipy", "torchao", "bitsandbytes"} & sys.modules.keys()
import scipy.stats
"""


def test_a_model_is_loaded_without_scipy_scikit_learn_and_what_quantizes_which_can_be_imported_afterwards():
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, TINYGLU], check=False, timeout=300, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


_TOKENIZE = """
import sys
from server.engines.transformers.lean_import import import_tokenizers
import_tokenizers()
from transformers import AutoTokenizer
assert AutoTokenizer.from_pretrained(sys.argv[1])("def read(").input_ids
assert not {"torch", "sklearn", "scipy"} & sys.modules.keys()
import torch
"""


def test_a_tokenizer_is_loaded_without_torch_and_without_a_word_about_it():
    done = subprocess.run(
        [sys.executable, "-c", _TOKENIZE, TINYGLU], check=False, timeout=300, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
