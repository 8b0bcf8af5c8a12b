"""Every path: its parameters, its answer and its errors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from energy.records import EnergyCounters, EnergyTrace
from server.api.chat import answer_chat
from server.api.completions import answer_completion
from server.api.openapi import responses, responses_of_stream, responses_to_body, responses_with_text
from server.api.requests.chat import ChatRequest
from server.api.requests.completion import CompletionRequest
from server.api.requests.tokenization import DetokenizeRequest, TokenizeRequest
from server.api.response_models import ChatCompletion, Completion, Health, ModelCard, Models, Text, Tokens
from server.api.route import body_route
from server.errors import ApiError
from server.model import Model
from server.monitoring.metrics import Metrics
from server.offloading.json_writer import JsonResponse, body_slices, json_parts
from server.offloading.off_loop import off_loop
from server.settings import ServeSettings

_NANOSECONDS = re.compile(r"[0-9]{1,19}")


@dataclass
class Stage:
    """The server's state: no model yet, serving, or (the engine says so itself) dead."""

    model: Model | None = None

    def loaded(self) -> Model:
        """The model. Raises ApiError 503 before there is one."""
        if self.model is None:
            raise ApiError(503, "the model is being loaded", code="loading")
        return self.model


def _nanoseconds(given: object) -> int:
    if not (isinstance(given, int) or (isinstance(given, str) and _NANOSECONDS.fullmatch(given))):
        raise ValueError("must be a whole number of nanoseconds")
    return int(given)


Since = Annotated[int, Query(ge=0, le=2**63 - 1), BeforeValidator(_nanoseconds)]


def make_router(stage: Stage, settings: ServeSettings) -> APIRouter:
    """The endpoints, in the order in which a request's path is compared with theirs."""
    router = APIRouter(route_class=body_route(settings.max_body_bytes, settings.receive_timeout_s))

    @router.post(
        "/v1/completions", summary="Continue prompts", response_model=Completion, responses=responses_of_stream()
    )
    async def completions(body: CompletionRequest, _: Request) -> Response:
        return await answer_completion(stage.loaded(), body)

    @router.post(
        "/v1/chat/completions",
        summary="Answer messages",
        response_model=ChatCompletion,
        responses=responses_of_stream(),
    )
    async def chat(body: ChatRequest, request: Request) -> Response:
        return await answer_chat(stage.loaded(), body, request.state.body_bytes)

    @router.get("/health", summary="Whether the server can serve", responses=responses(key=False))
    async def health() -> Health:
        await stage.loaded().engine.check_health()
        return Health(status="ok")

    @router.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=responses_with_text())
    async def metrics() -> Response:
        return Response(stage.loaded().metrics.text(), headers={"content-type": Metrics.content_type})

    @router.get(
        "/energy",
        summary="Joules of every meter since the server began",
        response_model=EnergyCounters,
        responses=responses(),
    )
    async def energy() -> Response:
        return _json(stage.loaded().sampler.counters().model_dump_json())

    @router.get(
        "/energy/trace",
        summary="Samples of every meter since a moment",
        response_model=EnergyTrace,
        responses=responses(400),
    )
    async def energy_trace(since_ns: Since = 0) -> Response:
        return _json(stage.loaded().sampler.trace(since_ns).model_dump_json())

    @router.get("/v1/models", summary="The model, its context and its engine", responses=responses())
    async def models() -> Models:
        model = stage.loaded()
        info = model.engine.info
        card = ModelCard(
            id=model.name,
            object="model",
            created=model.created,
            owned_by="prunebench",
            max_model_len=info.max_model_len,
            engine=info,
        )
        return Models(object="list", data=[card])

    @router.post("/tokenize", summary="Token ids of a text", response_model=Tokens, responses=responses_to_body())
    async def tokenize(body: TokenizeRequest, _: Request) -> Response:
        model = stage.loaded()
        model.check_name(body.model)
        model.check_texts([body.prompt], "prompt")
        (token_ids,) = await model.encode([body.prompt], add_special_tokens=body.add_special_tokens)
        content = {"count": len(token_ids), "max_model_len": model.engine.info.max_model_len, "tokens": token_ids}
        return JsonResponse(await off_loop(lambda: body_slices(json_parts(content)), len(token_ids)))

    @router.post("/detokenize", summary="The text of token ids", response_model=Text, responses=responses_to_body())
    async def detokenize(body: DetokenizeRequest, _: Request) -> Response:
        model = stage.loaded()
        model.check_name(body.model)
        model.check_length(body.tokens, "tokens")

        def content() -> list[bytes]:
            model.check_tokens(body.tokens, "tokens")
            prompt = model.tokenizer.decode(body.tokens, skip_special_tokens=False)
            return body_slices(json_parts({"prompt": prompt}))

        return JsonResponse(await off_loop(content, len(body.tokens)))

    return router


def _json(body: str) -> Response:
    return Response(body, media_type="application/json")
