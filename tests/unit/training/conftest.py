"""Real pictures to train on, few and once per session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from twofold.training.data.dataset import Pictures, load

SAMPLE = Path(__file__).parents[2] / "data" / "fashion-sample"


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Tensors here are too small to share: threads would cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def sample() -> Pictures:
    """2,000 Fashion-MNIST pictures, 200 of each class."""
    return load(SAMPLE)


@pytest.fixture(scope="session")
def few(sample) -> Pictures:
    """20 pictures of each class."""
    return sample.take(np.concatenate([np.flatnonzero(sample.labels == k)[:20] for k in range(10)]))
