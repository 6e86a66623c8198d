"""Caching: the ETag of a picture that is a pure function of its request, and 304 in its place.

It does not know pictures: a tag is made from the operation, before it has run.
"""

from __future__ import annotations

import hashlib
import re

from starlette.requests import Request as HttpRequest

from twofold.service.http.context import RequestContext
from twofold.service.runtime import provenance
from twofold.service.runtime.operations import Generate
from twofold.service.runtime.registry import Model

_ENTITY_TAG = re.compile(r'"[^"]*"')


def entity_tag(context: RequestContext, media: str, model: Model, operation: Generate) -> str:
    """The strong ETag of all pictures of an operation in the form `media`."""
    whole = provenance.write(model, operation.do, operation.whole_recipe())  # names the model's hash, provider and the service's version
    source = f"{whole}\n{media}\n{context.state.settings.recipe}\n{model.card.preprocessing.background}"
    return f'"{hashlib.sha256(source.encode()).hexdigest()[:32]}"'


def is_known(request: HttpRequest, tag: str) -> bool:
    """Whether If-None-Match names `tag`, or anything there is (`*`). RFC 9110: W/ does not count."""
    known = ",".join(request.headers.getlist("if-none-match")).strip()
    return known == "*" or tag in _ENTITY_TAG.findall(known)


def headers(tag: str) -> dict[str, str]:
    """For what may be cached but must be revalidated each time: another bundle may have taken the model's place."""
    return {"etag": tag, "cache-control": "no-cache", "vary": "Accept"}
