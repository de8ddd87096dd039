"""Every method of every URL, by everybody, on one's own, on others', and on what is not there: what is answered.

The rows are written out, so that no rule is tested with itself; that none is missing is told by the rooms' own tables.
"""

from __future__ import annotations

import itertools
import json
import tarfile
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx
import pytest

from h2gate.auth.ticket import Ticket
from h2gate.front import app, files, health, resources, tickets, tus
from h2gate.server.certificates import Certificates
from h2gate.transfer.appending import Append
from h2gate.transfer.resumables import Plan
from tests.conftest import Served, serving
from tests.front.parts import END, TYPE, part
from tests.front.policies import Fields, Policies
from tests.transfer.running import Given

WHO = ("nobody", "forged", "expired", "reader", "creator", "modifier", "neighbour", "admin", "ticket")
TICKET = Ticket(folder="own", issuer="key:creator", expires_at=time.time() + 3600)
_NUMBERS = itertools.count()

# "ticket" has one for the folder of reader, creator and modifier: it creates there, lists nothing and makes no others.
# For each kind of URL, method and thing that is meant: the status for everybody in WHO. "own" lies in the folder that
# reader, creator and modifier have rights to, "other" in the neighbour's, "none" is missing in the first.
FILES = """
file    GET     own    401 401 401  200 403 200  404 200  403
file    GET     other  401 401 401  404 404 404  200 200  404
file    GET     none   401 401 401  404 403 404  404 404  403
file    HEAD    own    401 401 401  200 200 200  404 200  200
file    HEAD    other  401 401 401  404 404 404  200 200  404
file    HEAD    none   401 401 401  404 404 404  404 404  404
file    PUT     own    401 401 401  403 403 204  403 204  403
file    PUT     other  401 401 401  403 403 403  204 204  403
file    PUT     none   401 401 401  403 201 201  403 201  201
file    PATCH   own    401 401 401  403 403 204  404 204  403
file    PATCH   other  401 401 401  404 404 404  204 204  404
file    PATCH   none   401 401 401  403 403 404  404 404  403
file    DELETE  own    401 401 401  403 403 204  404 204  403
file    DELETE  other  401 401 401  404 404 404  204 204  404
file    DELETE  none   401 401 401  403 403 404  404 404  403
file    OPTIONS own    204 204 204  204 204 204  204 204  204
file    OPTIONS other  204 204 204  204 204 204  204 204  204
file    OPTIONS none   204 204 204  204 204 204  204 204  204
file    BREW    own    401 401 401  405 405 405  405 405  405
file    BREW    other  401 401 401  405 405 405  405 405  405
file    BREW    none   401 401 401  405 405 405  405 405  405
file    CREATE  own    401 401 401  403 403 204  403 204  403
file    CREATE  other  401 401 401  403 403 403  204 204  403
file    CREATE  none   401 401 401  403 201 201  403 201  201
file    POST    own    401 401 401  403 207 207  403 207  207
file    POST    other  401 401 401  403 403 403  207 207  403
file    POST    none   401 401 401  403 201 201  403 201  201
folder  GET     own    401 401 401  200 403 200  404 200  403
folder  GET     other  401 401 401  404 404 404  200 200  404
folder  GET     none   401 401 401  404 403 404  404 404  403
folder  HEAD    own    401 401 401  200 200 200  404 200  200
folder  HEAD    other  401 401 401  404 404 404  200 200  404
folder  HEAD    none   401 401 401  404 404 404  404 404  404
folder  POST    own    401 401 401  403 201 201  403 201  201
folder  POST    other  401 401 401  403 403 403  201 201  403
folder  POST    none   401 401 401  403 201 201  403 201  201
folder  PUT     own    401 401 401  403 200 200  403 200  200
folder  PUT     other  401 401 401  403 403 403  200 200  403
folder  PUT     none   401 401 401  403 200 200  403 200  200
folder  PATCH   own    401 401 401  403 403 400  404 400  403
folder  PATCH   other  401 401 401  404 404 404  400 400  404
folder  PATCH   none   401 401 401  403 403 400  404 400  403
folder  DELETE  own    401 401 401  403 403 204  404 204  403
folder  DELETE  other  401 401 401  404 404 404  204 204  404
folder  DELETE  none   401 401 401  403 403 404  404 404  403
folder  CREATE  own    401 401 401  403 201 201  403 201  201
folder  CREATE  other  401 401 401  403 403 403  201 201  403
folder  CREATE  none   401 401 401  403 201 201  403 201  201
folder  OPTIONS own    204 204 204  204 204 204  204 204  204
folder  OPTIONS other  204 204 204  204 204 204  204 204  204
folder  OPTIONS none   204 204 204  204 204 204  204 204  204
folder  BREW    own    401 401 401  405 405 405  405 405  405
folder  BREW    other  401 401 401  405 405 405  405 405  405
folder  BREW    none   401 401 401  405 405 405  405 405  405
"""

