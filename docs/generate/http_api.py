"""docs/openapi.json as a page for people: `python -m docs.api > docs/api.md` in the root folder.

Knows the shape of our own document, and leaves out what every route has in common: that stands once, above.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).with_name("openapi.json")
JSON = "application/json"


def page(document: Mapping[str, Any]) -> str:
    """The document as Markdown: one section per operation in its order, then every shape that an answer or a body has."""
    parts = [_HEAD.format(summary=document["info"]["summary"], version=document["info"]["version"])]
    operations = [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]
    parts += ["\n".join(_operation(f"{method.upper()} {path}", one)) for path, method, one in operations]
    parts.append("## Shapes\n")
    parts += ["\n".join(_shape(name, schema)) for name, schema in document["components"]["schemas"].items()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}\n\n{operation['summary']}.\n"
    if operation.get("parameters"):
        yield "| parameter | in | type | what |\n|---|---|---|---|"
        for one in operation["parameters"]:
            name = f"`{one['name']}`" + (" (required)" if one["required"] else "")
            yield f"| {name} | {one['in']} | {_type(one['schema'])} | {_cell(one.get('description', ''))} |"
        yield ""
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        yield _body(media, content)
    good = {status: answer for status, answer in operation["responses"].items() if status < "400"}
    for status, answer in good.items():
        forms = ", ".join(_form(media, content) for media, content in answer.get("content", {}).items())
        yield f"**{status}** {forms or answer['description']}\n"
    refusals = [status for status in operation["responses"] if status >= "400"]
    yield f"Refusals: {', '.join(refusals)}.\n"


def _body(media: str, content: Mapping[str, Any]) -> str:
    if media == JSON:
        example = json.dumps(content["example"], ensure_ascii=False)
        return f"Body `{media}`, {_reference(content['schema'])}:\n\n    {example}\n"
    fields = content["schema"].get("properties")
    if fields:
        parts = "; ".join(f"`{name}` {_cell(field.get('description', ''))}".strip() for name, field in fields.items())
        return f"Body `{media}`: {parts}.\n"
    return f"Body `{media}`.\n"


def _form(media: str, content: Mapping[str, Any]) -> str:
    shape = content.get("schema", {})
    return f"`{media}`" + (f" ({_reference(shape)})" if "$ref" in shape else "")


def _shape(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if about := schema.get("description"):
        yield f"{_cell(about)}\n"
    if not schema.get("properties"):
        return
    yield "| field | type | what |\n|---|---|---|"
    for field, spec in schema["properties"].items():
        title = f"`{field}`" + (" (required)" if field in schema.get("required", ()) else "")
        default = f"; default `{json.dumps(spec['default'])}`" if spec.get("default") is not None else ""
        yield f"| {title} | {_type(spec)}{default} | {_cell(spec.get('description', ''))} |"
    yield ""


def _type(schema: Mapping[str, Any]) -> str:
    """The type in a few words; its bounds stand in the description."""
    if "$ref" in schema:
        return _reference(schema)
    if "enum" in schema:
        return " or ".join(f"`{one}`" for one in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = [_type(part) for part in schema[key] if part.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema['items'])}" if schema.get("items") else "list"
    if kind == "string" and "contentEncoding" in schema:
        return "base64"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(kind)


def _reference(schema: Mapping[str, Any]) -> str:
    name = schema["$ref"].rpartition("/")[2]
    return f"[{name}](#{name.lower()})"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


_HEAD = """# The HTTP interface

{summary}
Version {version}. Made from [openapi.json](openapi.json) by `python -m docs.api > docs/api.md`; the running service shows
the same at `/docs`. What a refusal means and what an operator sets is in [service.md](service.md).

Query and JSON body take the same names. `Accept` decides the form of an answer; the form named first is what `*/*` gets. Every answer
has `X-Request-Id`; one of a model has `X-Model` and `Server-Timing`, and `X-Seed` where a seed was used. Every refusal is
`application/problem+json` ([Problem](#problem)).
"""


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(DOCUMENT.read_text(encoding="utf-8"))))
