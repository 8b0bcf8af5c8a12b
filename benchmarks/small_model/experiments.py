"""The experiment files of the runs whose results are published."""

from __future__ import annotations

import json
from typing import NamedTuple

WIDTHS = [1383, 1229, 1076, 922, 768, 615]  # of 1536: the study's 10, 20 … 60 % of the neurons removed
HELD_OUT = ("held-out-chat.txt", "held-out-gsm8k.txt")
_VLLM = """\
max_model_len = "2048"
enforce_eager = "true"
kv_cache_memory_bytes = "134217728"
"""
_TRANSFORMERS = """\
max_num_seqs = "8"
max_model_len = "1536"
"""  # thirteen servers are up at once
_EIGHT_BITS = """
[[configurations]]
label = "int8"
checkpoint = "smollm2-w8a8"
"""
_BEST = "".join(
    f"""
[[configurations]]
label = "act-refit-{width}"
width = {width}
criterion = "act"
refit = "one-shot"
"""
    for width in WIDTHS
)


class Run(NamedTuple):
    """What one run has of its own."""

    engine: str
    options: str  # the engine's own, a line each
    widths: list[int] = WIDTHS
    configurations: str = ""  # beside those of the widths
    calibration: str = ""  # the text that these are calibrated on
    dtype: str = "float32"


RUNS = {
    "vllm": Run("vllm", _VLLM),
    # vLLM's kernel for 8-bit integers takes no float32 where the CPU has AVX-512.
    "vllm-bfloat16": Run("vllm", _VLLM, widths=[1076, 768], configurations=_EIGHT_BITS, dtype="bfloat16"),
    "transformers": Run(
        "transformers", _TRANSFORMERS, configurations=_BEST, calibration='calibration = ["calibration.jsonl"]\n'
    ),
}
EXPERIMENT = """\
# Written by `python -P -m benchmarks.small_model`. A relative path is relative to this file.
name = "smollm2-{name}"
seed = 2512

[model]
source = "smollm2"

[prune]
widths = {widths}
criterion = "maw"
tie_break = "torch"
{calibration}
[serve]
engine = "{engine}"
keep_servers = true
start_timeout_s = 900

[serve.options]
dtype = "{dtype}"
{options}
[protocol]
until = "+-2% on tpot and output_tokens_per_s"
min_blocks = 3
max_blocks = 100
max_hours = {hours}
warmup_limit_s = 3

[energy]
# Where no meter is found, CPU seconds x this many watts stand in, in columns called modelled: an assumption, no measurement.
modelled_watts_per_core = 7.5
idle_s = 0

[quality]
perplexity_files = {held_out}
max_tokens = 2048
{configurations}
[[workloads]]
name = "single-request"
kind = "single"
requests = 3
prompt_tokens = 128
output_tokens = 32
warmup_requests = 1

[[workloads]]
name = "batch-8"
kind = "batch"
batch_size = 8
requests = 8
prompt_tokens = 128
output_tokens = 32
warmup_requests = 4
"""


def experiment(name: str, *, hours: float) -> str:
    """The experiment file of one run."""
    run = RUNS[name]
    return EXPERIMENT.format(name=name, hours=hours, held_out=json.dumps(list(HELD_OUT)), **run._asdict())
