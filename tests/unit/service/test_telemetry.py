"""Every metric of the service, under the name that dashboards know."""

from twofold.service.telemetry import Metrics


def test_the_names_are_the_documented_ones():
    metrics = Metrics()
    metrics.requests.labels("/generate", "200").inc()
    metrics.rejected.labels("queue_full").inc()
    metrics.stage.labels("model").observe(0.002)
    metrics.batch_rows.observe(4)
    metrics.model_info.labels("toy", "0" * 64, "CPUExecutionProvider", "fp32").set(1)
    metrics.typicality.observe(0.4)
    metrics.entropy.observe(0.2)
    metrics.swaps.labels("true").inc()
    metrics.queue_rows.set_function(lambda: 7)
    text = metrics.render().decode()
    for line in (
        'twofold_requests_total{code="200",route="/generate"} 1.0',
        'twofold_rejected_total{reason="queue_full"} 1.0',
        'twofold_stage_seconds_bucket{le="0.0005",stage="model"} 0.0',
        'twofold_stage_seconds_bucket{le="0.002",stage="model"} 1.0',
        'twofold_stage_seconds_bucket{le="10.0",stage="model"} 1.0',
        'twofold_batch_rows_bucket{le="4.0"} 1.0',
        "twofold_queue_rows 7.0",
        'twofold_model_info{model="toy",precision="fp32",provider="CPUExecutionProvider",sha256="' + "0" * 64 + '"} 1.0',
        "twofold_encode_typicality_count 1.0",
        "twofold_class_entropy_nats_count 1.0",
        'twofold_swap_verdicts_total{kept="true"} 1.0',
    ):
        assert line in text.splitlines()


def test_two_apps_do_not_share_their_numbers():
    one, other = Metrics(), Metrics()
    one.batch_rows.observe(3)
    assert "twofold_batch_rows_count 1.0" in one.render().decode()
    assert "twofold_batch_rows_count 0.0" in other.render().decode()
