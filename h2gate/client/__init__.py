"""The other end: `Transport` for any httpx client, `Client` for many files over one connection."""

from h2gate.client.transport import Transport

__all__ = ["Transport"]
