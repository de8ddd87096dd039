"""An HTTP/2 upload gateway: many files stream over one connection to disk, and credit follows the disk.

`h2gate.Client` and `h2gate.SyncClient` are the other end, `h2gate.client.Transport` what they send with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from h2gate.client import Client as Client
    from h2gate.client import SyncClient as SyncClient

__all__ = ["Client", "SyncClient"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: a gateway does not need what a client needs, nor its memory."""
    if name == "client" or name in __all__:
        client = import_module("h2gate.client")
        return client if name == "client" else getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
