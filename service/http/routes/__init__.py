"""Thin handlers, one module per noun: request -> codes -> rows -> bytes -> response. ROUTERS lists those that openapi.json documents."""

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
