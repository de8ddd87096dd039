"""What an operator can see of a gateway: counters and gauges in a registry of its own, written for Prometheus.

Each process answers for itself: with several workers a scrape sees the one it reached. Counting is an addition in a
dictionary, so that a request can afford it; what Prometheus wants to see is made of it when somebody looks.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = logging.getLogger("h2gate.limits")

_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "limits_hit": ("How often a peer ran into a limit, by the setting's name where it is one", ("limit",)),
    "requests": ("Requests that were answered", ("method", "status")),
    "refusals": ("Answers that were errors, by the code that the problem document has", ("code",)),
    "authentications": ("Requests by how somebody was recognised, and whether he was", ("via", "outcome")),
    "audit_lines": ("Lines of the audit log", ("event",)),
    "audit_failures": ("Lines of the audit log that could not be written", ()),
    "received_bytes": ("Bytes of request bodies that were taken", ()),
    "sent_bytes": ("Bytes of answers, without headers", ()),
}
_METHODS = frozenset(("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"))
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Traffic:
    """Bytes of bodies, counted where they pass."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


class _Latency:
    """How many took how long."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0


class Metrics:
    """One per process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.traffic = Traffic()
        self.uploads: Mapping[str, int] = {}
        """How many there are by state, as of the last look."""
        self._counts: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in _COUNTERS}
        for name in ("audit_failures",):
            self._counts[name][()] = 0
        self._latencies: dict[str, _Latency] = {}
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Collected(self))

    def count(self, name: str, *labels: str, n: int = 1) -> None:
        """So many more of one of `_COUNTERS`. A label has one of a few values, never what a peer says."""
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + n

    def counted(self, name: str, *labels: str) -> int:
        """How many so far."""
        return self._counts[name].get(labels, 0)

    def answered(self, method: str, status: int, code: str, seconds: float) -> None:
        """A request was answered; `code` is that of the error, if it was one."""
        method = method if method in _METHODS else "other"
        self.count("requests", method, f"{status // 100}xx")
        if code:
            self.count("refusals", code)
        latency = self._latencies.get(method)
        if latency is None:
            latency = self._latencies[method] = _Latency()
        latency.counts[bisect_left(_SECONDS, seconds)] += 1
        latency.total += seconds

    def limit_hit(self, limit: str, peer: str, what: str) -> None:
        """A peer ran into a limit: count it, and say so in one line (which `logs` keeps from becoming a flood)."""
        self.count("limits_hit", limit)
        log.warning(f"limit {limit}: %s: %s", peer, what)

    def limits_hit(self, limit: str) -> float:
        """How often so far."""
        return float(self.counted("limits_hit", limit))

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """A value that is read when somebody looks."""
        Gauge(f"h2gate_{name}", meaning, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        """All of it (`MEDIA_TYPE`)."""
        return generate_latest(self._registry)

    def families(self) -> Iterator[Metric]:
        """What was counted, as Prometheus has it."""
        flat = {"received_bytes": self.traffic.received, "sent_bytes": self.traffic.sent}
        for name, (meaning, labels) in _COUNTERS.items():
            counter = CounterMetricFamily(f"h2gate_{name}", meaning, labels=labels)
            for values, n in list(self._counts[name].items()):
                counter.add_metric(values, n)
            if name in flat:
                counter.add_metric((), flat[name])
            yield counter
        uploads = GaugeMetricFamily("h2gate_uploads", "Resumable uploads that are known, by state", labels=["state"])
        for state, n in self.uploads.items():
            uploads.add_metric([state], n)
        yield uploads
        yield self._durations()

    def _durations(self) -> Metric:
        meaning = "From the header of a request to the end of its answer"
        found = HistogramMetricFamily("h2gate_request_duration_seconds", meaning, labels=["method"])
        for method, latency in list(self._latencies.items()):
            buckets, so_far = [], 0
            for bound, n in zip([*map(str, map(float, _SECONDS)), "+Inf"], latency.counts, strict=True):
                so_far += n
                buckets.append((bound, float(so_far)))
            found.add_metric([method], buckets, sum_value=latency.total)
        return found


class _Collected:
    """A collector, in Prometheus' words."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.families()
