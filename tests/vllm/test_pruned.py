"""vLLM serves pruned checkpoints unchanged, and writes the tokens that transformers writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prunebench.calibration.text_calibration import TextCalibration
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.prunebench.calibration.test_text_calibration import TEXT, add_tokenizer
from tests.pruner import tiny
from tests.vllm.forks import VllmForks, generate

PROMPT = [1, 7, 3, 11, 60, 4, 9, 33]
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
def test_vllm_writes_the_tokens_that_transformers_writes_at_an_odd_width_and_with_a_layer_less(
    tmp_path: Path, forks: VllmForks, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        expected.append(f"TOKENS {tokens[0, len(PROMPT) :].tolist()}")
    for name, value in _ONE_QUIET_PROCESS.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "log"
    process = forks.start(log, generate, PROMPT, folders)
    try:
        process.wait(600)
    finally:
        process.end()
    printed = log.read_text()
    assert [line for line in printed.splitlines() if line.startswith("TOKENS ")] == expected, printed[-2000:]
