"""A checkpoint in transformers, one decoder layer in memory at a time.

The modules are made without memory for their weights; a layer's weights are read from the safetensors files when its turn
comes, by transformers' own loader, and dropped after it. What the model does around its layers (embedding, rotary angles,
masks, final norm, head, scalings) is left to it: its layers are replaced by stand-ins that note how they are called, or
return what is given to them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pruner.checkpoint.folder import Checkpoint
from pruner.checkpoint.layers import OTHER_TOWERS, PER_LAYER, layer_of
from pruner.errors import PruneError
from server.engines.transformers.lean_import import lean_transformers

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST_LOSS = 700.0  # nats a token: exp(710) is no float any more


@dataclass(frozen=True)
class Call:
    """How the model calls one of its layers, besides the hidden states."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """The layer's output [1, tokens, hidden]."""
        result = layer(hidden, *self.args, **self.kwargs)
        output: Tensor = result[0] if isinstance(result, tuple) else result
        return output


class LayeredModel:
    """Raises PruneError if transformers cannot make the model, or does not find one of its weights in the checkpoint."""

    def __init__(self, checkpoint: Checkpoint, dtype: str, device: str) -> None:
        import torch

        self._checkpoint, self._device, self._dtype = checkpoint, device, getattr(torch, dtype)
        # torch's threads spin; on a busy machine they stall
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) - 1))
        with lean_transformers():
            self._model = self._make()
        self._model.set_experts_implementation("eager")  # an expert at a time; fused products hide what each is fed
        self.layers = list(self._model.get_decoder().layers)
        self._load(lambda name: layer_of(name) is None and not OTHER_TOWERS.search(name))
        self._model.tie_weights()
        self._require({n: p for n, p in self._model.named_parameters() if not OTHER_TOWERS.search(n)}, layer=None)
        self._model.requires_grad_(requires_grad=False)

    def _make(self) -> Any:
        """The model without its weights."""
        import transformers

        folder = self._checkpoint.folder
        transformers.utils.logging.disable_progress_bar()
        with _one_line(folder), _without_weights():
            config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
            multimodal = getattr(config, "vision_config", None) is not None
            auto = transformers.AutoModelForImageTextToText if multimodal else transformers.AutoModelForCausalLM
            return auto.from_config(config, dtype=self._dtype).eval()

    @contextmanager
    def layer(self, index: int) -> Iterator[nn.Module]:
        """The decoder layer with its weights, which it loses at the end."""
        import torch

        layer = self.layers[index]
        self._load(lambda name: layer_of(name) == index)
        self._require(dict(layer.named_parameters()), layer=index)
        layer.requires_grad_(requires_grad=False)
        try:
            yield layer
        finally:
            for module in layer.modules():
                for name, parameter in module.named_parameters(recurse=False):
                    setattr(module, name, torch.nn.Parameter(parameter.to("meta"), requires_grad=False))

    def embed(self, tokens: list[int]) -> tuple[Tensor, list[Call]]:
        """The first layer's input [1, tokens, hidden], and how every layer is called for a text of this length.

        Raises PruneError for a token that the model has no embedding for.
        """
        calls: list[Call] = []
        inputs: list[Tensor] = []

        def note(hidden: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            inputs.append(hidden)
            calls.append(Call(args, kwargs))
            return hidden

        known = len(self._model.get_input_embeddings().weight)
        if max(tokens) >= known:
            raise PruneError(
                f"--calibration: {self._checkpoint.folder}/tokenizer.json gives token {max(tokens)}, the model has {known}"
            )
        with self._stand_ins(note):
            self._model.get_decoder()(self._ids(tokens), use_cache=False)
        return inputs[0], calls

    @property
    def per_layer(self) -> dict[str, list[Any]]:
        """The lists of PER_LAYER, as transformers works them out where config.json lacks them."""
        config = self._model.config.get_text_config()
        found = {key: getattr(config, key, None) for key in PER_LAYER}
        return {key: list(values) for key, values in found.items() if values and len(values) == len(self.layers)}

    def place(self, hidden: Tensor) -> Tensor:
        """Hidden states where the model computes."""
        return hidden.to(self._device)

    def loss(self, tokens: list[int], hidden: Tensor) -> float:
        """Negative log-likelihood of all tokens but the first, added up, from the last layer's output."""
        import torch

        with self._stand_ins(lambda *_args, **_kwargs: hidden):
            logits = self._model(self._ids(tokens), use_cache=False).logits[0, :-1].float()
        targets = self._ids(tokens)[0, 1:]
        return float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))

    def loss_gradient(self, tokens: list[int], hidden: Tensor) -> Tensor:
        """The gradient of `loss` by the last layer's output [1, tokens, hidden]."""
        import torch

        leaf = self.place(hidden).detach().requires_grad_()
        with self._stand_ins(lambda *_args, **_kwargs: leaf):
            logits = self._model(self._ids(tokens), use_cache=False).logits[0, :-1].float()
        loss = torch.nn.functional.cross_entropy(logits, self._ids(tokens)[0, 1:], reduction="sum")
        return torch.autograd.grad(loss, leaf)[0]

    def _ids(self, tokens: list[int]) -> Tensor:
        import torch

        return torch.tensor([tokens], device=self._device)

    @contextmanager
    def _stand_ins(self, forward: Callable[..., Tensor]) -> Iterator[None]:
        """While this lasts, every decoder layer is `forward`."""
        for layer in self.layers:
            layer.forward = forward
        try:
            yield
        finally:
            for layer in self.layers:
                del layer.forward

    def _load(self, wanted: Callable[[str], bool]) -> None:
        """Read the tensors whose names are wanted, and convert them as transformers does when it loads a whole model."""
        from safetensors import safe_open
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        with _one_line(self._checkpoint.folder), ExitStack() as files:
            state: dict[str, Any] = {}
            for shard in self._checkpoint.shards:
                names = [tensor.name for tensor in shard.tensors if wanted(tensor.name)]
                if names:
                    file = files.enter_context(safe_open(shard.path, framework="pt", device="cpu"))
                    state |= {name: file.get_slice(name) for name in names}
            convert_and_load_state_dict_in_model(
                self._model,
                state,
                LoadStateDictConfig(
                    dtype=self._dtype,
                    device_map={"": self._device},
                    weight_mapping=get_model_conversion_mapping(self._model),
                ),
            )

    def _require(self, parameters: dict[str, nn.Parameter], layer: int | None) -> None:
        """Raises PruneError if one of them has not been read."""
        inside = {id(p) for one in self.layers for p in one.parameters()} if layer is None else set()
        missing = sorted(n for n, p in parameters.items() if p.is_meta and id(p) not in inside)
        if missing:
            where = "" if layer is None else f" (layer {layer})"
            raise PruneError(
                f"--calibration: transformers does not find {missing[0]}{where} in {self._checkpoint.folder}"
            )


def perplexity(loss: float) -> float | None:
    """Of a mean loss in nats a token; None if it is beyond floats, or the loss is not finite."""
    return math.exp(loss) if loss < _LARGEST_LOSS else None


@contextmanager
def _without_weights() -> Iterator[None]:
    """Modules made meanwhile have parameters without memory; their buffers are real, rotary frequencies among them."""
    import torch

    register = torch.nn.Module.register_parameter

    def register_on_meta(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    torch.nn.Module.register_parameter = register_on_meta  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        torch.nn.Module.register_parameter = register  # type: ignore[method-assign]


@contextmanager
def _one_line(checkpoint: Path) -> Iterator[None]:
    """A checkpoint that the library cannot load is a PruneError of one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PruneError(f"--calibration: transformers cannot load {checkpoint}: {reason}") from error
