"""The tables of the training configuration, from the descriptions and bounds of its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def part(table: str) -> str:
    """Markdown: one row for each key of a table of `twofold.training.config.schema.keys`, with its default and what is allowed."""
    from twofold.training.config.schema import keys

    prefix = f"{table}." if table in ("data", "model") else ""
    rows = [(f"`{prefix}{key}`", _default(node), _allowed(node), node["description"]) for key, node in keys()[table].items()]
    lines = ["| key | default | allowed | meaning |", "|---|---|---|---|", *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(line.replace("  ", " ") for line in lines)


def _default(node: Mapping[str, Any]) -> str:
    default = node.get("default")
    return "" if default in (None, "", []) else f"`{json.dumps(default)}`"


def _allowed(node: Mapping[str, Any]) -> str:
    """The choices, or the least and the greatest value; of a list those of its items."""
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    if "prefixItems" in node:
        return f"{len(node['prefixItems'])} numbers, each {_allowed(node['prefixItems'][0])}"
    if node.get("type") == "array" and "items" in node:
        return _allowed(node["items"])
    least = f"from {node['minimum']:g}" if "minimum" in node else ""
    greatest = f"to {_number(node['maximum'])}" if "maximum" in node else ""
    below = f"below {_number(node['exclusiveMaximum'])}" if "exclusiveMaximum" in node else ""
    return " ".join(filter(None, (least, greatest, below)))


def _number(value: float) -> str:
    return f"2^{value.bit_length() - 1}" if isinstance(value, int) and value > 2**40 else f"{value:,}".removesuffix(".0")
