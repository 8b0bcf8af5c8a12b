"""The published results in `results/`: what pruning, and 8 bits, do to a real, small model on a CPU.

    python -P -m benchmarks.small_model --data FOLDER                        all of them: some hours on two cores, most of it IFEval
    python -P -m benchmarks.small_model --data FOLDER --runs vllm            one of them
    python -P -m benchmarks.small_model --data FOLDER --resume --blocks 10   more blocks of each

Both runs have the study's question: SmolLM2-135M-Instruct, whole and at six of the study's widths by its criterion, maw. `vllm`
has 8-bit integers beside them; `transformers`, whose engine is several times as fast on a CPU without AVX-512, the same widths
by the criterion and refit that keep the most here, and the tasks. Each is loaded with single requests and in batches, in blocks
until each ratio's interval is within 2 %, or --hours are up, which the report then says. Quality: perplexity and bits per byte
of held-out chat and GSM8K, IFEval's first --limit prompts, and the perplexity of GSM8K's first answers. Whether a model of this
size answers any of GSM8K is measured at the end, on the whole model.

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
from pathlib import Path

from benchmarks.pruning_quality import texts
from benchmarks.pruning_quality.__main__ import calibration_file
from benchmarks.small_model.experiments import HELD_OUT, RUNS, experiment
from benchmarks.small_model.floor import floor
from benchmarks.small_model.publishing import publish
from examples.make_variants import write_w8a8
from examples.real import source, tasks

_CHARACTERS = 30_000  # of each held-out text


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
    made = make(folder, options.data.resolve())
    asked = [f"{made[name].parent.name}/{made[name].name}" for name in ("ifeval", "gsm8k_answers")]
    for name in options.runs:
        (folder / f"{name}.toml").write_text(experiment(name, asked, limit=options.limit, hours=options.hours))
        command = ["run", f"{name}.toml", "--output", f"runs/{name}"]
        if options.resume:
            command += ["--resume", *(["--blocks", str(options.blocks)] if options.blocks else [])]
        _prunebench(folder, *command)
        _prunebench(folder, "report", f"runs/{name}", "--card")
        publish(folder, name, options.results / name, command)
        print(f"{name}: {options.results / name / 'report.html'}", flush=True)
    print(floor(folder, made["gsm8k"], options.limit, options.results / "gsm8k-of-the-whole-model.json"))


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


def _prunebench(folder: Path, *words: str) -> None:
    environment = os.environ | {"NLTK_DATA": str(folder / "unpacked" / tasks.NLTK_DATA)}
    command = [sys.executable, "-P", "-m", "prunebench", *words]
    if status := subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        sys.exit(status)


if __name__ == "__main__":
    main()
