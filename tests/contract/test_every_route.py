"""Each row of the table of routes works against each bundle that ships: in every form that it takes and in every form that it gives.

Routes and forms are those of docs/openapi.json; `test_service_docs.py` compares docs/reference/service.md with it.
"""

from __future__ import annotations

import base64
import io
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests import drawings
from tests.serving import serving
from twofold.model import contract
from twofold.service.runtime.registry import DEFAULT_BUNDLE

DOCUMENT = json.loads((Path(__file__).parents[2] / "docs/openapi.json").read_text(encoding="utf-8"))
ROUTES = {f"{method.upper()} {path}": one for path, methods in DOCUMENT["paths"].items() for method, one in methods.items()}
GIVES = [(route, media) for route, one in ROUTES.items() for media in one["responses"]["200"]["content"]]
TAKES = [(route, media) for route, one in ROUTES.items() for media in one.get("requestBody", {}).get("content", {})]
PAGES = {"/": "text/html", "/docs": "text/html", "/openapi.json": "application/json", "/web/app.js": "text/javascript"}
BUNDLES = sorted(path for path in DEFAULT_BUNDLE.parent.iterdir() if path.is_dir())

JSON, OCTETS = "application/json", "application/octet-stream"
INFER = ("POST /v2/models/{model}/infer", "POST /v2/models/{model}/versions/{version}/infer")
MADE = {  # how many pictures an answer holds
    "POST /generate": 3,
    "GET /generate": 3,
    "POST /decode": 2,
    "POST /swap": 2,
    "POST /interpolate": 4,
    "POST /edit": 3,
    "POST /inpaint": 1,
}
PARTS = {  # what a multipart body holds: names of pictures, and fields
    "POST /encode": (["image", "image"], {}),
    "POST /swap": (["class_from", "style_from", "style_from"], {}),
    "POST /interpolate": (["key", "key"], {"frames": "3"}),
    "POST /edit": (["image"], {"class": "1"}),
    "POST /inpaint": (["image"], {"box": "1,2,3,4"}),
    "POST /inspect": (["image"], {"verify": "true"}),
}
RAW = {"image/png": drawings.png(), "image/jpeg": drawings.jpeg(), "image/webp": drawings.webp()}


@dataclass(frozen=True)
class Served:
    """A server of one bundle, and a picture that it made, in base64 and as a code."""

    http: httpx.Client
    card: contract.Card
    picture: str
    code: str

    def ask(self, route: str, **request: Any) -> httpx.Response:
        method, path = route.split(" ")
        path = path.format(name=self.card.name, model=f"{self.card.name}.decoder", version="1")
        answer = self.http.request(method, path, **request)
        assert answer.status_code == 200, (route, answer.text)
        return answer

    def body(self, route: str) -> dict[str, Any]:
        """What the route takes as JSON."""
        lengths = {"z_s": self.card.dims.dim_s, "z_u": self.card.dims.dim_u}
        halves = [{"name": name, "datatype": "FP32", "shape": [2, d], "data": [0.5] * 2 * d} for name, d in lengths.items()]
        bodies: dict[str, dict[str, Any]] = {
            "POST /generate": {"class": 1, "n": 3, "seed": 1},
            "POST /encode": {"images": [self.picture] * 2},
            "POST /decode": {"items": [{"code": self.code}, {"class": 1, "seed": 2}]},
            "POST /swap": {"class_from": [self.picture, self.code], "style_from": [self.code]},
            "POST /interpolate": {"keys": [self.picture, {"class": 1}], "frames": 4, "seed": 1},
            "POST /edit": {"image": self.picture, "class": 1, "style_spread": 0.5, "n": 3, "seed": 1},
            "POST /inpaint": {"image": self.picture, "box": [1, 2, 3, 4]},
            "POST /inspect": {"image": self.picture, "verify": True},
            **{one: {"inputs": halves} for one in INFER},
        }
        return bodies[route]


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda path: path.name)
def served(request):
    with serving(request.param) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        (made,) = http.post("/generate", json={"class": 0, "seed": 3}, headers={"accept": JSON}).json()["images"]
        yield Served(http, contract.read_card(request.param), made["image"], made["code"])


@pytest.mark.parametrize(("route", "media"), GIVES)
def test_a_route_gives_every_form_that_it_announces(served, route, media):
    request: dict[str, Any] = {"json": served.body(route)} if route.startswith("POST") else {}
    if route == "GET /generate":
        request = {"params": served.body("POST /generate")}
    if media == OCTETS:
        request["json"]["parameters"] = {"binary_data_output": True}
    answer = served.ask(route, headers={"accept": media}, **request)
    assert answer.headers["content-type"].partition(";")[0] == media
    if route in MADE:
        check_pictures(answer, served.card.dims, MADE[route])
    elif media == JSON:
        check_json(route, answer.json(), served.card)
    else:
        assert answer.content


