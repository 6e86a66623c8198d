"""Runs inside the build of the site (mkdocs-gen-files): fills the markers in the pages and adds the pages that are made from other files.

A page asks for a generated part with a line `<!-- generated: NAME -->`; `PARTS` says which function makes it. An unknown name ends the
build. Nothing is written into the working tree.
"""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # `mkdocs build` does not put the working directory on the path

from docs.generate import command_line, configuration, evaluation, http_api, losses, model_cards, notebook, root_pages, settings  # noqa: E402

PARTS = {
    "http-api": http_api.part,
    "command-line": command_line.service_part,
    "training-command-line": command_line.training_part,
    "settings": settings.part,
    "configuration": partial(configuration.part, ""),
    "configuration-data": partial(configuration.part, "data"),
    "configuration-model": partial(configuration.part, "model"),
    "configuration-stage": partial(configuration.part, "stage"),
    "configuration-update": partial(configuration.part, "stage.update"),
    "losses": losses.part,
    "measures": evaluation.measures_part,
    "ablations": evaluation.ablations_part,
    "model-cards": model_cards.part,
}
MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->$", re.MULTILINE)


def main() -> None:
    docs = ROOT / "docs"
    for page in sorted(docs.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if MARKER.search(text):
            write(page.relative_to(docs).as_posix(), MARKER.sub(lambda found: PARTS[found[1]](), text))
    for name, text in root_pages.pages(ROOT).items():
        write(name, text)
    for path in sorted(docs.rglob("*.ipynb")):
        write(path.relative_to(docs).with_suffix(".md").as_posix(), notebook.page(path))


def write(name: str, text: str) -> None:
    with mkdocs_gen_files.open(name, "w") as file:
        file.write(text)


main()
