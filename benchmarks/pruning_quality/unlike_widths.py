"""What widths unlike by layer would keep: `prunebench prune` writes one width for all, which is what the engines load.

    python -P -m benchmarks.pruning_quality.unlike_widths --gsm8k FOLDER --output unlike-widths.json

A refit of one shot takes the whole model's activations, so that layers of differently pruned checkpoints go together. Each layer in
turn is taken from each of STEPS's checkpoints, the others left whole, and the loss of a sample of the calibration text is measured.
Then, from the whole model on, the layer whose next step adds the least to that loss takes it, until as many neurons are gone as
a like width would take. Both are judged on the held-out windows of `benchmarks.pruning_quality`. Forty minutes of one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from benchmarks.pruner import machine
from benchmarks.pruning_quality import __main__ as quality
from benchmarks.pruning_quality import texts
from benchmarks.pruning_quality.methods import PERCENTAGES, Method, run
from examples.real import source
from examples.real.tasks import first_of
from prunebench.calibration.depth import spread

STEPS = (10, 20, 30, 40, 50, 60)
SAMPLE = 10  # sequences


def main() -> None:
    """Write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="folder with GSM8K's rows")
    parser.add_argument("--folder", type=Path, default=Path("pruning-quality"), help="what is fetched and made")
    parser.add_argument("--criterion", default="act")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = given.folder.resolve()
    unpacked = source.fetch(folder)
    whole = source.convert(unpacked, folder / "smollm2")
    text = quality.calibration_file(folder, unpacked, given.gsm8k)
    test = first_of(given.gsm8k, "test.jsonl", "gsm8k_test.jsonl")
    held_out = texts.held_out(whole, source.conversations(unpacked, *texts.HELD_OUT), texts.read_problems(test))
    sequences = texts.cut(whole, text)
    method = Method(("--criterion", given.criterion, "--refit"))
    made = folder / "unlike-widths"
    shutil.rmtree(made, ignore_errors=True)
    _, checkpoints = run(method, whole, made, text, sequences, percentages=STEPS)
    model = Mixed(whole, dict(zip(STEPS, checkpoints, strict=True)))
    base = model.perplexities(held_out)
    added = model.added_losses(spread(sequences, SAMPLE))
    figures: dict[str, Any] = {"criterion": given.criterion, "machine": machine(), "base": base, "added_nats": added}
    for percentage in PERCENTAGES:
        chosen = cheapest(added, percentage)
        figures[str(percentage)] = {"widths": chosen}
        for name, widths in (("like", [percentage] * len(chosen)), ("unlike", chosen)):
            model.mix(widths)
            found = model.perplexities(held_out)
            figures[str(percentage)][name] = {kind: found[kind] / base[kind] for kind in base}
        print(percentage, figures[str(percentage)], flush=True)
        given.output.write_text(json.dumps(figures, indent=1) + "\n")


def cheapest(added: Sequence[Sequence[float]], percentage: int) -> list[int]:
    """The percentage removed of each layer, that percentage on average; `added`: nats a token, by layer and step."""
    steps = [0] * len(added)
    for _ in range(len(added) * percentage // STEPS[0]):
        open_layers = [layer for layer, step in enumerate(steps) if step < len(STEPS)]
        steps[min(open_layers, key=lambda n: added[n][steps[n]] - (added[n][steps[n] - 1] if steps[n] else 0.0))] += 1
    return [step * STEPS[0] for step in steps]


class Mixed:
    """The whole model, with the MLPs of any layers exchanged for those of pruned checkpoints."""

    def __init__(self, whole: Path, pruned: dict[int, Path]) -> None:
        def load(path: Path) -> Any:
            return tf.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()

        self._model = load(whole)
        self._layers = self._model.get_decoder().layers
        self._mlps = {0: [layer.mlp for layer in self._layers]}
        for percentage, path in pruned.items():
            self._mlps[percentage] = [layer.mlp for layer in load(path).get_decoder().layers]

    def mix(self, widths: Sequence[int]) -> None:
        """Take each layer's MLP from the checkpoint less that percentage."""
        for place, width in enumerate(widths):
            self._layers[place].mlp = self._mlps[width][place]

    def perplexities(self, held_out: texts.Windows) -> dict[str, float]:
        """Of each kind of text."""
        return {kind: math.exp(sum(map(self._loss, windows)) / len(windows)) for kind, windows in held_out.items()}

    def added_losses(self, sample: Sequence[list[int]], steps: Sequence[int] = STEPS) -> list[list[float]]:
        """What each layer alone, pruned by each step, adds to the mean loss a token."""
        self.mix([0] * len(self._layers))
        tokens = sum(len(ids) - 1 for ids in sample)
        whole = sum(self._loss(ids) * (len(ids) - 1) for ids in sample)
        added = []
        for place, layer in enumerate(self._layers):
            row = []
            for step in steps:
                layer.mlp = self._mlps[step][place]
                row.append((sum(self._loss(ids) * (len(ids) - 1) for ids in sample) - whole) / tokens)
            layer.mlp = self._mlps[0][place]
            added.append(row)
            print(place, row, flush=True)
        return added

    def _loss(self, ids: list[int]) -> float:
        tokens = torch.tensor([ids])
        with torch.inference_mode():
            logits = self._model(tokens, use_cache=False).logits[0, :-1]
        return float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:]))


if __name__ == "__main__":
    main()
