"""Who may import whom: `make check` finds an import against the contracts, and each heavy dependency has its modules."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("model", "service", "training")
LINTER = Path(sys.executable).with_name("lint-imports")
IMPORTERS = {  # the only modules that may import a heavy dependency
    "onnxruntime": {"service/runtime/engine.py", "training/export/verify.py", "training/export/quantize.py"},
    "torch.onnx": {"training/export/graphs.py"},
    "datasets": {"training/data/parquet.py"},
    "pyarrow": {"service/datasets/parquet.py", "training/data/parquet.py"},
    "matplotlib": {"training/reporting/charts.py"},
    "sklearn": {"training/metrics/probes.py"},
    "scipy": {"training/metrics/image_metrics.py"},
    "uvicorn": {"service/http/server.py"},
    "prometheus_client": {"service/telemetry.py"},
}
SERVICE_IMAGES = {"service/runtime/image_io.py"}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, wherever in it; `from a import b` gives both a and a.b; and `torch.onnx` used as an attribute."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.onnx":
            yield "torch.onnx"


def importers(module: str, *packages: str) -> set[str]:
    """The files, relative to the root, that import `module` or something in it."""
    files = [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]
    assert files
    found = {path for path in files if any(name == module or name.startswith(f"{module}.") for name in imports(path))}
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.mark.slow
def test_an_import_that_a_contract_forbids_is_found(tmp_path):
    for package in (*PACKAGES, "twofold"):
        shutil.copytree(
            ROOT / package, tmp_path / package, symlinks=True, ignore=shutil.ignore_patterns("pretrained", "web", "__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    latents = tmp_path / "service/runtime/latents.py"
    latents.write_text(latents.read_text(encoding="utf-8") + "\nimport torch\n", encoding="utf-8")
    done = subprocess.run([LINTER, "--no-cache"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "service needs no torch" in done.stdout


@pytest.mark.parametrize("module", IMPORTERS)
def test_a_heavy_dependency_is_imported_in_its_modules_alone(module):
    assert importers(module, *PACKAGES) == IMPORTERS[module]


def test_the_service_opens_pictures_in_one_module():
    assert importers("PIL", "service") == SERVICE_IMAGES
