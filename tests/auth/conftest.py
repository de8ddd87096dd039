"""An issuer for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.auth.issuing import Issuing, issuing


@pytest.fixture
def issuer() -> Iterator[Issuing]:
    with issuing() as found:
        yield found
