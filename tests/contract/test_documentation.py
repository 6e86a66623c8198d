"""The operator's page says what there is: every setting, route, refusal and metric, and none that is not there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from twofold.service import settings
from twofold.service.runtime import errors
from twofold.service.telemetry import Metrics

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/service.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_column(title: str) -> str:
    return "\n".join(line.split("|")[1] for line in section(title).splitlines() if line.startswith("|"))


def second_column(title: str) -> str:
    return "\n".join(line.split("|")[2] for line in section(title).splitlines() if line.startswith("|"))


def subclasses(kind: type[errors.TwofoldError]) -> set[type[errors.TwofoldError]]:
    return {kind}.union(*(subclasses(below) for below in kind.__subclasses__()))


def test_the_table_of_settings_is_the_one_the_code_prints():
    assert settings.table() in section("Settings")


def test_every_metric_and_no_other_is_described():
    names = {family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()}
    assert set(re.findall(r"`(twofold_\w+)`", first_column("Metrics"))) == names


def test_every_route_and_no_other_is_described():
    paths = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    pages = {"GET /", "GET /docs", "GET /openapi.json", "GET /web/{name}"}  # for people and tools, not part of the interface
    assert set(re.findall(r"`([A-Z]+ /[^`]*)`", first_column("Routes"))) == routes | pages


def test_every_refusal_and_no_other_is_described():
    codes = {kind.code for kind in subclasses(errors.TwofoldError)} - {errors.Unavailable.code}  # only its kinds are ever raised
    assert set(re.findall(r"`(\w+)`", second_column("Refusals"))) == codes


@pytest.mark.parametrize("path", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]), ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(path):
    targets = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    gone = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert gone == []
