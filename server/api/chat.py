"""`POST /v1/chat/completions`: messages through the checkpoint's own chat template."""

from __future__ import annotations

from contextlib import suppress
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

from server.api.answer import Answer
from server.api.choice import UNFINISHED, streamed_end, whole_end
from server.api.logprobs import chat_logprobs
from server.api.requests.chat import ChatRequest
from server.api.requests.jobs import make_jobs, new_request_id
from server.errors import ApiError
from server.generation import Piece
from server.model import Model
from server.offloading.off_loop import INLINE, off_loop
from server.text.template import RENDER_S, ChatTemplateError
from server.text.template_sandbox import OutOfTimeError

_INLINE_S = 0.005  # of processor time on the event loop for a small request's template; most take a hundredth of it


async def answer_chat(model: Model, request: ChatRequest, size: int) -> Answer:
    """The answer to a checked request of `size` bytes. Raises ApiError 404 or 400 for what cannot be served.

    The template writes its own special tokens, so that none are added to the rendered text.
    """
    model.check_name(request.model)
    model.in_flight.check(request.n)
    text = await _rendered(model, request, size)
    model.check_texts([text], "messages")
    (prompt,) = await model.encode([text], add_special_tokens=False, prompt_in="messages")
    most_tokens = model.clipped(prompt, request.most_tokens, "messages")
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    request_id = new_request_id("chatcmpl")
    jobs = make_jobs(model, request, [(prompt, most_tokens)], logprobs, request_id)
    return Answer(model, request, jobs, _ChatShape(model, request), request_id)


async def _rendered(model: Model, request: ChatRequest, size: int) -> str:
    """The prompt; a template that takes long is rendered again in a thread."""
    template = model.template
    if template is None:
        raise ApiError(
            400,
            f"model {model.name!r} has no chat template (neither chat_template.jinja nor chat_template in "
            "tokenizer_config.json); use /v1/completions",
            param="messages",
        )
    model.check_texts([message.text for message in request.messages], "messages")

    def render(seconds: float) -> str:
        return template.render(
            [message.for_template() for message in request.messages],
            add_generation_prompt=request.add_generation_prompt,
            extra=request.template_variables,
            seconds=seconds,
            characters=4 * model.longest_text + INLINE,  # a text is counted again as it leaves a macro
        )

    try:
        if size <= INLINE:
            with suppress(OutOfTimeError):
                return render(_INLINE_S)
        return await off_loop(lambda: render(RENDER_S), INLINE + 1)
    except (ChatTemplateError, OutOfTimeError) as error:
        raise ApiError(400, f"messages: the chat template refused them: {error}", param="messages") from None


class _ChatShape:
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    echo_size = 0

    def __init__(self, model: Model, request: ChatRequest) -> None:
        self._model = model
        self._request = request
        self.logprobs_per_token = (request.top_logprobs or 0) + 1 if request.logprobs else 0

    async def prepare(self) -> None:
        """Nothing: there is no echo."""

    async def opening(self, index: int) -> str | None:
        return f'{{"index":{index},"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}'

    def piece(self, piece: Piece) -> str:
        if piece.logprobs is None and piece.finish_reason is None:
            return f'{{"index":{piece.index},"delta":{{"content":{quoted(piece.text)}}},{UNFINISHED}}}'
        end = streamed_end(piece, self._logprobs(piece), with_times=self._request.include_engine_times)
        return f'{{"index":{piece.index},"delta":{{"content":{quoted(piece.text)}}},{end}}}'

    def whole(self, piece: Piece) -> dict[str, Any]:
        message = {"role": "assistant", "content": piece.text}
        end = whole_end(piece, self._logprobs(piece), with_times=self._request.include_engine_times)
        return {"index": piece.index, "message": message, **end}

    def _logprobs(self, piece: Piece) -> dict[str, Any] | None:
        if piece.logprobs is None or not self._request.logprobs:
            return None
        return chat_logprobs(self._model.tokenizer, piece.logprobs, self._request.top_logprobs or 0)
