"""A tiny checkpoint made here, and real servers over the synthetic engine: in a thread to look inside, or a process."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import httpx
import pytest
import uvloop
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from energy.sampler import start_sampler
from server.api.app import create_app
from server.api.endpoints import Stage
from server.engines.synthetic.engine import SyntheticEngine
from server.model import Model
from server.settings import ServeSettings
from server.text.template import find_template
from server.text.tokenizer import Tokenizer
from server.transport.connection import http_server
from tests.server.processes import serve_process, url_once_ready

__all__ = ["serve_process", "url_once_ready"]

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "[{{ m.role }}]{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
QUICK = {"prefill_ms": "2", "token_ms": "1"}


def byte_level_tokenizer() -> FastTokenizer:
    """As GPT-2, Llama 3 and Qwen have it; <s> goes before every text."""
    tokenizer = FastTokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        ["the quick brown fox jumps over the lazy dog", "naïve café über 日本語 👍🏽"] * 20,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return tokenizer


def sentencepiece_tokenizer() -> FastTokenizer:
    """As Llama 2 has it: spaces are written ▁, unknown characters fall back to bytes, the first space is dropped."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyz"]
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("▁", "a"), ("a", "n")]
    pieces += ["".join(merge) for merge in merges]
    model = models.BPE(
        {piece: i for i, piece in enumerate(pieces)}, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True
    )
    tokenizer = FastTokenizer(model)
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def write_checkpoint(folder: Path, *, template: str | None = TEMPLATE, tokenizer: FastTokenizer | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (tokenizer or byte_level_tokenizer()).save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def tokenizer(checkpoint: Path) -> Tokenizer:
    return Tokenizer(checkpoint)


class RunningServer:
    """A server in a thread of this process, with its insides in reach."""

    def __init__(self, settings: ServeSettings, api_key: str | None) -> None:
        self.stage = Stage()
        self._settings = settings
        self.app = create_app(self.stage, settings, api_key=api_key)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = http_server(self.app, settings)
        self._server.config.timeout_graceful_shutdown = 1
        self._thread = threading.Thread(target=self._run_in_uvloop)

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()

    @property
    def model(self) -> Model:
        assert self.stage.model is not None
        return self.stage.model

    @property
    def running(self) -> int:
        return self.model.engine.load().running

    @property
    def tasks(self) -> int:
        """Tasks of the server's loop."""
        return len(asyncio.all_tasks(self.loop))

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    def _run_in_uvloop(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self.loop = asyncio.get_running_loop()
        engine = SyntheticEngine(self._settings.checkpoint, self._settings.engine_options)
        await engine.start()
        sampler = start_sampler(
            modelled_watts_per_core=None, process_ids=engine.process_ids, extra_meters=engine.meters(), interval_s=0.01
        )
        folder = self._settings.checkpoint
        self.stage.model = Model(self._settings, engine, Tokenizer(folder), find_template(folder), sampler)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            sampler.stop()


@contextmanager
def running_server(checkpoint: Path, *, api_key: str | None = None, **settings: object) -> Iterator[RunningServer]:
    options = {**QUICK, **settings.pop("engine_options", {})}  # type: ignore[dict-item]
    with RunningServer(ServeSettings(checkpoint=checkpoint, engine_options=options, **settings), api_key) as server:
        yield server


@pytest.fixture(scope="session")
def server(checkpoint: Path) -> Iterator[RunningServer]:
    with running_server(checkpoint) as running:
        yield running


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20) as client:
        yield client


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def events(text: str) -> list[dict]:
    """The JSON of every `data:` event but the last, which must be [DONE]."""
    datas = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert datas.pop() == "[DONE]"
    return [json.loads(data) for data in datas]
