"""The walls of the house stand: import-linter's rules hold, they catch what they are there to catch, and what import-linter
cannot see (a file name, one module of a package) is read from the source here.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("service", "model", "training")
LINTER = Path(sys.executable).with_name("lint-imports")
GRAB_BAGS = {"utils", "util", "common", "helpers", "helper", "misc", "shared"}
LONGEST, REASON = 250, "Longer than 250 lines because "


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([LINTER, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def sources(*rooms: str) -> list[Path]:
    found = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]
    assert found
    return found


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; `from a import b` gives both a and a.b; and `torch.onnx` used as an attribute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.onnx":
            yield "torch.onnx"


def users_of(module: str, *rooms: str) -> set[str]:
    """The files, relative to the root, that import `module` or something in it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in sources(*rooms)
        if any(name == module or name.startswith(module + ".") for name in imports(path))
    }


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=lambda _, names: [n for n in names if not n.endswith(".py") and "." in n])
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_wall_holds():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("path", "line", "wall"),
    [
        ("service/codes.py", "import torch", "service never imports torch"),
        ("service/errors.py", "import training.config", "service never imports torch"),
        ("service/bundles.py", "from model import decoder", "service knows of the model its contract"),
        ("service/batcher.py", "import onnxruntime", "onnxruntime only in engine.py"),
        ("service/client/pictures.py", "from PIL import Image", "Pillow only in imaging.py"),
        ("service/client/room_without_a_floor.py", "", "doors above plans"),
        ("service/routes/swap.py", "from service import client", "nothing calls upstairs"),
        ("service/codes.py", "from starlette.requests import Request", "HTTP stays at the door"),
        ("service/settings.py", "from service import batcher", "nothing calls upstairs"),
        ("service/sets/folder.py", "from service.sets import render", "the plan below all"),
        ("service/room_without_a_floor.py", "", "every file has a floor"),
        ("training/step.py", "from service import client", "training and service meet only in the bundle"),
        ("training/room_without_a_floor.py", "", "commands above the loop"),
        ("model/contract.py", "import torch", "need no torch"),
        ("model/decoder.py", "import onnxruntime", "model knows nothing of HTTP"),
        ("model/room_without_a_floor.py", "", "parts below the whole"),
    ],
)
def test_a_planted_violation_is_caught(copy, path, line, wall):
    with (copy / path).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stdout
    broken = [text for text in result.stdout.splitlines() if " BROKEN" in text]
    assert any(wall in text for text in broken), result.stdout


def test_the_contract_needs_the_standard_library_and_numpy_alone():
    names = {name.split(".")[0] for name in imports(ROOT / "model/contract.py")}
    assert names - sys.stdlib_module_names == {"numpy"}


def test_the_codes_are_pure_numpy():
    names = {name.split(".")[0] for name in imports(ROOT / "service/codes.py")}
    assert names - sys.stdlib_module_names == {"numpy", "model", "service"}


def test_each_heavy_thing_is_touched_by_one_file():
    assert users_of("onnxruntime", "service") == {"service/engine.py"}
    assert users_of("PIL", "service") == {"service/imaging.py"}
    assert users_of("pyarrow", "service") == {"service/sets/table.py"}
    assert users_of("prometheus_client", "service") == {"service/metrics.py"}
    assert {path.rpartition("/")[0] for path in users_of("httpx", *ROOMS)} == {"service/client"}
    assert users_of("torch.onnx", "model", "training") == {"training/export.py"}


def test_the_plan_of_a_set_needs_the_standard_library_alone():
    names = {name.split(".")[0] for name in imports(ROOT / "service/sets/plan.py")}
    assert names - sys.stdlib_module_names == set()


def test_nothing_is_unpickled():
    assert users_of("pickle", *ROOMS) == set()
    loads = [
        call
        for path in sources(*ROOMS)
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in ("torch.load", "np.load")
    ]
    safe = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}
    assert loads
    for call in loads:
        assert safe[ast.unparse(call.func)] in ast.unparse(call)


def test_there_is_no_grab_bag():
    assert [path for path in sources(*ROOMS, "tests") if {*path.relative_to(ROOT).with_suffix("").parts} & GRAB_BAGS] == []


def test_every_file_says_what_it_is_for_and_a_long_one_why_it_is_long():
    for path in sources(*ROOMS):
        text = path.read_text(encoding="utf-8")
        docstring = ast.get_docstring(ast.parse(text)) or ""
        assert docstring or not text.strip(), f"{path} has no sign on its door"
        assert text.count("\n") <= LONGEST or REASON in docstring, f"{path} owes a reason for its length"


@pytest.mark.parametrize("module", ["service.app", "service.cli", "service.client", "service.commands.calls"])
def test_the_service_imports_where_torch_onnx_and_training_do_not_exist(module):
    blocked = ("torch", "onnx", "onnxscript", "datasets", "sklearn", "scipy", "training", "pandas", "matplotlib")
    script = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import {module}"
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
