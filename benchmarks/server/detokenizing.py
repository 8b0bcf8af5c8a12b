"""Detokenizing a stream token by token: ours against `DecodeStream` of tokenizers, microseconds a token and equal texts.

    python -P -m benchmarks.server.detokenizing --repeats 30

Speed: one text of some thousand tokens, medians of repeats, both in turn. Texts: 2000 lists of random ids (what a broken
checkpoint writes) and 2000 encoded texts cut in two, prompt and answer. `DecodeStream` has no end: an unfinished character is lost.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer as FastTokenizer
from tokenizers.decoders import DecodeStream

from server.text.tokenizer import Tokenizer
from tests.server.conftest import sentencepiece_tokenizer, write_checkpoint

TINYGLU = Path(__file__).parents[2] / "examples" / "tinyglu"
TEXT = "the quick brown fox jumps over the lazy dog, naïve café über 日本語 👍🏽 and then another the " * 30
LISTS = 2000
Step = Callable[[int], str | None]


def microseconds(step: Step, token_ids: Sequence[int]) -> float:
    begun = time.perf_counter()
    for token_id in token_ids:
        step(token_id)
    return (time.perf_counter() - begun) / len(token_ids) * 1e6


def compare_speed(ours: Tokenizer, fast: FastTokenizer, repeats: int) -> str:
    token_ids = ours.encode(TEXT, add_special_tokens=False)
    found: list[tuple[float, float]] = []
    for _ in range(repeats):
        stream = DecodeStream(skip_special_tokens=True)
        mine = microseconds(ours.decoder([], skip_special_tokens=True).push, token_ids)
        found.append((mine, microseconds(lambda token_id, stream=stream: stream.step(fast, token_id), token_ids)))
    mine, theirs = (statistics.median(column) for column in zip(*found, strict=True))
    return f"ours {mine:.2f} µs a token, DecodeStream {theirs:.2f}"


def compare_texts(ours: Tokenizer, fast: FastTokenizer, lists: Sequence[tuple[list[int], list[int]]]) -> str:
    same = raised = 0
    for prompt, answer in lists:
        decoder = ours.decoder(prompt, skip_special_tokens=True)
        expected = "".join(map(decoder.push, answer)) + decoder.finish()
        stream = DecodeStream(ids=prompt, skip_special_tokens=True)
        try:
            same += "".join(stream.step(fast, token_id) or "" for token_id in answer) == expected
        except Exception:  # noqa: BLE001 - the Rust library raises plain Exception
            raised += 1
    return f"{same} of {len(lists)} the same, {raised} raised"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece = write_checkpoint(Path(folder) / "tiny", tokenizer=sentencepiece_tokenizer())
        for name, checkpoint in (("byte-level", TINYGLU), ("SentencePiece", sentencepiece)):
            ours, fast = Tokenizer(checkpoint), FastTokenizer.from_file(str(checkpoint / "tokenizer.json"))
            draw = random.Random(0)
            ids = [([], draw.choices(range(ours.vocabulary), k=draw.randrange(1, 40))) for _ in range(LISTS)]
            texts = ["".join(draw.choices("the an日é👍 quick", k=draw.randrange(4, 40))) for _ in range(LISTS)]
            encoded = [ours.encode(text, add_special_tokens=False) for text in texts]
            parted = [(one[:at], one[at:]) for one in encoded for at in [draw.randrange(len(one))]]
            print(f"{name}: {compare_speed(ours, fast, repeats)}")
            print(
                f"  random ids: {compare_texts(ours, fast, ids)}; texts cut in two: {compare_texts(ours, fast, parted)}"
            )


if __name__ == "__main__":
    main()
