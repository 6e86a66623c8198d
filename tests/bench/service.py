"""What the service costs on this machine: cold start, latency, throughput, memory. Numbers, no promises.

`make bench` starts `twofold serve` on a free port, loads it from this process over raw keep-alive sockets (the load generator
shares the cores with the server), checks that every answer is the right picture, and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np

from twofold import __version__
from twofold.service.client import Local

SEEDS = 64  # different requests; each has one right answer


def request(target: str, port: int) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: image/png\r\n\r\n".encode()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> tuple[int, bytes]:
    """Send one request, read one answer with a Content-Length: (status, body)."""
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


async def load(port: int, targets: list[str], right: dict[str, bytes], connections: int, seconds: float) -> tuple[list[float], int]:
    """A closed loop: latencies in ms of the right answers, and the number of wrong ones."""
    latencies: list[float] = []
    wrong = 0
    end = time.perf_counter() + seconds

    async def client(first: int) -> None:
        nonlocal wrong
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        at = first
        while time.perf_counter() < end:
            target = targets[at % len(targets)]
            began = time.perf_counter()
            status, body = await exchange(reader, writer, request(target, port))
            if status == 200 and body == right[target]:
                latencies.append(1e3 * (time.perf_counter() - began))
            else:
                wrong += 1
            at += connections
        writer.close()

    async with asyncio.TaskGroup() as group:
        for k in range(connections):
            group.create_task(client(k))
    return latencies, wrong


async def fetch(port: int, targets: list[str]) -> dict[str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = {}
    for target in targets:
        status, answers[target] = await exchange(reader, writer, request(target, port))
        if status != 200:
            raise SystemExit(f"GET {target} answered {status}")
    writer.close()
    return answers


@contextmanager
def server(bundle: Path | None) -> Iterator[tuple[int, subprocess.Popen[bytes], float]]:
    """A running service: its port, its process and the seconds from its start to the first picture."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "twofold", "serve", "--port", str(port), *(["--bundle", str(bundle)] if bundle else [])]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                asyncio.run(fetch(port, ["/generate?class=0&seed=1"]))
                break
            except ConnectionError:
                if process.poll() is not None or time.perf_counter() - began > 60:
                    raise SystemExit("the service did not start") from None
                time.sleep(0.01)
        yield port, process, time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def raw_pictures_per_s(bundle: Path | None, seconds: float) -> float:
    """The decoder alone, 16 rows a run, in this process."""
    local = Local(bundle).arrays
    z_s, z_u = local.sample(np.zeros(16, np.int64), seed=1)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        done += len(local.decode(z_s, z_u))
    return done / (time.perf_counter() - began)


def row(name: str, latencies: list[float], wrong: int, seconds: float, pictures: int = 1) -> str:
    cuts = statistics.quantiles(latencies, n=100)
    rate = len(latencies) / seconds
    return f"| {name} | {rate:.0f} | {rate * pictures:.0f} | {cuts[49]:.2f} | {cuts[98]:.2f} | {wrong} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="a bundle folder; the embedded one without it")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement")
    args = parser.parse_args()
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "numpy", "uvicorn", "fastapi"))
    print(f"{cpu}, {os.cpu_count()} CPUs, Python {platform.python_version()}, twofold {__version__}, {versions}\n")
    raw = raw_pictures_per_s(args.bundle, args.seconds)
    wrong_all = 0
    with server(args.bundle) as (port, process, cold_s):
        fresh_mb = rss_mb(process.pid)
        print("| load | requests/s | pictures/s | p50 ms | p99 ms | wrong answers |\n|---|---|---|---|---|---|")
        for connections, n in ((1, 1), (8, 1), (32, 1), (128, 1), (2, 64)):
            targets = [f"/generate?class=0&seed={seed}&n={n}" for seed in range(SEEDS)]
            right = asyncio.run(fetch(port, targets))
            latencies, wrong = asyncio.run(load(port, targets, right, connections, args.seconds))
            print(row(f"{connections} connections, n={n}", latencies, wrong, args.seconds, n), flush=True)
            wrong_all += wrong
        used_mb = rss_mb(process.pid)
    print(f"\ndecoder alone {raw:.0f} pictures/s; cold start to the first picture {cold_s:.2f} s; ", end="")
    print(f"resident {fresh_mb:.0f} MB fresh, {used_mb:.0f} MB after all of the above")
    return 1 if wrong_all else 0


if __name__ == "__main__":
    raise SystemExit(main())
