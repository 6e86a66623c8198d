"""Takes a picture apart into what it is (class code) and how it looks (style code), and puts codes together again.

    from twofold import Client
    sneakers = Client("http://127.0.0.1:8000").generate("sneaker", n=16, seed=42)
    sneakers[0].save("sneaker.png")

`Client` and `AsyncClient` talk to a server; `Local` serves a bundle in this process with the same interface; `load_bundle` gives the model
as functions on numpy arrays. Importing this package loads none of them.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twofold.service.client.http import AsyncClient, Client
    from twofold.service.client.local import Local
    from twofold.service.runtime.array_api import load_bundle

__all__ = ["AsyncClient", "Client", "Local", "__version__", "load_bundle"]
__version__ = "0.1.0"  # the only place: pyproject.toml reads it here

# From 1.29 on, onnxruntime reports sessions and graph hashes to its maker from the moment it is imported, unless this is set before.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_MODULES = {
    "AsyncClient": "twofold.service.client.http",
    "Client": "twofold.service.client.http",
    "Local": "twofold.service.client.local",
    "load_bundle": "twofold.service.runtime.array_api",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'twofold' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
