"""What tickets and tenants leave in the audit log: who made one, what was put with it, what the gateway removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from h2gate.audit.verifying import verify
from tests.conftest import Serve, Served
from tests.front.conftest import wait_until
from tests.front.policies import Policies


def lines(served: Served) -> list[dict[str, Any]]:
    log = served.data / "audit" / "audit.jsonl"
    assert verify([log]).faults == []
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_ticket_is_named_by_its_id_from_its_making_to_its_end(tmp_path: Path, serve: Serve) -> None:
    policies = Policies(tmp_path)
    policies.key("maker", "storage.create:/ storage.read:/", 'tenant = "t"')
    policies.tenant("t", 'root = "room"')
    policies.table("tickets", 'key = "tickets.key"')
    policies.table("audit", "reads = false")
    served = serve(auth=policies.file)
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        maker = policies.fields("maker")
        made = client.post("/tickets/", json={"folder": "room/in", "max_files": 1}, headers=maker).json()
        client.put("/files/room/in/a", content=b"abc", params={"ticket": made["ticket"]}).raise_for_status()
        bearer = {"authorization": f"Bearer {made['ticket']}"}
        assert client.put("/files/room/in/b", content=b"abc", headers=bearer).status_code == 403
        client.delete(f"/tickets/{made['id']}", headers=maker).raise_for_status()
        assert client.put("/files/room/in/c", content=b"abc", headers=bearer).status_code == 401
    found = [
        (each["event"], each.get("who"), each["path"] if "path" in each else each.get("detail"))
        for each in lines(served)
    ]
    name = f"ticket:{made['id']}"
    assert found == [
        ("issue", "key:maker", "room/in"),
        ("create", name, "room/in/a"),
        ("deny", name, "/files/room/in/b"),
        ("revoke", "key:maker", name),
        ("deny", None, "/files/room/in/c"),
    ]
    assert lines(served)[1]["tenant"] == "t"
    assert made["ticket"] not in (served.data / "audit" / "audit.jsonl").read_text()


def test_a_file_that_its_tenant_keeps_no_longer_is_told_by_the_gateway(tmp_path: Path, serve: Serve) -> None:
    policies = Policies(tmp_path)
    policies.key("lab", "storage.modify:/ storage.read:/", 'tenant = "t"')
    policies.tenant("t", 'root = "room"', "retention_seconds = 0.05")
    policies.table("audit", "reads = false")
    served = serve(auth=policies.file, upkeep_seconds=0.02)
    httpx.put(f"{served.plain_url}/files/room/a", content=b"abc", headers=policies.fields("lab")).raise_for_status()
    wait_until(lambda: lines(served)[-1]["event"] == "expire", "it is removed")
    last = lines(served)[-1]
    assert (last["via"], last["path"], last["size"]) == ("gateway", "room/a", 3)
    assert not served.path("room/a").exists()
