"""/v2: the Open Inference Protocol, so that KServe's and Triton's clients find both graphs of every bundle and run them as they are.

A bundle is two models here, `<bundle>.encoder` and `<bundle>.decoder`, each of version 1. How tensors are written on the wire is in
`oip_tensors` alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from numpy.typing import NDArray
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold import __version__
from twofold.model import contract
from twofold.model.contract import TensorSpec
from twofold.service.http import oip_tensors, responses
from twofold.service.http.content_negotiation import JSON, negotiate
from twofold.service.http.context import REQUEST_ID, Connected, RequestContext, computed, context_of
from twofold.service.http.model_calls import ModelCall
from twofold.service.http.openapi import EVERYWHERE, OCTETS, in_path, infer_route, plain_route
from twofold.service.http.request_body import declared_media, parse_json, read_body
from twofold.service.http.routes import encode, probes
from twofold.service.http.routes.models import take_nothing
from twofold.service.http.schemas import Infer, Live, ModelMetadata, Ready, ServerMetadata
from twofold.service.runtime.errors import Malformed, NotFound, UnsupportedMedia

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

VERSION = "1"
GRAPHS = ("encoder", "decoder")
MAX_FIELDS = 256  # values of a request's JSON beside its tensors' own
MEDIA = (b"", b"application/json", b"application/octet-stream")  # Triton's own client names none
MODEL = "/models/{model}"
VERSIONED = f"{MODEL}/versions/{{version}}"

_MODEL = in_path("model", "a name from /models, with .encoder or .decoder behind it", example="fashion-mnist.decoder")
_VERSION = in_path("version", "1", example=VERSION)
_NOTHING = ("malformed", "not_acceptable", *EVERYWHERE)
_READY = ("draining", "not_ready", *EVERYWHERE)


@dataclass(frozen=True)
class Graph:
    """One graph of a bundle, as a model of the protocol."""

    name: str
    call: ModelCall
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    async def run(self, arrays: tuple[NDArray[Any], ...]) -> Mapping[str, NDArray[Any]]:
        """The inputs in order -> outputs by name, through the model's queue. Raises what Model.encode and Model.decode raise."""
        if self.name.endswith(".encoder"):
            encoded = await self.call.encode(arrays[0])
            for k in range(len(encoded.z_s)):
                encode.observe(self.call.model, encoded, k, self.call.context.state.metrics)
            return vars(encoded)
        return {"pixels": await self.call.decode(arrays[0], arrays[1])}


@router.get("", **plain_route("v2_server", refusals=_NOTHING, answer=ServerMetadata, path=()))
async def server(request: HttpRequest) -> Response:
    """What serves here."""
    await take_nothing(request)
    return responses.plain_json({"name": "twofold", "version": __version__, "extensions": ["binary_tensor_data"]}, {"vary": "Accept"})


@router.get("/health/live", **plain_route("v2_live", refusals=EVERYWHERE, answer=Live, path=()))
async def live(request: HttpRequest) -> Response:
    """Whether the process answers, whatever the model and the load."""
    return responses.plain_json({"live": True}, responses.NO_STORE)


@router.get("/health/ready", **plain_route("v2_ready", refusals=_READY, answer=Ready, path=()))
async def ready(request: HttpRequest) -> Response:
    """Whether to send requests here: models loaded, queues moving, not shutting down."""
    state = context_of(request).state
    probes.check_ready(state, state.registry)
    return responses.plain_json({"ready": True}, responses.NO_STORE)


@router.get(f"{VERSIONED}/ready", **plain_route("v2_version_ready", refusals=("not_found", *_READY), answer=Ready, path=(_MODEL, _VERSION)))
@router.get(f"{MODEL}/ready", **plain_route("v2_model_ready", refusals=("not_found", *_READY), answer=Ready, path=(_MODEL,)))
async def model_ready(request: HttpRequest) -> Response:
    """Whether a model takes requests."""
    context = context_of(request)
    graph = _graph(request, context)
    probes.check_ready(context.state, graph.call.model)
    return responses.plain_json({"name": graph.name, "ready": True}, responses.NO_STORE)


