"""Train TinyGLU, the checkpoint that prunebench ships for its demo and its tests.

    python examples/train_tinyglu.py --output examples/tinyglu

TinyGLU is a Llama-architecture model of seven million parameters, small enough to live in a repository and trained well
enough that pruning it visibly costs quality. Its text is what every Python 3.11 carries: the sources of the standard
library, and its docstrings once more as dialogues so that the chat template means something to the model. The modules in
`HELD_OUT` are never trained on; `prunebench run` measures perplexity on them.

The run is a function of the seed, the text (whose hashes stand in `data.json` beside the checkpoint) and the versions in
the model card. Bit-equal weights also need the same CPU kernels and thread count, which no script can promise.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import math
import platform
import random
import sysconfig
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SEED = 2512
CONTEXT = 1024
BATCH = 4  # sequences a step; small, because the text is
STEPS = 1100
WARMUP_STEPS = 60
PEAK_LEARNING_RATE = 2.5e-3
VOCABULARY = 4096
BOS, EOS, USER, ASSISTANT = "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"

HELD_OUT = (
    "argparse.py",
    "configparser.py",
    "csv.py",
    "difflib.py",
    "fractions.py",
    "heapq.py",
    "shelve.py",
    "statistics.py",
    "textwrap.py",
    "json/decoder.py",
    "json/encoder.py",
    "logging/handlers.py",
)

# Folders that distributions package apart, that differ between platforms, or that hold tables rather than prose and code.
SKIPPED_FOLDERS = {
    "test", "tests", "idlelib", "idle_test", "lib2to3", "distutils", "ensurepip", "tkinter", "turtledemo",
    "site-packages", "dist-packages", "__pycache__", "encodings", "pydoc_data", "lib-dynload", "venv",
}  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}" + ASSISTANT + "{% else %}" + USER + "{% endif %}"
    "{{ message['content'] }}" + EOS + "{% endfor %}"
    "{% if add_generation_prompt %}" + ASSISTANT + "{% endif %}"
)


def standard_library_files(stdlib: Path) -> list[Path]:
    """The library's Python files in a fixed order, without what differs from one distribution to the next."""
    return sorted(
        path
        for path in stdlib.rglob("*.py")
        if not SKIPPED_FOLDERS.intersection(path.relative_to(stdlib).parts[:-1])
        and not path.name.startswith("_sysconfigdata")
        and not path.relative_to(stdlib).parts[0].startswith("config-")
    )


def describe(files: list[Path], stdlib: Path) -> list[dict[str, object]]:
    """Name, size and hash of every file, marked train or held-out: what `data.json` records."""
    rows: list[dict[str, object]] = []
    for path in files:
        name = path.relative_to(stdlib).as_posix()
        content = path.read_bytes()
        rows.append(
            {
                "file": name,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "split": "held-out" if name in HELD_OUT else "train",
            }
        )
    return rows


