"""Serves a bundle over HTTP. Knows nothing of torch, training or the networks: only `model.contract` and `model.preprocessing`."""
