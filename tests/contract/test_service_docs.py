"""docs/reference/service.md: every route, error and metric is described, and none that does not exist. Relative links lead somewhere."""

from __future__ import annotations

import json
import re

import pytest

from tests.documents import ROOT, page, rows, section
from twofold.service.runtime import errors
from twofold.service.telemetry import Metrics

PAGE = page("docs/reference/service.md")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def column(title: str, number: int) -> str:
    return "\n".join(row[number] for row in rows(section(PAGE, title)))


def subclasses(kind: type[errors.TwofoldError]) -> set[type[errors.TwofoldError]]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


def test_every_metric_and_no_other_is_described():
    names = {family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()}
    assert set(re.findall(r"`(twofold_\w+)`", column("Metrics", 0))) == names


def test_every_route_and_no_other_is_described():
    paths = json.loads(page("docs/openapi.json"))["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    pages = {"GET /", "GET /docs", "GET /openapi.json", "GET /web/{name}"}  # for people and tools, not part of the interface
    assert set(re.findall(r"`([A-Z]+ /[^`]*)`", column("Routes", 0))) == routes | pages


def test_every_error_and_no_other_is_described():
    codes = {kind.code for kind in subclasses(errors.TwofoldError)} - {errors.Unavailable.code}  # only its kinds are ever raised
    assert set(re.findall(r"`(\w+)`", column("Errors", 1))) == codes


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    gone = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert gone == []