# "own" belongs to who asks, and is to become a file in the folder of reader, creator and modifier; "other" differs in
# who has begun it; "none" is an id that nobody was given. Lists have only one's own.
UPLOADS = """
uploads GET     own    401 401 401  200 200 200  200 200  403
uploads HEAD    own    401 401 401  200 200 200  200 200  403
uploads OPTIONS own    204 204 204  204 204 204  204 204  204
uploads BREW    own    401 401 401  405 405 405  405 405  405
upload  GET     own    401 401 401  200 200 200  403 200  200
upload  GET     other  401 401 401  404 404 404  404 404  404
upload  GET     none   401 401 401  404 404 404  404 404  404
upload  HEAD    own    401 401 401  403 204 204  403 204  204
upload  HEAD    other  401 401 401  404 404 404  404 404  404
upload  HEAD    none   401 401 401  404 404 404  404 404  404
upload  PATCH   own    401 401 401  403 201 201  403 201  201
upload  PATCH   other  401 401 401  404 404 404  404 404  404
upload  PATCH   none   401 401 401  404 404 404  404 404  404
upload  DELETE  own    401 401 401  403 204 204  403 204  204
upload  DELETE  other  401 401 401  404 404 404  404 404  404
upload  DELETE  none   401 401 401  404 404 404  404 404  404
upload  OPTIONS own    204 204 204  204 204 204  204 204  204
upload  OPTIONS other  204 204 204  204 204 204  204 204  204
upload  OPTIONS none   204 204 204  204 204 204  204 204  204
upload  BREW    own    401 401 401  405 405 405  405 405  405
upload  BREW    other  401 401 401  405 405 405  405 405  405
upload  BREW    none   401 401 401  405 405 405  405 405  405
tus     POST    own    401 401 401  403 403 201  403 201  403
tus     POST    other  401 401 401  403 403 403  201 201  403
tus     POST    none   401 401 401  403 201 201  403 201  201
tus     PART    none   401 401 401  403 201 201  201 201  403
tus     FINAL   own    401 401 401  403 201 201  403 201  403
tus     FINAL   other  401 401 401  403 400 400  403 400  400
tus     FINAL   none   401 401 401  403 400 400  403 400  400
tus     OPTIONS none   204 204 204  204 204 204  204 204  204
tus     BREW    none   401 401 401  405 405 405  405 405  405
one-tus GET     own    401 401 401  307 307 307  403 307  307
one-tus GET     other  401 401 401  404 404 404  404 404  404
one-tus GET     none   401 401 401  404 404 404  404 404  404
one-tus HEAD    own    401 401 401  403 200 200  403 200  200
one-tus HEAD    other  401 401 401  404 404 404  404 404  404
one-tus HEAD    none   401 401 401  404 404 404  404 404  404
one-tus PATCH   own    401 401 401  403 204 204  403 204  204
one-tus PATCH   other  401 401 401  404 404 404  404 404  404
one-tus PATCH   none   401 401 401  404 404 404  404 404  404
one-tus DELETE  own    401 401 401  403 204 204  403 204  204
one-tus DELETE  other  401 401 401  404 404 404  404 404  404
one-tus DELETE  none   401 401 401  404 404 404  404 404  404
one-tus BURIED  own    401 401 401  403 204 204  403 204  204
one-tus BURIED  other  401 401 401  404 404 404  404 404  404
one-tus BURIED  none   401 401 401  404 404 404  404 404  404
one-tus HIDDEN  own    401 401 401  403 204 204  403 204  204
one-tus HIDDEN  other  401 401 401  404 404 404  404 404  404
one-tus HIDDEN  none   401 401 401  404 404 404  404 404  404
one-tus OPTIONS own    204 204 204  204 204 204  204 204  204
one-tus OPTIONS other  204 204 204  204 204 204  204 204  204
one-tus OPTIONS none   204 204 204  204 204 204  204 204  204
one-tus BREW    own    401 401 401  405 405 405  405 405  405
one-tus BREW    other  401 401 401  405 405 405  405 405  405
one-tus BREW    none   401 401 401  405 405 405  405 405  405
"""

