"""A loaded checkpoint with all that answering takes, and the checks every request goes through."""

from __future__ import annotations

import time
from collections.abc import Sequence

from energy.sampler import Sampler
from server.engines.base import Engine
from server.errors import ApiError
from server.generation import Generator
from server.in_flight import Flights
from server.monitoring.metrics import Metrics
from server.offloading.off_loop import off_loop, slices
from server.settings import ServeSettings
from server.text.template import ChatTemplate
from server.text.tokenizer import Tokenizer, TooManyTokensError

_MOST_LISTED = 1_000_000  # token ids of a text; the library hands them over in one call, about 20 ms


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
        Otherwise ApiError 400 for more tokens than an answer lists.
        """
        longest = self.engine.info.max_model_len
        most = max(longest, _MOST_LISTED) if prompt_in is None else longest

        def encoded() -> list[list[int]]:
            return [self.tokenizer.encode(text, add_special_tokens=add_special_tokens, most=most) for text in texts]

        try:
            return await off_loop(encoded, sum(map(len, texts)), is_tokenizing=True)
        except TooManyTokensError as error:
            if prompt_in is not None:
                raise self._no_room(error.tokens, prompt_in) from None
            raise ApiError(
                400, f"prompt: {error.tokens} tokens are more than the {most} that an answer lists", param="prompt"
            ) from None

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

    def check_length(self, token_ids: Sequence[int], param: str) -> None:
        """Raise ApiError 400 for more token ids than the context holds."""
        longest = self.engine.info.max_model_len
        if len(token_ids) > longest:
            raise ApiError(
                400,
                f"{param}: {len(token_ids)} token ids are more than the maximum context length of {longest}",
                param=param,
                code="context_length_exceeded",
            )

    def check_tokens(self, token_ids: Sequence[int], param: str) -> None:
        """Raise ApiError 400 for token ids the model does not have."""
        vocabulary = self.engine.info.vocabulary
        if not all(min(some) >= 0 and max(some) < vocabulary for some in slices(token_ids)):
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
