"""A server that answers as `python -m llama_cpp.server` does, with a clock in place of a model.

llama-cpp-python has no wheel to install, so this is written after its source at 0.3 (`llama_cpp/server/app.py`, `types.py`,
`errors.py`, `settings.py`, and `Llama._create_completion`), on the libraries it uses, FastAPI and uvicorn:

- `/v1/models` has no `max_model_len`; `/tokenize` takes `input`, not `prompt`; there is no `/metrics`.
- A prompt is text or a list of one; `stream_options` and `ignore_eos` are not known and passed over. What does not validate is a 500.
- A stream has a chunk a token, then one without text that has the finish_reason, and no usage.
- Requests are served one after another; by default a new one ends the one under way, whose stream then says [DONE] early.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

MODEL = "qwen2.5-0.5b-instruct-q4_k_m.gguf"


class Completion(BaseModel):
    prompt: str | list[str] = ""
    max_tokens: int | None = 16
    stream: bool = False


class Text(BaseModel):
    input: str


def make_app(*, token_s: float, interrupt_requests: bool) -> FastAPI:
    app = FastAPI()
    outer, inner = asyncio.Lock(), asyncio.Lock()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = {"message": str(error.errors()), "type": "internal_server_error", "param": None, "code": None}
        return JSONResponse({"error": found}, status_code=500)

    @app.get("/v1/models")
    async def models() -> dict[str, object]:
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "me", "permissions": []}]}

    @app.post("/tokenize")
    async def tokenize(text: Text) -> dict[str, list[int]]:
        return {"tokens": list(text.input.encode())}

    @app.post("/v1/completions")
    async def completions(asked: Completion) -> StreamingResponse:
        assert asked.stream
        return StreamingResponse(streamed(asked.max_tokens or 16), media_type="text/event-stream")

    async def streamed(tokens: int) -> AsyncIterator[str]:
        async with outer:  # whoever waits here or for the inner one is seen by the stream under way
            await inner.acquire()
        try:
            for number in range(tokens):
                await asyncio.sleep(token_s)
                yield chunk(f" word{number}", None)
                if interrupt_requests and outer.locked():
                    yield "data: [DONE]\n\n"
                    return
            yield chunk("", "length")
            yield "data: [DONE]\n\n"
        finally:
            inner.release()

    return app


def chunk(text: str, finish: str | None) -> str:
    choice = {"text": text, "index": 0, "logprobs": None, "finish_reason": finish}
    found = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": MODEL, "choices": [choice]}
    return f"data: {json.dumps(found)}\n\n"


@contextlib.contextmanager
def running(*, token_s: float = 0.002, interrupt_requests: bool = True) -> Iterator[str]:
    """Its URL while it runs, in a thread of its own."""
    app = make_app(token_s=token_s, interrupt_requests=interrupt_requests)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
