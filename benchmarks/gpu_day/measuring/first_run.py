"""Stages c and d: `prunebench run` of a random Llama at four widths, single and batched, in as many blocks as the time allows.

The experiment is `runs/LETTER-ENGINE.toml`, the run beside it. With --may-set-power one more configuration has its GPU's power
capped; on vLLM another has the weights in 8 bits.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.gpu_day.archive import SCRATCH
from benchmarks.gpu_day.measuring.checkpoint import random_llama
from benchmarks.gpu_day.profiles import Profile, stage_parser
from energy.gpu_limits import GpuLimiter, GpuLimitError, GpuLimits
from energy.meters.nvidia.gpus import find_gpus

_LEAST_BLOCKS = 3  # with fewer an interval says nothing
_WORKLOADS = 2
_PATIENT_S = 900.0  # with more than that vLLM compiles
_CAP = 0.6  # of the default power limit
_CONTEXT = 512
_SHARE_OF_GPU = 0.15  # that one of six vLLM side by side may take


def main() -> None:
    """Write the experiment, then become `prunebench run`."""
    parser = stage_parser(__doc__)
    parser.add_argument("--letter", required=True)
    parser.add_argument("--engine", choices=["transformers", "vllm", "synthetic"], required=True)
    parser.add_argument("--may-set-power", action="store_true")
    options = parser.parse_args()
    profile: Profile = options.profile
    work: Path = options.work
    if options.engine == "vllm":
        import vllm  # noqa: F401 - an installation that cannot be imported fails here, with its own error
    source = random_llama(work, profile.shape)
    more = _capped() if options.may_set_power else ""
    more += _in_8_bits(source) if options.engine == "vllm" else ""
    runs = work / "runs"
    runs.mkdir(exist_ok=True)
    name = f"{options.letter}-{options.engine}"
    run = next(runs / one for one in (name, *(f"{name}-{n}" for n in range(2, 100))) if not (runs / one).exists())
    file = run.with_suffix(".toml")
    file.write_text(experiment(run.name, source, options, more))
    words = [sys.executable, "-P", "-m", "prunebench", "run", f"{file}", "--output", f"{run}"]
    words += [
        "--checkpoints",
        f"{work / SCRATCH / run.name}",
        *(["--may-set-gpu-limits"] if "power_limit_w" in more else []),
    ]
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606 - so that the run itself gets the interrupt of a stage that is cut


def experiment(name: str, source: Path, options: argparse.Namespace, more: str) -> str:
    profile: Profile = options.profile
    configurations = 1 + len(profile.widths) + more.count("[[configurations]]")
    for_cells = 0.85 * options.seconds - profile.start_s * configurations / (1 + len(profile.widths))
    blocks = int(for_cells / (configurations * _WORKLOADS * profile.cell_s))
    lengths = f"duration_s = {profile.window_s}\nprompt_tokens = {profile.prompt_tokens}\noutput_tokens = {profile.output_tokens}"
    given = "".join(
        f'{key} = "{value}"\n' for key, value in _engine_options(profile, options.engine, options.seconds).items()
    )
    return f"""\
name = "{name}"
seed = 28

[model]
source = "{source}"

[prune]
widths = {list(profile.widths)}

[serve]
engine = "{options.engine}"
keep_servers = true

[serve.options]
{given}
[protocol]
blocks = {min(max(blocks, _LEAST_BLOCKS), profile.most_blocks)}
warmup_limit_s = 0

[energy]
idle_s = {profile.idle_s}

[[workloads]]
name = "single-request"
kind = "single"
{lengths}

[[workloads]]
name = "batch-{profile.batch}"
kind = "batch"
batch_size = {profile.batch}
warmup_requests = {profile.batch}
{lengths}
{more}"""


def _engine_options(profile: Profile, engine: str, seconds: float) -> dict[str, object]:
    if engine == "synthetic":
        return {"prefill_ms": 2, "token_ms": 1, "vocab": profile.shape.vocabulary}
    options: dict[str, object] = {"dtype": profile.dtype, "max_model_len": _CONTEXT, "max_num_seqs": profile.batch}
    if engine == "transformers":
        return options | {"device": profile.device}
    options |= {"enable_prefix_caching": "false", "enforce_eager": f"{seconds < _PATIENT_S}".lower()}
    if profile.is_rehearsal:
        return options | {"kv_cache_memory_bytes": 2**26}
    return options | {"kv_cache_memory_bytes": 2**31, "gpu_memory_utilization": _SHARE_OF_GPU}


def _capped() -> str:
    """A configuration whose power limit is six tenths of the default; none, with a line in the log, where it cannot be set."""
    limits = [
        max(facts.power_limit_range_watts[0], _CAP * facts.default_power_limit_watts)
        for facts in (meter.facts for meter in find_gpus()[0])
        if facts.power_limit_range_watts and facts.default_power_limit_watts
    ]
    if not limits:
        print("no capped configuration: no GPU says which power limits it takes")
        return ""
    limiter = GpuLimiter()
    try:
        limiter.set(GpuLimits(power_limit_w=round(max(limits))))
    except GpuLimitError as error:
        print(f"no capped configuration: {error}")
        return ""
    finally:
        limiter.close()
    return f'\n[[configurations]]\nlabel = "capped"\npower_limit_w = {round(max(limits))}\n'


def _in_8_bits(source: Path) -> str:
    from examples.make_variants import write_w8a8

    folder = source.with_name("llama-w8a8")
    if not folder.exists():
        write_w8a8(source, folder)
    return f'\n[[configurations]]\nlabel = "w8a8"\ncheckpoint = "{folder}"\n'


if __name__ == "__main__":
    main()