# "own" is for the folder of reader, creator and modifier, or was made by who asks; "none" is an id that nobody has.
# Who may change everything may revoke what was made without a gateway.
TICKETS = """
tickets POST    own    401 401 401  403 201 201  403 201  403
tickets POST    other  401 401 401  403 403 403  201 201  403
tickets OPTIONS none   204 204 204  204 204 204  204 204  204
tickets BREW    none   401 401 401  405 405 405  405 405  403
ticket  GET     own    401 401 401  200 200 200  200 200  403
ticket  GET     other  401 401 401  404 404 404  404 200  403
ticket  GET     none   401 401 401  404 404 404  404 404  403
ticket  DELETE  own    401 401 401  204 204 204  204 204  403
ticket  DELETE  other  401 401 401  404 404 404  404 204  403
ticket  DELETE  none   401 401 401  404 404 404  404 204  403
ticket  OPTIONS own    204 204 204  204 204 204  204 204  204
ticket  OPTIONS other  204 204 204  204 204 204  204 204  204
ticket  OPTIONS none   204 204 204  204 204 204  204 204  204
ticket  BREW    own    401 401 401  405 405 405  405 405  403
ticket  BREW    other  401 401 401  405 405 405  405 405  403
ticket  BREW    none   401 401 401  405 405 405  405 405  403
"""

DESKS = """
/metrics GET    none   401 401 401  403 403 403  403 200  403
/metrics HEAD   none   401 401 401  403 403 403  403 200  403
/metrics BREW   none   401 401 401  403 403 403  403 405  403
/healthz GET    none   200 200 200  200 200 200  200 200  200
/healthz HEAD   none   200 200 200  200 200 200  200 200  200
/healthz BREW   none   405 405 405  405 405 405  405 405  405
/readyz GET     none   200 200 200  200 200 200  200 200  200
/readyz HEAD    none   200 200 200  200 200 200  200 200  200
/readyz BREW    none   405 405 405  405 405 405  405 405  405
/.well-known/oauth-protected-resource GET  none  404 404 404  404 404 404  404 404  404
/.well-known/oauth-protected-resource HEAD none  404 404 404  404 404 404  404 404  404
/.well-known/oauth-protected-resource BREW none  405 405 405  405 405 405  405 405  405
/ GET           none   200 200 200  200 200 200  200 200  200
/ HEAD          none   200 200 200  200 200 200  200 200  200
/ OPTIONS       none   200 200 200  200 200 200  200 200  200
/ BREW          none   405 405 405  405 405 405  405 405  405
/files GET      none   301 301 301  301 301 301  301 301  301
/files HEAD     none   301 301 301  301 301 301  301 301  301
/files OPTIONS  none   200 200 200  200 200 200  200 200  200
/files BREW     none   405 405 405  405 405 405  405 405  405
/nowhere GET    none   404 404 404  404 404 404  404 404  404
/nowhere PUT    none   404 404 404  404 404 404  404 404  404
"""


@dataclass(frozen=True)
class Cell:
    kind: str
    method: str
    whose: str
    who: str
    status: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.method}-{self.whose}-{self.who}"


