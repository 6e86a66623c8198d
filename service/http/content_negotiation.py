"""The Accept header: which of the media types that a route offers the client prefers (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request as HttpRequest

from twofold.service.runtime import image_io
from twofold.service.runtime.errors import NotAcceptable

JSON, ZIP, NPZ = "application/json", "application/zip", "application/x-npz"
PICTURES = (image_io.PNG, image_io.WEBP, JSON, ZIP, NPZ)  # the default first
ONLY_PICTURES = PICTURES[:2]
ONLY_JSON = (JSON,)
WITH_ENTRIES = (JSON, ZIP)  # what describes each picture beside it


def negotiate(request: HttpRequest, offered: Sequence[str]) -> str:
    """The offered media type the client prefers, the earliest of equals. Raises NotAcceptable."""
    accept = ",".join(request.headers.getlist("accept")).strip()
    if accept in ("", "*/*", offered[0]):
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    best = max(offered, key=lambda media: _quality(media, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(f"This route answers with {', '.join(offered)}; ask for one of them.", allowed=", ".join(offered))
    return best


def _range(part: str) -> tuple[str, float]:
    """A media range and its quality: 1 where none stands, 0 where it is no number from 0 to 1."""
    media, *options = (piece.strip().lower() for piece in part.split(";"))
    weight = next((option[2:] for option in options if option.startswith("q=")), "1")
    try:
        quality = float(weight)
    except ValueError:
        quality = 0.0
    return media, quality if 0 <= quality <= 1 else 0.0


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The most specific range that fits decides."""
    for name in (media, media.split("/")[0] + "/*", "*/*"):
        fitting = [quality for found, quality in ranges if found == name]
        if fitting:
            return max(fitting)
    return 0.0
