"""The service from Python: `Client` and `AsyncClient` talk to a server, `Local` runs a bundle in this process. One interface, three doors.

    from service.client import Client
    sneakers = Client("http://127.0.0.1:8000").generate("sneaker", n=16, seed=42)
    sneakers[0].save("sneaker.png")

What is refused is raised as the class of `service.errors` that has the answer's `code`; where nobody answers, as `Unreachable`.
"""

from service.client.http import AsyncClient, Client
from service.client.local import Local
from service.client.pictures import Matrix, Picture, Pictures
from service.client.problems import Unreachable
from service.client.results import Class, Encoding, Encodings, Inspection, ModelInfo, Verdict

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
