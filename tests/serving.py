"""A real server process on a free port of this machine, for tests that need sockets, signals or a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread


@dataclass
class Running:
    """The process, its port, and the log lines it has written so far."""

    process: subprocess.Popen[str]
    port: int
    lines: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(*bundles: Path, **settings: object) -> Iterator[Running]:
    """`twofold serve` on `bundles`; settings become TWOFOLD_* variables. The process is gone afterwards."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("TWOFOLD_")}
    environ |= {f"TWOFOLD_{key.upper()}": str(value) for key, value in settings.items()}
    command = [sys.executable, "-m", "twofold", "serve", "--port", "0"]
    command += [word for bundle in bundles for word in ("--bundle", str(bundle))]
    process = subprocess.Popen(command, env=environ, cwd=Path(__file__).parents[1], stderr=subprocess.PIPE, text=True)
    lines: list[str] = []
    port: Queue[int | None] = Queue()
    reader = Thread(target=_listen, args=(process, lines, port))  # also keeps the pipe from filling up
    reader.start()
    try:
        found = port.get(timeout=60)
        assert found is not None, "the server did not start:\n" + "".join(lines)
        yield Running(process, found, lines)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def _listen(process: subprocess.Popen[str], lines: list[str], port: Queue[int | None]) -> None:
    for line in process.stderr:
        lines.append(line)
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            port.put(int(found[1]))
    port.put(None)