@router.get(VERSIONED, **plain_route("v2_version", refusals=("not_found", *_NOTHING), answer=ModelMetadata, path=(_MODEL, _VERSION)))
@router.get(MODEL, **plain_route("v2_model", refusals=("not_found", *_NOTHING), answer=ModelMetadata, path=(_MODEL,)))
async def metadata(request: HttpRequest) -> Response:
    """What a model takes and gives."""
    await take_nothing(request)
    graph = _graph(request, context_of(request))
    sides = {
        side: [{"name": spec.name, "datatype": oip_tensors.DATATYPES[spec.dtype], "shape": [-1, *spec.shape]} for spec in specs]
        for side, specs in (("inputs", graph.inputs), ("outputs", graph.outputs))
    }
    described = {"name": graph.name, "versions": [VERSION], "platform": "onnxruntime_onnx", **sides}
    return responses.plain_json(described, {"vary": "Accept"})


@router.post(f"{VERSIONED}/infer", **infer_route("v2_version_infer", [_MODEL, _VERSION]))
@router.post(f"{MODEL}/infer", **infer_route("v2_infer", [_MODEL]))
async def infer(request: HttpRequest) -> Response:
    """Run a graph on rows."""
    context = context_of(request)
    graph = _graph(request, context)
    asked, tail = await _read(request, graph)
    chosen = oip_tensors.chosen_outputs(asked, graph.outputs)
    media = OCTETS if any(binary for _, binary in chosen) else JSON
    negotiate(request, (media,))
    with context.timed("preprocess"):
        arrays = oip_tensors.arrays(asked, tail, graph.inputs, context.state.settings.max_items)
    with Connected(request):
        outputs = await graph.run(arrays)
    head = {"model_name": graph.name, "model_version": VERSION}
    if asked.id is not None and REQUEST_ID.fullmatch(asked.id):
        head["id"] = asked.id
    return await _respond(context, media, head, [oip_tensors.Output(spec, outputs[spec.name], binary) for spec, binary in chosen])


def _graph(request: HttpRequest, context: RequestContext) -> Graph:
    """The graph that the path names; from here on the answer names its bundle. Raises NotFound."""
    name, version = request.path_params["model"], request.path_params.get("version", VERSION)
    names = [f"{bundle}.{kind}" for bundle in context.state.registry.models for kind in GRAPHS]
    if name not in names:
        raise NotFound(
            "There is no such model; every bundle is two, NAME.encoder and NAME.decoder.", field="model", allowed=", ".join(names)
        )
    if version != VERSION:
        raise NotFound("There is no such version of the model.", field="version", allowed=VERSION)
    bundle, _, kind = name.rpartition(".")
    call = ModelCall.of(context, bundle)
    signature = contract.encoder_signature if kind == "encoder" else contract.decoder_signature
    return Graph(name, call, *signature(call.model.card.dims))


async def _read(request: HttpRequest, graph: Graph) -> tuple[Infer, bytes]:
    """The validated JSON, and the bytes behind it. Raises Malformed, Invalid, UnsupportedMedia, TooLarge, SlowSender."""
    if request.scope["query_string"]:
        raise Malformed("This route takes no parameters in the query.")
    body = await read_body(request)
    if declared_media(request)[0] not in MEDIA:
        taken = "application/json, application/octet-stream"
        raise UnsupportedMedia(f"The Content-Type must be one of {taken}.", allowed=taken)
    text, tail = oip_tensors.split(body, request.headers.getlist(oip_tensors.HEADER_LENGTH))
    row = sum(math.prod(spec.shape) for spec in graph.inputs)
    max_values = context_of(request).state.settings.max_items * row + MAX_FIELDS
    return Infer.check(parse_json(text, max_values) if text else {}), tail


async def _respond(context: RequestContext, media: str, head: dict[str, str], outputs: list[oip_tensors.Output]) -> Response:
    with context.timed("encode"):
        large = sum(one.values.size for one in outputs) > responses.SMALL_ANSWER_PIXELS
        body, length = await computed(large, oip_tensors.write, head, outputs)
    headers = {"cache-control": "no-store", "vary": "Accept"}
    if length is not None:
        headers[oip_tensors.HEADER_LENGTH.lower()] = str(length)
    return Response(body, media_type=media, headers=headers)
