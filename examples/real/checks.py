"""Whether a converted folder is the model in the GGUF file: settings, tokenizer, chat template, logits, and that it answers with sense.

Each check returns what it found, and raises ConversionError where that is wrong; `check_conversion` makes them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.real.forward import Llama

SCRIPTS = (
    "The quick brown fox jumps over 13 lazy dogs; it's 1,024.50 €, isn't it?",
    "Der Fuß größerer Äcker und naïve façade, čeština, Ελληνικά, Русский язык.",
    "日本語の文章と漢字、中文句子、한국어 문장.",
    "العربية من اليمين إلى اليسار، עברית, हिन्दी वाक्य, ไทย",
    "def f(x):\n\treturn {'a': x ** 2}  # 🙂🚀\n\n    <|im_start|> <b>&amp;</b>",
)
ANSWERS = {
    "What is the capital of France?": "Paris",
    "What colour is the sky on a clear day?": "blue",
    "Write the word that is the opposite of hot.": "cold",
}
CHATS = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "And 2 + 2?"},
    ],
)
# The largest difference: two orders of summation in float32 give less, an epsilon of 1e-6 for 1e-5 gives 0.03.
_SAME_LOGITS = 1e-3
_SETTINGS = {  # in config.json -> in the file
    "num_hidden_layers": "llama.block_count",
    "hidden_size": "llama.embedding_length",
    "intermediate_size": "llama.feed_forward_length",
    "num_attention_heads": "llama.attention.head_count",
    "num_key_value_heads": "llama.attention.head_count_kv",
    "head_dim": "llama.rope.dimension_count",
    "rms_norm_eps": "llama.attention.layer_norm_rms_epsilon",
    "max_position_embeddings": "llama.context_length",
    "vocab_size": "llama.vocab_size",
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
}
_CONTROL = 3  # the type of a token that no text becomes


class ConversionError(Exception):
    """The folder is not the model in the file; one line."""


@dataclass(frozen=True)
class Outcome:
    """What one check found. `fails_on` names faults on which the tests have seen it fail."""

    check: str
    against: str
    fails_on: str
    found: str
    passed: bool


def check_conversion(file: Llama, folder: Path, answers: Mapping[str, str] = ANSWERS) -> list[Outcome]:
    """Every check, whether or not another fails."""
    return [_outcome(*words, partial(check, file, folder)) for check, *words in _CHECKS] + [
        _outcome(
            "answers",
            "words that are expected",
            "rows of q or k in the file's order, no template",
            lambda: check_answers(folder, answers),
        )
    ]


def _outcome(name: str, against: str, fails_on: str, check: Callable[[], str]) -> Outcome:
    try:
        return Outcome(name, against, fails_on, check(), passed=True)
    except ConversionError as error:
        return Outcome(name, against, fails_on, str(error), passed=False)


def check_settings(file: Llama, folder: Path) -> str:
    """Held against the file's own metadata, as far as it has them: what a text of some tokens may not show."""
    from transformers import AutoConfig, AutoTokenizer

    config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    pairs = {ours: (getattr(config, ours), file.fields[its]) for ours, its in _SETTINGS.items() if its in file.fields}
    pairs["rope_theta"] = (config.rope_parameters["rope_theta"], file.fields["llama.rope.freq_base"])
    pairs["tie_word_embeddings"] = (config.tie_word_embeddings, file.tied)
    for name in ("bos_token_id", "eos_token_id"):
        if name in pairs:
            pairs[f"tokenizer's {name}"] = (getattr(tokenizer, name), pairs[name][1])
    wrong = [f"{name} is {own} and not {its}" for name, (own, its) in pairs.items() if not _same(own, its)]
    if wrong:
        raise ConversionError(f"settings: {'; '.join(wrong)}")
    return f"{len(pairs)} settings are the file's"


def _same(own: Any, its: Any) -> bool:
    """The file has floats of 32 bits."""
    return math.isclose(own, its, rel_tol=1e-6) if isinstance(its, float) and own is not None else bool(own == its)


