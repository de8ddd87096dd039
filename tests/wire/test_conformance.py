"""Every case of the catalogue on both engines, and over TLS on a gateway; `conftest.py` sums up in the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from h2gate.server.certificates import Certificates
from h2gate.wire import reference
from h2gate.wire.engine import Engine, EngineSettings, Role
from h2gate.wire.nghttp2 import Nghttp2Engine
from h2gate.wire.reference import ReferenceEngine
from tests.conftest import Served, serving
from tests.server.raw import eventually
from tests.wire.case import FRAME_BYTES, MAX_STREAMS, Case, Wire, run
from tests.wire.catalogue import CASES
from tests.wire.wires import EngineWire, TlsWire

ENGINES: dict[str, type[Engine]] = {"default engine": Nghttp2Engine, "reference engine": ReferenceEngine}

REFERENCE_MISSES = {
    "first_frame_may_be_any": "3.4-preface-without-settings 3.4-ping-before-settings",
    "reset_of_idle_stream_is_ignored": "5.1-idle-reset-above-a-stream-that-lives",
    "settings_acknowledgement_with_payload_has_another_code": "6.5-acknowledgement-with-payload",
    "reserved_bit_of_increment_ends_connection": "6.9-reserved-bit-of-the-increment",
    "missing_body_may_have_a_length": "8.1.1-length-without-body 8.1.1-body-before-trailers-is-shorter",
    "values_of_pseudo_fields_are_not_looked_at": (
        "8.3.1-empty-method 8.3.1-method-with-space 8.3.1-method-with-slash 8.3.1-empty-scheme 8.3.1-scheme-with-space "
        "8.3.1-scheme-that-begins-with-a-digit 8.3.1-scheme-with-path 8.3.1-path-without-slash 8.3.1-path-of-asterisk "
        "8.3.1-path-with-space 8.3.1-path-with-version 8.3.1-path-with-delete 8.3.1-authority-with-userinfo "
        "8.3.1-host-with-userinfo 8.3.1-authority-with-space 8.3.1-authority-with-slash"
    ),
    "host_is_compared_by_octet": "8.3.1-host-in-other-case 8.3.1-host-with-the-default-port",
    "extended_connect_is_taken": "8.5-connect-of-a-protocol-that-was-not-offered",
}
"""As in the docstring of `h2gate/wire/reference.py`, with the cases that fail for it (of RFC 9113)."""
MISSED = {f"rfc9113-{name}": miss for miss, names in REFERENCE_MISSES.items() for name in names.split()}


def on(engine: str, case: Case) -> object:
    miss = MISSED.get(case.id) if engine == "reference engine" else None
    marks = [pytest.mark.xfail(strict=True, reason=miss)] if miss else []
    return pytest.param(engine, case, marks=marks, id=f"{engine.split(maxsplit=1)[0]}-{case.id}")


def judge(case: Case, wire: Wire) -> None:
    sight = run(case, wire)
    assert any(outcome.holds(sight) for outcome in case.allowed), f"allowed: {case.allowed}\nseen: {sight}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Served]:
    """One for all cases: what one of them does must not be felt by the next. In the end nothing is left over."""
    with serving(tmp_path_factory.mktemp("conformance"), certificates) as start:
        served = start(max_streams=MAX_STREAMS)
        budget = served.worker.budget.left
        yield served
        eventually(lambda: not served.worker.connections, "every connection is over")
        assert (served.worker.budget.left, served.staged()) == (budget, [])


@pytest.mark.parametrize(("engine", "case"), [on(engine, case) for engine in ENGINES for case in CASES])
def test_engine_does_what_the_rfc_allows(
    engine: str, case: Case, record_property: Callable[[str, object], None]
) -> None:
    record_property("conformance", (engine, case.id))
    settings = EngineSettings(max_streams=MAX_STREAMS, max_frame_bytes=FRAME_BYTES)
    judge(case, EngineWire(ENGINES[engine](Role.SERVER, settings)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_gateway_does_what_the_rfc_allows_and_logs_no_error(
    gateway: Served, case: Case, caplog: pytest.LogCaptureFixture, record_property: Callable[[str, object], None]
) -> None:
    record_property("conformance", ("gateway", case.id))
    with closing(TlsWire(gateway.port, gateway.ca)) as wire:
        judge(case, wire)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_every_case_has_a_name_of_its_own_and_every_miss_is_one_of_them() -> None:
    names = [case.id for case in CASES]
    assert len(names) == len(set(names))
    assert MISSED.keys() <= set(names)


def test_reference_engine_admits_every_miss() -> None:
    admitted = {line[2:].partition(":")[0] for line in (reference.__doc__ or "").splitlines() if line.startswith("- ")}
    assert REFERENCE_MISSES.keys() <= admitted
