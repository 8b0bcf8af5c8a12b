"""lm-eval's models: a served endpoint through its OpenAI client, or a checkpoint through its own HF backend.

Both get the same token ids: the tokenizer is the checkpoint's, and special tokens are added where the HF backend adds them.
Imported only where lm-eval is installed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import requests
from lm_eval.api.model import LM
from lm_eval.models.openai_completions import LocalCompletionsAPI

from loadgen.answers.stream_end import error_of
from loadgen.endpoint import Endpoint
from server.engines.transformers.lean_import import import_tokenizers

# It warns of prompts of different lengths in a request, which is intended here.
logging.getLogger("lm_eval.models.api_models").setLevel(logging.ERROR)

_PROMPTS = 8  # in one request
_ANSWERED_S = 3600.0  # of one request, at most: its prompts ask for a thousand tokens each, many minutes on a CPU
_DEFAULT_LENGTH = 2048  # lm-eval's own, for an endpoint that does not report its context length


class RefusedError(Exception):
    """The server answered a request with an error; the message has its status and its reason."""


class ServedModel(LocalCompletionsAPI):  # type: ignore[misc]
    """A model behind `/v1/completions`, asked with token ids, several requests at a time."""

    def __init__(
        self, endpoint: Endpoint, tokenizer: Path, max_length: int | None, concurrency: int, *, writes: bool = True
    ) -> None:
        """writes: whether scoring a prompt requires generating one token, as OpenAI does; our server does not."""
        import_tokenizers()
        super().__init__(
            base_url=f"{endpoint.url}/v1/completions",
            model=endpoint.model,
            tokenizer=str(tokenizer),
            tokenizer_backend="huggingface",
            tokenized_requests=True,
            # Several prompts a request: with one each, HTTP would dominate the time of a small model.
            batch_size=min(_PROMPTS, concurrency),
            num_concurrent=max(1, concurrency // _PROMPTS),
            max_retries=2,
            max_length=max_length or _DEFAULT_LENGTH,
            timeout=round(max(endpoint.timeout_s, _ANSWERED_S)),  # what is measured is shorter
            # Never None: the client would then send whatever key the environment holds for another service.
            header={"Accept": "application/json"}
            | dict(endpoint.headers)
            | ({"Authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}),
        )
        self._bos: str | None = self.tokenizer.bos_token
        self._writes = writes
        self.tokens: int | None = (
            0  # prompt and output tokens of all answers, by the server's usage; None if it reports none
        )

    def tok_encode(
        self,
        string: str | Sequence[str],
        left_truncate_len: int | None = None,
        add_special_tokens: bool | None = None,
        **_: Any,
    ) -> list[Any]:
        """Token ids as lm-eval's HF backend makes them; its API client would drop the special tokens that the tokenizer adds."""
        if not isinstance(string, str):  # prompts to generate from: the client passes them as a list
            return [self.tok_encode(one, left_truncate_len) for one in string]
        if add_special_tokens is None:
            add_special_tokens = not (self._bos and string.startswith(self._bos))
        ids: list[int] = self.tokenizer(string, add_special_tokens=add_special_tokens).input_ids
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def _create_payload(self, *given: Any, generate: bool = False, **named: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super()._create_payload(*given, generate=generate, **named)
        return payload if generate or self._writes else payload | {"max_tokens": 0}

    def model_call(self, *given: Any, **named: Any) -> Any:
        """The client's call, one request at a time, with the server's reason in the error."""
        try:
            return super().model_call(*given, **named)
        except requests.HTTPError as error:
            answer = error.response
            assert answer is not None  # noqa: S101 - it is about one
            raise RefusedError(error_of(answer.status_code, answer.content)) from None

    async def amodel_call(self, session: Any, *given: Any, **named: Any) -> Any:
        """The client's call, several requests at a time, with the server's reason in the error."""
        return await super().amodel_call(_Session(session), *given, **named)

    def parse_logprobs(self, outputs: Any, **given: Any) -> list[tuple[float, bool]]:
        """The client's parser, which drops the last token as a generated one; ours generates none, so one is appended."""
        self._count(outputs)
        if not self._writes:
            for output in outputs if isinstance(outputs, list) else [outputs]:
                for choice in output["choices"]:
                    choice["logprobs"]["token_logprobs"].append(None)
                    choice["logprobs"]["top_logprobs"].append(None)
        found: list[tuple[float, bool]] = super().parse_logprobs(outputs, **given)
        return found

    def parse_generations(self, outputs: Any, **given: Any) -> list[str]:
        """The client's parser; counts the tokens."""
        self._count(outputs)
        texts: list[str] = super().parse_generations(outputs, **given)
        return texts

    def _count(self, outputs: Any) -> None:
        for output in outputs if isinstance(outputs, list) else [outputs]:
            total = (output.get("usage") or {}).get("total_tokens")
            self.tokens = None if self.tokens is None or total is None else self.tokens + int(total)


class _Session:
    """The client's HTTP session, which raises the server's reason for an error."""

    def __init__(self, session: Any) -> None:
        self._session = session

    @contextlib.asynccontextmanager
    async def post(self, url: str, **named: Any) -> AsyncIterator[Any]:
        async with self._session.post(url, **named) as response:
            if not response.ok:
                raise RefusedError(error_of(response.status, await response.read()))
            yield response


def in_process_model(checkpoint: Path, dtype: str) -> LM:
    """lm-eval's own HF backend, on a GPU where there is one. Raises ImportError without accelerate."""
    import torch
    from lm_eval.models.huggingface import HFLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    return HFLM(pretrained=str(checkpoint), dtype=dtype, device=device, batch_size=8)
