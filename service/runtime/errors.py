"""Every refusal, as one tree of exceptions. Knows no HTTP: the table of statuses is in `http.problems`.

`detail` is one sentence for the caller: what is wrong, what is allowed, what to do. It never repeats input, a path, a library's text or
a stack. The docstrings of the classes describe the refusals in openapi.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class TwofoldError(Exception):
    """Root of the tree. `code` is from a closed list, `field` names the parameter at fault, `allowed` what it may be."""

    code: ClassVar[str] = "internal"
    retry_after_s: float | None = None  # None: trying again does not help
    request_id: str = ""  # set by the clients of a server: its id of the request

    def __init__(self, detail: str, *, field: str | None = None, allowed: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.allowed = allowed


class Malformed(TwofoldError):
    """The syntax is broken: not JSON, a duplicate key or parameter, a broken multipart body."""

    code = "malformed"


class Invalid(TwofoldError):
    """Well-formed but not acceptable: an unknown field, a value out of range, an unknown class, another model's token."""

    code = "invalid"


class UndecodablePicture(TwofoldError):
    """The right picture format, but it cannot be decoded or holds more than one frame."""

    code = "undecodable_picture"


class UnsupportedMedia(TwofoldError):
    """A body type, encoding or picture format that is not taken."""

    code = "unsupported_media_type"


class TooLarge(TwofoldError):
    """Bytes or pixels above a cap; the detail names the cap."""

    code = "too_large"


class UriTooLong(TwofoldError):
    """The URL is above its cap; send the fields in a body."""

    code = "uri_too_long"


class HeadersTooLarge(TwofoldError):
    """The headers are above their cap."""

    code = "headers_too_large"


class NotFound(TwofoldError):
    """No such route, page or model."""

    code = "not_found"


class MethodNotAllowed(TwofoldError):
    """The route takes other methods; they are named."""

    code = "method_not_allowed"


class NotAcceptable(TwofoldError):
    """Nothing the client accepts can be made here."""

    code = "not_acceptable"


class SlowSender(TwofoldError):
    """The body did not arrive in time."""

    code = "slow_sender"


class Unavailable(TwofoldError):
    """Full, draining or not ready; `retry_after_s` is honest (from the measured cost)."""

    code = "unavailable"
    retry_after_s: float

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class QueueFull(Unavailable):
    """The queue is full, or too long for the deadline."""

    code = "queue_full"


class Draining(Unavailable):
    """The server is shutting down."""

    code = "draining"


class NotReady(Unavailable):
    """The model is not ready, or does not move."""

    code = "not_ready"


class DeadlinePassed(TwofoldError):
    """The deadline, counted from the request's arrival, passed before the answer was ready."""

    code = "deadline_passed"


class BadOutput(TwofoldError):
    """The model failed on this row alone, or gave a non-finite value. Our fault."""


BY_CODE: Mapping[str, type[TwofoldError]] = {
    kind.code: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, TwofoldError) and kind is not BadOutput
}
