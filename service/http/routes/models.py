"""GET /models, /models/{name}, its classes and its example pictures: what is served, and what its card says."""

from __future__ import annotations

import base64
from dataclasses import asdict

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.http import responses
from twofold.service.http.content_negotiation import ONLY_JSON, negotiate
from twofold.service.http.context import context_of
from twofold.service.http.model_calls import ModelCall, classifier_entry
from twofold.service.http.openapi import EVERYWHERE, in_path, plain_route
from twofold.service.http.request_body import read_body
from twofold.service.http.responses import Entry
from twofold.service.http.schemas import Limits, ModelsAnswer
from twofold.service.runtime.errors import Malformed
from twofold.service.runtime.registry import Model

router = APIRouter(tags=["models"])

_REFUSALS = ("malformed", "not_acceptable", *EVERYWHERE)
_NAMED = ("not_found", *_REFUSALS)
_NAME = [in_path("name", "a name from /models")]


@router.get("/models", **plain_route("models", refusals=_REFUSALS, answer=ModelsAnswer))
async def models(request: HttpRequest) -> Response:
    """Every model that is served, and the caps on requests that are in force."""
    await take_nothing(request)
    state = context_of(request).state
    listed = [_summary(model) for model in state.registry.models.values()]
    limits = {name: getattr(state.settings, name) for name in Limits.model_fields}
    return responses.plain_json({"default": state.registry.default, "models": listed, "limits": limits}, {"vary": "Accept"})


@router.get(
    "/models/{name}", **plain_route("model", refusals=_NAMED, path=_NAME, example={"id": "fashion-mnist@3f2c9a10", "name": "fashion-mnist"})
)
async def model_card(request: HttpRequest) -> Response:
    """The card of a model, and the effect of each direction of style, in grey levels of a step; null without directions.

    `classified_by` is there where the bundle has an evaluation classifier, from which its verdicts come.
    """
    model = await _asked(request)
    effects = None if model.directions is None else model.directions.effects.tolist()
    card = {"id": model.card.id, "provider": model.provider, "directions": effects, **asdict(model.card)}
    card |= classifier_entry(model, "classified_by")
    return responses.plain_json(card, {"vary": "Accept"})


@router.get(
    "/models/{name}/classes",
    **plain_route(
        "classes", refusals=_NAMED, path=_NAME, example={"model": "fashion-mnist@3f2c9a10", "classes": [{"index": 7, "name": "Sneaker"}]}
    ),
)
async def classes(request: HttpRequest) -> Response:
    """The classes of a model, with their share of the training pictures."""
    model = await _asked(request)
    weights = model.prior.class_weights.tolist()
    listed = [responses.class_entry(model, label) | {"weight": weight} for label, weight in enumerate(weights)]
    return responses.plain_json({"model": model.card.id, "classes": listed}, {"vary": "Accept"})


@router.get(
    "/models/{name}/examples",
    **plain_route("examples", refusals=_NAMED, path=_NAME, example=[{"class": {"index": 7, "name": "Sneaker"}, "image": "iVBORw0KGgo..."}]),
)
async def examples(request: HttpRequest) -> Response:
    """Pictures that came with the bundle, as PNG in base64."""
    model = await _asked(request)
    listed = [{"class": responses.class_entry(model, one.label), "image": base64.b64encode(one.png).decode()} for one in model.examples]
    return responses.plain_json(listed, {"vary": "Accept"})


async def _asked(request: HttpRequest) -> Model:
    await take_nothing(request)
    return ModelCall.of(context_of(request), request.path_params["name"]).model


async def take_nothing(request: HttpRequest) -> None:
    """Raises NotAcceptable, and Malformed when there is a query or a body."""
    negotiate(request, ONLY_JSON)
    if request.scope["query_string"] or await read_body(request):
        raise Malformed("This route takes no parameters and no body.")


def _summary(model: Model) -> Entry:
    card = model.card
    return {
        "id": card.id,
        "name": card.name,
        "model_hash": card.model_hash,
        "dims": asdict(card.dims),
        "precision": card.precision,
        "provider": model.provider,
    }
