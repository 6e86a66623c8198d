"""What the two graphs of bundles cost, side by side: bytes, and CPU microseconds for a picture at several batches. No promises.

    python -m tests.bench.graphs BUNDLE [BUNDLE ...]

One thread; the bundles take turns, and the quickest of all rounds counts. CPU time, so that a busy machine disturbs it less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from twofold.model import contract
from twofold.service.runtime.engine import Engine

BATCHES = (1, 16, 64)
PICTURES = 256  # of one measurement


def calls(folder: Path) -> tuple[str, dict[str, Callable[[int], object]]]:
    """The name of a bundle with its sizes, and {graph: run it on so many rows}."""
    files = contract.open_bundle(folder)
    engine = Engine(files.encoder, files.decoder, files.card.dims, threads=1, batch_rows=max(BATCHES))
    golden, rng = files.golden, np.random.default_rng(0)
    pixels = rng.permutation(np.resize(golden.pixels, (max(BATCHES), *golden.pixels.shape[1:])))
    z_s, z_u = (np.resize(code, (max(BATCHES), code.shape[1])) for code in (golden.decoder_z_s, golden.decoder_z_u))
    sizes = " | ".join(f"{len(graph) / 1e6:.2f}" for graph in (files.encoder, files.decoder))
    runs = {"encoder": lambda n: engine.encode(pixels[:n]), "decoder": lambda n: engine.decode(z_s[:n], z_u[:n])}
    return f"{files.card.name}, {files.card.precision} | {sizes}", runs


def cpu_us(run: Callable[[int], object], batch: int) -> float:
    """CPU microseconds for one picture."""
    repeats = max(1, PICTURES // batch)
    began = time.process_time()
    for _ in range(repeats):
        run(batch)
    return (time.process_time() - began) / repeats / batch * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    found = [calls(folder) for folder in args.bundles]
    best: dict[tuple[str, str, int], float] = {}
    for _ in range(args.rounds):
        for name, runs in found:
            for graph, run in runs.items():
                for batch in BATCHES:
                    key = name, graph, batch
                    best[key] = min(best.get(key, np.inf), cpu_us(run, batch))
    print(f"| bundle | encoder MB | decoder MB | {' | '.join(f'{g}, {n}' for g in found[0][1] for n in BATCHES)} |")
    print("|---|---:|---:|" + "---:|" * 2 * len(BATCHES))
    for name, runs in found:
        print(f"| {name} | {' | '.join(f'{best[name, graph, n]:.0f}' for graph in runs for n in BATCHES)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
