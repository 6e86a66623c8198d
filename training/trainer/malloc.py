"""Memory between steps: glibc keeps what a step frees instead of giving it back page by page. Knows nothing of training."""

from __future__ import annotations

import ctypes
import sys

# <malloc.h>: parameter, value. As MALLOC_TRIM_THRESHOLD_, MALLOC_TOP_PAD_ and MALLOC_MMAP_MAX_ in the environment would set them.
_KEEP = ((-1, 2**31 - 1), (-2, 128 * 2**20), (-4, 0))


def keep_memory() -> bool:
    """Ask the C library to keep freed memory for the next step; True where it did (glibc).

    The process then holds about its peak until it ends. Measured in docs/benchmarks.md.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(parameter, value) == 1 for parameter, value in _KEEP)
