"""How strongly a text drives each neuron, for `--criterion act`; the one part of pruning that runs the model.

The L2 norm over all tokens of what the neuron feeds the down projection: the activation half of Wanda's |weight| x norm
(arXiv 2306.11695) and equation 8 of CFSP (arXiv 2409.13199). optipfair 0.4.2 adds up the norms of its batches instead, so
its figures depend on how the text is cut; these are one norm over the whole text.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import takewhile
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from pruner.checkpoint.anatomy import Anatomy, Mlp, find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import PruneError
from pruner.scoring.calibration import CalibrationText

if TYPE_CHECKING:
    from torch import Tensor, nn

SEQUENCE_TOKENS = 512
_DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")
_EXPERT = re.compile(r"\.experts\.(\d+)$")


class TextCalibration:
    """All of a text, in sequences of at most SEQUENCE_TOKENS that start as the tokenizer starts a text.

    The model runs in the dtype it is stored in, whole in memory, on a GPU where there is one.

    Raises PruneError if transformers is not installed, or cannot read the text or the tokenizer.
    """

    def __init__(self, checkpoint: Path, text: Path, on_sequence: Callable[[int, int], None]) -> None:
        if not (find_spec("torch") and find_spec("transformers")):
            raise PruneError("--criterion act: runs the model, which needs torch; pip install '.[transformers]'")
        self._checkpoint = checkpoint
        self._on_sequence = on_sequence
        content, sha256 = _read(text)
        self._sequences = _sequences(checkpoint, content)
        if not self._sequences:
            raise PruneError(f"--calibration {text}: holds no token")
        import torch
        import transformers

        self._dtype = _stored_dtype(checkpoint)
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.record = CalibrationText(
            name=text.name,
            sha256=sha256,
            tokens=sum(map(len, self._sequences)),
            sequence_tokens=SEQUENCE_TOKENS,
            dtype=self._dtype,
            measured_with={
                "torch": torch.__version__,
                "transformers": transformers.__version__,
                "device": torch.cuda.get_device_name() if self._device == "cuda" else "cpu",
            },
        )

    def norms(self, anatomy: Anatomy) -> dict[str, NDArray[np.float64]]:
        """MLP prefix -> [neurons]; the sums behind the norms are kept in float64.

        Raises PruneError if transformers cannot load the model or holds it in modules of another make.
        """
        import torch

        with _loading(self._checkpoint):
            model = _load(self._checkpoint, getattr(torch, self._dtype)).to(self._device)
        weights = _down_weights(model, anatomy)
        sums = {
            weight.data_ptr(): torch.zeros(weight.shape[1], dtype=torch.float64, device=self._device)
            for weight in weights.values()
        }
        torch.set_num_threads(
            max(1, len(os.sched_getaffinity(0)) - 1)
        )  # torch's threads spin; on a busy machine they stall
        with torch.inference_mode(), _listening(sums):
            for done, sequence in enumerate(self._sequences, 1):
                model(torch.tensor([sequence], device=self._device), use_cache=False)
                self._on_sequence(done, len(self._sequences))
        return {prefix: sums[weight.data_ptr()].sqrt().cpu().numpy() for prefix, weight in weights.items()}


def _read(text: Path) -> tuple[str, str]:
    """The text and the sha256 of its file."""
    try:
        content = text.read_bytes()
        return content.decode(), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise PruneError(f"--calibration {text}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PruneError(f"--calibration {text}: not UTF-8 text ({error.reason} at byte {error.start})") from error


@contextmanager
def _loading(checkpoint: Path) -> Iterator[None]:
    """Without the library's progress bars; a checkpoint that it cannot load is a PruneError of one line."""
    import transformers
    from safetensors import SafetensorError

    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PruneError(f"--criterion act: transformers cannot load {checkpoint}: {reason}") from error


def _sequences(checkpoint: Path, text: str) -> list[list[int]]:
    """Token ids. Some families fall apart without their start token, so every sequence gets what the tokenizer puts first."""
    path = checkpoint / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise PruneError(f"--criterion act: {path}: {error}") from error
    sample = tokenizer.encode("a")
    start = [token for token, _ in takewhile(itemgetter(1), zip(sample.ids, sample.special_tokens_mask, strict=True))]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    step = SEQUENCE_TOKENS - len(start)
    return [start + ids[first : first + step] for first in range(0, len(ids), step)]


def _stored_dtype(folder: Path) -> str:
    checkpoint = open_checkpoint(folder)
    gate = find_mlps(checkpoint).mlps[0].gate.tensor
    return _DTYPES[checkpoint.tensors[gate][1].dtype]


def _load(folder: Path, dtype: Any) -> Any:
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    multimodal = getattr(config, "vision_config", None) is not None
    auto = transformers.AutoModelForImageTextToText if multimodal else transformers.AutoModelForCausalLM
    model, loading = auto.from_pretrained(
        folder, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    if loading["missing_keys"]:  # transformers would fill these with random numbers
        raise PruneError(f"--criterion act: transformers does not find {min(loading['missing_keys'])} in {folder}")
    model.set_experts_implementation("eager")  # an expert at a time; fused products would hide what each is fed
    return model.eval()


def _down_weights(model: Any, anatomy: Anatomy) -> dict[str, Tensor]:
    """MLP prefix -> its down projection's weight [hidden, neurons] in the loaded model."""
    layers = model.get_decoder().layers
    downs = {cut.mlp.prefix: name for name, cut in anatomy.cuts.items() if cut.axis == 1}
    weights = {}
    for mlp in anatomy.mlps:
        place = _LAYER.search(downs[mlp.prefix])
        if place is None:
            raise PruneError(
                f"--criterion act: {mlp.prefix} is in no numbered layer; use a criterion of the weights alone"
            )
        name = downs[mlp.prefix][place.end() :]
        weight = _find_weight(layers[int(place[1])], mlp, name)
        if weight is None or weight.shape[-1] != mlp.neurons:
            raise PruneError(
                f"--criterion act: transformers keeps {mlp.prefix} in another form than the checkpoint; "
                "use a criterion of the weights alone"
            )
        weights[mlp.prefix] = weight
    return weights


def _find_weight(layer: nn.Module, mlp: Mlp, name: str) -> Tensor | None:
    """Experts lie stacked in one parameter of a layer [experts, hidden, neurons]; everything else keeps its name."""
    if expert := _EXPERT.search(mlp.prefix):
        stacks = [p for name, p in layer.named_parameters() if name.endswith("experts.down_proj")]
        return stacks[0][int(expert[1])] if len(stacks) == 1 else None
    return dict(layer.named_parameters()).get(name)


def _listening(sums: dict[int, Tensor]) -> Any:
    """A context in which every product with one of the weights adds its input's squares to that weight's sum.

    `sums` maps the address of a weight to [neurons]. A weight is known by its address since experts have no module of their
    own to hang a hook on.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    linear = torch.nn.functional.linear

    class Listener(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is linear and (total := sums.get(args[1].data_ptr())) is not None:
                total += args[0].reshape(-1, len(total)).float().square().sum(dim=0)
            return function(*args, **(kwargs or {}))

    return Listener()
