"""The documents at the root of the repository as pages of the site, their links adapted to where they stand there."""

from __future__ import annotations

import re
from pathlib import Path

PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def pages(root: Path) -> dict[str, str]:
    """Text of each page by its path in the site."""
    return {target: relinked((root / source).read_text(encoding="utf-8")) for source, target in PAGES.items()}


def relinked(text: str) -> str:
    """Links into docs/ and to the other root pages lead to the site's pages; a link to any other file becomes its text."""
    return LINK.sub(_relinked, text)


def _relinked(found: re.Match[str]) -> str:
    bang, words, target, anchor = found.groups(default="")
    if "://" in target:
        return found[0]
    inside = PAGES.get(target, target.removeprefix("docs/").replace(".ipynb", ".md") if target.startswith("docs/") else "")
    return f"{bang}[{words}]({inside}{anchor})" if inside else words
