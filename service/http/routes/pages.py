"""The page at `/`, the documentation at `/docs` and their files: a closed list of package data, read once, under a strict policy.

No file name comes from a caller: what is not in the list is not found. These pages load nothing from another origin.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from twofold.service.runtime.errors import NotFound

_MEDIA = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
POLICY = "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def page_router() -> APIRouter:
    """Routes of the pages, with their files in memory."""
    router = APIRouter()
    loaded = {}
    web = files("twofold.service") / "web"
    for entry in (*web.iterdir(), *(web / "swagger-ui").iterdir()):
        media = _MEDIA.get(entry.name.rpartition(".")[2])
        if media is not None:
            loaded[entry.name] = (entry.read_bytes(), media)

    def page(name: str) -> Response:
        if name not in loaded:
            raise NotFound("There is no such page.")
        body, media = loaded[name]
        headers = {"content-type": f"{media}; charset=utf-8", "content-security-policy": POLICY, "cache-control": "no-cache"}
        return Response(body, headers=headers)

    @router.get("/", include_in_schema=False)
    async def index(request: HttpRequest) -> Response:
        return page("index.html")

    @router.get("/docs", include_in_schema=False)
    async def docs(request: HttpRequest) -> Response:
        return page("docs.html")

    @router.get("/web/{name}", include_in_schema=False)
    async def asset(request: HttpRequest) -> Response:
        return page(request.path_params["name"])

    return router
