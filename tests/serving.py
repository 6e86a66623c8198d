"""A real server process on a free port of this machine, for tests that need sockets, signals or a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Running:
    """The process, its port, and the log lines read so far."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(bundle: Path, **settings: object) -> Iterator[Running]:
    """`twofold serve` on `bundle`; settings become TWOFOLD_* variables. The process is gone afterwards."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TWOFOLD_")}
    environ |= {f"TWOFOLD_{key.upper()}": str(value) for key, value in settings.items()}
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--bundle", str(bundle)]
    process = subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True)
    try:
        yield Running(process, _port(process))
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _port(process: subprocess.Popen[str]) -> int:
    said = []
    for line in process.stderr or ():
        said.append(line)
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", json.loads(line)["message"]):
            return int(found[1])
    raise AssertionError("the server did not start:\n" + "".join(said))
