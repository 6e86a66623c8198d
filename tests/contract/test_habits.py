"""What surrounds the code keeps up with it: workflows, the development container, the citation, the version."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^([a-z.][\w./-]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)) - {".PHONY"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def runs(workflow: Path) -> list[str]:
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_runs_make_targets_that_exist(workflow):
    made = [run.split() for run in runs(workflow) if not run.startswith("gh release create ")]
    assert made
    assert {command for command, *_ in made} == {"make"}
    assert {target for _, *targets in made for target in targets} - TARGETS == set()


def test_the_development_container_makes_a_target_that_exists():
    command, target = json.loads(read(".devcontainer/devcontainer.json"))["postCreateCommand"].split()
    assert (command, target in TARGETS) == ("make", True)


def test_the_hooks_run_tools_that_the_development_environment_installs():
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    declared = " ".join(tomllib.loads(read("pyproject.toml"))["project"]["optional-dependencies"]["dev"])
    assert all(hook["entry"].split()[0].removeprefix(".venv/bin/").removesuffix("-hook") in declared for hook in local["hooks"])


def test_the_citation_names_the_licence_and_the_paper():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert citation["license"] == tomllib.loads(read("pyproject.toml"))["project"]["license"]
    assert citation["references"][0]["title"] in read("docs/explanation/method.md").replace("\n", " ")


def test_the_images_are_tagged_with_the_version():
    tags = re.findall(r"\btwofold(?:-training)?:(\d\S*)", read("Makefile") + read("docker-compose.yml"))
    assert set(tags) == {version("twofold")}


def test_the_version_is_written_in_one_place():
    tracked = subprocess.run(["git", "ls-files", "pyproject.toml", "*.py", "*.cff"], cwd=ROOT, capture_output=True, text=True, check=True)
    literal = re.compile(rf'^(?:__)?version(?:__)?\s*[=:]\s*"?{re.escape(version("twofold"))}\b', flags=re.MULTILINE)
    assert len([path for path in tracked.stdout.splitlines() if literal.search(read(path))]) == 1


def test_everything_that_is_declared_is_pinned():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    declared = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    pinned = set(re.findall(r"^([\w-]+)==", read("constraints.txt"), flags=re.MULTILINE))
    assert {re.split(r"[^\w-]", line)[0].lower() for line in declared} - pinned == set()


def test_the_documents_name_make_targets_that_exist():
    named = re.findall(r"^ {4}make ([a-z-]+)|`make (?:--\w+ )*([a-z-]+)", read("README.md") + read("CONTRIBUTING.md"), flags=re.MULTILINE)
    assert {first or second for first, second in named} - TARGETS == set()


def test_every_test_has_a_name_of_at_most_80_characters():
    files = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    named = [(path, node.name) for path, tree in files.items() for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    assert [f"{path.name}: {name}" for path, name in named if name.startswith("test_") and len(name) > 80] == []
