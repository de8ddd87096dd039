"""`h2gate serve`: sockets, certificate, data folder, then one worker in this process or several of their own.

Each worker has a socket of its own on the same port (SO_REUSEPORT), so the kernel spreads connections evenly; the
parent only binds them, never listens, and starts a worker anew that dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import sys
from dataclasses import replace

from h2gate import heap, logs
from h2gate.config import Settings
from h2gate.gateway import load_policy, recover, sole_owner
from h2gate.server.certificates import Certificates, ensure
from h2gate.server.reloading import load_certificates
from h2gate.server.sockets import bind_all
from h2gate.server.workers import Inherited, MakeApp, reload_held_back, run_worker, supervise

log = logging.getLogger("h2gate")

_FEW_DESCRIPTORS = 4096


def run(settings: Settings, make_app: MakeApp) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Raises `ConfigError` for what cannot be used."""
    logs.configure(settings.log_format)
    heap.tune()  # before there is a thread
    _take_all_descriptors()
    with reload_held_back(), contextlib.ExitStack() as stack:
        sockets = bind_all(settings)
        for each in (each for group in sockets for each in group):
            stack.callback(each.sock.close)
        lock = Inherited(stack.enter_context(sole_owner(settings.data)))
        certificates = _certificates(settings) if any(each.tls for each in sockets[0]) else None
        dropped, cut, settled = asyncio.run(recover(settings))
        if dropped or cut or settled:
            text = (
                "after the last run: %d uploads dropped, %d appends cut back, %d resumable uploads brought up to date"
            )
            log.info(text, dropped, cut, settled)
        urls = " ".join(each.url for each in sockets[0])

        def ready() -> None:
            print(f"h2gate ready on {urls}", file=sys.stderr, flush=True)

        if settings.workers == 1:
            run_worker(settings, make_app, sockets[0], certificates, ready)
            return 0
        return supervise(settings, make_app, sockets, certificates, lock, ready)


def _take_all_descriptors() -> None:
    """The soft limit is there for programs that use select(2). Workers inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < _FEW_DESCRIPTORS:
        log.warning("no more than %d descriptors: more connections and uploads at once than that are refused", hard)


def _certificates(settings: Settings) -> Certificates:
    if settings.cert is not None and settings.key is not None:
        found = Certificates(ca=settings.cert, cert=settings.cert, key=settings.key)
    else:
        found = ensure(settings.certs)
        print(f"h2gate: development certificate; clients trust it with --ca {found.ca}", file=sys.stderr)
    if settings.auth is not None:
        found = replace(found, client_ca=load_policy(settings.auth).client_ca)
    load_certificates(found)  # here, where it can still be told in one line
    return found
