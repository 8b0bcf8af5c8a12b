"""lm-eval's IFEval and GSM8K with their items from files, for machines that reach no hub."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PROMPT = "{{prompt}}"
_PER_BYTE = "!function answers.per_byte"
NLTK_DATA = Path(
    "llama_index/core/_static/nltk_cache"
)  # nltk's sentences, which IFEval counts, in what `source.fetch` unpacks


def write_tasks(folder: Path, data: Path, template: str | None = None) -> dict[str, Path]:
    """Task files by name: "ifeval", "gsm8k", and "gsm8k_answers", the perplexity per byte of the answers that the items give.

    template: what IFEval's prompt stands in, `{{prompt}}` among it, where no chat template is applied by who asks.
    Ends the program if `data` lacks a file.
    """
    own = Path(str(find_spec("lm_eval").origin)).parent / "tasks"  # type: ignore[union-attr]
    test = {"test": str(first_of(data, "test.jsonl", "gsm8k_test.jsonl"))}
    both = {"train": str(first_of(data, "train.jsonl", "gsm8k_train_200.jsonl"))} | test
    prompts = {"train": str(first_of(data, "ifeval_input_data.jsonl"))}
    answers = {
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_target": " {{answer}}",
        "process_results": _PER_BYTE,
        "metric_list": [{"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
        "metadata": {"version": 1.0},
    }
    tasks: dict[str, dict[str, Any]] = {
        "ifeval": {
            "include": str(own / "ifeval" / "ifeval.yaml"),
            **_items(prompts),
            **({} if template is None else {"doc_to_text": template}),
        },
        "gsm8k": {"include": str(own / "gsm8k" / "gsm8k.yaml"), **_items(both)},
        "gsm8k_answers": _items(test) | answers,
    }
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("answers.py"), folder)
    made = {}
    for name, task in tasks.items():
        made[name] = folder / f"{name}_from_files.yaml"
        text = json.dumps({"task": made[name].stem, **task}, indent=1)  # JSON is YAML, but for its tags
        made[name].write_text(text.replace(f'"{_PER_BYTE}"', _PER_BYTE))
    return made


def chat_prompt(checkpoint: Path) -> str:
    """A chat of one user's turn in the checkpoint's template, `{{prompt}}` in the turn's place."""
    from server.text.template import find_template

    found = find_template(checkpoint)
    if found is None:
        return _PROMPT
    return found.render([{"role": "user", "content": _PROMPT}], add_generation_prompt=True, extra={})


def first_of(folder: Path, *names: str) -> Path:
    """The file that is there. Ends the program if none is."""
    found = [folder / name for name in names if (folder / name).exists()]
    if not found:
        sys.exit(f"{folder}: has no {' or '.join(names)}")
    return found[0]


def _items(files: dict[str, str]) -> dict[str, Any]:
    return {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}}
