"""Metrics: counted cheaply, told in Prometheus' words."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from h2gate.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for each in families
        for sample in each.samples
    }


def test_requests_are_counted_by_method_and_class_of_status_and_refusals_by_code() -> None:
    metrics = Metrics()
    metrics.answered("PUT", 201, "", 0.004)
    metrics.answered("PUT", 204, "", 0.004)
    metrics.answered("PUT", 507, "over_quota", 0.004)
    metrics.answered("BREW", 405, "method_not_allowed", 0.004)
    found = samples(metrics)
    assert found["h2gate_requests_total", (("method", "PUT"), ("status", "2xx"))] == 2
    assert found["h2gate_requests_total", (("method", "other"), ("status", "4xx"))] == 1
    assert found["h2gate_refusals_total", (("code", "over_quota"),)] == 1


def test_durations_are_in_the_buckets_up_to_which_they_reach() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.02, 4000.0):
        metrics.answered("GET", 200, "", seconds)
    found = samples(metrics)

    def bucket(bound: str) -> float:
        return found["h2gate_request_duration_seconds_bucket", (("le", bound), ("method", "GET"))]

    assert [bucket(bound) for bound in ("0.001", "0.01", "0.025", "1800.0", "+Inf")] == [1, 1, 2, 2, 3]
    assert found["h2gate_request_duration_seconds_count", (("method", "GET"),)] == 3
    assert found["h2gate_request_duration_seconds_sum", (("method", "GET"),)] == 4000.021


def test_bytes_and_uploads_by_state_are_told_as_they_are() -> None:
    metrics = Metrics()
    metrics.traffic.received += 5
    metrics.uploads = {"receiving": 2}
    found = samples(metrics)
    assert found["h2gate_received_bytes_total", ()] == 5
    assert found["h2gate_uploads", (("state", "receiving"),)] == 2


def test_a_metric_without_labels_is_there_before_anything_happened() -> None:
    found = samples(Metrics())
    assert found["h2gate_audit_failures_total", ()] == 0
    assert found["h2gate_received_bytes_total", ()] == 0
