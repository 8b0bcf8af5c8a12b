"""Memory and time of a calibrated `prunebench prune` on a random checkpoint of Llama-3.2-1B's shape.

    python -P -m benchmarks.pruning_quality.memory --output memory.json               the real size: most of an hour on two cores
    python -P -m benchmarks.pruning_quality.memory --layers 2 --output memory.json    as much memory, since layers take turns

Three widths by `act`, or another --criterion, with a refit, over text of --tokens tokens of random words, in bfloat16 on the CPU. The command runs in a
process of its own; its peak memory is the kernel's VmHWM, in which pages of mapped files count.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks.pruner import LAYERS, VOCABULARY, machine, timed, write_llama
from pruner.scoring.criteria import criterion_choices

_PRUNE = """
import sys
from prunebench.cli import main
source, output, text, criterion = sys.argv[1:]
targets = [word for p in (10, 20, 30) for word in ("--pruning-percentage", str(p))]
sys.argv[1:] = ["prune", source, "--output", output, "--criterion", criterion, "--calibration", text, "--refit", *targets, "--json"]
try:
    main()
except SystemExit as done:
    assert not done.code
"""
_SEQUENCE = 512


def main() -> None:
    """Print the figures, and write them if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--criterion", choices=criterion_choices(), default="act")
    parser.add_argument("--folder", type=Path, help="scratch space, a temporary folder unless given")
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="prunebench-benchmark-") as scratch:
        source, text = Path(scratch) / "source", Path(scratch) / "text.txt"
        write_llama(source, 1.0, layers=options.layers)
        words = [f"w{place}" for place in range(VOCABULARY)]
        tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="w0"))  # noqa: S106 - no password
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.save(str(source / "tokenizer.json"))
        text.write_text(" ".join(random.Random(0).choices(words, k=options.tokens + _SEQUENCE)))  # the last is held out
        what = f"prunebench prune, {options.criterion} and refit, three widths"
        row = timed(what, _PRUNE, source, Path(scratch) / "out", text, options.criterion)
    figures = {"layers": options.layers, "tokens": options.tokens, "machine": machine(), **row}
    print(json.dumps(figures, indent=1))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
