"""The experiment files of the runs whose results are published."""

from __future__ import annotations

import json
from collections.abc import Sequence

PERCENTAGES = [10, 20, 30, 40, 50, 60]  # of the neurons, as the study has them
HELD_OUT = ("held-out-chat.txt", "held-out-gsm8k.txt")
_STUDY = 'criterion = "maw"\ntie_break = "torch"'
_BEST = 'criterion = "act"\nrefit = "one-shot"\ncalibration = ["calibration.jsonl"]'
_VLLM = """\
max_model_len = "2048"
enforce_eager = "true"
kv_cache_memory_bytes = "402653184"
"""
_EIGHT_BITS = """
[[configurations]]
label = "int8"
checkpoint = "smollm2-w8a8"
"""
# name: how it is pruned, engine, the engine's own options, more configurations
RUNS = {
    "study-vllm": (_STUDY, "vllm", _VLLM, _EIGHT_BITS),
    "best-vllm": (_BEST, "vllm", _VLLM, ""),
    "study-transformers": (_STUDY, "transformers", "", ""),
}
EXPERIMENT = """\
# Written by `python -P -m benchmarks.small_model`. A relative path is relative to this file.
name = "smollm2-{name}"
seed = 2512

[model]
source = "smollm2"

[prune]
pruning_percentages = {percentages}
{pruning}

[serve]
engine = "{engine}"
keep_servers = true
start_timeout_s = 900

[serve.options]
dtype = "float32"
{options}
[protocol]
until = "+-2% on tpot and output_tokens_per_s"
min_blocks = 3
max_blocks = 40
max_hours = {hours}
warmup_limit_s = 3

[energy]
# Where no meter is found, CPU seconds x this many watts stand in, in columns called modelled: an assumption, no measurement.
modelled_watts_per_core = 7.5
idle_s = 0

[quality]
perplexity_files = {held_out}
max_tokens = 4096
tasks = {tasks}
limit = {limit}
reuse = true
{configurations}
[[workloads]]
name = "single-request"
kind = "single"
requests = 4
prompt_tokens = 128
output_tokens = 32
warmup_requests = 1

[[workloads]]
name = "batch-8"
kind = "batch"
batch_size = 8
requests = 16
prompt_tokens = 128
output_tokens = 32
warmup_requests = 8
"""


def experiment(name: str, tasks: Sequence[str], *, limit: int, hours: float) -> str:
    """The experiment file of one run; `tasks` are files, relative to it."""
    pruning, engine, options, configurations = RUNS[name]
    return EXPERIMENT.format(
        name=name,
        percentages=PERCENTAGES,
        pruning=pruning,
        engine=engine,
        options=options,
        configurations=configurations,
        held_out=json.dumps(list(HELD_OUT)),
        tasks=json.dumps(list(tasks)),
        limit=limit,
        hours=hours,
    )