def dialogues(source: str) -> list[tuple[str, str]]:
    """(question, answer) pairs from one module: a definition's signature and its docstring."""
    pairs = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node)
        if not docstring or len(docstring) > 1200:
            continue
        if isinstance(node, ast.FunctionDef):
            head = f"def {node.name}({ast.unparse(node.args)})"
        else:
            head = f"class {node.name}"
        pairs.append((f"What does `{head}` do?", docstring.strip()))
    return pairs


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCABULARY` entries; any text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[BOS, EOS, USER, ASSISTANT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=EOS,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def token_stream(tokenizer: PreTrainedTokenizerFast, texts: list[str], pairs: list[tuple[str, str]]) -> np.ndarray:
    """All training documents as one int32 stream in a seeded order: begin, document, end, begin, …"""
    documents = [BOS + text + EOS for text in texts]
    documents += [BOS + USER + q + EOS + ASSISTANT + a + EOS for q, a in pairs]
    random.Random(SEED).shuffle(documents)
    encoded = tokenizer._tokenizer.encode_batch_fast(documents, add_special_tokens=False)
    return np.concatenate([np.array(e.ids, dtype=np.int32) for e in encoded])


def perplexity(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> float:
    """Perplexity: exp of the mean negative log-likelihood per token over non-overlapping contexts of the texts."""
    total, count = 0.0, 0
    for text in texts:
        ids = tokenizer(BOS + text + EOS, add_special_tokens=False)["input_ids"]
        for start in range(0, len(ids) - 1, CONTEXT):
            window = torch.tensor([ids[start : start + CONTEXT + 1]])
            with torch.inference_mode():
                logits = model(input_ids=window[:, :-1]).logits.float()
            total += torch.nn.functional.cross_entropy(logits[0], window[0, 1:], reduction="sum").item()
            count += window.shape[1] - 1
    return math.exp(total / count)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a tenth of the peak."""
    if step < WARMUP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_LEARNING_RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))


def train(model: LlamaForCausalLM, stream: np.ndarray, steps: int, batch_size: int) -> list[tuple[int, float]]:
    """AdamW over random contexts, each used at most once an epoch; returns (step, mean loss since the last row)."""
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}],
        lr=PEAK_LEARNING_RATE,
        betas=(0.9, 0.95),
    )
    contexts = (len(stream) - 1) // CONTEXT
    order = np.random.default_rng(SEED)
    queue: list[int] = []
    curve, losses, began = [], [], time.monotonic()
    for step in range(steps):
        while len(queue) < batch_size:
            queue.extend(order.permutation(contexts).tolist())
        picked, queue = queue[:batch_size], queue[batch_size:]
        rows = np.stack([stream[i * CONTEXT : i * CONTEXT + CONTEXT + 1] for i in picked])
        batch = torch.from_numpy(rows.astype(np.int64))
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            curve.append((step + 1, round(sum(losses) / len(losses), 4)))
            losses.clear()
            minutes = (time.monotonic() - began) / 60
            print(f"step {step + 1}/{steps}  loss {curve[-1][1]:.3f}  {minutes:.1f} min", flush=True)
    return curve


def write_card(folder: Path, facts: dict[str, object]) -> None:
    """The model card: what it is, how it was made, how well it does. Figures come from `facts`, also kept as JSON."""
    curve = "\n".join(f"| {step} | {loss:.3f} |" for step, loss in facts["loss_curve"])  # type: ignore[attr-defined]
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(
        f"""---
license: apache-2.0
pipeline_tag: text-generation
---
# TinyGLU

A Llama-architecture model of {facts["parameters"]:,} parameters (hidden 256, MLP width 1024, so expansion ratio 4.0;
6 layers, 8 heads of 32, 4 key/value heads, context {CONTEXT}, tied embeddings, bf16), made for prunebench's demo and tests.
It writes plausible Python and docstrings and knows nothing; it exists so that pruning has something real to destroy.

| | |
|---|---|
| made by | `python examples/train_tinyglu.py --output examples/tinyglu` |
| text | sources and docstrings of the Python {facts["python"]} standard library; every file and its sha256 in `data.json` |
| sha256 of the file list | `{facts["data_sha256"]}` |
| training tokens available / seen | {facts["tokens_available"]:,} / {facts["tokens_seen"]:,} |
| seed | {facts["seed"]} |
| optimiser | AdamW 0.9/0.95, weight decay 0.1, peak learning rate {PEAK_LEARNING_RATE}, cosine, bf16 autocast |
| torch / transformers | {facts["torch"]} / {facts["transformers"]} |
| held out | {", ".join(f"`{name}`" for name in HELD_OUT)} |
| **held-out perplexity per token, untrained** | {facts["perplexity_untrained"]:.0f} |
| **held-out perplexity per token, as shipped (bf16)** | {facts["perplexity"]:.2f} |

Perplexity is over non-overlapping contexts of {CONTEXT} tokens, each file beginning with `{BOS}`.

## Loss curve

| step | training loss, nats per token |
|---|---|
{curve}
""",
        encoding="utf-8",
    )


def main() -> None:
    """Train and write everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--batch", type=int, default=BATCH, help="sequences a step", metavar="N")
    parser.add_argument(
        "--allow-other-text", action="store_true", help="train although the library differs from data.json"
    )
    parser.add_argument(
        "--library",
        type=Path,
        default=Path(sysconfig.get_paths()["stdlib"]),
        help="Python files to train on; default: this Python's standard library",
        metavar="FOLDER",
    )
    arguments = parser.parse_args()

    stdlib = arguments.library
    files = standard_library_files(stdlib)
    data = describe(files, stdlib)
    data_sha256 = hashlib.sha256(json.dumps(data).encode()).hexdigest()
    listing = arguments.output / "data.json"
    if listing.exists() and json.loads(listing.read_text()) != data and not arguments.allow_other_text:
        parser.error(f"the library in {stdlib} is not the one in {listing}; --allow-other-text trains on it anyway")

    texts = {row["file"]: path.read_text("utf-8") for row, path in zip(data, files, strict=True)}
    training = [text for name, text in texts.items() if name not in HELD_OUT]
    held_out = [texts[name] for name in HELD_OUT if name in texts]
    pairs = [pair for text in training for pair in dialogues(text)]
    tokenizer = train_tokenizer(training)
    stream = token_stream(tokenizer, training, pairs)
    print(f"{len(training)} files, {len(pairs)} dialogues, {len(stream):,} tokens", flush=True)

    torch.manual_seed(SEED)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    untrained = perplexity(model, tokenizer, held_out)
    print(f"untrained held-out perplexity {untrained:.0f}", flush=True)
    curve = train(model.train(), stream, arguments.steps, arguments.batch)
    model = model.eval().to(torch.bfloat16)
    trained = perplexity(model, tokenizer, held_out)
    print(f"held-out perplexity {trained:.2f}", flush=True)

    arguments.output.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
    )
    model.save_pretrained(arguments.output)
    tokenizer.save_pretrained(arguments.output)
    listing.write_text(json.dumps(data, indent=0) + "\n", encoding="utf-8")
    write_card(
        arguments.output,
        {
            "seed": SEED,
            "parameters": model.num_parameters(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "data_sha256": data_sha256,
            "tokens_available": len(stream),
            "tokens_seen": arguments.steps * arguments.batch * CONTEXT,
            "loss_curve": curve,
            "perplexity_untrained": untrained,
            "perplexity": trained,
        },
    )


if __name__ == "__main__":
    main()
