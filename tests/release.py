"""Is a built wheel whole? It is installed into a fresh environment, and what it serves is asked for a picture.

`make release` runs it: python -m tests.release dist/twofold-*.whl
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

CONSTRAINTS = Path(__file__).parents[1] / "constraints.txt"
# Neither the checkout nor settings of this shell may help the wheel along.
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TWOFOLD_"))}


def check(wheel: Path, folder: Path) -> None:
    """Raises AssertionError or CalledProcessError when the wheel does not install, start, or answer with a PNG."""

    def run(*command: str | Path) -> str:
        return subprocess.run(command, cwd=folder, env=ENVIRON, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout

    run(sys.executable, "-m", "venv", folder / "venv")
    run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, wheel)
    twofold = folder / "venv/bin/twofold"
    version = wheel.name.split("-")[1]
    assert run(twofold, "--version") == f"twofold {version}\n"
    assert "usage: twofold" in run(twofold, "--help")
    with subprocess.Popen([twofold, "serve", "--port", "0"], cwd=folder, env=ENVIRON, stderr=subprocess.PIPE, text=True) as server:
        try:
            # The lines end when the server does, so this waits for its address or its failure.
            address = next((found[0] for line in server.stderr if (found := re.search(r"http://[\d.]+:\d+", line))), None)
            assert address, "the server did not start"
            run(twofold, "generate", "0", "--seed", "1", "--server", address, "--out", "picture.png")
        finally:
            server.terminate()
            server.communicate(timeout=60)  # reads to the end: a closed pipe would spoil the exit status
    assert server.returncode == 0, f"the server ended with {server.returncode}"
    assert (folder / "picture.png").read_bytes().startswith(b"\x89PNG\r\n")
    print(f"{wheel.name}: installs, serves and answers")


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        check(Path(sys.argv[1]).resolve(), Path(temporary))
