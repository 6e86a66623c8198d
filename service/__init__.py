"""Serves a bundle over HTTP. Knows nothing of torch, training or the networks: only `model.contract` and `model.preprocessing`."""

__version__ = "0.1.0"  # a test holds it to pyproject.toml's