def cells() -> Iterator[Cell]:
    for row in filter(None, (FILES + UPLOADS + TICKETS + DESKS).splitlines()):
        kind, method, whose, *statuses = row.split()
        for who, status in zip(WHO, statuses, strict=True):
            yield Cell(kind, method, whose, who, int(status))


CELLS = list(cells())


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Policies:
    found = Policies(tmp_path_factory.mktemp("rights"))
    found.key("reader", "storage.read:/own")
    found.key("creator", "storage.create:/own")
    found.key("modifier", "storage.modify:/own storage.read:/own")
    found.key("neighbour", "storage.modify:/ storage.read:/", 'tenant = "others"')
    found.key("admin", "storage.modify:/ storage.read:/")
    found.key("expired", "storage.modify:/ storage.read:/", "expires = 2001-01-01T00:00:00Z")
    found.tenant("others", 'root = "other"')
    found.table("tickets", 'key = "tickets.key"')
    return found


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, policies: Policies
) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("matrix"), certificates) as start:
        yield start(auth=policies.file, drain_seconds=0.2)


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.plain_url, timeout=30) as client:
        yield client


def fields(policies: Policies, who: str, served: Served) -> Fields:
    if who == "ticket":
        assert served.gateway.tickets is not None
        return {"authorization": f"Bearer {served.gateway.tickets.keys.sign(TICKET)}"}
    if who == "forged":
        return {"authorization": f"Bearer {policies.secret('admin')[:-4]}AAAA"}
    return policies.fields(None if who == "nobody" else who)


def owner(who: str) -> str:
    return TICKET.principal().name if who == "ticket" else f"key:{who}"


class Asker:
    """Sends the request of a cell, for which it has put in place what is meant."""

    def __init__(self, cell: Cell, served: Served, http: httpx.Client, headers: Fields) -> None:
        self.cell, self.served, self.http, self.headers = cell, served, http, headers
        is_elsewhere = cell.whose == "other" and (cell.kind in ("file", "folder") or cell.method == "POST")
        folder = "other" if is_elsewhere else "own"
        self.place = f"{folder}/{next(_NUMBERS)}"
        self.served.path(self.place).mkdir(parents=True)

    def send(self, method: str, path: str, content: bytes = b"", /, **headers: str) -> int:
        lines = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, path, content=content, headers={**self.headers, **lines}).status_code

    def file(self) -> int:
        if self.cell.whose != "none":
            self.served.path(f"{self.place}/f").write_bytes(b"1")
        url = f"/files/{self.place}/f"
        match self.cell.method:
            case "CREATE":
                return self.send("PUT", url, b"2", upload_complete="?1")
            case "POST":
                return self.send("POST", url, part("g") + END, **TYPE)
            case method:
                return self.send(method, url, b"2" if method in ("PUT", "PATCH") else b"")

    def folder(self) -> int:
        url, method = f"/files/{self.place}/", self.cell.method
        if self.cell.whose == "none":
            url += "none/"
        match method:
            case "POST":
                return self.send(method, url, part("g") + END, **TYPE)
            case "PUT":
                return self.send(method, url, archive(), content_type="application/x-tar")
            case "CREATE":
                return self.send("POST", url, b"2", upload_complete="?1", content_disposition="inline; filename=n")
        return self.send(method, url)

    def upload(self) -> int:
        more = {"upload_offset": "0", "upload_complete": "?1", "content_type": "application/partial-upload"}
        return self.send(
            self.cell.method, f"/uploads/{self._id()}", b"2" if self.cell.method == "PATCH" else b"", **more
        )

    def tickets(self) -> int:
        folder = "own" if self.cell.whose == "own" else "other"
        return self.send(self.cell.method, "/tickets/", json.dumps({"folder": folder}).encode())

    def ticket(self) -> int:
        issuer = "key:stranger" if self.cell.whose == "other" else owner(self.cell.who)
        made = Ticket(folder="own", issuer=issuer, expires_at=time.time() + 100)
        if self.cell.whose != "none":
            self.served.inside(self.served.gateway.quotas.issued(made))
        return self.send(self.cell.method, f"/tickets/{made.id}")

    def uploads(self) -> int:
        return self.send(self.cell.method, "/uploads/")

    def tus(self) -> int:
        lines = {
            "tus_resumable": "1.0.0",
            "upload_length": "1",
            "upload_metadata": f"path {encoded(self.place + '/f')}",
        }
        match self.cell.method:
            case "PART":
                lines["upload_concat"] = "partial"
            case "FINAL":
                del lines["upload_length"]
                lines["upload_concat"] = f"final;/tus/{self._id(path='')}"
            case "POST" if self.cell.whose == "own":  # a file is there: who may only create is told so at once
                self.served.path(f"{self.place}/f").write_bytes(b"1")
        method = "POST" if self.cell.method in ("PART", "FINAL") else self.cell.method
        return self.send(method, "/tus/", **lines)

    def one_tus(self) -> int:
        method = self.cell.method
        url = f"/tus/{self._id(is_complete=method == 'GET')}"
        more = {"tus_resumable": "1.0.0", "upload_offset": "0", "content_type": "application/offset+octet-stream"}
        if method in ("BURIED", "HIDDEN"):  # the method that counts is in a field
            shown = "POST" if method == "BURIED" else "OPTIONS"
            return self.send(shown, url, x_http_method_override="DELETE", **more)
        return self.send(method, url, b"2" if method == "PATCH" else b"", **more)

    def _id(self, *, path: str | None = None, is_complete: bool = False) -> str:
        if self.cell.whose == "none":
            return "0" * 32
        whose = "key:stranger" if self.cell.whose == "other" else owner(self.cell.who)
        plan = Plan(path=f"{self.place}/f" if path is None else path, owner=whose, length=1)
        resumables = self.served.gateway.resumables
        if is_complete:
            return self.served.inside(resumables.create_with(plan, Append(body=Given(b"1")))).upload.id
        return self.served.inside(resumables.create(plan)).id


