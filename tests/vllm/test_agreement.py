"""The same questions through our transformers engine and through vLLM."""

from __future__ import annotations

import pytest

from tests.prunebench.conftest import TINYGLU
from tests.prunebench.quality.test_agreement import assert_agree, evaluated

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_our_engine_and_vllm_agree(prunebench, tmp_path):
    served = evaluated(prunebench, tmp_path / "transformers", TINYGLU, "--engine", "transformers")
    options = ("--engine", "vllm", "--engine-option", "max_model_len=1024", "--engine-option", "enforce_eager=true")
    assert_agree(served, evaluated(prunebench, tmp_path / "vllm", TINYGLU, *options))
