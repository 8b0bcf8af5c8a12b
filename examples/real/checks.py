"""Whether a converted folder is the model in the GGUF file: its tokenizer, its logits, and that it answers with sense.

Each check returns what it found, and raises ConversionError where that is wrong.
"""

from __future__ import annotations

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
_SAME_LOGITS = 1e-2  # largest difference; two orders of summation in float32 give less


class ConversionError(Exception):
    """The folder is not the model in the file; one line."""


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
        [AddedToken(token, special=True) for token, kind in zip(tokens, kinds, strict=True) if kind == 3]
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
    return f"logits of {len(ids)} tokens are at most {largest:.1g} from numpy's, the same best token at each"


def check_answers(folder: Path) -> str:
    """Greedy answers through the chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for question, word in ANSWERS.items():
        chat = [{"role": "user", "content": question}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            written = model.generate(**prompt, max_new_tokens=32, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        answer = tokenizer.decode(written, skip_special_tokens=True).strip()
        if word.lower() not in answer.lower():
            raise ConversionError(f"answers: {question!r} is answered with {answer!r}, without {word}")
    return f"{len(ANSWERS)} questions are answered with the word that was expected"
