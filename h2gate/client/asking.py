"""One request to the gateway and what its answer says: the error it named, or a listing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urljoin

import httpx

from h2gate.client import names
from h2gate.client.credential import AGAIN, Credential
from h2gate.client.failures import from_httpx
from h2gate.client.pacing import Pace
from h2gate.client.selection import ALL, Selection
from h2gate.client.transport import Transport
from h2gate.errors import GateError, NotFound, from_code
from h2gate.fields import digests, integer

_TIMEOUT = httpx.Timeout(connect=10, read=300, write=60, pool=None).as_dict()


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a listing; `size` in bytes, `modified` as RFC 3339 text (of one file alone an HTTP-date)."""

    name: str
    type: str
    url: str
    size: int | None = None
    modified: str = ""
    etag: str = ""
    repr_digest: str = ""


class Asker:
    """Requests over one transport, with the fields that all of them carry.

    httpx's own client above the transport (cookies, redirects, authentication, events) would cost as much as the rest
    of a small upload, and has nothing to do here.
    """

    def __init__(
        self,
        transport: Transport,
        headers: Mapping[str, str],
        pace: Pace | None = None,
        credential: Credential | None = None,
        origin: str = "",
    ) -> None:
        """`pace` limits the bodies of requests and answers together. `credential` is for the origin of the URL `origin`
        alone: no other one hears of it."""
        self._credential = credential
        self._origin = _origin(httpx.URL(names.origin(origin))) if credential is not None else None
        self._transport = transport
        self._pace = pace
        self._headers = {"user-agent": "h2gate", **headers}
        self.was_answered = False
        """There was somebody at the other end, at least once."""

    async def close(self) -> None:
        try:
            if self._credential is not None:
                await self._credential.close()
        finally:
            await self._transport.aclose()

    def request(self, method: str, url: str, headers: dict[str, str], **more: Any) -> httpx.Request:
        extensions = {
            "timeout": _TIMEOUT,
            **(self._pace.extensions if self._pace else {}),
            **more.pop("extensions", {}),
        }
        target = httpx.URL(url)
        fields = {"host": target.netloc.decode("ascii"), **self._headers, **headers}
        if self._pace is not None and "stream" in more:
            more["stream"] = self._pace.limited(more["stream"])
        return httpx.Request(method, target, headers=fields, extensions=extensions, **more)

    async def stream(self, request: httpx.Request) -> httpx.Response:
        """The answer's header section; the body is to be read and closed by the caller."""
        paid = await self._pace.admitted(request) if self._pace is not None else 0
        response = await self._sent(request)
        response.request = request
        if self._pace is not None:
            length = integer(response.headers.get("content-length")) if paid else None
            response.stream = self._pace.limited(cast(httpx.AsyncByteStream, response.stream), paid, length)
        self.was_answered = True
        return response

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        if self._credential is None or not self._is_for(request):
            return await self._transport.handle_async_request(request)
        return await self._credential.send(request, self._transport.handle_async_request)

    def _is_for(self, request: httpx.Request) -> bool:
        return _origin(request.url) == self._origin

    async def renew(self, request: httpx.Request) -> bool:
        """Whether what was refused to `request` after it began may be asked for again, as somebody better known."""
        return self._credential is not None and self._is_for(request) and await self._credential.renew(request)

    async def ask(self, method: str, url: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        """The whole answer, if it is a 2xx. Raises the error that the gateway named, or what broke on the way."""
        try:
            response = await self.stream(self.request(method, url, headers, **more))
            try:
                await response.aread()
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise from_httpx(error) from error
        if not 200 <= response.status_code < 300:
            raise refusal(response)
        return response

    async def ls(self, url: str) -> list[Entry]:
        """What is in a folder, or the one file that `url` names. Raises `GateError`."""
        if not names.is_folder(url):
            try:
                return [await self.head(url)]
            except NotFound:
                url += "/"
        response = await self.ask("GET", url, {"accept": "application/json"})
        try:
            listing = response.json()
            return [_entry(url, each) for each in listing["entries"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise GateError(f"{url}: the answer is not a listing") from error

    async def uploads(self, url: str) -> list[dict[str, Any]]:
        """The resumable uploads of who asks, at the gateway that `url` is of. Raises `GateError`."""
        response = await self.ask("GET", urljoin(url, "/uploads/"), {"accept": "application/json"})
        try:
            return [dict(each) for each in response.json()["uploads"]]
        except (ValueError, KeyError, TypeError) as error:
            raise GateError(f"{url}: the answer is not a list of uploads") from error

    async def ticket(self, url: str, claims: Mapping[str, Any]) -> dict[str, Any]:
        """Have the gateway make a ticket for the folder that `url` names. Raises `GateError`."""
        wanted = json.dumps({"folder": names.path_below_files(url), **claims}).encode()
        response = await self.ask(
            "POST", urljoin(url, "/tickets/"), {"content-type": "application/json"}, content=wanted
        )
        try:
            made = dict(response.json())
            return {**made, "url": urljoin(url, made["url"])}
        except (ValueError, TypeError, KeyError) as error:
            raise GateError(f"{url}: the answer is not a ticket") from error

    async def revoke(self, url: str, ticket_id: str) -> None:
        """End a ticket of the gateway that `url` is of. Raises `GateError`."""
        await self.ask("DELETE", urljoin(url, f"/tickets/{ticket_id}"), {})

    async def walk(self, url: str, selection: Selection = ALL, within: str = "") -> AsyncIterator[Entry]:
        """The files below a folder that `selection` takes; `within` is the folder's name below where it began."""
        for entry in await self.ls(url):
            name = within + entry.name
            if entry.type != "directory":
                if selection.takes(name):
                    yield entry
            elif selection.enters(name):
                async for each in self.walk(entry.url + "/", selection, name + "/"):
                    yield each

    async def holds(self, url: str, size: int, digest: Callable[[], Awaitable[bytes]]) -> bool:
        """Whether the gateway states that the file there has this size and SHA-256. `digest` is asked for the latter
        only where the former is right. Raises what may be tried again."""
        try:
            there = await self.head(url)
            stated = digests(there.repr_digest, "Repr-Digest").get("sha-256")
        except GateError as error:
            if error.retry:
                raise
            return False
        return there.size == size and stated is not None and stated == await digest()

    async def head(self, url: str) -> Entry:
        fields = (await self.ask("HEAD", url, {})).headers
        size = fields.get("content-length")
        told = (fields.get(name, "") for name in ("last-modified", "etag", "repr-digest"))
        return Entry(names.last_name(url), "file", url, int(size) if size else None, *told)


def refusal(response: httpx.Response) -> GateError:
    """The problem document (RFC 9457) as the class it names."""
    document: dict[str, Any] = {}
    if "json" in response.headers.get("content-type", ""):
        try:
            document = dict(response.json())
        except (ValueError, TypeError):
            document = {}
    detail = str(document.get("detail") or f"{response.status_code} {response.reason_phrase}")
    if response.status_code == 401:
        detail = _unrecognised(response.request, detail)
    error = from_code(str(document.get("code", "")), response.status_code, detail)
    error.members["seen"] = response.status_code
    for name in ("retry-after", "upload-limit"):
        if name in response.headers:
            error.members[name.replace("-", "_")] = response.headers[name]
    if AGAIN in response.extensions:
        error.retry, error.members["retry_after"] = True, "0"
    return error


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _unrecognised(request: httpx.Request, detail: str) -> str:
    """What a person can do about it. An answer that repeats the credential is not repeated here."""
    origin = names.origin(str(request.url))
    _, _, sent = request.headers.get("authorization", "").rpartition(" ")
    if not sent:
        return f"{origin} wants to know who is asking ({detail}): h2gate login {origin}, or give a token"
    return f"{origin} does not take this credential ({detail.replace(sent, '…')})"


def _entry(folder: str, described: dict[str, Any]) -> Entry:
    name = names.safe_name(str(described["name"]).rstrip("/"))
    size = described.get("size")
    return Entry(
        name,
        str(described.get("type", "file")),
        names.below(folder, name),
        int(size) if size is not None else None,
        str(described.get("modified", "")),
        str(described.get("etag", "")),
        str(described.get("repr_digest") or ""),
    )
