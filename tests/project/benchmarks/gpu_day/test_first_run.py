"""The experiment of stages c and d is one that `prunebench run` takes, and grows with the time there is."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from benchmarks.gpu_day.measuring.checkpoint import random_llama, word
from benchmarks.gpu_day.measuring.first_run import experiment
from benchmarks.gpu_day.profiles import GPU, REHEARSAL
from benchmarks.pruner import stored
from prunebench.experiment.file import Experiment
from prunebench.experiment.plan import plan_configurations
from prunebench.experiment.resolve import load_experiment
from prunebench.experiment.toml_text import TomlText


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("work"), REHEARSAL.shape)


def read(checkpoint: Path, file: Path, engine: str, seconds: float, more: str = "", profile=REHEARSAL) -> Experiment:
    options = argparse.Namespace(profile=profile, engine=engine, seconds=seconds)
    file.write_text(experiment("c", checkpoint, options, more))
    return load_experiment(TomlText.read(file), None, fetch=False)


@pytest.mark.parametrize("engine", ["transformers", "vllm", "synthetic"])
def test_four_widths_one_of_them_odd_single_and_batched(checkpoint, tmp_path, engine):
    found = read(checkpoint, tmp_path / "c.toml", engine, 100)
    labels = {planned.label for planned in plan_configurations(found)}
    assert labels == {"width-512", "width-384", "width-321", "width-256"}
    assert [one.kind for one in found.workloads] == ["single", "batch"]


def test_blocks_grow_with_the_time_and_are_never_fewer_than_an_interval_needs(checkpoint, tmp_path):
    blocks = [
        read(checkpoint, tmp_path / "c.toml", "transformers", s, profile=GPU).protocol.blocks for s in (10, 230, 900)
    ]
    assert blocks == [3, 3, 8]


def test_every_weight_is_small_and_every_norm_is_1(checkpoint):
    tensors = {name: raw.view("<u2") for name, raw in stored(checkpoint).items()}
    assert tensors["model.layers.1.mlp.down_proj.weight"].size == REHEARSAL.shape.hidden * REHEARSAL.shape.width
    for name, bits in tensors.items():
        values = (bits.astype("<u4") << 16).view("<f4")
        if "norm" in name:
            assert (values == 1).all(), name
        else:
            assert ((abs(values) >= 2**-7) & (abs(values) < 2**-5)).all(), name
            assert 0.4 < (values > 0).mean() < 0.6, name


def test_every_token_has_a_word_of_its_own(checkpoint):
    tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    last = REHEARSAL.shape.vocabulary - 1
    assert tokenizer.encode(f"{word(0)} {word(last)}").ids == [0, last]
    assert len({word(token) for token in range(GPU.shape.vocabulary)}) == GPU.shape.vocabulary
