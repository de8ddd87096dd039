"""What an operator sees of requests: ids, log lines, metrics, readiness, traces."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from h2gate.auth import keys
from h2gate.config import Settings
from h2gate.errors import LedgerFailed, StorageFailed
from h2gate.storage.disk import DiskStorage
from h2gate.traces import Traces
from tests.conftest import Serve, Served
from tests.front.conftest import wait_until

DASHBOARD = Path(__file__).parents[2] / "docs" / "grafana.json"


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve(access_log=True)


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


# -- ids


def test_the_id_of_a_request_is_answered_and_one_is_made_where_none_came(client: httpx.Client) -> None:
    given = {"x-request-id": "7f3a-from:the/proxy"}
    assert client.put("/files/a", content=b"a", headers=given).headers["x-request-id"] == given["x-request-id"]
    made = [client.put("/files/a", content=b"a").headers["x-request-id"] for _ in range(2)]
    assert len(set(made)) == 2
    assert client.get("/files/none").headers["x-request-id"], "an error"


@pytest.mark.parametrize("given", ["a b", "a" * 101, "é".encode().decode("latin1"), '"', "a\tb"])
def test_an_id_that_could_not_be_written_anywhere_is_replaced(client: httpx.Client, given: str) -> None:
    answer = client.put("/files/a", content=b"a", headers={b"x-request-id": given.encode("latin1")})
    assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])


def test_an_answer_that_may_be_kept_for_others_has_no_id_that_was_made(client: httpx.Client) -> None:
    client.put("/files/a", content=b"a").raise_for_status()
    assert "x-request-id" not in client.get("/files/a").headers


# -- log


def test_each_request_has_a_line_in_the_access_log_without_its_query(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "h2gate.access"):
        client.put("/files/a?ticket=secret", content=b"a").raise_for_status()
        client.get("/files/none?ticket=secret")
        wait_until(lambda: len(caplog.records) == 2, "both are logged")
    found = [record.__dict__["members"] for record in caplog.records]
    assert [(each["method"], each["path"], each["status"], each.get("code")) for each in found] == [
        ("PUT", "/files/a", 201, None),
        ("GET", "/files/none", 404, "not_found"),
    ]
    assert "secret" not in caplog.text


def test_without_being_asked_for_there_is_no_access_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    served = serve()
    with caplog.at_level(logging.INFO, "h2gate.access"):
        httpx.put(f"{served.plain_url}/files/a", content=b"a").raise_for_status()
    assert [record for record in caplog.records if record.name == "h2gate.access"] == []


# -- metrics


def scrape(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = client.get("/metrics").raise_for_status().text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_bytes_requests_refusals_and_uploads_by_state_are_counted(client: httpx.Client) -> None:
    client.put("/files/a", content=b"a" * 1000).raise_for_status()
    client.get("/files/a").raise_for_status()
    client.put("/files/b", content=b"b", headers={"upload-complete": "?0"}).raise_for_status()
    assert client.get("/files/none").status_code == 404
    found = scrape(client)
    assert found["h2gate_received_bytes_total", ()] == 1001
    assert found["h2gate_sent_bytes_total", ()] >= 1000
    assert found["h2gate_requests_total", (("method", "PUT"), ("status", "2xx"))] == 2
    assert found["h2gate_requests_total", (("method", "GET"), ("status", "4xx"))] == 1
    assert found["h2gate_refusals_total", (("code", "not_found"),)] == 1
    assert found["h2gate_uploads", (("state", "receiving"),)] == 1
    assert found["h2gate_request_duration_seconds_count", (("method", "PUT"),)] == 2


def test_who_was_recognised_by_what_and_who_was_not_are_counted(tmp_path: Path, serve: Serve) -> None:
    secret, digest = keys.make("lab")
    rights = "storage.modify:/ storage.read:/"
    text = f'[[keys]]\nid = "lab"\nsha256 = "{digest}"\nrights = "{rights}"\n[audit]\nreads = true\n'
    (tmp_path / "auth.toml").write_text(text)
    served = serve(auth=tmp_path / "auth.toml")
    with httpx.Client(base_url=served.plain_url, headers={"authorization": f"Bearer {secret}"}) as client:
        client.put("/files/a", content=b"a").raise_for_status()
        assert httpx.put(f"{served.plain_url}/files/a", content=b"a").status_code == 401
        found = scrape(client)
    assert found["h2gate_authentications_total", (("outcome", "recognised"), ("via", "key"))] >= 1
    assert found["h2gate_authentications_total", (("outcome", "unauthenticated"), ("via", "nobody"))] == 1
    assert found["h2gate_audit_lines_total", (("event", "create"),)] == 1
    assert found["h2gate_audit_lines_total", (("event", "deny"),)] == 1


def test_every_metric_that_the_dashboard_shows_is_there(client: httpx.Client) -> None:
    shown = json.loads(DASHBOARD.read_text())
    expressions = [target["expr"] for panel in shown["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 10
    there = set()
    for family in text_string_to_metric_families(client.get("/metrics").text):
        there |= {family.name, f"{family.name}_total", f"{family.name}_bucket", f"{family.name}_count"}
    named = {name for each in expressions for name in re.findall(r"\b(?:h2gate|process)_\w+", each)}
    assert named - there == set()


def test_every_panel_of_the_dashboard_asks_for_something(client: httpx.Client) -> None:
    shown = json.loads(DASHBOARD.read_text())
    empty = [each["title"] for each in shown["panels"] if each["type"] != "row" and not each.get("targets")]
    assert empty == []
    assert len({each["id"] for each in shown["panels"]}) == len(shown["panels"])


# -- readiness


def test_a_gateway_whose_parts_work_is_ready(client: httpx.Client) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.text) == (200, "ready\n")


def test_a_storage_that_cannot_write_is_named(serve: Serve) -> None:
    class Failing(DiskStorage):
        async def begin(self, key: str) -> None:
            raise StorageFailed("read-only, says the test")

    def open_failing(settings: Settings) -> DiskStorage:
        return Failing(settings.data)

    answer = httpx.get(f"{serve(open_failing).plain_url}/readyz")
    assert (answer.status_code, answer.text) == (503, "storage: read-only, says the test\n")


def test_a_ledger_that_fails_is_named_and_one_that_works_again_is_ready(
    served: Served, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise LedgerFailed("locked, says the test")

    question = served.gateway.readiness._parts["ledger"]
    monkeypatch.setattr(question, "_fresh_seconds", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(question, "_ask", fail)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.text) == (503, "ledger: locked, says the test\n")
        assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_a_question_leaves_no_file_behind(served: Served, client: httpx.Client) -> None:
    assert client.get("/readyz").status_code == 200
    assert [path for path in (served.data / "partial").rglob("*") if path.is_file()] == []


# -- traces


@pytest.fixture
def spans(served: Served) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    served.gateway.traces = Traces(provider)
    return exporter


def _spans(exporter: InMemorySpanExporter, n: int) -> list[Any]:
    wait_until(lambda: len(exporter.get_finished_spans()) >= n, f"{n} spans have ended")
    return list(exporter.get_finished_spans())


def test_an_upload_is_one_span_in_that_of_its_request_and_in_that_of_who_sent_it(
    client: httpx.Client, spans: InMemorySpanExporter
) -> None:
    trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
    client.put("/files/a?ticket=secret", content=b"a" * (3 << 20), headers=headers).raise_for_status()
    upload, request = _spans(spans, 2)
    assert (request.name, upload.name) == ("PUT", "upload")
    assert f"{request.context.trace_id:032x}" == trace_id
    assert f"{request.parent.span_id:016x}" == parent_id
    assert upload.parent.span_id == request.context.span_id
    assert (request.attributes["url.path"], request.attributes["http.response.status_code"]) == ("/files/a", 201)
    assert (upload.attributes["h2gate.upload.event"], upload.attributes["h2gate.upload.size"]) == ("create", 3 << 20)
    assert upload.attributes["h2gate.upload.id"]
    assert "secret" not in str([dict(each.attributes) for each in (upload, request)])


def test_spans_have_no_names_that_peers_make_up(client: httpx.Client, spans: InMemorySpanExporter) -> None:
    assert client.request("MADE-UP", "/files/a").status_code == 405
    (request,) = _spans(spans, 1)
    assert (request.name, request.attributes["http.request.method"]) == ("_OTHER", "_OTHER")


def test_a_request_that_fails_says_why_in_its_span(client: httpx.Client, spans: InMemorySpanExporter) -> None:
    assert client.get("/files/none").status_code == 404
    (request,) = _spans(spans, 1)
    assert (request.attributes["http.response.status_code"], request.attributes["error.type"]) == (404, "not_found")
    assert request.status.is_unset
