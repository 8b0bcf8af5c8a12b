"""`POST /v1/completions`: text or token ids, one prompt or many, with `echo` and `logprobs` for scoring texts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from server.answer import UNFINISHED, Answer, make_jobs, new_request_id, streamed_end, whole_end
from server.engines.base import TokenLogprob
from server.generation import Piece
from server.logprobs import completion_logprobs
from server.model import Model
from server.protocol import CompletionRequest


async def answer_completion(model: Model, asked: CompletionRequest) -> Answer:
    """The answer to a checked request. Raises ApiError 404 or 400 for what cannot be served."""
    model.check_name(asked.model)
    model.flights.check(len(asked.prompts) * asked.n)
    all_ids = await _token_ids(model, asked)
    prompts = [(token_ids, model.clipped(token_ids, asked.max_tokens, "prompt")) for token_ids in all_ids]
    request_id = new_request_id("cmpl")
    jobs = make_jobs(model, asked, prompts, asked.logprobs, request_id)
    return Answer(model, asked, jobs, _CompletionShape(model, asked, all_ids), request_id)


async def _token_ids(model: Model, asked: CompletionRequest) -> list[list[int]]:
    texts = [prompt for prompt in asked.prompts if isinstance(prompt, str)]
    if texts:
        model.check_texts(texts, "prompt")
        return await model.encode(texts, add_special_tokens=asked.add_special_tokens)
    given = [prompt for prompt in asked.prompts if not isinstance(prompt, str)]
    for token_ids in given:
        model.check_tokens(token_ids, "prompt")
    return given


class _CompletionShape:
    kind = "text_completion"
    chunk_kind = "text_completion"

    def __init__(self, model: Model, asked: CompletionRequest, prompts: Sequence[Sequence[int]]) -> None:
        self._model = model
        self._asked = asked
        self._prompts = prompts
        self._scores: list[list[TokenLogprob | None]] = []  # one a prompt, with echo and logprobs
        self._offsets = [0] * (len(prompts) * asked.n)  # characters of tokens told so far, one a choice

    async def prepare(self) -> None:
        if self._asked.echo and self._asked.logprobs is not None:
            engine, top = self._model.engine, self._asked.logprobs
            scoring = [asyncio.ensure_future(engine.prompt_logprobs(prompt, top)) for prompt in self._prompts]
            try:
                self._scores = await asyncio.gather(*scoring)
            finally:
                for one in scoring:  # gather leaves the others running when one fails
                    one.cancel()

    def opening(self, index: int) -> str | None:
        if not self._asked.echo:
            return None
        return self._streamed(Piece(index, self._echo(index), tokens=0), self._echo_logprobs(index))

    def piece(self, piece: Piece) -> str:
        if piece.logprobs is None and piece.finish_reason is None:
            return f'{{"index":{piece.index},"text":{quoted(piece.text)},{UNFINISHED}}}'
        return self._streamed(piece, self._logprobs(piece))

    def whole(self, piece: Piece) -> dict[str, Any]:
        text, logprobs = piece.text, None
        if self._asked.echo:
            text = self._echo(piece.index) + text
            logprobs = self._echo_logprobs(piece.index)
        of_output = self._logprobs(piece)
        if logprobs is None:
            logprobs = of_output
        elif of_output is not None:
            logprobs = {key: logprobs[key] + of_output[key] for key in logprobs}
        end = whole_end(piece, logprobs, tell_times=self._asked.include_engine_times)
        return {"index": piece.index, "text": text, **end}

    def _streamed(self, piece: Piece, logprobs: dict[str, Any] | None) -> str:
        end = streamed_end(piece, logprobs, tell_times=self._asked.include_engine_times)
        return f'{{"index":{piece.index},"text":{quoted(piece.text)},{end}}}'

    def _echo(self, index: int) -> str:
        at = index // self._asked.n
        prompt = self._asked.prompts[at]
        if isinstance(prompt, str):
            return prompt
        return self._model.tokenizer.decode(prompt, skip_special_tokens=self._asked.skip_special_tokens)

    def _echo_logprobs(self, index: int) -> dict[str, Any] | None:
        if not self._scores:
            return None
        at = index // self._asked.n
        return self._told(index, self._prompts[at], self._scores[at])

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if piece.logprobs is None or self._asked.logprobs is None:
            return None
        return self._told(piece.index, [entry.token_id for entry in piece.logprobs], piece.logprobs)

    def _told(self, index: int, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob | None]) -> dict[str, Any]:
        told = completion_logprobs(self._model.tokenizer, token_ids, logprobs, self._offsets[index])
        self._offsets[index] += sum(len(text) for text in told["tokens"])
        return told
