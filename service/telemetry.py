"""The metrics that Prometheus collects, in a registry of their own per app.

Labels are route templates, reasons and model names, never anything a client chose.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (*(0.0005 * 2**i for i in range(15)), 10.0)  # 0.5 ms .. 8.2 s, 10 s
_ROWS = tuple(float(2**i) for i in range(11))


class Metrics:
    """All collectors of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("twofold_requests", "Requests answered.", ["route", "code"], registry=r)
        self.rejected = Counter("twofold_rejected", "Requests refused, by the code of the refusal.", ["reason"], registry=r)
        self.stage = Histogram("twofold_stage_seconds", "Time per request and stage.", ["stage"], buckets=_SECONDS, registry=r)
        self.batch_rows = Histogram("twofold_batch_rows", "Pictures per run of a graph.", buckets=_ROWS, registry=r)
        self.queue_rows = Gauge("twofold_queue_rows", "Pictures that wait for a graph.", registry=r)
        info = ["model", "sha256", "provider", "precision"]
        self.model_info = Gauge("twofold_model_info", "Always 1; the labels say which models are served.", info, registry=r)
        tenths = [i / 10 for i in range(1, 11)]
        self.typicality = Histogram(
            "twofold_encode_typicality", "Share of held-out pictures less dense than an encoded one.", buckets=tenths, registry=r
        )
        entropy = [0.01, 0.03, 0.1, 0.3, 1, 3]
        self.entropy = Histogram(
            "twofold_class_entropy_nats", "Entropy of the class posterior of encoded pictures.", buckets=entropy, registry=r
        )
        self.swaps = Counter("twofold_swap_verdicts", "Swaps with a verdict: whether the class was kept.", ["kept"], registry=r)

    def render(self) -> bytes:
        """The exposition text, of CONTENT_TYPE."""
        return generate_latest(self.registry)
