"""`POST /v1/completions`: text or token ids, one prompt or many, with `echo` and `logprobs` for scoring texts."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from server.api.answer import Answer
from server.api.choice import UNFINISHED, streamed_end, whole_end
from server.api.logprobs import completion_logprobs
from server.api.requests.completion import CompletionRequest
from server.api.requests.jobs import make_jobs, new_request_id
from server.api.requests.sampling import MOST_LOGPROBS
from server.engines.base import TokenLogprob
from server.errors import ApiError
from server.generation import Piece
from server.model import Model
from server.offloading.json_writer import json_text, written_list
from server.offloading.off_loop import LOGPROB_SIZE, off_loop
from server.text.offsets import TextOffsets, offsets_in_text

_SLICE = 64  # tokens whose log-probabilities are written at once
_MOST_ECHOED = 4_000_000  # log-probabilities of prompts in one answer, about 200 MB


async def answer_completion(model: Model, request: CompletionRequest) -> Answer:
    """The answer to a checked request. Raises ApiError 404 or 400 for what cannot be served."""
    model.check_name(request.model)
    model.in_flight.check(len(request.prompts) * request.n)
    all_ids = await _token_ids(model, request)
    prompts = [(token_ids, model.clipped(token_ids, request.max_tokens, "prompt")) for token_ids in all_ids]
    _check_echo(model, request, sum(map(len, all_ids)))
    request_id = new_request_id("cmpl")
    jobs = make_jobs(model, request, prompts, request.logprobs, request_id)
    return Answer(model, request, jobs, _CompletionShape(model, request, all_ids), request_id)


def _check_echo(model: Model, request: CompletionRequest, tokens: int) -> None:
    """Raise ApiError 400 for more log-probabilities of prompts than an answer may hold; a whole context always may."""
    if not request.echo or request.logprobs is None:
        return
    entries = tokens * request.n * (request.logprobs + 1)
    most = max(_MOST_ECHOED, model.engine.info.max_model_len * (MOST_LOGPROBS + 1))
    if entries > most:
        raise ApiError(
            400, f"logprobs: the prompts would have {entries} of them; one answer holds {most}", param="logprobs"
        )


async def _token_ids(model: Model, request: CompletionRequest) -> list[list[int]]:
    texts = [prompt for prompt in request.prompts if isinstance(prompt, str)]
    if texts:
        model.check_texts(texts, "prompt")
        return await model.encode(texts, add_special_tokens=request.add_special_tokens, prompt_in="prompt")
    given = [prompt for prompt in request.prompts if not isinstance(prompt, str)]
    for token_ids in given:
        model.check_length(token_ids, "prompt")

    def check() -> None:
        for token_ids in given:
            model.check_tokens(token_ids, "prompt")

    await off_loop(check, sum(map(len, given)))
    return given


class _CompletionShape:
    kind = "text_completion"
    chunk_kind = "text_completion"

    def __init__(self, model: Model, request: CompletionRequest, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._request = request
        self._prompts = prompts
        # Log-probabilities of each prompt, with echo and logprobs: of each column the JSON of some members at a time.
        self._echoed: dict[int, dict[str, list[str]]] = {}
        self._offsets: dict[int, TextOffsets] = {}  # of choices with log-probabilities
        self.logprobs_per_token = 0 if request.logprobs is None else request.logprobs + 1
        echoed_tokens = sum(map(len, prompts)) * request.n if request.echo else 0
        self.echo_size = echoed_tokens * (1 + LOGPROB_SIZE * self.logprobs_per_token)

    async def prepare(self) -> None:
        if self._request.echo and self._request.logprobs is not None:
            top = self._request.logprobs
            scoring = [asyncio.ensure_future(self._score(at, top)) for at in range(len(self._prompts))]
            try:
                await asyncio.gather(*scoring)
            finally:
                for one in scoring:  # gather leaves the others running when one fails
                    one.cancel()

    async def _score(self, at: int, top: int) -> None:
        scores = await self._model.engine.prompt_logprobs(self._prompts[at], top)
        self._echoed[at] = await off_loop(lambda: self._echo_columns(at, scores), self.echo_size)

    async def opening(self, index: int) -> str | None:
        if not self._request.echo:
            return None
        logprobs = self._with_echoed(index, None) if self._echoed else None
        size = self.echo_size // (len(self._prompts) * self._request.n)
        return await off_loop(lambda: self._streamed(Piece(index, self._echo(index), tokens=0), logprobs), size)

    def piece(self, piece: Piece) -> str:
        if piece.logprobs is None and piece.finish_reason is None:
            return f'{{"index":{piece.index},"text":{quoted(piece.text)},{UNFINISHED}}}'
        return self._streamed(piece, self._logprobs(piece))

    def whole(self, piece: Piece) -> dict[str, Any]:
        text, logprobs = piece.text, self._logprobs(piece)
        if self._request.echo:
            text = self._echo(piece.index) + text
        if self._echoed:
            logprobs = self._with_echoed(piece.index, logprobs)
        end = whole_end(piece, logprobs, with_times=self._request.include_engine_times)
        return {"index": piece.index, "text": text, **end}

    def _streamed(self, piece: Piece, logprobs: dict[str, Any] | None) -> str:
        end = streamed_end(piece, logprobs, with_times=self._request.include_engine_times)
        return f'{{"index":{piece.index},"text":{quoted(piece.text)},{end}}}'

    def _echo(self, index: int) -> str:
        at = index // self._request.n
        prompt = self._request.prompts[at]
        if isinstance(prompt, str):
            return prompt
        return self._model.tokenizer.decode(prompt, skip_special_tokens=self._request.skip_special_tokens)

    def _with_echoed(self, index: int, logprobs: dict[str, Any] | None) -> dict[str, Any]:
        """The prompt's log-probabilities, and what follows them in the same columns."""
        following = {} if logprobs is None else logprobs
        return {
            key: written_list([*slices, json_text(following.get(key, []))[1:-1]])
            for key, slices in self._echoed[index // self._request.n].items()
        }

    def _echo_columns(self, at: int, scores: list[TokenLogprob | None]) -> dict[str, list[str]]:
        """The columns as text, which one call frees; each slice of `scores` is freed once it is written."""
        tokenizer, prompt, token_ids = self._model.tokenizer, self._request.prompts[at], self._prompts[at]
        if isinstance(prompt, str):
            offsets = offsets_in_text(tokenizer, prompt, add_special_tokens=self._request.add_special_tokens)
        else:
            decoder = tokenizer.decoder([], skip_special_tokens=self._request.skip_special_tokens)
            offsets = TextOffsets(decoder).all(token_ids)
        columns = defaultdict(list)
        for begin in range(0, len(token_ids), _SLICE):
            part = slice(begin, begin + _SLICE)
            for key, members in completion_logprobs(tokenizer, token_ids[part], scores[part], offsets[part]).items():
                columns[key].append(json_text(members)[1:-1])
            scores[part] = [None] * len(scores[part])
        return columns

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if piece.logprobs is None or self._request.logprobs is None:
            return None
        token_ids = [entry.token_id for entry in piece.logprobs]
        offsets = self._output_offsets(piece.index).all(token_ids)
        return completion_logprobs(self._model.tokenizer, token_ids, piece.logprobs, offsets)

    def _output_offsets(self, index: int) -> TextOffsets:
        """Offsets of the output of choice `index`, which continue from piece to piece."""
        if index not in self._offsets:
            prompt, skip = self._prompts[index // self._request.n], self._request.skip_special_tokens
            decoder = self._model.tokenizer.decoder(prompt, skip_special_tokens=skip)
            self._offsets[index] = TextOffsets(decoder, len(self._echo(index)) if self._request.echo else 0)
        return self._offsets[index]
