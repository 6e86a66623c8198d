"""The committed openapi.json is the app's own, and says what the app does."""

import json
from pathlib import Path

from twofold.service.http.openapi_document import openapi_json
from twofold.service.http.problems import STATUS

COMMITTED = Path(__file__).parents[2] / "docs/openapi.json"


def operations(document):
    return {(method, path): one for path, methods in document["paths"].items() for method, one in methods.items()}


def test_the_committed_document_is_the_apps():
    assert COMMITTED.read_bytes() == openapi_json(), "run: python -m twofold.service.http.openapi_document > docs/openapi.json"


async def test_the_app_serves_the_committed_document(client):
    answer = await client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == COMMITTED.read_bytes()


def test_every_reference_leads_somewhere():
    document = json.loads(openapi_json())
    text = json.dumps(document)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(document["components"]["schemas"])


def test_every_refusal_is_documented_as_a_problem():
    for (method, path), operation in operations(json.loads(openapi_json())).items():
        statuses = {int(status) for status in operation["responses"]} - {200, 304}
        assert {414, 431, 500} <= statuses <= set(STATUS.values()), (method, path)
        for status in statuses:
            assert list(operation["responses"][str(status)]["content"]) == ["application/problem+json"]


async def test_every_documented_json_example_is_taken_or_refused_for_its_shortened_values(client):
    for (method, path), operation in operations(json.loads(openapi_json())).items():
        example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if example is not None:
            answer = await client.request(method, path.format(model="toy.decoder", version="1"), json=example)
            assert answer.status_code in (200, 422), answer.text
            assert "unknown field" not in answer.text
