"""Small ASGI applications that do what an upload route would never do."""

from __future__ import annotations

import asyncio
from typing import Any

from h2gate.server.exchange import Message

TRAILERS = b"x-checksum"


class Applications:
    """One application; the path says what it does. What it saw and how it ended is kept in `log`."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        name = scope["path"].strip("/").replace("-", "_")
        try:
            await getattr(self, f"_{name}", self._unknown)(scope, receive, send)
        except BaseException as error:
            self.log.append(f"{name} raised {type(error).__name__}")
            raise
        self.log.append(f"{name} ended")

    async def _lifespan(self, receive: Any, send: Any) -> None:
        for event in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{event}"
            await send({"type": f"lifespan.{event}.complete"})

    async def _answer(self, send: Any, body: bytes, status: int = 200) -> None:
        headers = [(b"Content-Length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _unknown(self, scope: Message, receive: Any, send: Any) -> None:
        await self._answer(send, b"", 404)

    async def _hello(self, scope: Message, receive: Any, send: Any) -> None:
        await self._answer(send, b"hello")

    async def _two_fields(self, scope: Message, receive: Any, send: Any) -> None:
        """In one."""
        headers = [(b"location", b"/x\r\nset-cookie: a=b"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def _count(self, scope: Message, receive: Any, send: Any) -> None:
        """The bytes of the body, and the trailers behind it."""
        n_bytes, more = 0, True
        while more:
            message = await receive()
            n_bytes += len(message["body"])
            more = message["more_body"]
        fields = scope["extensions"]["h2gate.body"].trailers
        trailers = ",".join(f"{name.decode()}={value.decode()}" for name, value in fields)
        await self._answer(send, f"{n_bytes} {trailers}".encode())

    async def _progress(self, scope: Message, receive: Any, send: Any) -> None:
        for n in range(3):
            headers = [(b"upload-offset", b"%d" % n)]
            await send({"type": "http.response.informational", "status": 104, "headers": headers})
        await self._count(scope, receive, send)

    async def _raise_before(self, scope: Message, receive: Any, send: Any) -> None:
        raise RuntimeError("before the header, says the test")

    async def _raise_after(self, scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"the beginning", "more_body": True})
        raise RuntimeError("after the header, says the test")

    async def _silent(self, scope: Message, receive: Any, send: Any) -> None:
        return

    async def _too_short(self, scope: Message, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"100")]})
        await send({"type": "http.response.body", "body": b"not a hundred"})

    async def _wait(self, scope: Message, receive: Any, send: Any) -> None:
        """For the disconnect."""
        self.log.append("wait began")
        while (await receive())["type"] != "http.disconnect":
            pass

    async def _hang(self, scope: Message, receive: Any, send: Any) -> None:
        self.log.append("hang began")
        await asyncio.Event().wait()

    async def _flood(self, scope: Message, receive: Any, send: Any) -> None:
        """An answer without end."""
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            self.log.append("flood sent")
