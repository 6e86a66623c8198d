"""Serves a bundle. Never imports torch, onnx or training; of the model it knows `contract` and `preprocessing`."""
