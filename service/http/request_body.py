"""A request's query, JSON, multipart or raw picture become one set of named fields, or are refused.

Here stand the caps on bytes, the time limit of a body, and the strictness that parsers lack (duplicates, NaN, odd encodings). It does
not know what a field means: `schemas` validates, the route interprets.

Longer than 250 lines because the forms of a body share their caps and their strictness, and are read together.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

import python_multipart
from python_multipart.multipart import parse_options_header
from starlette.requests import Request as HttpRequest

from twofold.service.http.context import AppState, context_of
from twofold.service.http.schemas import Request
from twofold.service.runtime.errors import Invalid, Malformed, SlowSender, TooLarge, UnsupportedMedia
from twofold.service.settings import Settings

Asked = TypeVar("Asked", bound=Request)
T = TypeVar("T")

MAX_QUERY_FIELDS = 64
MAX_OBJECT_KEYS = 1024  # of one JSON object: as many as a mixture of classes may name
MAX_PARTS = 256  # of one multipart body
MAX_DIGITS = 4300  # of one integer in JSON
_OUT_OF_BOUNDS = 40  # as many digits are more than any field takes
SMALL_JSON_BYTES = 64 * 1024  # below, no JSON costs enough to be counted first
NO_PICTURES: Mapping[str, str] = {}


async def read(request: HttpRequest, kind: type[Asked], pictures: Mapping[str, str] = NO_PICTURES) -> Asked:
    """The validated fields of a request.

    `pictures` maps multipart part names to picture fields; a raw image/* body is taken where there is only one.
    Raises Malformed, Invalid, UnsupportedMedia, TooLarge, SlowSender.
    """
    max_items = context_of(request).state.settings.max_items
    fields = {name: kind.value(name, text, max_items) for name, text in _query(request.scope["query_string"]).items()}
    body = await read_body(request)
    if body:
        if request.method == "GET":
            raise Malformed("A GET takes no body; send the fields in the query, or use POST.")
        sent = _body_fields(request, body, kind, pictures)
        if both := sorted(fields.keys() & sent.keys()):
            raise Malformed(f"{both[0]} stands in the query and in the body; send it once.", field=both[0])
        fields |= sent
    return kind.check(fields, max_items)


# ----------------------------------------------------------------------------------------------------------------- bytes


async def read_body(request: HttpRequest) -> bytes:
    """The whole body under its cap and its time limit. Raises TooLarge, SlowSender, Malformed (the client left)."""
    context = context_of(request)
    if context.body_read:
        return b""
    settings = context.state.settings
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and len(declared) < 20 and int(declared) > settings.max_body_bytes:
        raise _too_large(settings)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            more = True
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Malformed("The body ended before it was whole; send it again.")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > settings.max_body_bytes:
                    raise _too_large(settings)
    except TimeoutError:
        raise SlowSender(f"The body did not arrive within {settings.body_timeout_s:g} seconds; send it again.") from None
    return bytes(body)


def _too_large(settings: Settings) -> TooLarge:
    return TooLarge(f"A body may have {settings.max_body_bytes} bytes; send less at once.", allowed=f"{settings.max_body_bytes} bytes")


# ---------------------------------------------------------------------------------------------------------------- fields


def _query(raw: bytes) -> dict[str, str]:
    if not raw:
        return {}
    try:
        pairs = urllib.parse.parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS, separator="&"
        )
    except ValueError:
        raise Malformed(f"The query must be UTF-8, percent-encoded, with at most {MAX_QUERY_FIELDS} fields.") from None
    return _unique(pairs, "The query names a field twice; send it once.")


def _unique(pairs: Iterable[tuple[str, T]], sentence: str) -> dict[str, T]:
    fields: dict[str, T] = {}
    for name, value in pairs:
        if name in fields:
            raise Malformed(sentence)
        fields[name] = value
    return fields


def declared_media(request: HttpRequest) -> tuple[bytes, dict[bytes, bytes]]:
    """The body's media type, b"" when none is named, and its options. Raises UnsupportedMedia when compressed, Malformed for two."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed; send it as it is.", allowed="identity")
    declared = request.headers.getlist("content-type")
    if len(declared) > 1:
        raise Malformed("There are two Content-Type headers; send one.")
    return parse_options_header(declared[0] if declared else None)


def _body_fields(request: HttpRequest, body: bytes, kind: type[Request], pictures: Mapping[str, str]) -> dict[str, object]:
    media, options = declared_media(request)
    if media == b"application/json":
        return parse_json(body, _max_values(context_of(request).state))
    if pictures and media == b"multipart/form-data":
        return _multipart(body, options.get(b"boundary", b""), kind, pictures, context_of(request).state.settings.max_items)
    if len(pictures) == 1 and media.startswith(b"image/"):
        field = next(iter(pictures.values()))
        return {field: [body] if field in kind.lists else body}
    taken = ["application/json"] + ["multipart/form-data"] * bool(pictures) + ["image/*"] * (len(pictures) == 1)
    raise UnsupportedMedia(f"The Content-Type must be {' or '.join(taken)}.", allowed=", ".join(taken))


def _max_values(state: AppState) -> int:
    """How many values the JSON of any request has at most: as many items as allowed, each with both codes or a weight per class."""
    dims = [model.card.dims for model in state.registry.models.values()]
    longest = max(max(one.dim_s + one.dim_u, one.classes) for one in dims)
    return state.settings.max_items * (longest + 16)  # 16: its other fields


def parse_json(body: bytes, max_values: int) -> dict[str, object]:
    """Strict JSON: UTF-8, one object, no duplicate key, no NaN or Infinity. Raises Malformed or Invalid.

    More values than `max_values` are refused unread: a body of nothing but values would hold the event loop for half a second.
    """
    if len(body) > SMALL_JSON_BYTES and body.count(b",") >= max_values:  # values cost, bytes of one long string do not
        raise Invalid(f"The body lists more than {max_values} values; split it.", allowed=f"at most {max_values} values")
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_int=_integer, parse_constant=_no_constant)
    except RecursionError:  # how deep it may be depends on the stack; what is answered must not
        if body.count(b"[") == body.count(b"]") and body.count(b"{") == body.count(b"}"):
            raise Invalid("The body is nested too deeply.") from None
        raise Malformed("The body is not JSON.") from None
    except ValueError:  # also undecodable bytes, and integers of thousands of digits
        raise Malformed("The body is not JSON.") from None
    if not isinstance(value, dict):
        raise Invalid("The body must be a JSON object.")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(pairs) > MAX_OBJECT_KEYS:
        raise Invalid(f"A JSON object may have {MAX_OBJECT_KEYS} keys.")
    return _unique(pairs, "A JSON object names a key twice; send it once.")


def _integer(digits: str) -> int:
    """The number, or another beyond all bounds in its place: thousands of digits take quadratic time. Raises ValueError above the cap."""
    if len(digits) > MAX_DIGITS:
        raise ValueError
    return int(digits[:_OUT_OF_BOUNDS])


def _no_constant(_: str) -> NoReturn:
    raise Malformed("NaN and Infinity are not JSON.")


# ------------------------------------------------------------------------------------------------------------- multipart


class _Parts:
    """Callbacks of the multipart parser: collects (name, bytes) in memory, under a cap on parts. File names are never read."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[tuple[str, bytearray]] = []
        self.whole = False
        self._max_parts = max_parts
        self._header, self._value = bytearray(), bytearray()
        self._disposition = b""

    def on_part_begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise Invalid(f"A body may have {self._max_parts} parts; send fewer.", allowed=f"{self._max_parts} parts")
        self._disposition = b""

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        elif self._header.lower() == b"content-transfer-encoding" and bytes(self._value).lower() not in (b"binary", b"7bit", b"8bit"):
            raise UnsupportedMedia("A part must not be encoded; send it as it is.", allowed="binary")
        self._header, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        form, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if form != b"form-data" or not name:
            raise Malformed("A part has no name; send multipart/form-data with named parts.")
        self.parts.append((name, bytearray()))

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1][1].extend(memoryview(data)[start:end])

    def on_end(self) -> None:
        self.whole = True

    def callbacks(self) -> Any:
        return {name: getattr(self, name) for name in dir(self) if name.startswith("on_")}


def _multipart(body: bytes, boundary: bytes, kind: type[Request], pictures: Mapping[str, str], max_items: int) -> dict[str, object]:
    if not 1 <= len(boundary) <= 70:
        raise Malformed("multipart/form-data needs a boundary of 1 to 70 characters.")
    collected = _Parts(MAX_PARTS)
    try:
        parser = python_multipart.MultipartParser(boundary, collected.callbacks())
        parser.write(body)
        parser.finalize()
    except python_multipart.exceptions.FormParserError:
        raise Malformed("The multipart body is broken; send it again.") from None
    if not collected.whole:
        raise Malformed("The multipart body ends too early; send it again.")
    files: dict[str, list[bytes | str]] = {}
    singles: list[tuple[str, object]] = []
    for name, data in collected.parts:
        field = pictures.get(name)
        if field in kind.lists:
            files.setdefault(field, []).append(_picture_or_token(bytes(data)))
        elif field is not None:
            singles.append((field, _picture_or_token(bytes(data))))
        else:
            singles.append((name, kind.value(name, data.decode("utf-8", "replace"), max_items)))
    return files | _unique(singles, "The body names a field twice; send it once.")


def _picture_or_token(data: bytes) -> bytes | str:
    """No picture begins with `c1.`, so the content tells a code token from a file."""
    return data.decode("ascii", "replace") if data.startswith(b"c1.") else data


# --------------------------------------------------------------------------------------------------------------- base64


def picture_bytes(sent: str | bytes, field: str, settings: Settings) -> bytes:
    """A picture as it came (bytes) or in strict base64. Raises Invalid, and TooLarge before anything is decoded."""
    if isinstance(sent, bytes):
        return sent
    if len(sent) > 4 * -(-settings.max_picture_bytes // 3):
        raise TooLarge(f"A picture may have {settings.max_picture_bytes} bytes; send a smaller file.", field=field)
    try:
        return base64.b64decode(sent, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"{field} must be base64 (standard alphabet, padded, no line breaks, no prefix).", field=field) from None
