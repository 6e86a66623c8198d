"""Serves a bundle over HTTP. Knows nothing of torch, training or the networks: only `model.contract` and `model.preprocessing`."""

import os

__version__ = "0.1.0"  # a test holds it to pyproject.toml's

# From 1.29 on, onnxruntime reports sessions and graph hashes to its maker from the moment it is imported. A service keeps quiet.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
