"""Bundles to codes and pixels: numpy and onnxruntime, no HTTP."""
