"""New certificates without a restart: connections accepted from now on are shown the new one, those there go on.

A pair that cannot be used is told in one line, and the old one stays.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from h2gate.errors import ConfigError
from h2gate.server.certificates import Certificates
from h2gate.server.worker import Worker, tls_context

log = logging.getLogger("h2gate")


def load_certificates(found: Certificates) -> ssl.SSLContext:
    """Raises `ConfigError` when they cannot be used."""
    try:
        context = tls_context(str(found.cert), str(found.key))
    except OSError as error:
        raise ConfigError(f"--cert {found.cert}, --key {found.key}: {error}") from error
    if found.client_ca is not None:
        _ask_for_certificates(context, found.client_ca)
    return context


def _ask_for_certificates(context: ssl.SSLContext, authorities: Path) -> None:
    """Of clients; who shows none is served as well, and one that those authorities did not issue ends the handshake."""
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise ConfigError(f"client_ca {authorities}: {error}") from error
    context.verify_mode = ssl.CERT_OPTIONAL


def reloader(
    worker: Worker,
    found: Certificates | None,
    reload_policy: Callable[[], Awaitable[None]],
    client_ca: Callable[[], Path | None],
) -> Callable[[], None]:
    """What to do when a reload is asked for: one after the other, so that the last one wins. `client_ca` is what the
    policy says then."""
    lock = asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        async with lock:
            await reload_policy()
            if found is None:
                log.info("nothing to reload: there is no TLS")
                return
            try:
                worker.tls = await asyncio.to_thread(load_certificates, replace(found, client_ca=client_ca()))
            except ConfigError as error:
                log.error("the old certificate stays: %s", error)
            else:
                log.info("certificate reloaded: %s", found.cert)

    def begin() -> None:
        task = worker.loop.create_task(reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return begin