def archive() -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("member"))
    return out.getvalue()


def encoded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_everybody_may_do_what_the_table_says(
    cell: Cell, served: Served, http: httpx.Client, policies: Policies
) -> None:
    asker = Asker(cell, served, http, fields(policies, cell.who, served))
    if cell.kind.startswith("/"):
        status = asker.send(cell.method, cell.kind)
    else:
        ask: Any = getattr(asker, cell.kind.replace("-", "_"))
        status = ask()
    assert status == cell.status


def test_no_cell_of_the_table_is_missing() -> None:
    """A room, a method or a page that is added wants its rows here."""
    whose = ("own", "other", "none")
    wanted = {
        (kind, method, each)
        for kind in ("file", "folder")
        for method in [*files._HANDLERS, "GET", "HEAD"]
        for each in whose
    }
    wanted |= {("upload", method, each) for method in resources._OF_ONE for each in whose}
    wanted |= {("one-tus", method, each) for method in tus._OF_ONE for each in whose}
    wanted |= {
        (kind, method, each)
        for kind in ("file", "folder", "upload", "one-tus", "ticket")
        for method in ("OPTIONS", "BREW")
        for each in whose
    }
    wanted |= {("ticket", method, each) for method in tickets._OF_ONE for each in whose}
    wanted |= {("tickets", method, each) for method in tickets._OF_ALL for each in whose[:2]}
    wanted |= {("uploads", method, "own") for method in [*resources._OF_ALL, "OPTIONS", "BREW"]}
    wanted |= {("tus", method, each) for method in tus._OF_ALL for each in whose}
    wanted |= {(desk.decode(), method, "none") for desk in app._DESKS for method in [*health._METHODS, "BREW"]}
    pages = app.create_app(None).url_map.iter_rules()  # type: ignore[arg-type]
    wanted |= {(rule.rule, method, "none") for rule in pages for method in [*(rule.methods or ()), "BREW"]}
    for who in WHO:
        found = {(cell.kind, cell.method, cell.whose) for cell in CELLS if cell.who == who}
        assert wanted <= found, sorted(wanted - found)
    assert app._ROOMS.keys() == {b"files", b"uploads", b"tus", b"tickets"}
    assert app._WAYS_IN.keys() == {*app._ROOMS.values(), *app._DESKS.values()}
