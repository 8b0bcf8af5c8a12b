"""The published results in `results/`: what pruning, and 8 bits, do to a real, small model on a CPU.

    python -P -m benchmarks.small_model --data FOLDER                        all of them: some hours on two cores, most of it IFEval
    python -P -m benchmarks.small_model --data FOLDER --runs vllm            one of them
    python -P -m benchmarks.small_model --data FOLDER --resume --blocks 10   more blocks of each

First the conversion is checked, and what was found is written to --results/conversion.json and conversion.md.

`vllm` and `transformers` have the study's question: SmolLM2-135M-Instruct, whole and at six of the study's widths by its criterion,
maw; `transformers` has the same widths by act and refit, too. `vllm-bfloat16` compares 8-bit integers with two of the widths.
Each is loaded with single requests and in batches, in blocks until each
ratio's interval is within 2 %, or --hours are up, which the report then says; perplexity and bits per byte are of held-out chat
and GSM8K. Then `transformers`' models are asked --tasks: GSM8K's first --limit answers, as perplexity by byte, one model after
another into --results/scores.json, where what is known of as many items is not asked again. IFEval's first prompts and GSM8K itself
are asked of the whole model, and of the others only if that is above the floor.

FOLDER holds ifeval_input_data.jsonl, gsm8k_test.jsonl (or test.jsonl) and gsm8k_train_200.jsonl (or train.jsonl). The text that
is calibrated on is that of `benchmarks.pruning_quality`. What is fetched and made stays in --folder, scores of tasks
also in ~/.cache/prunebench; pages and summaries are written to --results.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.pruning_quality import texts
from benchmarks.pruning_quality.__main__ import calibration_file
from benchmarks.small_model.experiments import HELD_OUT, RUNS, WIDTHS, experiment
from benchmarks.small_model.publishing import publish
from examples.make_variants import write_w8a8
from examples.real import source, tasks
from examples.real.__main__ import check
from examples.real.checks import ConversionError
from examples.real.scores import above_the_floor, ask

_CHARACTERS = 30_000  # of each held-out text
_PRUNED = Path("runs", "transformers", "checkpoints")
# Whose tasks are asked, in this order: the two criteria in turn, from wide to narrow.
MODELS = {"whole": Path("smollm2")} | {
    f"{name}-{width}": _PRUNED / folder / f"width-{width}"
    for width in WIDTHS
    for name, folder in (("act-refit", "act-refit-one-shot"), ("maw", ""))
}
LABELS = list(MODELS)
TASKS = ("gsm8k_answers", "ifeval", "gsm8k")  # the quickest first


def main() -> None:
    """Run and publish each. Ends with the status of a run that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with IFEval's prompts and GSM8K's rows")
    parser.add_argument("--folder", type=Path, default=Path("small-model"), help="what is fetched, made and recorded")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where pages and summaries go")
    parser.add_argument("--runs", nargs="*", choices=RUNS, default=list(RUNS), metavar="RUN")
    parser.add_argument(
        "--scores", nargs="*", choices=LABELS, default=LABELS, metavar="MODEL", help="models that are asked tasks"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--limit", type=int, default=100, help="items a task")
    parser.add_argument("--hours", type=float, default=0.5, help="no block begins that would end later, in each run")
    parser.add_argument("--resume", action="store_true", help="go on with the runs in --folder")
    parser.add_argument("--blocks", type=int, help="of --resume: the most blocks in all")
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    made = make(folder, options.data.resolve())
    try:
        print(f"the conversion's checks are {check(folder, options.results)}", flush=True)
    except ConversionError as error:
        sys.exit(f"{folder / 'smollm2'}: {error}")
    for name in options.runs:
        (folder / f"{name}.toml").write_text(experiment(name, hours=options.hours))
        command = ["run", f"{name}.toml", "--output", f"runs/{name}"]
        if options.resume:
            command += ["--resume", "--accept-changes"]  # of --hours
            command += ["--blocks", str(options.blocks)] if options.blocks else []
        _prunebench(folder, *command)
        _prunebench(folder, "report", f"runs/{name}", "--card")
        publish(folder, name, options.results / name, command, f" --hours {options.hours:g}")
        print(f"{name}: {options.results / name / 'report.html'}", flush=True)
    if options.scores:
        asked = {name: made[name] for name in TASKS if name in options.tasks}
        score(folder, asked, options.scores, options.limit, options.results / "scores.json")


def score(folder: Path, asked: Mapping[str, Path], labels: Sequence[str], limit: int, results: Path) -> None:
    """Ask the tasks of each model; one that needs generated text first of the whole model, and of the others if that is above its floor."""
    asking = partial(ask, limit=limit, results=results, folder=folder / "scores", environment=_environment(folder))
    models = {label: folder / MODELS[label] for label in labels}
    for label, model in models.items():
        if not (model / "config.json").is_file():
            sys.exit(f"--scores {label}: {model} is not there; the run `transformers` prunes it")
    whole = LABELS[0]
    for name, task in asked.items():
        if name == TASKS[0] or above_the_floor(asking({whole: folder / MODELS[whole]}, [task])[whole][task.stem]):
            asking(models, [task])


def make(folder: Path, data: Path) -> dict[str, Path]:
    """The converted model, its 8-bit copy, the held-out and the calibration text, and the task files, which are returned."""
    unpacked = source.fetch(folder)
    model = source.convert(unpacked, folder / "smollm2")
    if not (eight_bits := folder / "smollm2-w8a8").exists():
        partial = folder / "smollm2-w8a8.partial"
        shutil.rmtree(partial, ignore_errors=True)
        write_w8a8(model, partial)
        partial.rename(eight_bits)
    calibration_file(folder, unpacked, data)
    chat = texts.chat_text(source.conversations(unpacked, *texts.HELD_OUT))
    problems = texts.problem_text(texts.read_problems(tasks.first_of(data, "test.jsonl", "gsm8k_test.jsonl")))
    for text, name in zip((chat, problems), HELD_OUT, strict=True):
        (folder / name).write_text(text[:_CHARACTERS])
    return tasks.write_tasks(folder / "tasks", data, tasks.chat_prompt(model))


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | {"NLTK_DATA": str(folder / "unpacked" / tasks.NLTK_DATA)}


def _prunebench(folder: Path, *words: str) -> None:
    command = [sys.executable, "-P", "-m", "prunebench", *words]
    if status := subprocess.run(command, cwd=folder, check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
