"""A loaded checkpoint with all that answering takes, and the checks every request goes through."""

from __future__ import annotations

import time
from collections.abc import Sequence

from energy.sampler import Sampler
from server.engines.base import Engine
from server.errors import ApiError
from server.flights import Flights
from server.generation import Generator
from server.metrics import Metrics
from server.off_loop import off_loop
from server.settings import ServeSettings
from server.template import ChatTemplate
from server.tokenizer import Tokenizer, TooManyTokensError


class Model:
    """What the endpoints share. The engine has been started; whoever made it stops it."""

    def __init__(
        self,
        settings: ServeSettings,
        engine: Engine,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        sampler: Sampler,
    ) -> None:
        self.name = settings.model_name
        self.created = int(time.time())
        self.engine = engine
        self.tokenizer = tokenizer
        self.template = template  # None: the checkpoint has none, and chat is refused
        self.sampler = sampler
        self.metrics = Metrics(self.name, engine.load)
        self.metrics.metered(sampler.counters)
        self.generator = Generator(engine, tokenizer, self.metrics)
        self.flights = Flights(settings.max_concurrent_requests)
        self.longest_text = engine.info.max_model_len * tokenizer.longest_token  # UTF-8 bytes

    def check_name(self, asked: str | None) -> None:
        """Raise ApiError 404 for a model that is not served here; None asks for whatever is."""
        if asked is not None and asked != self.name:
            raise ApiError(
                404, f"model {asked!r} is not served here; {self.name!r} is", param="model", code="model_not_found"
            )

    async def encode(
        self, texts: Sequence[str], *, add_special_tokens: bool, prompt_in: str | None = None
    ) -> list[list[int]]:
        """Token ids of each text, computed off the event loop if they are long.

        prompt_in: the field that holds them, if they are prompts: ApiError 400 then for long ones that do not fit the context.
        """
        most = None if prompt_in is None else self.engine.info.max_model_len

        def encoded() -> list[list[int]]:
            return [self.tokenizer.encode(text, add_special_tokens=add_special_tokens, most=most) for text in texts]

        try:
            return await off_loop(encoded, sum(map(len, texts)))
        except TooManyTokensError as error:
            raise self._no_room(error.tokens, prompt_in or "") from None

    def check_texts(self, texts: Sequence[str], param: str) -> None:
        """Raise ApiError 400 for one longer than a context of the longest token: not worth seconds of tokenizing."""
        if any(self._is_too_long(text) for text in texts):
            raise ApiError(
                400,
                f"{param}: a text of more than {self.longest_text} bytes is not read; "
                f"the maximum context length is {self.engine.info.max_model_len} tokens",
                param=param,
                code="context_length_exceeded",
            )

    def _is_too_long(self, text: str) -> bool:
        # A character is at most 4 bytes: few texts are so long that their bytes must be counted.
        return len(text) * 4 > self.longest_text and len(text.encode(errors="surrogatepass")) > self.longest_text

    def check_tokens(self, token_ids: Sequence[int], param: str) -> None:
        """Raise ApiError 400 for token ids the model does not have, or for more than any text that is read consists of."""
        if len(token_ids) > self.longest_text:
            raise ApiError(400, f"{param}: a list of more than {self.longest_text} tokens is not read", param=param)
        vocabulary = self.engine.info.vocabulary
        if token_ids and not (min(token_ids) >= 0 and max(token_ids) < vocabulary):
            raise ApiError(400, f"{param}: token ids go from 0 to {vocabulary - 1}", param=param)

    def clipped(self, prompt: Sequence[int], wanted: int | None, param: str) -> int:
        """How many tokens may be written after `prompt`: `wanted` (None: no limit), or what the context leaves.

        Raises ApiError 400 for a prompt that is empty or leaves no room for a single wanted token.
        """
        context = self.engine.info.max_model_len
        room = context - len(prompt)
        if not prompt:
            raise ApiError(400, f"{param}: has no tokens", param=param)
        if room < (0 if wanted == 0 else 1):
            raise self._no_room(len(prompt), param)
        return room if wanted is None else min(wanted, room)

    def _no_room(self, tokens: int, param: str) -> ApiError:
        context = self.engine.info.max_model_len
        return ApiError(
            400,
            f"{param}: {tokens} tokens do not fit the maximum context length of {context} tokens, output included",
            param=param,
            code="context_length_exceeded",
        )
