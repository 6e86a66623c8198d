"""The graphs of a bundle as functions on rows: the only module of the service that imports onnxruntime.

It runs them on the CPU, at most `batch_rows` rows at once. It does not know requests, queues, classes or where the graphs came from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from twofold.model import contract
from twofold.model.contract import ContractError, Dims, Floats, Pixels, TensorSpec
from twofold.service.runtime.onnx_header import check_header
from twofold.service.runtime.parameters import ClassifiedBy

Arrays = tuple[NDArray[Any], ...]
Run = Callable[[Arrays], Arrays]
PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class Encoded:
    """The encoder's outputs for n pictures, all float32."""

    z_s: Floats  # [n, D_s]
    z_u_mean: Floats  # [n, D_u]
    z_u_log_var: Floats  # [n, D_u]
    class_log_prob: Floats  # [n, K]  nats
    log_density: Floats  # [n]  nats


class Engine:
    """The graphs of a bundle; it may lack an evaluation classifier. Thread-safe: a graph may be run from any thread.

    `threads` are those of one run, 0 takes the CPU quota; `batch_rows` bounds the memory of a run. Raises ContractError when a graph
    cannot be loaded, has an opset out of range, refers to other files, or has other tensors than the contract says.
    """

    def __init__(
        self, encoder: bytes, decoder: bytes, dims: Dims, eval_classifier: bytes | None = None, *, threads: int = 0, batch_rows: int = 8
    ) -> None:
        threads = threads or cpu_quota()
        self._batch_rows = batch_rows
        self._encoder = _session(contract.ENCODER, encoder, contract.encoder_signature(dims), threads)
        self._decoder = _session(contract.DECODER, decoder, contract.decoder_signature(dims), threads)
        self.run_eval_classifier: Run | None = None  # as rows -> rows: (pixels,) -> (class_log_prob,)
        if eval_classifier is not None:
            session = _session(contract.EVAL_CLASSIFIER, eval_classifier, contract.eval_classifier_signature(dims), threads)
            self.run_eval_classifier = partial(self._run, session)
        self.provider = PROVIDER

    def encode(self, pixels: Pixels) -> Encoded:
        """pixels uint8 [n,H,W,C], n >= 1 -> Encoded of n rows."""
        return Encoded(*self.run_encoder((pixels,)))

    def decode(self, z_s: Floats, z_u: Floats) -> Pixels:
        """z_s float32 [n,D_s], z_u float32 [n,D_u], n >= 1 -> pixels uint8 [n,H,W,C]."""
        return self.run_decoder((z_s, z_u))[0]

    @property
    def classified_by(self) -> ClassifiedBy:
        """The network that `classify` asks: the evaluation classifier where the bundle has one."""
        return "encoder" if self.run_eval_classifier is None else "evaluation classifier"

    def classify(self, pixels: Pixels) -> Floats:
        """pixels uint8 [n,H,W,C], n >= 1 -> class log-probabilities float32 [n,K], nats, of the network `classified_by`."""
        return self.encode(pixels).class_log_prob if self.run_eval_classifier is None else self.run_eval_classifier((pixels,))[0]

    def run_encoder(self, inputs: Arrays) -> Arrays:
        """The encoder as rows -> rows: (pixels,) -> the fields of Encoded."""
        return self._run(self._encoder, inputs)

    def run_decoder(self, inputs: Arrays) -> Arrays:
        """The decoder as rows -> rows: (z_s, z_u) -> (pixels,)."""
        return self._run(self._decoder, inputs)

    def _run(self, session: ort.InferenceSession, inputs: Arrays) -> Arrays:
        names = [tensor.name for tensor in session.get_inputs()]
        parts = []
        for start in range(0, len(inputs[0]), self._batch_rows):
            rows = (array[start : start + self._batch_rows] for array in inputs)
            parts.append(session.run(None, dict(zip(names, rows, strict=True))))
        return tuple(parts[0]) if len(parts) == 1 else tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _session(file: str, graph: bytes, signature: tuple[tuple[TensorSpec, ...], ...], threads: int) -> ort.InferenceSession:
    check_header(file, graph)
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # memory goes back after each run: a rare large batch does not stay in the process
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # both graphs and the event loop share the cores
    options.log_severity_level = 4  # fatal only: what a caller can do something about is raised
    try:
        session = ort.InferenceSession(graph, options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime raises many kinds
        raise ContractError(f"{file}: cannot be loaded") from error
    if session.get_providers() != [PROVIDER]:
        raise ContractError(f"{file}: does not run on {PROVIDER}")
    for specs, tensors in zip(signature, (session.get_inputs(), session.get_outputs()), strict=True):
        found = [(t.name, t.type.removeprefix("tensor(").removesuffix(")").replace("float", "float32"), t.shape) for t in tensors]
        contract.check_tensors(file, specs, found)
    return session


def runtime() -> tuple[str, list[str]]:
    """The version of onnxruntime, and the providers it comes with."""
    return ort.__version__, list(ort.get_available_providers())


def cpu_quota(root: Path = Path("/sys/fs/cgroup")) -> int:
    """Whole CPUs this process may use: the smaller of its affinity and its cgroup's quota (version 2 or 1), at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((root / file).read_text(encoding="ascii") for file in files).split()
            if quota != "max" and int(quota) > 0:
                cpus = min(cpus, int(quota) // int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return max(1, cpus)
