"""Makes a model: data, stages, evaluation, export. Meets the service only in the bundle."""

import os

# From 1.29 on, onnxruntime reports sessions and graph hashes to its maker from the moment it is imported. Training keeps quiet.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
