"""Held-out perplexity and bits per byte: what is scored, by one tokenizer and by two."""

import json
import math
import shutil
from pathlib import Path

import pytest

from loadgen.endpoint import Endpoint
from prunebench.experiment.tables.quality import QualitySettings
from prunebench.quality.perplexity import PerplexityProbe, Tokens, checkpoint_tokens
from prunebench.quality.quick import served_tokens_of
from reports.analysis.quality.perplexity import compare_perplexity
from reports.runs.records.quality import Quality
from tests.prunebench.conftest import TINYGLU
from tests.reports.example_run import Example, configure
from tests.server.conftest import running_server

SETTINGS = QualitySettings(perplexity_files=["stdlib:heapq.py"], context_tokens=64, max_tokens=512)


@pytest.fixture(scope="module")
def url():
    with running_server(TINYGLU) as server:
        yield server.url


@pytest.fixture(scope="module")
def half_merges(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TinyGLU with half of its tokenizer's merges: more tokens of the same text, by the same ids."""
    folder = tmp_path_factory.mktemp("half") / "tinyglu"
    shutil.copytree(TINYGLU, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:1900]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return folder


def measured(url: str, checkpoint: Path, *, same_text: bool) -> Quality:
    probe = PerplexityProbe(SETTINGS, checkpoint_tokens(checkpoint), same_text=same_text)
    return probe.measure(Endpoint(url, "tinyglu"))


def compared(own: Quality, baseline: Quality):
    info = configure(Example(), 1024).model_copy(update={"quality": own})
    return compare_perplexity(info, baseline)


def test_bits_per_byte_are_the_nats_of_the_scored_text_over_its_bytes(url):
    found = measured(url, TINYGLU, same_text=False)
    assert found.perplexity == pytest.approx(math.exp(sum(found.window_nats) / found.tokens))
    assert (len(found.window_nats), found.tokens) == (8, 8 * 63)
    assert found.bits_per_byte == pytest.approx(sum(found.window_nats) / math.log(2) / found.bytes)
    assert 1000 < found.bytes < 4000


def test_two_tokenizers_are_given_the_same_text_and_all_of_it_is_scored(url, half_merges):
    """The same weights served, so that nothing but the tokens differ."""
    whole, half = (measured(url, one, same_text=True) for one in (TINYGLU, half_merges))
    assert whole.bytes == half.bytes >= 4 * 512
    assert half.tokens > whole.tokens
    assert whole.windows_sha256 == half.windows_sha256
    assert whole.tokens_sha256 != half.tokens_sha256
    found = compared(half, whole)
    nats = sum(half.window_nats) - sum(whole.window_nats)
    assert found.perplexity_ratio == pytest.approx(math.exp(nats / whole.tokens))  # per token of the baseline
    assert found.bits_per_byte.ratio == pytest.approx(half.bits_per_byte / whole.bits_per_byte)
    assert found.bits_per_byte.low < found.bits_per_byte.ratio < found.bits_per_byte.high


def test_windows_of_tokens_of_two_tokenizers_are_other_texts_and_not_compared(url, half_merges):
    found = compared(*(measured(url, one, same_text=False) for one in (half_merges, TINYGLU)))
    assert (found.perplexity_ratio, found.bits_per_byte) == (None, None)
    assert found.perplexity_reason.startswith("other tokens than the baseline's were scored")


def test_a_server_that_tokenizes_itself_scores_the_same_bytes_of_the_same_text(url):
    endpoint = Endpoint(url, "tinyglu")
    encode, _ = served_tokens_of(endpoint, 1024)
    served = PerplexityProbe(SETTINGS, encode, same_text=True).measure(endpoint)
    own = measured(url, TINYGLU, same_text=True)
    assert (served.bytes, served.tokens_sha256) == (own.bytes, own.tokens_sha256)
    assert PerplexityProbe(SETTINGS, encode).measure(endpoint).bits_per_byte is None  # its tokens' places are not known


def test_a_tokenizer_without_a_line_break_is_refused():
    with pytest.raises(ValueError, match="no token for a line break"):
        PerplexityProbe(SETTINGS, lambda texts: [Tokens([], []) for _ in texts], same_text=True)


def test_runs_recorded_before_windows_were_keep_their_ratio():
    old = {"standard_error": 0.1, "tokens": 9, "text": "t", "text_sha256": "0"}
    found = compared(Quality(perplexity=6.0, **old), Quality(perplexity=4.0, **old))
    assert (found.perplexity_ratio, found.perplexity, found.bits_per_byte) == (1.5, None, None)
