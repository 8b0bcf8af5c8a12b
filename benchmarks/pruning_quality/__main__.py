"""How much of a model's quality each way of pruning keeps: perplexity of SmolLM2-135M-Instruct on held-out chat and GSM8K.

    python -P -m benchmarks.pruning_quality --gsm8k FOLDER --output quality.json                 every method: hours on two cores
    python -P -m benchmarks.pruning_quality --gsm8k FOLDER --methods "wanda, one-shot refit"     one of them

FOLDER holds GSM8K as JSON lines, test.jsonl or gsm8k_test.jsonl and train.jsonl or gsm8k_train_200.jsonl. Calibrated on
100,000 characters of ShareGPT's conversations 0 to 399, as many of each, and 100,000 of GSM8K's training rows; measured on
conversations 3000 to 3199 and on the test rows, 16 windows of 512 tokens of each, in float32. What is printed are ratios to the
whole model's.
Wheels, the converted model and the calibration file stay in --folder for the next run; figures are added to those that
--output already has. The whole model's perplexities are 8.29 and 6.45.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.pruner import machine, same_tensors
from benchmarks.pruning_quality import texts
from benchmarks.pruning_quality.methods import METHODS, PERCENTAGES, run
from examples.real import source
from examples.real.tasks import first_of

SAME = ("maw", "optipfair MAW")  # what must be equal bit for bit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gsm8k", type=Path, required=True, help="folder with GSM8K's rows")
    parser.add_argument("--folder", type=Path, default=Path("pruning-quality"), help="what is fetched and made")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD")
    parser.add_argument("--output", type=Path, help="add the figures to this JSON file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    figures = measure(options.folder.resolve(), options.gsm8k, options.methods, options.output)
    print(table(figures))


def measure(folder: Path, gsm8k: Path, methods: Sequence[str], output: Path | None) -> dict[str, Any]:
    unpacked = source.fetch(folder)
    model = source.convert(unpacked, folder / "smollm2")
    text = calibration_file(folder, unpacked, gsm8k)
    test = first_of(gsm8k, "test.jsonl", "gsm8k_test.jsonl")
    held_out = texts.held_out(model, source.conversations(unpacked, *texts.HELD_OUT), texts.read_problems(test))
    return compare(model, text, held_out, folder=folder / "pruned", methods=methods, output=output)


def calibration_file(folder: Path, unpacked: Path, gsm8k: Path) -> Path:
    """What is calibrated on, written anew."""
    train = first_of(gsm8k, "train.jsonl", "gsm8k_train_200.jsonl")
    chats = source.conversations(unpacked, *texts.CALIBRATED)
    return texts.write_calibration(folder / "calibration.jsonl", chats, texts.read_problems(train))


def compare(
    model: Path,
    text: Path,
    held_out: texts.Windows,
    *,
    folder: Path,
    methods: Sequence[str],
    output: Path | None = None,
) -> dict[str, Any]:
    """Prune by each method into `folder`, and measure; figures are written after each."""
    figures: dict[str, Any] = json.loads(output.read_text()) if output and output.exists() else {"methods": {}}
    figures |= {"base": (base := perplexities(model, held_out))}
    print("whole model", base, flush=True)
    sequences = texts.cut(model, text)
    kept: dict[str, list[Path]] = {}
    for name in methods:
        made = folder / name.replace(",", "").replace(" ", "-")
        shutil.rmtree(made, ignore_errors=True)
        made.parent.mkdir(parents=True, exist_ok=True)
        cost, kept[name] = run(METHODS[name], model, made, text, sequences)
        ratios = {}
        for percentage, one in zip(PERCENTAGES, kept[name], strict=True):
            found = perplexities(one, held_out)
            ratios[str(percentage)] = {kind: found[kind] / base[kind] for kind in base}
        figures["methods"][name] = {"cost": asdict(cost), "ratios": ratios, "machine": machine()}
        print(name, ratios, flush=True)
        if kept.keys() >= set(SAME):
            pairs = zip(*(kept[one] for one in SAME), strict=True)
            figures["maw_equals_optipfair"] = [same_tensors(*pair) for pair in pairs]
        if name not in SAME:
            shutil.rmtree(made)
        if output:
            output.write_text(json.dumps(figures, indent=2) + "\n")
    return figures


def perplexities(folder: Path, held_out: texts.Windows) -> dict[str, float]:
    """Of each kind of text: every token of a window but its first is scored."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = {}
    for kind, windows in held_out.items():
        losses = []
        for window in windows:
            ids = torch.tensor([window])
            with torch.inference_mode():
                logits = model(ids, use_cache=False).logits[0, :-1]
            losses.append(float(torch.nn.functional.cross_entropy(logits, ids[0, 1:])))
        found[kind] = math.exp(sum(losses) / len(losses))
    return found


def table(figures: dict[str, Any]) -> str:
    base = figures["base"]
    lines = [f"whole model: {', '.join(f'{kind} {value:.2f}' for kind, value in base.items())}"]
    lines.append(
        f"{'times that, ' + ' / '.join(base):32}"
        + "".join(f"{f'{p} %':>16}" for p in PERCENTAGES)
        + f"{'CPU s':>8}{'peak MB':>9}"
    )
    for name, row in figures["methods"].items():
        cells = (" / ".join(f"{value:.3f}" for value in row["ratios"][str(p)].values()) for p in PERCENTAGES)
        cost = row["cost"]
        lines.append(
            f"{name:32}"
            + "".join(f"{cell:>16}" for cell in cells)
            + f"{cost['cpu_s']:8.0f}{cost['peak_bytes'] / 1e6:9.0f}"
        )
    if (same := figures.get("maw_equals_optipfair")) is not None:
        lines.append(f"maw equals optipfair's bit for bit: {sum(same)} of {len(same)} widths")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
