"""What an operator can see of a gateway: counters and gauges in a registry of its own, written for Prometheus.

Each process answers for itself: with several workers a scrape sees the one it reached.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

log = logging.getLogger("h2gate.limits")


class Metrics:
    """One per process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._limits = Counter(
            "h2gate_limits_hit", "How often a peer ran into a limit", ["limit"], registry=self._registry
        )

    def limit_hit(self, limit: str, peer: str, what: str) -> None:
        """A peer ran into a limit: count it, and say so in one line (which `logs` keeps from becoming a flood)."""
        self._limits.labels(limit).inc()
        log.warning(f"limit {limit}: %s: %s", peer, what)

    def limits_hit(self, limit: str) -> float:
        """How often so far."""
        return self._registry.get_sample_value("h2gate_limits_hit_total", {"limit": limit}) or 0.0

    def gauge(self, name: str, meaning: str, read: Callable[[], float]) -> None:
        """A value that is read when somebody looks."""
        Gauge(f"h2gate_{name}", meaning, registry=self._registry).set_function(read)

    def text(self) -> bytes:
        """All of it (`MEDIA_TYPE`)."""
        return generate_latest(self._registry)
