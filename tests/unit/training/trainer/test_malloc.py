"""What a step frees stays with the process, where the C library can do that."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# In a process of its own: the setting stays for good.
FAULTS = """
import resource, sys
import numpy as np
from twofold.training.trainer.malloc import keep_memory
kept = keep_memory() if sys.argv[1] == "keep" else False
for _ in range(3):
    np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.ones(2**23)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> tuple[bool, int]:
    """Whether memory is kept, and the page faults of using 64 MiB twenty times."""
    found = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=True).stdout.split()
    return found[0] == "True", int(found[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_memory_that_is_kept_is_not_faulted_in_again():
    kept, few = faults("keep")
    asked, many = faults("plain")
    assert (kept, asked) == (True, False)
    assert few < many / 10
