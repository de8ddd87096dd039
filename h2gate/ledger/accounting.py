"""What a ledger does for accounts (`ledger.accounts`), as jobs among all others: they share transactions and syncs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from h2gate.lane import Lane
from h2gate.ledger import accounts
from h2gate.ledger.accounts import AccountOf
from h2gate.ledger.base import Claim, Usage

Job: TypeAlias = Callable[[sqlite3.Connection], Any]


class Accounting:
    """The part of `ledger.base.Ledger` that is about accounts. A job of the lane comes with whether it writes."""

    def __init__(self, lane: Lane[tuple[Job, bool], Any], account_of: AccountOf | None) -> None:
        self._lane = lane
        self._account_of = account_of

    async def claim(self, claim: Claim) -> int:
        granted: int = await self._lane.submit((partial(accounts.claim, claim=claim), True))
        return granted

    async def settle(self, upload_id: str, n_bytes: int) -> None:
        await self._lane.submit((partial(accounts.settle, upload_id=upload_id, n_bytes=n_bytes), True))

    async def release(self, upload_id: str) -> None:
        await self._lane.submit((lambda database: accounts.release(database, upload_id), True))

    async def usage(self, account: str) -> Usage:
        found: Usage = await self._lane.submit((partial(accounts.usage, name=account), False))
        return found

    async def open(self, account: str, issuer: str, expires_at: float) -> None:
        values = (account, issuer, expires_at)
        await self._lane.submit((lambda database: accounts.open_(database, *values), True))

    async def shut(self, account: str, expires_at: float) -> None:
        await self._lane.submit((partial(accounts.shut, name=account, expires_at=expires_at), True))

    async def forget_accounts(self, before: float) -> None:
        await self._lane.submit((partial(accounts.forget_accounts, before=before), True))

    async def holders(self) -> Sequence[str]:
        return await self._texts("SELECT DISTINCT holder FROM holds WHERE holder != ''")

    async def abandon(self, holder: str, sizes: Mapping[str, int]) -> None:
        await self._lane.submit((partial(accounts.abandon, holder=holder, sizes=sizes), True))

    async def recount(self, sizes: Mapping[str, int]) -> None:
        await self._lane.submit((partial(accounts.recount, account_of=self._account_of, sizes=sizes), True))

    async def _texts(self, query: str, *values: object) -> list[str]:
        def job(database: sqlite3.Connection) -> list[str]:
            return [text for (text,) in database.execute(query, values)]

        found: list[str] = await self._lane.submit((job, False))
        return found
