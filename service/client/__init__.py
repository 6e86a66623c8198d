"""The service from Python: `Client` and `AsyncClient` talk to a server, `Local` runs a bundle in this process. One interface.

    from twofold.service.client import Client
    sneakers = Client("http://127.0.0.1:8000").generate("sneaker", n=16, seed=42)
    sneakers[0].save("sneaker.png")

A refusal is raised as the class of `twofold.service.runtime.errors` that has the answer's `code`; an unreachable server as
`Unreachable`.
"""

from twofold.service.client.errors import Unreachable
from twofold.service.client.http import AsyncClient, Client
from twofold.service.client.local import Local
from twofold.service.client.pictures import Matrix, Picture, Pictures
from twofold.service.client.results import Class, Encoding, Encodings, Inspection, ModelInfo, Verdict

__all__ = [
    "AsyncClient",
    "Class",
    "Client",
    "Encoding",
    "Encodings",
    "Inspection",
    "Local",
    "Matrix",
    "ModelInfo",
    "Picture",
    "Pictures",
    "Unreachable",
    "Verdict",
]
