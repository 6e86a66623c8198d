"""Thin handlers, one module per route: request -> operation -> latents -> batcher -> pixels -> response."""

from twofold.service.http.routes import decode, edit, encode, generate, inference, inpaint, inspect, interpolate, models, probes, swap

_MODULES = (generate, encode, decode, swap, interpolate, edit, inpaint, inspect, models, probes, inference)  # in the document's order
ROUTERS = tuple(module.router for module in _MODULES)
