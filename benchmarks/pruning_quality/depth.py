"""Which layers to take out: by perplexity, as `prunebench prune --remove-layers` does, or by block influence.

    python -P -m benchmarks.pruning_quality.depth CHECKPOINT --calibration FILE --held-out FILE --held-out FILE --layers 3 6 --output depth.json

Block influence is that of ShortGPT, arXiv 2403.03853: one minus the mean cosine of what goes into a layer and what comes out of
it, in the whole model; the layers with the least go at once. By perplexity they go one after another. Both look at the same
sequences of the calibration text. What is left is judged by its perplexity on 16 windows of 512 tokens of each held-out file.
Perplexity takes minutes a layer on a CPU: the output is written after every step, and what is there already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers as tf

from base.files import write_text
from prunebench.calibration import depth
from prunebench.calibration.model import LayeredModel
from prunebench.calibration.text import cut_sequences, read_files
from pruner.checkpoint.folder import open_checkpoint

WINDOWS = 16


def main() -> None:
    """Write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--calibration", type=Path, action="append", required=True)
    parser.add_argument("--held-out", type=Path, action="append", required=True)
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 6])
    parser.add_argument("--sequences", type=int, default=depth.CHOICE_SEQUENCES)
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    depth.CHOICE_SEQUENCES = given.sequences
    used = cut_sequences(given.checkpoint, read_files(given.checkpoint, given.calibration)).used
    sample = depth.spread(used, given.sequences)
    windows = {path.stem: _windows(given.checkpoint, path) for path in given.held_out}
    model = tf.AutoModelForCausalLM.from_pretrained(given.checkpoint, dtype="auto").eval()
    before = json.loads(given.output.read_bytes())["held_out"] if given.output.exists() else {}
    known = {tuple(sorted(one["removed"])): one for one in before.values()}

    def judged(gone: list[int]) -> dict[str, Any]:
        found = known.get(tuple(sorted(gone))) or _judged(model, windows, gone)
        return found | {"removed": gone}

    result: dict[str, Any] = {"checkpoint": given.checkpoint.name, "sample_tokens": sum(map(len, sample))}
    result["layers"] = len(model.get_decoder().layers)
    result["held_out"] = {"whole": judged([])}
    influence = _block_influence(model, sample)
    result["block_influence"] = influence
    by_influence = sorted(range(len(influence)), key=lambda layer: influence[layer])
    for count in given.layers:
        result["held_out"][f"{count} layers, block influence"] = judged(by_influence[:count])
    write_text(given.output, json.dumps(result, indent=1) + "\n")
    checkpoint = open_checkpoint(given.checkpoint)
    layered = LayeredModel(checkpoint, str(model.dtype).removeprefix("torch."), "cpu")
    work = given.output.with_suffix(".steps")
    for count in range(1, max(given.layers) + 1):
        chosen = depth.choose_layers(layered, used, count, work, lambda _: None)
        result["by_perplexity"] = [one.model_dump() for one in chosen]
        if count in given.layers:
            own = [one.layer for one in chosen]
            result["held_out"][f"{count} layers, perplexity"] = judged(own)
        write_text(given.output, json.dumps(result, indent=1) + "\n")


def _windows(checkpoint: Path, file: Path) -> list[list[int]]:
    """The first whole windows of a file, its held-out items among them or not: nothing was calibrated on it."""
    whole = [tokens for tokens in cut_sequences(checkpoint, read_files(checkpoint, [file])).used if len(tokens) == 512]
    return whole[:WINDOWS]


def _block_influence(model: Any, sample: list[list[int]]) -> list[float]:
    totals = [0.0] * len(model.get_decoder().layers)
    with torch.inference_mode():
        for tokens in sample:
            states: list[tuple[torch.Tensor, torch.Tensor]] = []
            hooks = [layer.register_forward_hook(partial(_note, states)) for layer in model.get_decoder().layers]
            model(torch.tensor([tokens]), use_cache=False)
            for hook in hooks:
                hook.remove()
            for place, (before, after) in enumerate(states):
                cosines = torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
                totals[place] += float((1 - cosines).sum())
    return [total / sum(map(len, sample)) for total in totals]


def _note(states: list[tuple[torch.Tensor, torch.Tensor]], _layer: Any, args: Any, output: Any) -> None:
    states.append((args[0], output[0] if isinstance(output, tuple) else output))


def _judged(model: Any, windows: dict[str, list[list[int]]], gone: list[int]) -> dict[str, Any]:
    decoder = model.get_decoder()
    every = decoder.layers
    decoder.layers = torch.nn.ModuleList(layer for place, layer in enumerate(every) if place not in gone)
    try:
        return {"removed": gone} | {name: _perplexity(model, own) for name, own in windows.items()}
    finally:
        decoder.layers = every


def _perplexity(model: Any, windows: list[list[int]]) -> float:
    loss = scored = 0.0
    with torch.inference_mode():
        for tokens in windows:
            ids = torch.tensor([tokens])
            logits = model(ids, use_cache=False).logits[0, :-1].float()
            loss += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            scored += len(tokens) - 1
    return math.exp(loss / scored)


if __name__ == "__main__":
    main()
