"""Requests made from the OpenAPI document itself, against a real server: no 5xx, and every answer is one that the document announces.

All operations of the document are tried, also those that nobody thought of here. `make test-slow` sends each operation's examples and a few
drawn requests, always the same; `make fuzz-api` sends boundary cases and FUZZ_EXAMPLES drawn requests, other ones each time.
"""

from __future__ import annotations

import base64
import copy
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup

from tests.serving import serving
from twofold.service.http.openapi_document import openapi_json
from twofold.service.http.problems import STATUS
from twofold.service.runtime.registry import DEFAULT_BUNDLE

pytestmark = pytest.mark.slow

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
FILES = [path.read_bytes() for path in sorted((Path(__file__).parents[1] / "data/pictures").glob("*.png"))]
PICTURES = [base64.b64encode(data).decode() for data in FILES]
PROBLEM = "application/problem+json"

schemathesis.openapi.format("binary", st.sampled_from(FILES[:3]) | st.binary(max_size=64))
for media in ("image/png", "image/jpeg", "image/webp", "application/octet-stream"):
    schemathesis.openapi.media_type(media, st.sampled_from(FILES[:3]) | st.binary(max_size=64))


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{method.upper()} {path}": one for path, methods in document["paths"].items() for method, one in methods.items()}


OPERATIONS = operations(json.loads(openapi_json()))


@pytest.fixture(scope="module")
def server():
    with serving(DEFAULT_BUNDLE) as running:
        yield running


@pytest.fixture(scope="module")
def schemas(server):
    """The document as the server gives it, with what it cannot know; the same with nothing but bodies and paths; one that lies.

    Most fields may stand in the query or in the body, but not in both, which no document can say: drawn together they are mostly refused.
    """
    answer = httpx.post(f"{server.url}/encode", content=FILES[0], headers={"content-type": "image/png"})
    document = taught(httpx.get(f"{server.url}/openapi.json").json(), answer.json()["items"][0]["code"])
    config = {
        "base-url": server.url,
        "checks": {
            # Not asked: that what fits the document is taken. It cannot say which classes, tokens and pictures there are.
            "positive_data_acceptance": {"enabled": False},
            # 413, 414 and 431 refuse as well as the others: what is not valid may be too long before it is anything else.
            "negative_data_rejection": {"expected-statuses": [400, 404, 405, 406, 413, 414, 415, 422, 431]},
        },
    }
    bodies = copy.deepcopy(document)
    for operation in operations(bodies).values():
        operation["parameters"] = [one for one in operation.get("parameters", []) if one["in"] == "path"]
    lying = copy.deepcopy(document)
    for operation in operations(lying).values():
        operation["responses"].pop("422", None)
    read = partial(schemathesis.openapi.from_dict, config=schemathesis.Config.from_dict(config))
    return {"whole": read(document), "bodies": read(bodies), "lying": read(lying)}


def taught(document: Any, token: str) -> Any:
    """The same document with good values beside what it says; nothing becomes good that was not, or the other way round."""
    good = {
        "a name from /models": ["fashion-mnist", "fashion-mnist.encoder", "fashion-mnist.decoder"],
        "a class (": [0, 7, "sneaker", "name:Bag"],
        "a code token": [token],
        "a picture in base64": [*PICTURES[:3], token],
    }

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [walk(one) for one in node]
        if not isinstance(node, dict):
            return {"iVBORw0KGgo...": PICTURES[0], "c1....": token, "c1.…": token}.get(node, node) if isinstance(node, str) else node
        found = {key: walk(value) for key, value in node.items()}
        text = str(found.get("description", ""))
        if found.get("contentMediaType") == "image/*":
            return {"anyOf": [found, {"enum": PICTURES[:3]}]}
        for beginning, values in good.items():
            if text.startswith(beginning) and "in" in found:
                found["schema"] = {"anyOf": [found["schema"], {"enum": values}]}
            elif text.startswith(beginning):
                return {"anyOf": [found, {"enum": values}]}
        return found

    return walk(document)


def keeps_the_contract(ctx: Any, response: Any, case: Any) -> None:
    """Every answer names request and model; every refusal is a small problem that says why, under a status of the one table."""
    headers = {name: values[0] for name, values in response.headers.items()}
    assert headers["x-request-id"]
    assert headers["x-model"].startswith("fashion-mnist@")
    assert headers["x-content-type-options"] == "nosniff"
    if response.status_code < 400:
        return
    assert headers["content-type"] == PROBLEM
    assert len(response.content) <= 1024
    problem = json.loads(response.content)
    assert problem["status"] == response.status_code == STATUS[problem["code"]]
    assert problem["request_id"] == headers["x-request-id"]


def answered(case: Case) -> None:
    case.call_and_validate(additional_checks=[keeps_the_contract])


@pytest.mark.parametrize(
    ("document", "label"),
    [("whole", label) for label in OPERATIONS]
    + [("bodies", label) for label, operation in OPERATIONS.items() if "requestBody" in operation],
)
def test_every_answer_is_one_that_the_document_announces(schemas, document, label):
    fuzz(schemas[document], label)


def test_a_document_that_lies_is_caught(schemas):
    with pytest.raises(FailureGroup) as caught:
        fuzz(schemas["lying"], "GET /generate")
    assert "Received: 422" in str(caught.value.exceptions[0])


def fuzz(api: Any, label: str) -> None:
    """Send the examples of one operation, its boundary cases when asked to, and drawn requests that fit the document or just do not."""
    operation = api.find_operation_by_label(label)
    for example in operation.get_strategies_from_examples():
        drawn(example, 1)
    if EXAMPLES:
        for case in api.iter_coverage_cases(operation, generation_modes=MODES, generation_config=api.config.generation):
            answered(case)
    drawn(st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES]), EXAMPLES or 3)


def drawn(cases: st.SearchStrategy[Case], count: int) -> None:
    """Send `count` of these cases; of a failure the smallest is shown."""

    @settings(max_examples=count, derandomize=not EXAMPLES, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(cases)
    def send(case: Case) -> None:
        answered(case)

    send()
