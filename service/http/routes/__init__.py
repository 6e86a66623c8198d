"""Thin handlers, one module per route: request -> operation -> latents -> batcher -> pixels -> response."""

from twofold.service.http.routes import (
    decode,
    edit,
    encode,
    generate,
    inference,
    inpaint,
    inspect,
    interpolate,
    models,
    probes,
    swap,
)

ROUTERS = (
    generate.router,
    encode.router,
    decode.router,
    swap.router,
    interpolate.router,
    edit.router,
    inpaint.router,
    inspect.router,
    models.router,
    probes.router,
    inference.router,
)
