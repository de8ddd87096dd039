"""The other end: `Transport` for any httpx client, `Client` for many files over one connection, `SyncClient` for
programs without an event loop. docs/client.md shows how they are used."""

from h2gate.client.asking import Entry
from h2gate.client.blocking import SyncClient
from h2gate.client.listener import Item, Listener, Outcome
from h2gate.client.progress import Progress
from h2gate.client.selection import Selection
from h2gate.client.session import Client
from h2gate.client.transport import Transport

__all__ = ["Client", "Entry", "Item", "Listener", "Outcome", "Progress", "Selection", "SyncClient", "Transport"]
