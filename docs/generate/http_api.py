"""docs/openapi.json as Markdown: a section for each operation and for each schema.

Knows the structure of our own document, and leaves out what every route has in common: the page says that once, above.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[1] / "openapi.json"
JSON = "application/json"


def part() -> str:
    """The committed document as Markdown."""
    return markdown(json.loads(DOCUMENT.read_text(encoding="utf-8")))


def markdown(document: Mapping[str, Any]) -> str:
    """One section per operation in the document's order, then every schema that a response or a request body has."""
    operations = [(path, method, one) for path, methods in document["paths"].items() for method, one in methods.items()]
    parts = ["\n".join(_operation(f"{method.upper()} {path}", one)) for path, method, one in operations]
    parts.append("## Schemas\n")
    parts += ["\n".join(_schema(name, schema)) for name, schema in document["components"]["schemas"].items()]
    return "\n".join(part.rstrip("\n") + "\n" for part in parts)


def _operation(title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}\n\n{operation['summary'].rstrip('.')}.\n"
    if operation.get("parameters"):
        yield "| parameter | in | type | description |\n|---|---|---|---|"
        for one in operation["parameters"]:
            name = f"`{one['name']}`" + (" (required)" if one["required"] else "")
            yield f"| {name} | {one['in']} | {_type(one['schema'])} | {_cell(one.get('description', ''))} |"
        yield ""
    bodies = operation.get("requestBody", {}).get("content", {})
    for media, content in bodies.items():
        if not media.startswith("image/"):
            yield _body(media, content)
    if pictures := [f"`{media}`" for media in bodies if media.startswith("image/")]:
        yield f"Body {', '.join(pictures)}: the picture itself.\n"
    successes = {status: answer for status, answer in operation["responses"].items() if status < "400"}
    for status, answer in successes.items():
        forms = ", ".join(_form(media, content) for media, content in answer.get("content", {}).items())
        yield f"**{status}** {forms or answer['description']}\n"
    errors = [status for status in operation["responses"] if status >= "400"]
    yield f"Errors: {', '.join(errors)}.\n"


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
    schema = content.get("schema", {})
    return f"`{media}`" + (f" ({_reference(schema)})" if "$ref" in schema else "")


def _schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if about := schema.get("description"):
        yield f"{_cell(about)}\n"
    if not schema.get("properties"):
        return
    yield "| field | type | description |\n|---|---|---|"
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
