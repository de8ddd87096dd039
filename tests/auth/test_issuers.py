"""`[[issuers]]` and `[forward]` in a policy: what is said holds, and what cannot be meant names file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2gate.auth.forwarded import Forward
from h2gate.auth.issuers import ALGORITHMS, Claims, Issuer
from h2gate.auth.outbound import parsed
from h2gate.auth.policy import Policy, load
from h2gate.auth.rights import parse
from h2gate.errors import ConfigError

ISSUER = '[[issuers]]\nissuer = "https://id.example"\naudience = "gate"\n'
FORWARD = '[forward]\nurl = "https://auth.example/check"\n'


def policy(folder: Path, text: str) -> Policy:
    (folder / "auth.toml").write_text(text)
    return load(folder / "auth.toml")


def test_issuer_has_its_defaults(tmp_path: Path) -> None:
    assert policy(tmp_path, ISSUER).issuers == (Issuer(issuer="https://id.example", audience=("gate",)),)
    assert not any(each.startswith(("HS", "none")) for each in ALGORITHMS)


def test_issuer_is_what_the_policy_says(tmp_path: Path) -> None:
    text = """
    [[issuers]]
    issuer = "http://127.0.0.1:8000/realms/a"
    audience = ["a", "b"]
    algorithms = "ES512"
    leeway_seconds = 0
    claims = { scope = "scp", tenant = "project", groups = "wlcg.groups", name = "name" }
    rights = "storage.read:/shared"
    ca = "ca.pem"
    keys_seconds = 60
    stale_seconds = 0
    [issuers.group_rights]
    "/staff" = ["storage.modify:/staff", "storage.read:/"]
    """
    (found,) = policy(tmp_path, text).issuers
    assert found == Issuer(
        issuer="http://127.0.0.1:8000/realms/a",
        audience=("a", "b"),
        algorithms=("ES512",),
        leeway_seconds=0,
        claims=Claims(scope="scp", tenant="project", groups="wlcg.groups", name="name"),
        rights=parse("storage.read:/shared"),
        group_rights={"/staff": parse("storage.modify:/staff storage.read:/")},
        ca=tmp_path / "ca.pem",
        keys_seconds=60,
        stale_seconds=0,
    )


def test_forward_has_its_defaults_and_is_what_the_policy_says(tmp_path: Path) -> None:
    assert policy(tmp_path, FORWARD).forward == Forward(url="https://auth.example/check")
    text = f"""{FORWARD}
    timeout_seconds = 2.5
    cache_seconds = 0
    cache = "credentials"
    user_headers = "X-User"
    group_headers = []
    tenant_header = "X-Project"
    rights = "storage.read:/"
    forward_headers = ["Cookie"]
    ca = "ca.pem"
    """
    assert policy(tmp_path, text).forward == Forward(
        url="https://auth.example/check",
        timeout_seconds=2.5,
        cache_seconds=0,
        cache="credentials",
        user_headers=("x-user",),
        group_headers=(),
        tenant_header="x-project",
        rights=parse("storage.read:/"),
        forward_headers=("cookie",),
        ca=tmp_path / "ca.pem",
    )
    assert policy(tmp_path, "").forward is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('[[issuers]]\naudience = "a"', r"\[issuers 1\] issuer: is missing"),
        ('[[issuers]]\nissuer = "https://id.example"', r"\[issuers 1\] audience: is missing"),
        (ISSUER.replace("https", "http"), r"\[issuers 1\] issuer: "),
        (ISSUER.replace('"gate"', "[]"), r"\[issuers 1\] audience: "),
        (ISSUER.replace('"gate"', '["gate", ""]'), r"\[issuers 1\] audience: "),
        (ISSUER + ISSUER, r"\[issuers 2\] issuer: .*twice"),
        (ISSUER + 'algorithms = ["none"]', r"\[issuers 1\] algorithms: 'none'"),
        (ISSUER + 'algorithms = ["RS256", "HS256"]', r"\[issuers 1\] algorithms: 'HS256'"),
        (ISSUER + "algorithms = []", r"\[issuers 1\] algorithms: "),
        (ISSUER + "leeway_seconds = 301", r"\[issuers 1\] leeway_seconds: "),
        (ISSUER + "leeway_seconds = -1", r"\[issuers 1\] leeway_seconds: "),
        (ISSUER + "keys_seconds = 0", r"\[issuers 1\] keys_seconds: "),
        (ISSUER + 'claims = { tenants = "x" }', r"\[issuers 1.claims\] tenants: "),
        (ISSUER + 'rights = "storage.modify"', r"\[issuers 1\] rights: "),
        (ISSUER + 'rights = "storage.modify:/../"', r"\[issuers 1\] rights: "),
        (ISSUER + 'group_rights = { staff = "storage.read:/" }', r"\[issuers 1\] group_rights: "),
        (ISSUER + 'claims = { groups = "g" }\ngroup_rights = { staff = "all" }', r"\[issuers 1.group_rights\] staff: "),
        (ISSUER + 'audiences = "a"', r"\[issuers 1\] audiences: "),
        ("[forward]", r"\[forward\] url: is missing"),
        (FORWARD.replace("https", "http"), r"\[forward\] url: "),
        (FORWARD.replace("https://", "https://user:secret@"), r"\[forward\] url: "),
        (FORWARD + "timeout_seconds = 0", r"\[forward\] timeout_seconds: "),
        (FORWARD + 'cache = "all"', r"\[forward\] cache: "),
        (FORWARD + "user_headers = []", r"\[forward\] user_headers: "),
        (FORWARD + "forward_headers = []", r"\[forward\] forward_headers: "),
        (FORWARD + 'forward_headers = ["Content-Length"]', r"\[forward\] forward_headers: "),
        (FORWARD + 'forward_headers = ["Transfer-Encoding"]', r"\[forward\] forward_headers: "),
        (FORWARD + 'forward_headers = ["Host"]', r"\[forward\] forward_headers: "),
        (FORWARD + 'user_headers = ["a b"]', r"\[forward\] user_headers: "),
        (FORWARD + 'right = "storage.read:/"', r"\[forward\] right: "),
    ],
)
def test_what_cannot_be_meant_names_table_and_key(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError, match=f"auth.toml: {place}"):
        policy(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org/",
        "http://localhost.example.org/",
        "http://127.0.0.1.example.org/",
        "http://10.0.0.1/",
        "https://",
        "https://user@example.org/",
        "https://example.org/#a",
        " https://example.org/",
        "https://example.org:0/",
        "https://example.org:99999/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "//example.org/",
        "",
        "https://exa\nmple.org/",
    ],
)
def test_address_that_is_not_to_be_asked(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize(
    "text", ["https://example.org", "http://localhost:1/", "http://127.9.9.9/", "http://[::1]:8/a?b"]
)
def test_address_that_may_be_asked(text: str) -> None:
    assert str(parsed(text)).startswith(text.partition("?")[0])