@pytest.mark.parametrize(("route", "media"), TAKES)
def test_a_route_takes_every_form_that_it_announces(served, route, media):
    if media == JSON:
        request = {"json": served.body(route)}
    elif media == OCTETS:
        request = with_binary_tensors(served.body(route)["inputs"])
    elif media in RAW:
        request = {"content": RAW[media], "headers": {"content-type": media}}
    else:
        names, fields = PARTS[route]
        request = {"files": [(name, ("a", base64.b64decode(served.picture))) for name in names], "data": fields}
    answer = served.ask(route, **request)
    assert answer.headers["x-model"] == served.card.id
    assert answer.content


@pytest.mark.parametrize(("path", "media"), PAGES.items())
def test_a_page_has_its_media_type(served, path, media):
    assert served.ask(f"GET {path}").headers["content-type"].partition(";")[0] == media


def check_pictures(answer: httpx.Response, dims: contract.Dims, count: int) -> None:
    """So many pictures, each of the bundle's sides and channels (WebP and GIF have channels of their own)."""
    media = answer.headers["content-type"]
    if media == "application/x-npz":
        with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
            assert arrays["pixels"].shape == (count, dims.height, dims.width, dims.channels)
            assert (arrays["z_s"].shape, arrays["z_u"].shape) == ((count, dims.dim_s), (count, dims.dim_u))
        return
    if media == JSON:
        files = [base64.b64decode(one["image"]) for one in answer.json()["images"]]
    elif media == "application/zip":
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        files = [archive.read(name) for name in archive.namelist() if name != "manifest.json"]
    else:
        files = [answer.content]
    pictures = [Image.open(io.BytesIO(file)) for file in files]
    rows, cols = 1, 1
    if sheet := re.fullmatch(r"rows=(\d+); cols=(\d+); cell=(\d+)x(\d+)", answer.headers.get("x-sheet", "")):
        rows, cols = int(sheet[1]), int(sheet[2])
        assert (int(sheet[3]), int(sheet[4])) == (dims.width, dims.height)
    shown = rows * cols if len(pictures) == 1 else len(pictures)
    assert max(shown, getattr(pictures[0], "n_frames", 1)) == count
    for picture in pictures:
        assert picture.size == (cols * dims.width, rows * dims.height)
        if picture.format == "PNG":
            assert picture.mode == {1: "L", 3: "RGB"}[dims.channels]


def check_json(route: str, answer: Any, card: contract.Card) -> None:
    """The JSON is of this bundle."""
    dims, pixels = card.dims, [card.dims.height, card.dims.width, card.dims.channels]
    match route:
        case "POST /encode":
            (found, _) = answer["items"]
            assert [len(found[name]) for name in ("z_s", "z_u", "class_probs")] == [dims.dim_s, dims.dim_u, dims.classes]
        case "POST /inspect":
            assert (answer["verified"], answer["max_difference"]) == (True, 0)
        case "GET /models":
            assert [one["name"] for one in answer["models"]] == [card.name]
        case "GET /models/{name}":
            assert (answer["model_hash"], answer["class_names"]) == (card.model_hash, list(card.class_names))
        case "GET /models/{name}/classes":
            assert [one["name"] for one in answer["classes"]] == list(card.class_names)
        case "GET /models/{name}/examples":
            sides = {Image.open(io.BytesIO(base64.b64decode(one["image"]))).size for one in answer}
            assert sides <= {(dims.width, dims.height)}
        case "GET /v2/models/{model}" | "GET /v2/models/{model}/versions/{version}":
            assert answer["outputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": [-1, *pixels]}]
        case "POST /v2/models/{model}/infer" | "POST /v2/models/{model}/versions/{version}/infer":
            assert answer["outputs"][0]["shape"] == [2, *pixels]
        case _:
            assert answer


def with_binary_tensors(inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """The same inputs as JSON with their bytes behind it."""
    tensors = [np.asarray(one["data"], "<f4").tobytes() for one in inputs]
    heads = [
        {name: one[name] for name in ("name", "datatype", "shape")} | {"parameters": {"binary_data_size": len(data)}}
        for one, data in zip(inputs, tensors, strict=True)
    ]
    head = json.dumps({"inputs": heads}).encode()
    headers = {"content-type": OCTETS, "inference-header-content-length": str(len(head))}
    return {"content": head + b"".join(tensors), "headers": headers}
