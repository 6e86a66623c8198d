"""An answer's refusal to a typed error, and whether asking again is any use.

It knows RFC 9457 and the tree of `twofold.service.runtime.errors`; not who asks, nor what for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import httpx

from twofold.service.runtime.errors import BY_CODE, TwofoldError

_BUSY = (429, 503)
_FIRST_PAUSE_S = 0.25  # before the second try to connect; then twice as long each time


class Unreachable(ConnectionError):
    """No Twofold service answered: nobody listens there, it took too long, or what answered is something else."""


def refusal(response: httpx.Response) -> TwofoldError | Unreachable:
    """The error that an answer of status 400 or above stands for. A code that is not known here becomes the root of the tree."""
    try:
        problem = response.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return _no_service(response)
    kind = BY_CODE.get(code, TwofoldError)
    error = kind.__new__(kind)  # the kinds differ in how they are raised; what an answer tells is the root's
    TwofoldError.__init__(error, detail, field=problem.get("field"), allowed=problem.get("allowed"))
    error.request_id = str(problem.get("request_id", ""))
    if response.status_code in _BUSY:
        error.retry_after_s = _seconds(response.headers.get("retry-after", ""))
    return error


def _seconds(text: str) -> float:
    """Retry-After in seconds; 1 where it is a date or no number."""
    return float(text) if text.isdecimal() and len(text) < 10 else 1.0


@dataclass(frozen=True)
class Patience:
    """How often, and how long in all, a client tries again: what was busy, and where it could not connect."""

    retries: int = 3
    max_wait_s: float = 30.0

    def pause_s(self, error: Exception, tries: int, waited_s: float) -> float:
        """Seconds until the next try, after `tries` failed. Raises the error, as a typed one, when there is to be none."""
        pause_s: float = _FIRST_PAUSE_S * 2 ** (tries - 1)
        if isinstance(error, TwofoldError) and error.retry_after_s is not None:
            pause_s = max(error.retry_after_s, pause_s)
        elif not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            pause_s = math.inf
        if tries <= self.retries and waited_s + pause_s <= self.max_wait_s:
            return pause_s
        if isinstance(error, httpx.TransportError):
            what = "took too long to answer" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
            raise Unreachable(f"{error.request.url.netloc.decode()} {what}") from error
        raise error


def read(response: httpx.Response) -> Any:
    """The value of an answer: its JSON, or the bytes of a picture. Raises what `refusal` gives, and Unreachable for anything else."""
    if response.status_code >= 400:
        raise refusal(response)
    media = response.headers.get("content-type", "")
    if response.status_code == 200 and media.startswith("image/"):
        return response.content
    if response.status_code == 200 and media.startswith("application/json"):
        try:
            return response.json()
        except ValueError:
            pass
    raise _no_service(response)


def _no_service(response: httpx.Response) -> Unreachable:
    return Unreachable(f"{response.url.netloc.decode()} answered {response.status_code}, and not as a Twofold service does")
