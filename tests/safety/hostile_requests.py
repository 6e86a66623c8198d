"""The hostile requests: one table, a row for each request that the service must refuse, with the status and the code of its answer.

`TABLE` is what everything else reads; below it stand the families that it is made of. All of it is for the toy bundle (tests/toy.py):
model `toy`, 4 classes, D_s = 3, D_u = 2, grey pictures of 8x8. To add a request, add a row to its family.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from tests import drawings
from twofold.service.runtime import image_io, provenance

MARK = "Zebra77"  # part of many inputs; no refusal may repeat it
CODES = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    422: "invalid",
    431: "headers_too_large",
}
DAMAGED = "undecodable_picture"  # the other code of 422


@dataclass(frozen=True)
class Hostile:
    """One request; `options` are keyword arguments of `httpx.AsyncClient.request`. Name and family together are unique."""

    family: str
    name: str
    method: str
    url: str
    options: dict[str, Any]
    status: int
    code: str

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


def row(family: str, name: str, sent: str, status: int, code: str = "", **options: Any) -> Hostile:
    """`sent` is a method and an URL."""
    method, _, url = sent.partition(" ")
    return Hostile(family, short(name), method, url, options, status, code or CODES[status])


def short(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:50]}... ({len(text)} characters)"


def as_name(value: object) -> str:
    """A value as a name: JSON in one line, pictures by their names."""
    return json.dumps(value).replace(SENT, "PNG").replace(MASK, "MASK")


# ---------------------------------------------------------------------------------------------------------------- inputs

JSON = {"content-type": "application/json"}
PNG = drawings.png()
SENT = base64.b64encode(PNG).decode()
MASK = base64.b64encode(drawings.save(Image.linear_gradient("L"), "PNG")).decode()
BIG = 2**63
GIF = b"GIF89a" + bytes(40)
PART = b'--b\r\nContent-Disposition: form-data; name="image"; filename="../../etc/passwd"\r\n\r\n' + PNG + b"\r\n"
BASES: dict[str, dict[str, Any]] = {
    "interpolate": {"keys": [SENT, SENT]},
    "edit": {"image": SENT},
    "inpaint": {"image": SENT, "box": [0, 0, 4, 4]},
}
DECODER, ENCODER = "/v2/models/toy.decoder/infer", "/v2/models/toy.encoder/infer"
LENGTH = "inference-header-content-length"
Z_S: dict[str, Any] = {"name": "z_s", "datatype": "FP32", "shape": [1, 3]}
Z_U: dict[str, Any] = {"name": "z_u", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]}
PIXELS: dict[str, Any] = {"name": "pixels", "datatype": "UINT8", "shape": [1, 8, 8, 1]}
LEVELS = [0] * 64


def recipe_of(**changed: Any) -> str:
    """The recipe of a picture of the toy model, with some of it changed."""
    made_of = {"class": 1, "class_temperature": 1.0, "index": 0, "n": 1, "sampler": "fitted", "seed": 1, "temperature": 1.0}
    return json.dumps({"do": "generate", "twofold": 1, **made_of, **changed}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def carrying(text: str, width: int = 8, height: int = 8) -> bytes:
    """A PNG with this recipe."""
    return image_io.encode(np.zeros((height, width, 1), np.uint8), image_io.PNG, text)


def sheet_of(cells: int, rows: int, cols: int, **changed: Any) -> str:
    """The recipe of a sheet that says it has so many rows and columns."""
    return provenance.write_sheet([recipe_of(**changed)] * cells, rows, cols)


def framed(fields: object, tail: bytes = b"", length: object = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """A body of JSON followed by bytes, and the header that says how long the JSON is (or what is given)."""
    text = json.dumps(fields).encode()
    return {"content": text + tail, "headers": {LENGTH: str(len(text) if length is None else length)} | (headers or {})}


def with_size(tensor: dict[str, Any], size: object) -> dict[str, Any]:
    """The tensor, its bytes behind the JSON."""
    return tensor | {"parameters": {"binary_data_size": size}}


# -------------------------------------------------------------------------------------------------------------- families


def queries() -> Iterator[Hostile]:
    unacceptable = [
        *("", "class=", f"class={MARK}", "class=-1", "class=4", "class=7.0", "class=%2B1", "class=%201", "class=01", "class=%D9%A1"),
        *("class=%EF%BC%91", "class=true", "class=0x1", "class=" + "9" * 3000, "class=ga", "class=name:"),
        *(f"class=1&seed={seed}" for seed in ("-1", "1.0", "%2B1", "01", " 1", "1e3", "٧", "", BIG, 2**200, "0x7", "true", MARK)),
        *(f"class=1&n={n}" for n in (0, 65, 10**10, -1, "")),
        *(f"class=1&index={index}" for index in (2**31, -1, "a")),
        "class=1&index=2147483647&n=2",
        *(f"class=1&temperature={t}" for t in ("nan", "NaN", "inf", "-inf", "1e999", "4.01", "-0.1", "", "1_0", "0x1", ".5", MARK)),
        *("class=1&sampler=other", "class=1&format=gif", f"class=1&{MARK}=1", "class=1&class_=1", "Class=1"),
    ]
    for query in unacceptable:
        yield row("query", f"GET {query}", f"GET /generate?{query}", 422)
        yield row("query", f"POST {query}", f"POST /generate?{query}", 422)
    for query in ("class=1&class=1", "class=1&seed=1&seed=2", "class=%ff", "&".join(f"a{k}=1" for k in range(65))):
        yield row("query", query, f"GET /generate?{query}", 400)
    yield row("query", "a field in query and body", "POST /generate?seed=1", 400, json={"class": 1, "seed": 1})
    yield row("query", "a GET with a body", "GET /generate?class=1", 400, content=b"{}", headers=JSON)
    yield row("query", "a path of 60,000 bytes", "GET /" + "x" * 60_000, 414)


def routes() -> Iterator[Hostile]:
    yield row("routes", "a parameter that none takes", f"GET /models?{MARK}=1", 400)
    yield row("routes", "a model that is not served", f"GET /models/{MARK}", 404)
    yield row("routes", "a path that does not exist", f"GET /{MARK}", 404)
    yield row("routes", "a slash at the end", "GET /generate/?class=1", 404)


def json_bodies() -> Iterator[Hostile]:
    bodies: list[tuple[str, bytes, int]] = [
        ("NaN", b'{"class":1,"temperature":NaN}', 400),
        ("-Infinity", b'{"class":1,"temperature":-Infinity}', 400),
        ("1e999", b'{"class":1,"temperature":1e999}', 422),
        ("a lone surrogate as class", b'{"class":"\\ud800"}', 422),
        ("a lone surrogate as key", b'{"\\ud800":1}', 422),
        ("a lone surrogate as model", b'{"class":1,"model":"\\udfff"}', 422),
        ("100,000 open lists", b"[" * 100_000, 400),
        ("100,000 open objects", b'{"class":' * 100_000, 400),
        ("lists 900 deep", b'{"class":' + b"[" * 900 + b"]" * 900 + b"}", 422),
        ("lists 90,000 deep", b'{"class":' + b"[" * 90_000 + b"]" * 90_000 + b"}", 422),
        ("a class of 5,000 digits", b'{"class":' + b"9" * 5000 + b"}", 400),
        ("a seed of 4,000 digits", b'{"class":1,"seed":' + b"9" * 4000 + b"}", 422),
        ("a seed of -4,000 digits", b'{"class":1,"seed":-' + b"9" * 4000 + b"}", 422),
        ("a seed of 4,300 digits", b'{"class":1,"seed":' + b"9" * 4300 + b"}", 422),
        ("a seed of 4,301 digits", b'{"class":1,"seed":' + b"9" * 4301 + b"}", 400),
        ("1,000 numbers of 4,000 digits", b'{"class":[' + b",".join([b"9" * 4000] * 1000) + b"]}", 422),
        ("a temperature of 4,000 digits", b'{"class":1,"temperature":' + b"9" * 4000 + b"}", 422),
        ("a key twice", b'{"class":1,"class":1}', 400),
        ("something behind the end", b'{"class":1} x', 400),
        ("no UTF-8", b'{"class":"\xff"}', 400),
        ("a byte order mark", b'\xef\xbb\xbf{"class":1}', 400),
        ("UTF-16", '{"class":1}'.encode("utf-16"), 400),
        ("null", b"null", 422),
        ("a list", b"[]", 422),
        ("a number", b"7", 422),
        ("a space", b" ", 400),
        ("no field", b"{}", 422),
        ("class null", b'{"class":null}', 422),
        ("class true", b'{"class":true}', 422),
        ("class 1.0", b'{"class":1.0}', 422),
        ("class [1]", b'{"class":[1]}', 422),
        ("n as text", b'{"class":1,"n":"2"}', 422),
        ("n 2.0", b'{"class":1,"n":2.0}', 422),
        ("n true", b'{"class":1,"n":true}', 422),
        ("seed as text", b'{"class":1,"seed":"1"}', 422),
        ("seed -1", b'{"class":1,"seed":-1}', 422),
        ("temperature as text", b'{"class":1,"temperature":"1"}', 422),
        ("an unknown field", f'{{"class":1,"{MARK}":1}}'.encode(), 422),
        ("2,000 unknown fields", json.dumps({"class": 1} | {f"{MARK}{k}": 1 for k in range(2000)}).encode(), 422),
    ]
    for name, body, status in bodies:
        yield row("JSON", name, "POST /generate", status, content=body, headers=JSON)
    for content_type in (None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", MARK):
        headers = {"content-type": content_type} if content_type else {}
        yield row("JSON", f"as {content_type}", "POST /generate", 415, content=b'{"class":1}', headers=headers)
    for encoding in ("gzip", "br", "identity, gzip"):
        headers = JSON | {"content-encoding": encoding}
        yield row("JSON", f"encoded as {encoding}", "POST /generate", 415, content=b'{"class":1}', headers=headers)


def items() -> Iterator[Hostile]:
    refused: dict[str, Any] = {
        "none": [],
        "an object": {},
        "one above the cap": [{}] * 65,
        "a list in the list": [[]],
        "200,000 texts as numbers": [{"z_s": ["x"] * 200_000, "z_u": [0, 0]}],
        "100,000 numbers": [{"z_s": [0] * 100_000, "z_u": [0, 0]}],
        "a number too few": [{"z_s": [0, 0], "z_u": [0, 0]}],
        "1e38": [{"z_s": [0, 0, 1e38], "z_u": [0, 0]}],
        "true among the numbers": [{"z_s": [0, 0, True], "z_u": [0, 0]}],
        "null among the numbers": [{"z_s": [0, 0, None], "z_u": [0, 0]}],
        "a token that is none": [{"code": MARK}],
        "a token of 100,000 characters": [{"code": "c1." + "A" * 100_000}],
        "a token with a lone surrogate": [{"code": "c1.\ud800"}],
        "an unknown class": [{"class": MARK, "seed": 1}],
        "weights of an unknown class": [{"class_weights": {MARK: 1.0}, "seed": 1}],
        "a weight as text": [{"class_weights": {MARK: "a"}, "seed": 1}],
        "weights and a negative seed": [{"class_weights": {"0": 1e-320, "1": 1}, "seed": -1}],
        "1,025 weights": [{"class_weights": {str(k): 0 for k in range(1025)}, "seed": 1}],
        "an unknown field": [{MARK: 1}],
        "a seed of 2^63": [{"class": 1, "seed": BIG}],
    }
    for name, value in refused.items():
        yield row("items", name, "POST /decode", 422, content=json.dumps({"items": value}), headers=JSON)


def base64_texts() -> Iterator[Hostile]:
    texts: list[tuple[str, Any, int]] = [
        ("nothing", "", 415),
        ("a word", MARK, 422),
        ("a data URL", "data:image/png;base64," + SENT, 422),
        ("line breaks", base64.encodebytes(PNG).decode(), 422),
        ("too much padding", SENT.rstrip("=") + "===", 422),
        ("the alphabet of URLs", base64.urlsafe_b64encode(b"\xfb\xff" * 30).decode(), 422),
        ("a character too few", SENT[:-1], 422),
        ("not ASCII", "é" * 40, 422),
        ("a lone surrogate", "\ud800", 422),
        ("a text above the cap on pictures", "A" * (4 * -(-4 * 2**20 // 3) + 4), 413),
        ("a GIF", base64.b64encode(GIF).decode(), 415),
        ("a number", 7, 422),
        ("null", None, 422),
    ]
    for name, text, status in texts:
        yield row("base64", name, "POST /encode", status, content=json.dumps({"images": [text]}), headers=JSON)


def multipart() -> Iterator[Hostile]:
    form, end = "multipart/form-data", b"--b--\r\n"
    encoded = PART.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n", 1)
    nested = PART.replace(PNG, PART.replace(b"--b", b"--c") + b"--c--")
    bodies: list[tuple[str, str, bytes, int]] = [
        ("no boundary", form, PART + end, 400),
        ("an empty boundary", f"{form}; boundary=", PART + end, 400),
        ("another boundary", f"{form}; boundary=other", PART + end, 400),
        ("a boundary of 5,000 bytes", f"{form}; boundary=" + "b" * 5000, PART + end, 400),
        ("no end", f"{form}; boundary=b", PART, 400),
        ("cut in the head of a part", f"{form}; boundary=b", PART[:60], 400),
        ("cut in a part", f"{form}; boundary=b", PART[:-40], 400),
        ("no part", f"{form}; boundary=b", end, 422),
        ("65 parts", f"{form}; boundary=b", PART * 65 + end, 422),
        ("1,500 parts", f"{form}; boundary=b", PART * 1500 + end, 422),
        ("a part's header of 1 MiB", f"{form}; boundary=b", b"--b\r\nX: " + b"a" * 2**20 + b"\r\n\r\n\r\n--b--\r\n", 400),
        ("a preamble of 1 MiB", f"{form}; boundary=b", b"a" * 2**20 + PART + end, 400),
        ("a part without a header", f"{form}; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n", 400),
        ("an unknown part", f"{form}; boundary=b", PART.replace(b'"image"', b'"' + MARK.encode() + b'"') + end, 422),
        ("a part of another route", f"{form}; boundary=b", PART.replace(b'"image"', b'"images"') + end, 422),
        ("a part in base64", f"{form}; boundary=b", encoded + end, 415),
        ("a field twice", f"{form}; boundary=b", PART + PART.replace(b'"image"', b'"model"') * 2 + end, 400),
        ("multipart/mixed", "multipart/mixed; boundary=b", PART + end, 415),
        ("multipart in a part", f"{form}; boundary=b", nested + end, 415),
    ]
    for name, content_type, body, status in bodies:
        yield row("multipart", name, "POST /encode", status, content=body, headers={"content-type": content_type})


def pictures() -> Iterator[Hostile]:
    refused: list[tuple[str, bytes, int, str]] = [
        ("1,024 zeros", b"\x00" * 1024, 415, ""),
        ("GIF", b"GIF89a" + bytes(100), 415, ""),
        ("BMP", b"BM" + bytes(100), 415, ""),
        ("TIFF", b"II*\x00" + bytes(100), 415, ""),
        ("PDF", b"%PDF-1.7", 415, ""),
        ("SVG", b"<svg/>", 415, ""),
        ("a PNG that says 50,000 x 50,000", drawings.png_claiming(50_000, 50_000), 413, ""),
        ("a PNG that says 1 x 10^9", drawings.png_claiming(1, 10**9), 413, ""),
        ("a PNG that says 65,500 x 1", drawings.png_claiming(65_500, 1), 413, ""),
        ("a PNG that says 0 x 8", drawings.png_claiming(0, 8), 422, DAMAGED),
        ("a PNG without pixels", drawings.png_claiming(8, 8), 422, DAMAGED),
        ("a JPEG of 200 scans", drawings.jpeg_with_scans(200), 413, ""),
        ("a JPEG that ends early", drawings.jpeg()[:-200], 422, DAMAGED),
        ("an animated PNG", drawings.frames("PNG"), 422, DAMAGED),
        ("an animated WebP", drawings.frames("WEBP"), 422, DAMAGED),
        ("an animated GIF", drawings.frames("GIF"), 415, ""),
        ("a PNG that ends early", PNG[:-4], 422, DAMAGED),
        ("a PNG above the cap", PNG + bytes(4 * 2**20), 413, ""),
    ]
    for name, data, status, code in refused:
        yield row("pictures", name, "POST /encode", status, code, content=data, headers={"content-type": "image/png"})


def swaps() -> Iterator[Hostile]:
    bodies: dict[str, dict[str, Any]] = {
        "no style": {"class_from": [SENT], "style_from": []},
        "65 cells": {"class_from": [SENT] * 13, "style_from": [SENT] * 5},
        "a class that is no list": {"class_from": SENT, "style_from": [SENT]},
    }
    yield row("swap", "a part is missing", "POST /swap", 422, files={"class_from": ("a", PNG)})
    for name, body in bodies.items():
        yield row("swap", name, "POST /swap", 422, json=body)
    yield row("swap", "one raw picture", "POST /swap", 415, content=PNG, headers={"content-type": "image/png"})
    yield row("swap", "GET", "GET /swap", 405)


def recipes() -> Iterator[Hostile]:
    bomb = b"twofold\0\1\0\0\0" + zlib.compress(bytes(10**8))
    refused: list[tuple[str, bytes, int, str]] = [
        ("no bytes", b"", 415, ""),
        ("a GIF", b"GIF89a" + bytes(100), 415, ""),
        ("a PNG that ends early", PNG[:-4], 422, DAMAGED),
        ("an animated PNG", drawings.frames("PNG"), 422, DAMAGED),
        ("an animated WebP", drawings.frames("WEBP"), 422, DAMAGED),
        ("a word", carrying(MARK), 422, ""),
        ("no field", carrying("{}"), 422, ""),
        ("100,000 open lists", carrying("[" * 100_000), 422, ""),
        ("objects 900 deep", carrying('{"a":' * 900 + "1" + "}" * 900), 422, ""),
        ("NaN", carrying('{"twofold":1,"a":NaN}'), 422, ""),
        ("1e999", carrying('{"a":1e999,"twofold":1}'), 422, ""),
        ("a lone surrogate", carrying('{"a":"\\udfff","twofold":1}'), 422, ""),
        ("a key twice", carrying('{"a":1,"a":1,"twofold":1}'), 422, ""),
        ("a number of 21 digits", carrying('{"a":' + "9" * 21 + ',"twofold":1}'), 422, ""),
        ("300,000 pictures", carrying('{"pictures":[' + ",".join(["{}"] * 300_000) + '],"rows":1,"cols":1,"twofold":1}'), 422, ""),
        ("a sheet that says 10^9 x 10^9", carrying(sheet_of(1, 10**9, 10**9)), 422, ""),
        ("a byte above the cap", carrying(" " * (2**20 + 1)), 413, ""),
        ("100 MB of zeros, compressed", PNG[:33] + drawings.chunk(b"iTXt", bomb) + PNG[33:], 422, DAMAGED),
        ("two recipes", carrying("{}")[:-12] + drawings.chunk(b"iTXt", b"twofold\0\0\0\0\0{}") + PNG[-12:], 422, DAMAGED),
        ("a word in XMP", drawings.webp(xmp=b"<twofold:recipe>" + MARK.encode() + b"</twofold:recipe>"), 422, ""),
        ("an entity in XMP", drawings.webp(xmp=b"<twofold:recipe>&" + MARK.encode() + b";</twofold:recipe>"), 422, DAMAGED),
    ]
    for name, data, status, code in refused:
        yield row("recipes", name, "POST /inspect?verify=true", status, code, files={"image": ("a", data)})


def inspections() -> Iterator[Hostile]:
    wanted = {"content-type": "image/png", "accept": "image/png"}
    bodies: list[dict[str, Any]] = [
        {},
        {"image": [SENT]},
        {"image": None},
        {"image": 7},
        {"image": SENT, "verify": 1},
        {"image": SENT, MARK: 1},
    ]
    for body in bodies:
        yield row("inspect", as_name(body), "POST /inspect", 422, json=body)
    yield row("inspect", "two pictures", "POST /inspect", 400, files=[("image", ("a", PNG)), ("image", ("b", PNG))])
    yield row("inspect", "the picture in the query", "POST /inspect", 422, params={"image": SENT})
    yield row("inspect", "an unknown part", "POST /inspect", 422, files={"images": ("a", PNG)})
    yield row("inspect", "octets", "POST /inspect", 415, content=PNG, headers={"content-type": "application/octet-stream"})
    yield row("inspect", "a picture is wanted", "POST /inspect", 406, content=PNG, headers=wanted)
    yield row("inspect", "GET", "GET /inspect", 405)


def control_fields() -> Iterator[Hostile]:
    boxes: list[Any] = [
        *([], [0, 0, 4], [0, 0, 4, 4, 4], [0, 0, 9, 1], [0, 0, 1, 9], [8, 0, 1, 1], [0, 0, 0, 1]),
        *([-1, 0, 2, 2], [0, 0, 8, 8], [0, 0, 2.0, 2], [0, 0, "2", 2], "0,0,2,2", [0, 0, 10**19, 1], {}),
    ]
    fields: dict[str, list[dict[str, Any]]] = {
        "interpolate": [
            *({"keys": keys} for keys in ([], [SENT], [SENT] * 9, SENT, None, [SENT, None], [SENT, 7], [SENT, [SENT]], {"0": SENT})),
            *({"keys": [SENT, {"class": label}]} for label in (MARK, 4, True, 1.0)),
            *({"keys": [SENT, key]} for key in ({}, {"code": MARK}, {"seed": 1}, {"image": SENT}, {"class": 1, MARK: 1})),
            {"keys": [SENT, {"class": 1, "code": "c1.A"}]},
            *({"keys": [SENT, {"class": 1, "seed": seed}]} for seed in (-1, BIG, "1", 1.0, True)),
            *({"keys": [SENT, {"class": 1, "index": index}]} for index in (-1, 2**31, "1")),
            *({"frames": frames} for frames in (0, 1, 65, -1, 10**10, "2", 2.0, True, None)),
            *({"fps": fps} for fps in (0, 61, "12", 12.0)),
            *({"vary": MARK}, {"vary": None}, {"path": "Linear"}, {"path": 1}),
            *({"seed": BIG}, {"animate": 1}, {"verdict": "true"}, {MARK: 1}),
        ],
        "edit": [
            *({"image": image} for image in (None, 7, [SENT], {"code": "c1.A"}, MARK, "c1." + MARK)),
            *({"class": label} for label in (4, -1, MARK, True, 1.0, "", [1])),
            *({"class": 1, "strength": strength} for strength in (-0.001, 1.001, "1", None, True)),
            *({"style_spread": spread} for spread in (-0.001, 1.001, "1", None)),
            *({"temperature": temperature} for temperature in (-0.1, 4.01)),
            *({"n": n} for n in (0, 65, -1, 10**10, "2", 2.0)),
            *({"index": 2**31 - 1, "n": 2}, {"index": 2**31}, {"seed": BIG}, {"seed": -1}),
            *({"directions": d} for d in ({}, [], [1.0], "0:1", {"0": 4.001}, {"0": -4.001}, {"0": "1"}, {"0": None}, {MARK: 1})),
            *({"directions": {str(k): 1 for k in range(9)}}, {"format": "gif"}, {"verdict": 1}, {MARK: 1}),
        ],
        "inpaint": [
            *({"image": image} for image in (None, 7, [SENT], MARK, "c1.A")),
            *({"box": box} for box in boxes),
            *({"box": None}, {"mask": MASK}, {"box": None, "mask": SENT}, {MARK: 1}),
            *({"box": None, "mask": mask} for mask in (7, [MASK], MARK, "c1.A", "data:image/png;base64," + MASK)),
            *({"steps": steps} for steps in (0, 33, -1, "8", 8.0, True)),
        ],
    }
    for route, forms in fields.items():
        for changed in forms:
            body = json.dumps(BASES[route] | changed)
            yield row("controls", f"{route} {as_name(changed)}", f"POST /{route}", 422, content=body, headers=JSON)


def control_queries() -> Iterator[Hostile]:
    queries: list[tuple[str, str, int]] = [
        *(("interpolate", "keys=c1.A", 422), ("edit", "image=c1.A", 422), ("inpaint", "mask=x", 422), ("inpaint", "image=x", 422)),
        *(("interpolate", f"frames={frames}", 422) for frames in ("%2B2", "2.0", "02", "٧", "")),
        *(("edit", f"directions={text}", 422) for text in ("", "0:1,0:1", "0:nan", "0", "0:1," * 1000)),
        *(("inpaint", f"box={text}", 422) for text in ("0,0,2", "0,0,2,2,", "0, 0,2,2", "0,0,2,2.0", "1," * 1000)),
        *(("inpaint", "box=0,0,2,2&box=0,0,2,2", 400), ("edit", "n=2&n=2", 400), ("edit", f"{MARK}=1", 422)),
    ]
    for route, query, status in queries:
        body = {key: value for key, value in BASES[route].items() if key != "box"}
        yield row("control queries", f"{route} {query}", f"POST /{route}?{query}", status, json=body)
    both = "a field in query and body"
    yield row("control queries", f"inpaint {both}", "POST /inpaint?box=0,0,4,4", 400, json=BASES["inpaint"])
    yield row("control queries", f"edit {both}", "POST /edit?class=1", 400, json={"image": SENT, "class": 1})


def control_parts() -> Iterator[Hostile]:
    parts: list[tuple[str, str, list[tuple[str, bytes]], int, str]] = [
        ("edit", "two pictures", [("image", PNG), ("image", PNG)], 400, ""),
        ("edit", "a field twice", [("image", PNG), ("n", b"2"), ("n", b"2")], 400, ""),
        ("edit", "no picture", [("class", b"1")], 422, ""),
        ("edit", "400,000 bytes of directions", [("image", PNG), ("directions", b"0:1," * 100_000)], 422, ""),
        ("inpaint", "two masks", [("image", PNG), ("mask", PNG), ("mask", PNG)], 400, ""),
        ("inpaint", "a mask and a box", [("image", PNG), ("mask", PNG), ("box", b"0,0,2,2")], 422, ""),
        ("inpaint", "a box of 2 MiB", [("image", PNG), ("box", b"1," * 2**20)], 422, ""),
        ("inpaint", "a token for the picture", [("image", b"c1.A"), ("box", b"0,0,2,2")], 422, ""),
        ("inpaint", "a GIF as mask", [("image", PNG), ("mask", GIF)], 415, ""),
        ("inpaint", "a huge mask", [("image", PNG), ("mask", drawings.png_claiming(50_000, 50_000))], 413, ""),
        ("inpaint", "a mask that ends early", [("image", PNG), ("mask", PNG[:-4])], 422, DAMAGED),
        ("interpolate", "one key", [("key", PNG)], 422, ""),
        ("interpolate", "nine keys", [("key", PNG)] * 9, 422, ""),
        ("interpolate", "a token that is none", [("key", PNG), ("key", b"c1.A")], 422, ""),
        ("interpolate", "an unknown part", [("keys", PNG), ("keys", PNG)], 422, ""),
    ]
    for route, name, sent, status, code in parts:
        files = [(part, ("a", data)) for part, data in sent]
        yield row("control parts", f"{route} {name}", f"POST /{route}", status, code, files=files)


def control_calls() -> Iterator[Hostile]:
    raw = {"content-type": "image/png"}
    for route, body in BASES.items():
        sent = f"POST /{route}"
        yield row("control calls", f"{route} GET", f"GET /{route}", 405)
        yield row("control calls", f"{route} no body", sent, 422)
        yield row("control calls", f"{route} as text", sent, 415, content=b"{}", headers={"content-type": "text/plain"})
        yield row("control calls", f"{route} HTML is wanted", sent, 406, json=body, headers={"accept": "text/html"})
        yield row("control calls", f"{route} model that is not served", sent, 404, json=body | {"model": "none"})
    yield row("control calls", "inpaint a raw picture", "POST /inpaint?box=0,0,4,4", 415, content=PNG, headers=raw)
    yield row("control calls", "interpolate a raw picture", "POST /interpolate", 422, content=PNG, headers=raw)


def tensor_frames() -> Iterator[Hostile]:
    def sent(name: str, status: int, request: dict[str, Any], path: str = DECODER) -> Hostile:
        return row("tensor frames", name, f"POST {path}", status, **request)

    inputs = {"inputs": [with_size(Z_S, 12), Z_U]}
    for length in ("10000", "-1", "0", "1e3", "0x10", "", " ", "9" * 4000, MARK, "NaN", "1,1", "2.0"):
        yield sent(f"header length {length!r}", 400, framed(inputs, bytes(12), length))
    for cut in (1, 20):
        yield sent(f"header length {cut} cuts the JSON", 400, framed(inputs, bytes(12), cut))
    twice = framed(inputs, bytes(12))
    yield sent("two header lengths", 400, twice | {"headers": [(LENGTH, twice["headers"][LENGTH])] * 2})
    yield sent("a header length and no body", 400, {"headers": {LENGTH: "10"}})
    yield sent("no body", 422, {})
    lies: list[tuple[Any, int, int]] = [
        *((12, 11, 400), (12, 13, 400), (12, 0, 400), (11, 11, 422), (13, 13, 422), (0, 0, 422), (2**62, 12, 422), (2**200, 12, 422)),
        *((size, 12, 422) for size in (-1, -(2**63), 12.0, "12", True, [12], {"a": 12})),
    ]
    for size, sent_bytes, status in lies:
        request = framed({"inputs": [with_size(Z_S, size), Z_U]}, bytes(sent_bytes))
        yield sent(f"size {size!r} of {sent_bytes} bytes", status, request)
    yield sent("a size without a header length", 400, {"json": inputs})
    shared = [with_size(Z_S, 12), with_size({key: value for key, value in Z_U.items() if key != "data"}, 8)]
    yield sent("two tensors share their bytes", 400, framed({"inputs": shared}, bytes(12)))
    cap = 8 * 2**20
    yield sent("a body above its cap", 413, framed({"inputs": [with_size(PIXELS, cap)]}, bytes(cap)), ENCODER)
    for content_type in ("text/plain", "image/png", "multipart/form-data; boundary=b", f"application/{MARK}"):
        yield sent(f"as {content_type}", 415, {"content": b"{}", "headers": {"content-type": content_type}})
    yield sent("compressed", 415, framed({"inputs": []}, headers={"content-encoding": "gzip"}))


def tensor_numbers() -> Iterator[Hostile]:
    body = json.dumps({"inputs": [Z_S | {"data": [0, 0, "X"]}, Z_U]})
    for bits in (0x7FC00000, 0xFFC00000, 0x7F800001, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0x461C4400 + 1):
        sent = framed({"inputs": [with_size(Z_S, 12), Z_U]}, struct.pack("<3I", 0, bits, 0))
        yield row("tensor numbers", f"the bits 0x{bits:08x}", f"POST {DECODER}", 422, **sent)
    for number in ("1e999", "-1e999", "10001", "9" * 400, "true", "null", '"1"', "[0]", "{}", f'"{MARK}"'):
        yield row("tensor numbers", number, f"POST {DECODER}", 422, content=body.replace('"X"', number))
    for number in ("NaN", "Infinity", "-Infinity", "9" * 5000, "01", "+1", ".5"):
        yield row("tensor numbers", f"{number}, which is not JSON", f"POST {DECODER}", 400, content=body.replace('"X"', number))
    levels: Iterable[Any] = (-1, 256, 2**64, 1.0, 0.5, True, None, "0", MARK, [0], [[0]], {"a": 0})
    for level in levels:
        pixels = {"inputs": [PIXELS | {"data": [*LEVELS[1:], level]}]}
        yield row("tensor numbers", f"level {level!r}", f"POST {ENCODER}", 422, json=pixels)


def tensor_shapes() -> Iterator[Hostile]:
    def sent(name: str, tensor: dict[str, Any]) -> Hostile:
        return row("tensor shapes", name, f"POST {ENCODER}", 422, json={"inputs": [tensor]})

    shapes: list[Any] = [
        *([n, 8, 8, 1] for n in (0, 2, 65, 10**9, 2**31, 2**32, 2**63 - 1, 2**63, 2**200, -1, 1.0, "1", True, None)),
        *([2**32, 2**32, 8, 1], [1, 2**31, 2**33, 1], [1, 8, 8], [1, 8, 8, 3], [1, 64], [64], [1, 1, 8, 8, 1]),
        *([1] * 100_000, [], None, "1", {}),
    ]
    for shape in shapes:
        text, binary = PIXELS | {"shape": shape, "data": LEVELS}, with_size(PIXELS | {"shape": shape}, 64)
        yield row("tensor shapes", f"{shape!r} in JSON", f"POST {ENCODER}", 422, **framed({"inputs": [text]}))
        yield row("tensor shapes", f"{shape!r} in bytes", f"POST {ENCODER}", 422, **framed({"inputs": [binary]}, bytes(64)))
    datatypes: Iterable[Any] = ("FP32", "INT8", "BYTES", "BOOL", "FP16", "BF16", "uint8", "", MARK, None, 7, ["UINT8"])
    for datatype in datatypes:
        yield sent(f"datatype {datatype!r}", PIXELS | {"datatype": datatype, "data": LEVELS})
    data: Iterable[Any] = ([MARK] * 64, [""] * 64, [{"b64": MARK}] * 64, MARK, None, {}, 7, [], [LEVELS], LEVELS * 20_000)
    for value in data:
        yield sent(f"data {value!r}", PIXELS | {"data": value})


def tensor_bodies() -> Iterator[Hostile]:
    deep = b'{"inputs":[{"name":"pixels","datatype":"UINT8","shape":[1,8,8,1],"data":' + b"[" * 900 + b"]" * 900 + b"}]}"
    bodies: list[tuple[str, bytes, int]] = [
        ("100,000 open lists", b'{"inputs":' + b"[" * 100_000, 400),
        ("lists 90,000 deep", b'{"inputs":' + b"[" * 90_000 + b"]" * 90_000 + b"}", 422),
        ("data 900 deep", deep, 422),
        ("a key twice", b'{"inputs":[],"inputs":[]}', 400),
        ("no UTF-8", b'{"inputs":"\xff"}', 400),
        ("a list", b"[]", 422),
        ("null", b"null", 422),
        ("a space", b" ", 400),
        ("something behind the end", b"{} x", 400),
        ("a lone surrogate", b'{"id":"\\ud800","inputs":[]}', 422),
    ]
    for name, body, status in bodies:
        yield row("tensor bodies", name, f"POST {ENCODER}", status, content=body)
    good = PIXELS | {"data": LEVELS}
    fields: dict[str, dict[str, Any]] = {
        "no field": {},
        "inputs null": {"inputs": None},
        "an input that is a number": {"inputs": [7]},
        "an input without data": {"inputs": [PIXELS]},
        "an input twice": {"inputs": [good] * 2},
        "5,000 inputs": {"inputs": [good] * 5000},
        "data and a size": {"inputs": [with_size(good, 64)]},
        "another name": {"inputs": [good | {"name": MARK}]},
        "an unknown field of an input": {"inputs": [good | {MARK: 1}]},
        "shared memory": {"inputs": [good | {"parameters": {"shared_memory_region": MARK}}]},
        "an unknown output": {"inputs": [good], "outputs": [{"name": MARK}]},
        "an output twice": {"inputs": [good], "outputs": [{"name": "z_s"}] * 2},
        "a classification": {"inputs": [good], "outputs": [{"name": "z_s", "parameters": {"classification": 1}}]},
        "binary_data 1": {"inputs": [good], "outputs": [{"name": "z_s", "parameters": {"binary_data": 1}}]},
        "binary_data_output as text": {"inputs": [good], "parameters": {"binary_data_output": "true"}},
        "an unknown parameter": {"inputs": [good], "parameters": {MARK: 1}},
        "an id that is a number": {"inputs": [good], "id": 7},
        "an id of 7,000 characters": {"inputs": [good], "id": MARK * 1000},
        "an unknown field": {"inputs": [good], MARK: 1},
        "a model": {"inputs": [good], "model": "toy"},
    }
    for name, value in fields.items():
        yield row("tensor bodies", f"fields: {name}", f"POST {ENCODER}", 422, json=value)


def tensor_routes() -> Iterator[Hostile]:
    def sent(call: str, status: int, **options: Any) -> Hostile:
        return row("tensor routes", call, call, status, **options)

    yield sent(f"POST {DECODER}?{MARK}=1", 400, json={})
    yield sent(f"GET /v2?{MARK}=1", 400)
    yield sent(f"GET /v2/models/toy.decoder?{MARK}=1", 400)
    for name in ("toy", "toy.", ".encoder", "toy.encoder.encoder", "TOY.encoder", MARK, "..%2f..%2fetc", "toy%00.encoder"):
        for path in ("", "/ready", "/versions/1"):
            yield sent(f"GET /v2/models/{name}{path}", 404)
        yield sent(f"POST /v2/models/{name}/infer", 404, json={})
    for version in ("0", "2", "01", "1.0", "-1", MARK):
        yield sent(f"GET /v2/models/toy.encoder/versions/{version}", 404)
        yield sent(f"POST /v2/models/toy.encoder/versions/{version}/infer", 404, json={})
    yield sent("GET /v2/", 404)
    yield sent(f"GET {DECODER}", 405)
    yield sent("POST /v2", 405)
    yield sent("GET /v2/models/" + "x" * 5000, 414)
    yield row("tensor routes", "a header of 20,000 bytes", "GET /v2", 431, headers={"x-long": "a" * 20_000})


FAMILIES = (
    *(queries, routes, json_bodies, items, base64_texts, multipart, pictures, swaps, recipes, inspections),
    *(control_fields, control_queries, control_parts, control_calls),
    *(tensor_frames, tensor_numbers, tensor_shapes, tensor_bodies, tensor_routes),
)
TABLE: tuple[Hostile, ...] = tuple(one for family in FAMILIES for one in family())
