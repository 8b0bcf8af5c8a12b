"""README.md of a pruned checkpoint: the model card that the hub and its readers expect.

Format: https://huggingface.co/docs/hub/model-cards. The same prune gives the same bytes: no dates, no paths of a machine.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from pruner.checkpoint.folder import MANIFEST_NAME, Checkpoint
from pruner.output.layout import Layout
from pruner.scoring.calibration import CalibrationText, HeldOut, RemovedLayer
from pruner.scoring.citations import cite
from pruner.scoring.recipe import Recipe

# Keys that also hold for a narrower model, its source's licence among them.
_KEPT_KEYS = {"license", "license_name", "license_link", "language", "pipeline_tag", "library_name"}
# As the hub reads it: blank lines may come before; a line of dots ends YAML as a line of dashes does.
FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|$)", re.DOTALL)


def model_card(
    layout: Layout, recipe: Recipe, held_out: HeldOut | None = None, removed: Sequence[RemovedLayer] = ()
) -> bytes:
    """The model card, UTF-8. It replaces the source's, keeps its licence and links to it."""
    source = layout.checkpoint
    name, revision = source.identity
    source_name = name.rpartition("/")[2]
    front = [*_front_matter(source), *([f"base_model: {name}"] if _is_hub_id(name) else [])]
    link = f"[{name}](https://huggingface.co/{name})" if _is_hub_id(name) else f"`{name}`"
    papers = [cite("martra2025fragile"), *recipe.criterion.citations] if layout.narrower or not layout.removed else []
    papers += [cite("song2024sleb")] if layout.removed else []
    kinds = ["width-pruning"] * (layout.narrower or not layout.removed) + ["depth-pruning"] * bool(layout.removed)
    lines = [
        "---",
        *front,
        "tags:",
        *(f"- {tag}" for tag in ("pruning", *kinds, "prunebench")),
        "---",
        "",
        f"# {source_name}, pruned to {layout.name}",
        "",
        f"{link}{f' at revision {revision}' if revision else ''} with {_what(layout)} removed and nothing was trained",
        f"afterwards{_refitted(recipe)}, so measure what it still knows before you rely on it. Everything else is the source's, byte for byte.",
        "",
        *_widths(layout),
        *_details(layout, recipe, removed, held_out),
        f"- Parameters: {source.parameters:,} → {layout.parameters:,}.",
        "",
        "## How it was made",
        "",
        f"    {_command(layout, recipe)}",
        "",
        f"`{MANIFEST_NAME}` has the sha256 of every file it was made of and of every file here, and of the kept neurons a layer.",
        "",
        "## What to cite",
        "",
        "The source model's card says how to cite the model. Of the method:",
        "",
        "```bibtex",
        "\n\n".join(papers),
        "```",
        "",
    ]
    return "\n".join(lines).encode()


def _is_hub_id(name: str) -> bool:
    return "/" in name


def _front_matter(source: Checkpoint) -> list[str]:
    """The kept keys of the source card's front matter, as lines of YAML; none if it has no front matter."""
    text = source.card.read_text(encoding="utf-8-sig", errors="replace") if source.card else ""
    match = FRONT_MATTER.match(text)
    found = parse_front_matter(match[1]) if match else {}
    kept = {key: value for key, value in found.items() if key in _KEPT_KEYS and value}
    return yaml.safe_dump(kept, sort_keys=False).splitlines() if kept else []


def parse_front_matter(front: str) -> dict[Any, Any]:
    """Keys and values, every scalar as text (`language: no` is Norwegian). Broken YAML gives the keys that can be read."""
    try:
        found = yaml.load(front, yaml.BaseLoader)  # noqa: S506 - the loader that makes nothing but text, lists and maps
    except (yaml.YAMLError, RecursionError):
        parts = re.split(r"^(?=[^\s#-])", front, flags=re.MULTILINE)
        return {} if len(parts) <= 2 else {k: v for part in parts for k, v in parse_front_matter(part).items()}
    return found if isinstance(found, dict) else {}


def _what(layout: Layout) -> str:
    """What it has, and what was done to it, in words."""
    if not layout.removed:
        return "narrower MLPs. Neurons were"
    layers = f"{layout.layers} of its {layout.anatomy.layers} layers"
    return f"narrower MLPs and {layers}. Neurons and layers were" if layout.narrower else f"{layers}. Layers were"


def _widths(layout: Layout) -> list[str]:
    if layout.removed and not layout.narrower:
        return []
    rows = [
        f"| `{key}` | {before} | {layout.widths[key]} | {100 * (1 - layout.widths[key] / before):.1f} % "
        f"| {layout.widths[key] / layout.anatomy.hidden:.4g} |"
        for key, before in layout.anatomy.widths.items()
    ]
    return ["| config key | source | here | removed | expansion ratio |", "|---|---|---|---|---|", *rows, ""]


def _refitted(recipe: Recipe) -> str:
    return "; the down projections were refitted to the calibration text by least squares" if recipe.refit else ""


def _details(layout: Layout, recipe: Recipe, removed: Sequence[RemovedLayer], held_out: HeldOut | None) -> list[str]:
    lines = []
    if layout.narrower or not removed:
        kept = "the lower index" if recipe.tie_break == "stable" else "what torch.topk keeps"
        lines.append(f"- Criterion `{recipe.criterion.name}`, the highest stay: {recipe.criterion.words}.")
        lines.append(f"- Among equal scores: {kept}.")
    if removed:
        order = ", ".join(str(one.layer) for one in removed)
        lines.append(
            f"- Layers {order} of the source, counted from 0, were removed in this order: at each step the one without which the "
            "perplexity of a sample of the calibration text was lowest."
        )
    if text := recipe.calibration:
        what = "Calibration text" if recipe.uses_text or removed else "Text that it was measured on"
        lines.append(f"- {what}: {text.name}, {text.tokens:,} tokens, sha256 {text.sha256}.")
    if text and text.refit:
        lines.append(f"- Refit: {text.refit}, ridge {text.ridge:g} of the {text.ridge_of or 'mean'} diagonal.")
    if held_out and held_out.perplexity_before and held_out.perplexity_after:
        lines.append(
            f"- Perplexity on {held_out.tokens:,} tokens held out of that text: {held_out.perplexity_before:.2f} → "
            f"{held_out.perplexity_after:.2f}."
        )
    return lines


def _command(layout: Layout, recipe: Recipe) -> str:
    name, revision = layout.checkpoint.identity
    flags = [f"--revision {revision}"] if revision and _is_hub_id(name) else []
    flags += ["--output DIR", *(target.flag for target in layout.targets)]
    flags += [f"--remove-layers {len(layout.removed)}"] if layout.removed else []
    flags += [f"--criterion {recipe.criterion.name}"]
    used = recipe.uses_text or layout.removed
    flags += _calibration_flags(recipe.calibration) if recipe.calibration and used else []
    flags += [f"--seed {recipe.seed}"] if recipe.seed is not None else []
    flags += [f"--multiple-of {recipe.multiple_of}"] if recipe.multiple_of > 1 else []
    return " ".join(["prunebench prune", shlex.quote(name), *flags, f"--tie-break {recipe.tie_break}"])


def _calibration_flags(text: CalibrationText) -> list[str]:
    names = [file.name for file in text.files] or [text.name]
    return [
        *(f"--calibration {shlex.quote(name)}" for name in names),
        *(["--refit", f"--{text.refit}"] if text.refit else []),
    ]
