"""vLLM serves pruned checkpoints unchanged, and writes the tokens that transformers writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prunebench.calibration.text_calibration import TextCalibration
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.prunebench.calibration.test_text_calibration import TEXT, add_tokenizer
from tests.pruner import tiny

PROMPT = [1, 7, 3, 11, 60, 4, 9, 33]
_GENERATE = """
import json, sys
from vllm import LLM, SamplingParams
greedy = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True, detokenize=False)
for folder in sys.argv[2:]:
    llm = LLM(folder, skip_tokenizer_init=True, enforce_eager=True, max_model_len=64, dtype="float32")
    (result,) = llm.generate([{"prompt_token_ids": json.loads(sys.argv[1])}], greedy, use_tqdm=False)
    print("TOKENS", json.dumps(list(result.outputs[0].token_ids)))
    del llm
"""
_ONE_QUIET_PROCESS = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "OMP_NUM_THREADS": "1",
}


LAYOUTS = ["llama", "phi3", "llama-with-mlp-bias", "qwen3-moe"]  # separate, fused, with biases, experts


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_writes_the_tokens_that_transformers_writes_at_an_odd_width_and_with_a_layer_less(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    folders, expected = [], []
    for family in LAYOUTS:
        more = {} if family == "phi3" else {"head_dim": 32}
        source = add_tokenizer(
            tiny.make_checkpoint(
                family, tmp_path / family, hidden_size=64, intermediate_size=136, num_attention_heads=2, **more
            )
        )
        calibration = TextCalibration(source, [tmp_path / "text.txt"], "act", refit="one-shot")
        (one,) = prune(
            source,
            tmp_path / f"{family}-out",
            [Target("percentage", 29)],
            remove_layers=[1],
            multiple_of=8 if "moe" in family else 1,  # grouped products require rows of 16 bytes
            criterion="act",
            calibration=calibration,
        )
        model = tiny.load(one.folder, torch.float32)
        tokens = model.generate(torch.tensor([PROMPT]), max_new_tokens=16, min_new_tokens=16, do_sample=False)
        folders.append(one.folder)
        expected.append(f"TOKENS {json.dumps(tokens[0, len(PROMPT) :].tolist())}")
    script = tmp_path / "generate.py"
    script.write_text(_GENERATE)
    done = subprocess.run(
        [sys.executable, script, json.dumps(PROMPT), *folders],
        env=os.environ | _ONE_QUIET_PROCESS,
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert [line for line in done.stdout.splitlines() if line.startswith("TOKENS ")] == expected, done.stderr[-2000:]
