"""What a text drives through the down projections, held against hooks and hand-made products."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from prunebench.calibration.text import SEQUENCE_TOKENS
from prunebench.calibration.text_calibration import TextCalibration
from pruner.checkpoint.anatomy import find_mlps
from pruner.checkpoint.folder import open_checkpoint
from pruner.errors import PruneError
from pruner.prune import prune
from pruner.scoring.targets import Target
from tests.pruner import tiny

LETTERS = "abcdefghijklmnopqrstuvwxyz .,"
TEXT = "the quick brown fox jumps over the lazy dog. " * 25  # 1125 letters: three sequences, the last one held out
EXPERTS = ["mixtral", "qwen2-moe", "qwen3-moe", "olmoe", "glm4-moe"]


def add_tokenizer(folder: Path, *, start: bool = False) -> Path:
    """A token a letter."""
    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2} | {letter: 3 + place for place, letter in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    if start:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>").save_pretrained(folder)
    return folder


def measured(folder: Path, text: Path) -> dict[str, np.ndarray]:
    """MLP prefix -> norms, no MLP being cut."""
    calibration = TextCalibration(folder, [text], "act")
    norms = {}
    for activity in calibration.activities(find_mlps(open_checkpoint(folder)), {"out": ()}, text.with_name("work")):
        activity.keep("out", np.arange(activity.mlp.neurons))
        norms[activity.mlp.prefix] = activity.figure("norm")
    assert all(norm.dtype == np.float64 for norm in norms.values())
    cost = calibration.held_out("out")
    assert cost.perplexity_before == cost.perplexity_after
    return norms


def sequences(start: tuple[int, ...] = ()) -> list[torch.Tensor]:
    """All but the last, which is held out."""
    ids = [3 + LETTERS.index(letter) for letter in TEXT]
    step = SEQUENCE_TOKENS - len(start)
    return [torch.tensor([[*start, *ids[i : i + step]]]) for i in range(0, len(ids), step)][:-1]


def hooked(folder: Path, inputs: list[torch.Tensor]) -> dict[str, np.ndarray]:
    """Module name -> norms, from hooks on the down projections that are modules."""
    model, fed = tiny.load(folder), {}
    for name, module in model.named_modules():
        if (
            name.endswith(("down_proj", "output_linear"))
            and isinstance(module, torch.nn.Linear)
            and "vision" not in name
        ):
            module.register_forward_pre_hook(
                lambda _, args, name=name: fed.setdefault(name, []).append(args[0].detach().flatten(0, -2))
            )
    with torch.no_grad():
        for ids in inputs:
            model(ids)
    return {name.rpartition(".")[0]: torch.cat(parts).double().norm(dim=0).numpy() for name, parts in fed.items()}


@pytest.mark.parametrize("family", sorted(set(tiny.CONFIGS) - set(EXPERTS) - {"qwen2-moe-with-a-dense-layer"}))
def test_norms_are_those_of_what_hooks_on_the_down_projections_see(family: str, text: Path, tmp_path: Path) -> None:
    folder = add_tokenizer(tiny.make_checkpoint(family, tmp_path / "source", torch.float32))
    norms, expected = measured(folder, text), hooked(folder, sequences())
    assert len(norms) == len(expected) == 2
    for layer in range(2):
        (ours,) = (norm for prefix, norm in norms.items() if f"layers.{layer}." in prefix)
        (theirs,) = (norm for name, norm in expected.items() if f"layers.{layer}." in name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("family", EXPERTS)
def test_an_expert_is_weighed_by_the_tokens_that_are_routed_to_it(family: str, text: Path, tmp_path: Path) -> None:
    folder = add_tokenizer(tiny.make_checkpoint(family, tmp_path / "source", torch.float32))
    norms = measured(folder, text)
    model, squares = tiny.load(folder), {}

    def note(module: torch.nn.Module, args: tuple[torch.Tensor, ...], layer: int) -> None:
        hidden, routes = args[0].reshape(-1, tiny.HIDDEN), args[1]
        for expert, gate_up in enumerate(module.gate_up_proj):
            gate, up = (hidden[(routes == expert).any(dim=-1)] @ gate_up.T).chunk(2, dim=-1)
            fed = (functional.silu(gate) * up).double().square().sum(dim=0)
            squares[layer, expert] = squares.get((layer, expert), 0) + fed

    for layer, block in enumerate(model.get_decoder().layers):
        if hasattr(block.mlp, "experts"):
            block.mlp.experts.register_forward_pre_hook(lambda m, args, layer=layer: note(m, args, layer))
    with torch.no_grad():
        for ids in sequences():
            model(ids)
    assert squares
    for (layer, expert), total in squares.items():
        (norm,) = (
            n for prefix, n in norms.items() if f"layers.{layer}." in prefix and prefix.endswith(f".experts.{expert}")
        )
        np.testing.assert_allclose(norm, total.sqrt().numpy(), rtol=1e-4)
    shared = {name: n for name, n in hooked(folder, sequences()).items() if "shared" in name}
    for name, expected in shared.items():
        np.testing.assert_allclose(norms[name], expected, rtol=1e-4)


def test_a_tokenizer_that_starts_texts_with_a_token_starts_every_sequence_with_it(text: Path, tmp_path: Path) -> None:
    folder = add_tokenizer(tiny.make_checkpoint("llama", tmp_path / "source", torch.float32), start=True)
    assert TextCalibration(folder, [text], "act").record.tokens == 2 * SEQUENCE_TOKENS
    expected = hooked(folder, sequences(start=(1,)))
    for prefix, norm in measured(folder, text).items():
        np.testing.assert_allclose(norm, expected[prefix], rtol=1e-4)


def test_pruning_by_act_keeps_the_highest_products_and_its_manifest_says_of_what(text: Path, tmp_path: Path) -> None:
    folder = add_tokenizer(tiny.make_checkpoint("llama", tmp_path / "source"))
    seen: list[tuple[int, int]] = []
    calibration = TextCalibration(folder, [text], "act", progress=lambda done, total, what: seen.append((done, total)))
    (one,) = prune(folder, tmp_path / "out", [Target("width", 17)], criterion="act", calibration=calibration)
    source, made = tiny.tensors_of(folder), one.manifest
    for prefix, norm in hooked(folder, sequences()).items():
        rows = [source[f"{prefix}.{part}_proj.weight"].float() for part in ("gate", "up")]
        maw = sum(row.max(dim=1).values + row.min(dim=1).values.abs() for row in rows)
        kept = (maw * torch.from_numpy(norm).float()).argsort(descending=True)[:17].sort().values
        assert torch.equal(
            tiny.tensors_of(one.folder)[f"{prefix}.down_proj.weight"], source[f"{prefix}.down_proj.weight"][:, kept]
        )
    assert seen == [(0, 2), (1, 2), (2, 2)]
    record = made.calibration
    assert (made.criterion, record.name, record.tokens, record.held_out_tokens) == ("act", "text.txt", 1024, 101)
    assert (record.dtype, record.refit, record.ridge) == ("bfloat16", None, None)
    assert record.sha256 == hashlib.sha256(text.read_bytes()).hexdigest() == record.files[0].sha256
    assert record.measured_with["torch"] == torch.__version__
    assert {layer.calibration_tokens for layer in made.layers} == {1024}


def perplexity(folder: Path, ids: torch.Tensor) -> float:
    with torch.no_grad():
        logits = tiny.load(folder).eval()(ids).logits[0, :-1].float()
    return float(functional.cross_entropy(logits, ids[0, 1:]).exp())


@pytest.mark.parametrize("how", [None, "one-shot", "sequential"])
@pytest.mark.parametrize("family", ["llama", "qwen2-moe"])
def test_the_cost_is_the_perplexity_of_the_held_out_text_before_and_after(
    family: str, how: str | None, text: Path, tmp_path: Path
) -> None:
    folder = add_tokenizer(tiny.make_checkpoint(family, tmp_path / "source", torch.float32))
    calibration = TextCalibration(folder, [text], "act", refit=how)
    made = prune(
        folder,
        tmp_path / "out",
        [Target("percentage", 50), Target("percentage", 25)],
        criterion="act",
        calibration=calibration,
    )
    held_out = torch.tensor([[3 + LETTERS.index(letter) for letter in TEXT[2 * SEQUENCE_TOKENS :]]])
    for one in made:
        cost = one.manifest.held_out
        assert cost.tokens == 100
        assert cost.perplexity_before == pytest.approx(perplexity(folder, held_out), rel=1e-4)
        assert cost.perplexity_after == pytest.approx(perplexity(one.folder, held_out), rel=1e-4)


def test_a_text_of_one_sequence_has_no_perplexity_and_says_why(tmp_path: Path) -> None:
    folder = add_tokenizer(tiny.make_checkpoint("llama", tmp_path / "source"))
    (tmp_path / "text.txt").write_text("a short text")
    calibration = TextCalibration(folder, [tmp_path / "text.txt"], "wanda")
    (one,) = prune(folder, tmp_path / "out", [Target("width", 17)], criterion="wanda", calibration=calibration)
    cost = one.manifest.held_out
    assert (cost.perplexity_before, cost.perplexity_after) == (None, None)
    assert "takes two sequences" in cost.reason


def test_a_checkpoint_without_a_tokenizer_is_one_line(llama_folder: Path, text: Path) -> None:
    with pytest.raises(PruneError, match=r"--calibration: .*source/tokenizer\.json: No such file"):
        TextCalibration(llama_folder, [text], "act")


@pytest.mark.parametrize("name", ["model.norm.weight", "model.layers.1.self_attn.q_proj.weight"])
def test_weights_that_transformers_would_make_up_are_refused(
    name: str, llama_folder: Path, text: Path, tmp_path: Path
) -> None:
    add_tokenizer(llama_folder)
    tiny.rewrite(llama_folder, lambda tensors: tensors.pop(name))
    calibration = TextCalibration(llama_folder, [text], "act")
    with pytest.raises(PruneError, match=rf"transformers does not find {name.rpartition('1.')[2]}"):
        prune(llama_folder, tmp_path / "out", [Target("width", 17)], criterion="act", calibration=calibration)


@pytest.fixture
def llama_folder(tmp_path: Path) -> Path:
    return tiny.make_checkpoint("llama", tmp_path / "source")
