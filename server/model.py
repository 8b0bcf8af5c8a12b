"""A loaded checkpoint with what the endpoints need to answer, and the checks that every request passes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from energy.sampler import Sampler
from server.engines.base import Engine
from server.errors import ApiError
from server.generation import Generator
from server.in_flight import InFlight
from server.monitoring.metrics import Metrics
from server.offloading.off_loop import off_loop, slices
from server.settings import ServeSettings
from server.text.template import ChatTemplate
from server.text.tokenizer import Tokenizer, TooManyTokensError

_MOST_LISTED = 1_000_000  # token ids in one answer; the library returns them in one call of about 20 ms


class Model:
    """What the endpoints share. The engine has been started, and its owner stops it."""

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
        self.metrics.metered(sampler.counters, sampler.trace)
        self.generator = Generator(engine, tokenizer, self.metrics)
        self.in_flight = InFlight(settings.max_concurrent_requests)
        self.longest_text = engine.info.max_model_len * tokenizer.longest_token  # UTF-8 bytes

    def check_name(self, name: str | None) -> None:
        """Raise ApiError 404 for a model that is not served here; None means the one that is."""
        if name is not None and name != self.name:
            raise ApiError(
                404, f"model {name!r} is not served here; {self.name!r} is", param="model", code="model_not_found"
            )

    async def encode(
        self, texts: Sequence[str], *, add_special_tokens: bool, prompt_in: str | None = None
    ) -> list[list[int]]:
        """Token ids of each text, computed off the event loop if they are long.

        prompt_in: the field that holds the texts, if they are prompts; raises ApiError 400 for long ones that do not fit the context.
        Without it, raises ApiError 400 for more tokens than an answer may list.
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
        """Raise ApiError 400 for a text longer than a context full of the longest token, which would take seconds to tokenize."""
        if any(self._is_too_long(text) for text in texts):
            raise ApiError(
                400,
                f"{param}: a text of more than {self.longest_text} bytes is not read; "
                f"the maximum context length is {self.engine.info.max_model_len} tokens",
                param=param,
                code="context_length_exceeded",
            )

    def _is_too_long(self, text: str) -> bool:
        # A character has at most 4 bytes, so that only long texts need their bytes counted.
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

    def clipped(self, prompt: Sequence[int], requested: int | None, param: str) -> int:
        """How many tokens may be written after `prompt`: `requested` (None: no limit), or what the context leaves.

        Raises ApiError 400 for a prompt that is empty or leaves no room for one requested token.
        """
        context = self.engine.info.max_model_len
        room = context - len(prompt)
        if not prompt:
            raise ApiError(400, f"{param}: has no tokens", param=param)
        if room < (0 if requested == 0 else 1):
            raise self._no_room(len(prompt), param)
        return room if requested is None else min(requested, room)

    def _no_room(self, tokens: int, param: str) -> ApiError:
        context = self.engine.info.max_model_len
        return ApiError(
            400,
            f"{param}: {tokens} tokens do not fit the maximum context length of {context} tokens, output included",
            param=param,
            code="context_length_exceeded",
        )
