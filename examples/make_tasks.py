"""Write the quality tasks that ship with prunebench: questions about TinyGLU's own corpus.

    python examples/make_tasks.py --output prunebench/tasks

The text is what TinyGLU was trained on and what it was kept from (`HELD_OUT`), the sources of Python 3.11's standard library.
The items are drawn once, with a seed, and shipped, so that every Python asks the same; `examples/tinyglu/data.json` has the
hashes of the files they come from.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from train_tinyglu import HELD_OUT, SEED, standard_library_files

SIGNATURES = 160  # items of tinyglu_signature
QUESTIONS = 64  # items of tinyglu_form
EXCERPT = 900  # characters; well below TinyGLU's context
EXCERPTS_A_FILE = 2


@dataclass(frozen=True)
class Function:
    """A function of the corpus: its signature, and the first line of its docstring."""

    name: str
    signature: str
    summary: str


def functions(source: str) -> Iterator[Function]:
    """What has a docstring whose first line is a sentence of some length."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
            summary = (ast.get_docstring(node) or "").partition("\n")[0].strip()
            signature = f"def {node.name}({ast.unparse(node.args)}):"
            if 20 < len(summary) < 90 and len(signature) < 90:
                yield Function(node.name, signature, summary)


def signature_items(known: list[Function], draw: random.Random) -> list[dict[str, object]]:
    """Which of four signatures belongs to this docstring? All of one corpus, the answer's place drawn."""
    items = []
    for right in draw.sample(known, SIGNATURES):
        others = [f for f in known if f.name != right.name and f.signature != right.signature]
        choices = [right, *draw.sample(others, 3)]
        draw.shuffle(choices)
        heads = [f'{choice.signature}\n    """' for choice in choices]
        items.append({"heads": heads, "summary": right.summary, "answer": choices.index(right)})
    return items


def form_items(unseen: list[Function], draw: random.Random) -> list[dict[str, object]]:
    """What does this function do? To be answered in the form of a docstring's summary, whatever it says."""
    return [{"signature": f.signature.removesuffix(":")} for f in draw.sample(unseen, QUESTIONS)]


def text_items(sources: list[str], draw: random.Random) -> list[dict[str, object]]:
    """Excerpts that begin and end at a line's end, a few of every file."""
    items: list[dict[str, object]] = []
    for source in sources:
        starts = [at + 1 for at, c in enumerate(source) if c == "\n" and at + 1 + EXCERPT < len(source)]
        drawn = sorted(draw.sample(starts, min(EXCERPTS_A_FILE, len(starts))))
        items += [{"text": source[start : source.rindex("\n", start, start + EXCERPT) + 1]} for start in drawn]
    return items


def main() -> None:
    """Draw every task's items and write them, one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    output: Path = parser.parse_args().output
    stdlib = Path(sysconfig.get_paths()["stdlib"])
    texts = {p.relative_to(stdlib).as_posix(): p.read_text("utf-8") for p in standard_library_files(stdlib)}
    held_out = [texts[name] for name in HELD_OUT]
    trained = [text for name, text in texts.items() if name not in HELD_OUT]
    known = _each_once(f for text in trained for f in functions(text))
    unseen = _each_once(f for text in held_out for f in functions(text))
    drawn = {
        "signature": signature_items(known, random.Random(SEED)),
        "form": form_items(unseen, random.Random(SEED)),
        "text": text_items(held_out, random.Random(SEED)),
    }
    for name, items in drawn.items():
        lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
        (output / f"tinyglu_{name}.jsonl").write_text(lines, "utf-8")
        print(f"tinyglu_{name}: {len(items)} items of {len(lines.encode()):,} bytes")


def _each_once(found: Iterator[Function]) -> list[Function]:
    return list({(f.signature, f.summary): f for f in found}.values())


if __name__ == "__main__":
    main()
