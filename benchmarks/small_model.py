"""The published results in `results/`: what pruning, and 8 bits, do to a real, small model on a CPU.

    python -P -m benchmarks.small_model --data FOLDER                        all of them: three runs of half an hour, and their tasks
    python -P -m benchmarks.small_model --data FOLDER --runs study-vllm      one of them
    python -P -m benchmarks.small_model --data FOLDER --resume --blocks 10   more blocks of each

`study-vllm` and `study-transformers` have the study's question: SmolLM2-135M-Instruct, whole and at six of the study's widths by
its criterion, maw, with 8-bit integers beside them under vLLM. `best-vllm` has the same widths by the criterion and refit that
keep the most here. Every width is loaded with single requests and in batches, in blocks until each ratio's interval is within
2 %, or --hours are up, which the report then says. Quality: perplexity and bits per byte of held-out chat and GSM8K, IFEval's
first --limit prompts, and the perplexity of GSM8K's answers. FOLDER is that of `benchmarks.pruning_quality.tasks`, whose
calibration text `best-vllm` has. What is fetched and made stays in --folder; pages and summaries are written to --results.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from benchmarks.pruning_quality import texts
from benchmarks.pruning_quality.__main__ import calibration_file
from examples.make_variants import write_w8a8
from examples.real import source, tasks

PERCENTAGES = [10, 20, 30, 40, 50, 60]  # of the neurons, as the study has them
PUBLISHED = ("report.html", "report.md", "cells.csv", "environment.json", "experiment.toml", "run.json", "card.png")
_HELD_OUT = {"chat": "held-out-chat.txt", "gsm8k": "held-out-gsm8k.txt"}
_CHARACTERS = 30_000  # of each held-out text
_STUDY, _BEST = (
    'criterion = "maw"\ntie_break = "torch"',
    'criterion = "act"\nrefit = "one-shot"\ncalibration = ["{text}"]',
)
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
max_tokens = 16384
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


def main() -> None:
    """Run and publish each. Ends with the status of a run that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with IFEval's prompts and GSM8K's rows")
    parser.add_argument("--folder", type=Path, default=Path("small-model"), help="what is fetched, made and recorded")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where pages and summaries go")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS), metavar="RUN")
    parser.add_argument("--limit", type=int, default=100, help="items a task")
    parser.add_argument("--hours", type=float, default=0.5, help="no block begins that would end later, in each run")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in --folder")
    parser.add_argument("--blocks", type=int, help="of --resume: the most blocks in all")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    unpacked = source.fetch(folder)
    asked = make(folder, unpacked, options.data.resolve())
    for name in options.runs:
        file = folder / f"{name}.toml"
        file.write_text(experiment(name, asked, limit=options.limit, hours=options.hours))
        output = folder / "runs" / name
        command = ["run", file.name, "--output", f"runs/{name}"]
        command += ["--resume"] if options.resume else []
        command += ["--blocks", str(options.blocks)] if options.resume and options.blocks else []
        _prunebench(folder, unpacked, *command)
        _prunebench(folder, unpacked, "report", f"runs/{name}", "--card")
        publish(output, options.results / name, command)
        print(f"{name}: {options.results / name / 'report.html'}", flush=True)


def make(folder: Path, unpacked: Path, data: Path) -> dict[str, Path]:
    """The converted model, its 8-bit copy, the held-out and the calibration text, and the task files, which are returned."""
    model = source.convert(unpacked, folder / "smollm2")
    if not (eight_bits := folder / "smollm2-w8a8").exists():
        partial = folder / "smollm2-w8a8.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_w8a8(model, partial)
        partial.rename(eight_bits)
    calibration_file(folder, unpacked, data)
    chat = texts.chat_text(source.conversations(unpacked, *texts.HELD_OUT))
    problems = texts.problem_text(texts.read_problems(tasks.first_of(data, "test.jsonl", "gsm8k_test.jsonl")))
    for text, name in zip((chat, problems), _HELD_OUT.values(), strict=True):
        (folder / name).write_text(text[:_CHARACTERS])
    made = tasks.write_tasks(folder / "tasks", data, tasks.chat_prompt(model))
    return {name: made[name] for name in ("ifeval", "gsm8k_answers")}


def experiment(name: str, asked: Mapping[str, Path], *, limit: int, hours: float) -> str:
    """The experiment file of one run."""
    pruning, engine, options, configurations = RUNS[name]
    return EXPERIMENT.format(
        name=name,
        percentages=PERCENTAGES,
        pruning=pruning.format(text="calibration.jsonl"),
        engine=engine,
        options=options,
        configurations=configurations,
        held_out=json.dumps(list(_HELD_OUT.values())),
        tasks=json.dumps([f"{file.parent.name}/{file.name}" for file in asked.values()]),
        limit=limit,
        hours=hours,
    )


def publish(run: Path, results: Path, command: list[str]) -> None:
    """Copy what is published of a run folder, without this machine's paths, and note the command that made it and the date."""
    results.mkdir(parents=True, exist_ok=True)
    ours = {str(run.parents[1]) + "/": "", sys.executable: "python", str(Path(__file__).parents[1]) + "/": ""}
    for name in PUBLISHED:
        if name.endswith(".png"):
            shutil.copy(run / name, results / name)
            continue
        text = (run / name).read_text()
        for path, shown in ours.items():
            text = text.replace(path, shown)
        (results / name).write_text(text)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    line = (
        f"{day}: python -P -m benchmarks.small_model --data FOLDER --runs {run.name}: prunebench {' '.join(command)}\n"
    )
    with (results / "commands.txt").open("a") as file:
        file.write(line)


def _prunebench(folder: Path, unpacked: Path, *words: str) -> None:
    environment = os.environ | {"NLTK_DATA": str(unpacked / tasks.NLTK_DATA)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    command = [sys.executable, "-P", "-m", "prunebench", *words]
    if status := subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
