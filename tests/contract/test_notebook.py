"""The code cells of docs/tutorial/first-steps.ipynb run one after the other, as they stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.documents import ROOT, page


@pytest.mark.slow
def test_the_cells_of_the_first_steps_run_and_the_picture_is_verified(monkeypatch):
    monkeypatch.chdir(ROOT)
    cells = json.loads(page("docs/tutorial/first-steps.ipynb"))["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert (cell["execution_count"], cell["outputs"]) == (None, [])
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)  # noqa: S102 - the notebook is ours
    assert names["found"].verified
    assert (names["matrix"].rows, names["matrix"].cols) == (4, 4)
