"""Certificates as the policy has them by now: what was named is, and what is not named any more is nobody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import replace

import pytest
import trustme

from h2gate.auth.base import Evidence, Principal, Via
from h2gate.auth.certificate import Certificates, Known
from h2gate.auth.rights import parse
from h2gate.errors import Unauthenticated

LAB = Principal(name="certificate:lab", via=Via.CERTIFICATE, rights=parse("storage.modify:/lab"))
KNOWN = Known(frozenset({"san dns:lab.example"}), LAB)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    pem = trustme.CA().issue_cert("lab.example", "other.example").cert_chain_pems[0].bytes().decode()
    return Evidence(method="PUT", target="/", headers={}, peer="", certificate=ssl.PEM_cert_to_DER_cert(pem))


def recognised(evidence: Evidence, known: Sequence[Known]) -> Principal:
    found = asyncio.run(Certificates(known).authenticate(evidence))
    assert found is not None
    return found


def test_rights_are_those_that_the_table_has_at_the_end(evidence: Evidence) -> None:
    principal = recognised(evidence, [KNOWN])
    less = parse("storage.create:/lab")
    now = asyncio.run(Certificates([Known(KNOWN.names, replace(LAB, rights=less))]).look_again(principal))
    assert now is not None
    assert (now.name, now.rights) == ("certificate:lab", less)


@pytest.mark.parametrize(
    "known",
    [
        [],
        [Known(frozenset({"san dns:other.example"}), LAB)],
        [Known(KNOWN.names, replace(LAB, name="certificate:another"))],
    ],
    ids=["gone", "named-by-another-of-its-names", "somebody-else"],
)
def test_who_is_not_named_any_more_completes_nothing(evidence: Evidence, known: list[Known]) -> None:
    with pytest.raises(Unauthenticated):
        asyncio.run(Certificates(known).look_again(recognised(evidence, [KNOWN])))


def test_others_are_not_asked_about(evidence: Evidence) -> None:
    assert asyncio.run(Certificates([]).look_again(replace(LAB, via=Via.KEY))) is None
