"""What a server with the embedded engine does not import, though it is installed."""

import sys

import pytest

from tests.prunebench.conftest import TINYGLU
from tests.support.captured import captured

pytestmark = pytest.mark.slow

# What is asked of torch's compiler afterwards is answered by itself, and so is transformers' name for a part of it.
_COMPILE = """
import torch.distributed.tensor
from torch._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
from transformers import masking_utils
assert isinstance(masking_utils.TransformGetItemToIndex(), TransformGetItemToIndex)
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(2)).tolist() == [2, 2]
assert torch.distributed.is_available()
"""
_LOAD = """
import sys
from server.engines.transformers.lean_import import lean_transformers
with lean_transformers():
    import server.engines.transformers.slot_scheduler
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model(torch.tensor([[1, 2, 3]]))
assert not {"sklearn", "scipy", "torchao", "bitsandbytes"} & sys.modules.keys()
assert not {"torch._dynamo", "torch.distributed.tensor"} & sys.modules.keys()
import scipy.stats
"""


def test_a_model_runs_without_scipy_scikit_learn_and_what_quantizes_or_compiles_which_can_be_imported_afterwards():
    done = captured([sys.executable, "-c", _LOAD + _COMPILE, TINYGLU], timeout=300)
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
    done = captured([sys.executable, "-c", _TOKENIZE, TINYGLU], timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
