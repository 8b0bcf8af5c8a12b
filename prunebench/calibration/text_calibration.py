"""Calibration over text: what it is, and its passes through the model.

The norms are the activation half of Wanda's |weight| x norm (arXiv 2306.11695) and equation 8 of CFSP (arXiv 2409.13199).
optipfair 0.4.2 adds up the norms of its batches instead, so its figures depend on how the text is cut; these are one norm
over the whole text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from prunebench.calibration.gram import RIDGE
from prunebench.calibration.text import SEQUENCE_TOKENS, TextFile, cut_sequences, read_files
from pruner.checkpoint.anatomy import Anatomy, find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import PruneError
from pruner.scoring.calibration import Activity, CalibrationText, HeldOut, LayerChoice, Refit
from pruner.scoring.criteria import find_criterion

if TYPE_CHECKING:
    from prunebench.calibration.model import LayeredModel
    from prunebench.calibration.slopes import Slopes

_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
Progress = Callable[[int, int, str], None]  # steps done, steps in all, what is being done


def require_transformers() -> None:
    """Raises PruneError if what runs the model is not installed."""
    if not (find_spec("torch") and find_spec("transformers")):
        raise PruneError("--calibration: runs the model, which needs torch; pip install 'prunebench[transformers]'")


class TextCalibration:
    """All of the files' text, in sequences of at most SEQUENCE_TOKENS, but for what is held out to measure perplexity.

    The model runs in the dtype that it is stored in, a layer in memory at a time, on a GPU where there is one.
    What is computed is what the criterion and the refit need.

    Raises PruneError if transformers is not installed, or cannot read the text or the tokenizer.
    """

    def __init__(
        self,
        checkpoint: Path,
        files: Sequence[Path],
        criterion: str | Sequence[str],
        *,
        refit: Refit | None = None,
        progress: Progress = lambda _done, _total, _what: None,
    ) -> None:
        require_transformers()
        self._checkpoint = open_checkpoint(checkpoint)
        self._progress = progress
        criteria = [criterion] if isinstance(criterion, str) else criterion
        figures = {find_criterion(one).activation for one in criteria}
        self._grams, self._sloped = refit is not None or "unexplained" in figures, "norm x slope" in figures
        self.files: list[TextFile] = read_files(checkpoint, files)
        self._sequences = cut_sequences(checkpoint, self.files)
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        gate = find_mlps(self._checkpoint).mlps[0].gate.tensor
        digests = [file.record.sha256 for file in self.files]
        self.record = CalibrationText(
            name=", ".join(file.record.name for file in self.files),
            sha256=digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest(),
            tokens=sum(map(len, self._sequences.used)),
            sequence_tokens=SEQUENCE_TOKENS,
            dtype=_DTYPES[self._checkpoint.tensors[gate][1].dtype],
            measured_with={
                "torch": torch.__version__,
                "transformers": version("transformers"),
                "device": torch.cuda.get_device_name() if self._device == "cuda" else "cpu",
            },
            files=[file.record for file in self.files],
            held_out_tokens=sum(map(len, self._sequences.held_out)),
            refit=refit,
            ridge=RIDGE if self._grams else None,
            ridge_of="median" if self._grams else None,
        )
        self._losses: dict[str, float] = {}
        self._whole_loss = 0.0

    def choose_layers(self, count: int, work: Path) -> LayerChoice:
        """As `Calibration.choose_layers`."""
        from prunebench.calibration.depth import choose_layers

        model = self._model
        layers = _Layers(count * len(model.layers), self._progress, "choosing layers to remove, layer run")
        removed = choose_layers(model, self._sequences.used, count, work / "depth", partial(layers.reach, 0))
        layers.reach(layers.total, 0)
        return LayerChoice(removed, model.per_layer)

    def activities(
        self, anatomy: Anatomy, outputs: Mapping[str, Collection[int]], work: Path
    ) -> Generator[Activity, None, None]:
        """As `Calibration.activities`: a pass for all outputs without the same layers, or in a sequential refit one for each.

        Raises PruneError if transformers cannot load the model or holds it in modules of another make.
        """
        from prunebench.calibration.layerwise import LayerwisePass

        sequential = self.record.refit == "sequential"
        together: dict[object, list[str]] = {}
        for name, removed in outputs.items():
            together.setdefault(name if sequential else tuple(removed), []).append(name)
        passes = [tuple(names) for names in together.values()]
        model = self._model
        slopes = {
            removed: self._slopes(anatomy, removed, work) for removed in dict.fromkeys(map(tuple, outputs.values()))
        }
        layers = _Layers(len(passes) * len(model.layers), self._progress, "calibrating, layer")
        for number, names in enumerate(passes):
            one = LayerwisePass(
                model,
                anatomy,
                self._sequences,
                names,
                work / f"pass-{number}",
                removed=outputs[names[0]],
                grams=self._grams,
                refit=self.record.refit is not None,
                sequential=sequential,
                slopes=slopes[tuple(outputs[names[0]])],
            )
            yield from one.run(partial(layers.reach, number * len(model.layers)))
            self._whole_loss = one.losses["whole"]
            self._losses |= {name: one.losses[name] for name in names}
        layers.reach(layers.total, 0)

    def _slopes(self, anatomy: Anatomy, removed: tuple[int, ...], work: Path) -> Slopes | None:
        """If a criterion asks for them; of the model without these layers."""
        if not self._sloped:
            return None
        from prunebench.calibration.slopes import SlopePass

        folder = work / "-".join(["slopes", *map(str, removed)])
        one = SlopePass(self._model, anatomy, self._sequences.used, folder, removed)
        layers = _Layers(one.steps, self._progress, "following the loss through the layers, layer run")
        slopes = one.run(partial(layers.reach, 0))
        layers.reach(layers.total, 0)
        return slopes

    @cached_property
    def _model(self) -> LayeredModel:
        from prunebench.calibration.model import LayeredModel

        return LayeredModel(self._checkpoint, self.record.dtype, self._device)

    def held_out(self, output: str) -> HeldOut:
        """As `Calibration.held_out`."""
        scored = sum(len(tokens) - 1 for tokens in self._sequences.held_out)
        if not scored:
            reason = "the text is too short to hold any of it out: it takes two sequences"
            return HeldOut(tokens=0, perplexity_before=None, perplexity_after=None, reason=reason)
        from prunebench.calibration.model import perplexity

        before, after = (perplexity(loss / scored) for loss in (self._whole_loss, self._losses[output]))
        broken = "whole" if before is None else "pruned" if after is None else None
        without = f"the {broken} model has no finite perplexity on the held-out text" if broken else None
        return HeldOut(tokens=scored, perplexity_before=before, perplexity_after=after, reason=without)


class _Layers:
    """Layers done, told with what is done to them."""

    def __init__(self, total: int, progress: Progress, what: str) -> None:
        self.total, self._progress, self._what = total, progress, what

    def reach(self, before: int, more: int) -> None:
        done = before + more
        self._progress(done, self.total, f"{self._what} {done} of {self.total}")