def check_template(file: Llama, folder: Path) -> str:
    """Held against the file's own template, rendered here: chats with and without a system's turn, and of several turns."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    written = file.fields.get("tokenizer.chat_template")
    if written is None or tokenizer.chat_template is None:
        if (written is None) != (tokenizer.chat_template is None):
            raise ConversionError(f"template: the {'folder' if written is None else 'file'} alone has one")
        return "neither has one"
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(written)
    tokens, kinds = file.fields["tokenizer.ggml.tokens"], file.fields["tokenizer.ggml.token_type"]
    control = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    count = 0
    for chat in CHATS:
        wanted = template.render(messages=chat, add_generation_prompt=True)
        found = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        if found != wanted:
            raise ConversionError(f"template: {found[:60]!r} and not {wanted[:60]!r}")
        ids = tokenizer(found, add_special_tokens=False)["input_ids"]
        marks = sum(found.count(token) for token in control)
        if sum(tokens[number] in control for number in ids) != marks:
            raise ConversionError("template: its marks do not become single tokens")
        count += marks
    return f"{len(CHATS)} chats are what the file's template gives, their {count} marks single tokens"


def check_tokenizer(file: Llama, folder: Path) -> str:
    """Held against a byte-level BPE built here from the file's own tokens and merges."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens, kinds = file.fields["tokenizer.ggml.tokens"], file.fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in file.fields["tokenizer.ggml.merges"]]
    built = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    built.decoder = decoders.ByteLevel()
    built.add_special_tokens(
        [AddedToken(token, special=True) for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    )
    count = 0
    for text in SCRIPTS:
        ids = ours.encode(text, add_special_tokens=False).ids
        if ids != built.encode(text, add_special_tokens=False).ids:
            raise ConversionError(f"tokenizer: other tokens than the file's own merges give for {text[:40]!r}")
        if ours.decode(ids, skip_special_tokens=False) != text:
            raise ConversionError(f"tokenizer: {text[:40]!r} does not come back as it was")
        count += len(ids)
    return f"{count} tokens of a page in ten scripts are those of the file's own merges, and give the text back"


def check_logits(file: Llama, folder: Path) -> str:
    """Held against numpy, on a text of its own."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids: list[int] = tokenizer(" ".join(SCRIPTS[:2]), add_special_tokens=False)["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        found = model(torch.tensor([ids]), use_cache=False).logits[0].numpy()
    wanted = file.logits(ids)
    largest = float(np.abs(found - wanted).max())
    same = int((found.argmax(-1) == wanted.argmax(-1)).sum())
    if not largest <= _SAME_LOGITS or same < len(ids):
        raise ConversionError(
            f"logits: up to {largest:.2g} apart from numpy's, the same best token at {same} of {len(ids)}"
        )
    return f"those of {len(ids)} tokens are at most {largest:.1g} from numpy's, the same best token at each"


def check_answers(folder: Path, answers: Mapping[str, str] = ANSWERS) -> str:
    """Greedy answers through the chat template, each with its word; in any case of letters."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        raise ConversionError("answers: there is no chat template to ask through")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for question, word in answers.items():
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            written = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        answer = tokenizer.decode(written, skip_special_tokens=True).strip()
        if word.lower() not in answer.lower():
            raise ConversionError(f"answers: {question!r} is answered with {answer!r}, without {word}")
    return f"{len(answers)} questions are answered with the word that was expected"


# What each is held against, and faults on which it fails.
_CHECKS: tuple[tuple[Callable[[Llama, Path], str], str, str, str], ...] = (
    (
        check_settings,
        "settings",
        "the file's metadata",
        "another epsilon of the norms, rope's base, untied embeddings, a layer less, another end of a turn",
    ),
    (
        check_tokenizer,
        "tokenizer",
        "a byte-level BPE of the file's tokens and merges",
        "merges in another order, digits not split, a space put in front, a mark that is text",
    ),
    (
        check_template,
        "template",
        "the file's template, rendered",
        "no system's turn, a line break less, a mark that is text, no template",
    ),
    (
        check_logits,
        "logits",
        "a Llama in numpy that reads the file",
        "rows of q or k in the file's order, rope's base, untied embeddings, gate and up swapped, norms of 1 + w, a layer less",
    ),
)
