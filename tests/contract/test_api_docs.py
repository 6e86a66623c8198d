"""docs/api.md is made from docs/openapi.json, and says all of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from docs import api

PAGE = Path(__file__).parents[2] / "docs/api.md"


def test_the_committed_page_is_the_one_that_is_made():
    document = json.loads(api.DOCUMENT.read_text(encoding="utf-8"))
    assert PAGE.read_text(encoding="utf-8") == api.page(document), "run: python -m docs.api > docs/api.md"


def test_every_operation_and_every_shape_has_a_section_and_every_link_leads_to_one():
    document, text = json.loads(api.DOCUMENT.read_text(encoding="utf-8")), PAGE.read_text(encoding="utf-8")
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert set(re.findall(r"^## ([A-Z]+ /.*)$", text, re.MULTILINE)) == operations
    shapes = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert shapes == set(document["components"]["schemas"])
    assert set(re.findall(r"\(#([a-z]+)\)", text)) <= {name.lower() for name in shapes}
