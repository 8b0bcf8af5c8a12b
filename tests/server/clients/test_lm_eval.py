"""lm-eval's own client against the transformers engine: the numbers of transformers itself, computed directly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.server.conftest import serve_process, url_once_ready
from tests.server.engines.tiny_model import reference_logprobs, reference_model, reference_tokens

MODEL = Path(__file__).parents[3] / "examples" / "tinyglu"
CLOSE = 1e-3
LONGEST = 64  # tokens; short, so that rolling needs several windows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # lm-eval's imports
]


@dataclass
class Sides:
    """The same checkpoint twice: behind HTTP as lm-eval sees it, and in plain transformers."""

    client: Any
    model: Any
    tokenizer: Any

    def ask(self, kind: str, *arguments: tuple[Any, ...]) -> list[Any]:
        from lm_eval.api.instance import Instance

        requests = [Instance(kind, {}, given, index) for index, given in enumerate(arguments)]
        return getattr(self.client, kind)(requests, disable_tqdm=True)

    def score(self, before: list[int], after: list[int]) -> tuple[float, bool]:
        """Log-likelihood of `after`, and whether greedy decoding would have written it."""
        rows = reference_logprobs(self.model, [*before, *after])[len(before) - 1 : -1]
        return sum(row[token].item() for row, token in zip(rows, after, strict=True)), rows.argmax(-1).tolist() == after


@pytest.fixture(scope="module")
def sides() -> Iterator[Sides]:
    process = serve_process(checkpoint=MODEL, engine="transformers", engine_options={"dtype": "float32"})
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        from lm_eval.models.openai_completions import LocalCompletionsAPI

        try:
            client = LocalCompletionsAPI(
                base_url=f"{url_once_ready(process)}/v1/completions",
                model="tinyglu",
                tokenizer=str(MODEL),
                tokenizer_backend="huggingface",
                tokenized_requests=True,
                batch_size=3,
                max_retries=1,
                max_length=LONGEST,
            )
            yield Sides(client, reference_model(MODEL), AutoTokenizer.from_pretrained(MODEL))
        finally:
            process.terminate()
            process.communicate(timeout=60)


def test_loglikelihoods_are_those_of_transformers(sides):
    prompt = sides.tokenizer.encode("Once upon a time")
    greedy = sides.tokenizer.decode(reference_tokens(sides.model, prompt, 5))
    asked = [
        ("Once upon a time", greedy),
        ("Once upon a time", " there was a little girl"),
        ("The capital of France", " is"),
        ("She said", ': "naïve café"'),
        ("", "A text without context"),
    ]
    for (before, after), (found, is_greedy) in zip(asked, sides.ask("loglikelihood", *asked), strict=True):
        whole = sides.tokenizer.encode(before + after)
        cut = len(sides.tokenizer.encode(before))
        ids = (whole[:cut], whole[cut:]) if before else ([sides.client.prefix_token_id], whole)
        expected, expected_greedy = sides.score(*ids)
        assert found == pytest.approx(expected, abs=CLOSE)
        assert is_greedy == expected_greedy
    assert sides.ask("loglikelihood", asked[0])[0][1], "a greedy continuation was not seen as one"


def test_rolling_loglikelihoods_are_those_of_transformers(sides):
    """How a long text is cut into windows is lm-eval's definition; what each is worth is computed here."""
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    text = (MODEL / "README.md").read_text()[:900]
    cut = get_rolling_token_windows(
        sides.tokenizer.encode(text),
        prefix_token=sides.client.prefix_token_id,
        max_seq_len=sides.client.max_length - 1,
        context_len=1,
    )
    windows = [make_disjoint_window(window) for window in cut]
    assert len(windows) > 2
    expected = sum(sides.score(before, after)[0] for before, after in windows)
    assert sides.ask("loglikelihood_rolling", (text,)) == [pytest.approx(expected, abs=CLOSE)]


def test_generated_texts_are_those_of_transformers(sides):
    prompts = ["Once upon a time", "The old man", "def main", "The width of"]  # the second ends by itself
    found = sides.ask(
        "generate_until", *((prompt, {"until": ["module", "#\n"], "max_gen_toks": 24}) for prompt in prompts)
    )
    for prompt, text in zip(prompts, found, strict=True):
        ids = sides.tokenizer.encode(prompt)
        written = sides.tokenizer.decode(reference_tokens(sides.model, ids, 24), skip_special_tokens=True)
        assert text == written.split("module")[0].split("#\n")[0]
        assert text
