"""KL divergence and top-1 agreement of two checkpoints, against torch's own formula, and what cannot be compared."""

import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from prunebench.experiment.tables.quality import QualitySettings
from prunebench.quality.next_tokens import check_next_tokens, compare_next_tokens, divergence, why_not
from prunebench.quality.perplexity import checkpoint_tokens, token_windows
from prunebench.quality.suites import QualityError
from reports.analysis.quality.perplexity import configuration_figures
from reports.document.console import Console
from reports.runs.records.configuration import ConfigurationInfo
from tests.prunebench.conftest import TINYGLU
from tests.reports.example_run import Example, configure

TEXT = ["stdlib:heapq.py"]


def configuration(label: str, **known: object) -> ConfigurationInfo:
    shown = {"label": label, "is_baseline": label == "plain", "checkpoint": str(TINYGLU), "tokenizer_sha256": "a"}
    return configure(Example(), 1024).model_copy(update=shown | known)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"checkpoint": None}, "its checkpoint is not here: its server's answers have no probabilities of all tokens"),
        ({}, "its checkpoint is the baseline's: what its server does beside is not in there"),
        ({"checkpoint": "b", "tokenizer_sha256": "b"}, "its tokenizer is another than the baseline's: its next tokens are others"),
        ({"checkpoint": "b"}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_says_why(other, said):
    assert why_not(configuration("other", **other), configuration("plain")) == said


def test_next_tokens_without_a_text_are_refused():
    with pytest.raises(QualityError, match=r"^quality\.next_tokens: needs a text, quality\.perplexity_files$"):
        check_next_tokens(QualitySettings(next_tokens=True))


def test_a_tokenizer_that_cuts_off_and_pads_does_neither_here(tmp_path):
    text = "Water boils at a hundred degrees at sea level."
    (whole,) = checkpoint_tokens(TINYGLU)([text])
    tokenizer = Tokenizer.from_file(str(TINYGLU / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=99)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert checkpoint_tokens(tmp_path)([text]) == [whole]


@pytest.fixture(scope="module")
def duller(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TinyGLU with its final norm at nine tenths: the same order of tokens, by flatter probabilities."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("duller") / "tinyglu"
    shutil.copytree(TINYGLU, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"].float().mul(0.9).to(tensors["model.norm.weight"].dtype)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
def test_the_divergence_is_torchs_own_over_every_token(duller):
    import torch
    from transformers import AutoModelForCausalLM

    settings = QualitySettings(perplexity_files=TEXT, context_tokens=100, max_tokens=350)
    windows = token_windows(settings, checkpoint_tokens(TINYGLU))
    assert [len(window) for window in windows] == [100] * 3
    found = divergence(TINYGLU, duller, windows)
    for n, window in enumerate(windows):
        with torch.inference_mode():
            models = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32) for f in (TINYGLU, duller))
            ours, others = (model(torch.tensor([window])).logits[0].log_softmax(-1) for model in models)
        reference = torch.nn.functional.kl_div(others, ours, reduction="batchmean", log_target=True)
        assert found["kl_nats"][n] == pytest.approx(float(reference), rel=1e-3)
        assert found["kl_nats"][n] > 1e-3
    assert found["agreement"] == pytest.approx([1.0] * 3, abs=0.02)
    assert max(divergence(TINYGLU, TINYGLU, windows[:1])["kl_nats"]) == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_every_configuration_gets_its_figures_or_the_reason_and_a_second_run_takes_them_from_the_first(
    duller, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    settings = QualitySettings(perplexity_files=TEXT, context_tokens=64, max_tokens=256, next_tokens=True, reuse=True)
    every = {
        "plain": configuration("plain"),
        "duller": configuration("duller", checkpoint=str(duller)),
        "there": configuration("there", checkpoint=None),
    }
    written: dict[str, ConfigurationInfo] = {}

    def write(info: ConfigurationInfo) -> None:
        written[info.label] = info

    compare_next_tokens(settings, every, write, Console())
    figures = configuration_figures(written["duller"], None)
    assert figures.kl_nats.low < figures.kl_nats.mean < figures.kl_nats.high
    assert figures.top1_agreement.n == 4
    assert written["there"].next_tokens.reason.startswith("its checkpoint is not here")
    (kept,) = (tmp_path / "prunebench" / "quality").iterdir()
    monkeypatch.setattr("prunebench.quality.next_tokens.divergence", None)  # nothing is computed again
    first = written.pop("duller")
    compare_next_tokens(settings, every, write, Console())
    assert written["duller"] == first
    assert kept.is_file()
