"""Next tokens of a checkpoint against the baseline's: KL divergence and top-1 agreement over held-out text, in process.

Far more sensitive than scores of tasks: each token of the text counts, and not only whether an answer is right. It is of the
checkpoints, not of what serves them. transformers computes in float32 on a CPU, on a GPU in the type that is stored. The
process that runs the models ends with them, so that the run's own stays small.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prunebench.experiment.tables.quality import QualitySettings
from prunebench.quality.harness import one_line
from prunebench.quality.perplexity import checkpoint_tokens, token_windows
from prunebench.quality.reuse import Reuse, checkpoint_sha256
from prunebench.quality.suites import QualityError
from prunebench.terminal.progress import Steps
from reports.document.console import Console
from reports.runs.records.configuration import ConfigurationInfo
from reports.runs.records.quality import NextTokens

_POSITIONS = 64  # whose probabilities are in float64 at a time: 64 MB of a vocabulary of 128k


def check_next_tokens(settings: QualitySettings | None) -> None:
    """Raises QualityError if they are asked for and cannot be had."""
    if settings is None or not settings.next_tokens:
        return
    if not settings.perplexity_files:
        raise QualityError("quality.next_tokens: needs a text, quality.perplexity_files")
    if not (find_spec("torch") and find_spec("transformers")):
        raise QualityError("quality.next_tokens: runs the models; pip install 'prunebench[transformers]'")


def compare_next_tokens(
    settings: QualitySettings | None,
    configurations: Mapping[str, ConfigurationInfo],
    write: Callable[[ConfigurationInfo], None],
    console: Console,
) -> None:
    """Compare every configuration that has no figures yet with the baseline, and `write` it with them or the reason why not."""
    if settings is None or not settings.next_tokens:
        return
    baseline = next(info for info in configurations.values() if info.is_baseline)
    left = [c for c in configurations.values() if not c.is_baseline and not (c.next_tokens and c.next_tokens.kl_nats)]
    if not left:
        return
    windows: list[Sequence[int]] = []
    if baseline.checkpoint is not None:
        windows = token_windows(settings, checkpoint_tokens(Path(baseline.checkpoint)))
    reuse, tokens, words = Reuse(wanted=settings.reuse), sum(map(len, windows)), _words(settings)
    apart = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with apart, Steps(console, "next tokens", len(left)) as steps:
        for info in left:
            steps.advance(0, info.label)
            found = why_not(info, baseline)
            if found is None:
                folders = Path(baseline.checkpoint or ""), Path(info.checkpoint or "")
                key = {"checkpoints": [checkpoint_sha256(folder) for folder in folders], "windows": windows}
                known = reuse.find(key, NextTokens)
                result = known or NextTokens(
                    **apart.submit(divergence, *folders, windows).result(), tokens=tokens, text=words
                )
                if known is None and result.reason is None:
                    reuse.keep(key, result)
            else:
                result = NextTokens(reason=found, text=words)
            write(info.model_copy(update={"next_tokens": result}))
            steps.advance(1, info.label)


def why_not(info: ConfigurationInfo, baseline: ConfigurationInfo) -> str | None:
    """Why two configurations have no next tokens to compare; None if they have."""
    for one, name in ((info, "its"), (baseline, "the baseline's")):
        if one.checkpoint is None:
            return f"{name} checkpoint is not here: its server's answers have no probabilities of all tokens"
    if info.checkpoint == baseline.checkpoint:
        return "its checkpoint is the baseline's: what its server does beside is not in there"
    if info.tokenizer_sha256 is None or info.tokenizer_sha256 != baseline.tokenizer_sha256:
        return "its tokenizer is another than the baseline's: its next tokens are others"
    return None


def divergence(baseline: Path, own: Path, windows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """By window the means over positions of KL(baseline || own) in nats, and of whether both prefer the same token; or `reason`."""
    import torch

    try:
        models = [_baseline(baseline), _load(own)]
        kl, agreement = [], []
        for window in windows:
            with torch.inference_mode():
                ids = torch.tensor([window], device=models[0].device)
                ours, others = (model(ids).logits[0] for model in models)
                if ours.shape != others.shape:
                    return {"reason": f"it has {others.shape[-1]:,} tokens, the baseline {ours.shape[-1]:,}"}
                kl.append(sum(_kl(*part) for part in zip(*_parts(ours, others), strict=True)) / len(window))
                agreement.append(float((ours.argmax(-1) == others.argmax(-1)).double().mean()))
    except Exception as error:  # noqa: BLE001 - what a library of others cannot load or compute is no figure, with the reason
        return {"reason": f"transformers cannot run {own.name}: {one_line(error)}"}
    return {"kl_nats": kl, "agreement": agreement}


def _load(folder: Path) -> Any:
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    gpu = torch.cuda.is_available()
    made: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, dtype="auto" if gpu else torch.float32
    )
    return made.to("cuda" if gpu else "cpu").eval()


_baseline = functools.lru_cache(maxsize=1)(_load)  # the same for every configuration


def _parts(*logits: Any) -> list[Any]:
    return [one.split(_POSITIONS) for one in logits]


def _kl(ours: Any, others: Any) -> float:
    """Summed over positions [positions, vocabulary]."""
    ours, others = ours.double().log_softmax(-1), others.double().log_softmax(-1)
    return float((ours.exp() * (ours - others)).sum())


def _words(settings: QualitySettings) -> str:
    return f"quality.perplexity_files, in windows of {settings.context_tokens} tokens"
