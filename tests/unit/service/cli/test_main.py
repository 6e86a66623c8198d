"""The command line: light until it must be heavy, one clear line when it cannot start."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from twofold import __version__

ROOT = Path(__file__).parents[4]


def twofold(*arguments, **variables):
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TWOFOLD_")} | variables
    command = [sys.executable, "-m", "twofold", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    script = (
        "import sys, twofold.service.cli.main\n"
        f"try: twofold.service.cli.main.main({arguments})\n"
        "except SystemExit: pass\n"
        "print(sorted({'numpy', 'fastapi', 'httpx', 'onnxruntime', 'PIL', 'pydantic', 'pyarrow', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "usage: twofold" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_the_version_is_the_distributions():
    assert importlib.metadata.version("twofold") == __version__
    assert twofold("--version").stdout == f"twofold {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["serve"], {"TWOFOLD_PRT": "1"}, "TWOFOLD_PRT is not a setting; the nearest is TWOFOLD_PORT"),
        (["serve"], {"TWOFOLD_PORT": "x"}, "TWOFOLD_PORT must be a whole number"),
        (["serve", "--port", "70000"], {}, "port must be from 0 to 65535"),
        (["serve", "--bundle", "/nowhere/at-all"], {}, "bundle at-all: no such bundle folder"),
        (["bake"], {}, "invalid choice"),
        ([], {}, "required"),
    ],
)
def test_what_cannot_start_says_why_and_exits_2(arguments, variables, message):
    done = twofold(*arguments, **variables)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_reported_and_is_no_success(toy_bundle):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = twofold("serve", "--bundle", str(toy_bundle), "--port", str(taken.getsockname()[1]))
    assert done.returncode == 3
    assert "address already in use" in done.stderr
