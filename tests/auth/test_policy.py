"""The file of `--auth`: what is said in it holds, and what cannot be meant is an error that names the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2gate import config
from h2gate.auth import keys
from h2gate.auth.policy import load
from h2gate.errors import BadScope, ConfigError

DIGEST = "ab" * 32
KEY = f'[[keys]]\nid = "a"\nsha256 = "{DIGEST}"\nrights = "storage.read:/in"\n'


def policy_of(folder: Path, text: str) -> Path:
    (folder / "auth.toml").write_text(text)
    return folder / "auth.toml"


def test_what_the_file_says_holds(tmp_path: Path) -> None:
    text = f"""
client_ca = "clients.pem"
[tenants.physics]
root = "by-group/physics"
max_bytes = 1000
retention_seconds = 86400
[tenants.biology]
{KEY}
tenant = "physics"
groups = ["beam"]
expires = 2030-01-31T12:00:00Z
[[certificates]]
subject = "CN=a,O=b"
rights = ["storage.create:/x", "storage.read:/"]
[audit]
max_bytes = "1M"
"""
    policy = load(policy_of(tmp_path, text))
    assert policy.client_ca == tmp_path / "clients.pem"
    physics = policy.tenants["physics"]
    assert (physics.root, physics.max_bytes, physics.max_files) == ("by-group/physics", 1000, None)
    assert policy.tenants["biology"].root == "biology"
    (key,) = policy.keys
    assert (key.principal.name, key.principal.tenant, key.principal.groups) == ("key:a", "physics", ("beam",))
    assert (str(key.principal.rights), key.principal.expires_at) == ("storage.read:/in", 1896091200.0)
    (known,) = policy.certificates
    assert str(known.principal.rights) == "storage.create:/x storage.read:/"
    assert policy.table("audit").text("max_bytes") == "1M"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[key]]\n", "key: nothing is called so"),
        (KEY + 'right = "x"\n', "[keys 1] right: nothing is called so"),
        (KEY + KEY, "[keys 2] id: a is there twice"),
        (KEY.replace('"a"', '"a_b"'), "[keys 1] id: 'a_b'"),
        (KEY.replace(DIGEST, "ab"), "[keys 1] sha256: not 64"),
        (KEY.replace(f'sha256 = "{DIGEST}"', ""), "[keys 1] sha256: is missing"),
        (KEY.replace("storage.read:/in", "storage.read:in"), "[keys 1] rights: 'storage.read:in'"),
        (KEY.replace("storage.read:/in", "storage.reed:/in"), "[keys 1] rights: 'storage.reed:/in'"),
        (KEY.replace("storage.read:/in", "read:/in"), "[keys 1] rights: 'read:/in'"),
        (KEY.replace("storage.read:/in", "storage.read:/in/../out"), "[keys 1] rights: 'storage.read:/in/../out'"),
        (KEY + 'tenant = "none"\n', "tenant: key:a: there is no [tenants.none]"),
        (KEY + "expires = 2030-01-31\n", "[keys 1] expires: datetime.date"),
        (KEY + 'expires = "2030-01-31T00:00:00Z"\n', "[keys 1] expires: '2030"),
        (KEY + "groups = [1]\n", "[keys 1] groups: [1] is not a list of texts"),
        ("[[certificates]]\nrights = 'storage.read:/'\n", "[certificates 1] subject: there must be"),
        ("[[certificates]]\nsubject = 'nonsense'\nrights = 'storage.read:/'\n", "[certificates 1] subject: "),
        ("[[certificates]]\nfingerprint = 'abc'\nrights = 'storage.read:/'\n", "[certificates 1] fingerprint: "),
        ("[[certificates]]\nsan = 'dns:a'\nrights = 'storage.read:/'\n", "client_ca: is missing"),
        (
            2 * "[[certificates]]\nsan = 'dns:a'\nrights = 'storage.read:/'\n",
            "[certificates 2] san: dns:a is there twice",
        ),
        ("[tenants.a]\nmax_bites = 1\n", "[tenants.a] max_bites: nothing is called so"),
        ("[tenants.a]\nmax_bytes = -1\n", "[tenants.a] max_bytes: -1 is less than 0"),
        ("[tenants.a]\nmax_bytes = '1G'\n", "[tenants.a] max_bytes: '1G' is not a whole number"),
        ("[tenants.a]\nmax_bytes = true\n", "[tenants.a] max_bytes: True is not a whole number"),
        ("[tenants.a]\nroot = '../a'\n", "[tenants.a] root: "),
        ("[tenants.a]\n[tenants.b]\nroot = 'a/b'\n", "[tenants] b: its root /a/b lies within that of a, /a"),
        ("[tenants.a]\n[tenants.b]\nroot = 'a'\n", "lies within"),
        ("[tenants.a]\n[tenants.b]\nroot = '/'\n", "lies within"),
        ("tenants = 1\n", "tenants: 1 is not a table"),
        ("keys = 1\n", "keys: 1 is not a list of tables"),
        ("keys = [1]\n", "keys: not a list of tables"),
        ("a = \n", "auth.toml: "),
    ],
)
def test_what_cannot_be_meant_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = policy_of(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))
    assert told in str(caught.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load(tmp_path / "none.toml")


def test_anonymous_and_auth_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only one of them"):
        config.load({"anonymous": True, "auth": "auth.toml"}, environment={})


def test_a_key_that_is_made_is_known_by_the_lines_that_are_written(tmp_path: Path) -> None:
    key, lines = keys.written("scanner-7", "storage.create:/a%20b", None, None)
    (known,) = load(policy_of(tmp_path, lines)).keys
    assert keys.presented(f"Bearer {key}") == ("scanner-7", key.removeprefix("h2g_scanner-7_"))
    assert key.removeprefix("h2g_scanner-7_") not in lines
    assert known.principal.rights.all[0].segments == ("a b",)
    with pytest.raises(BadScope):
        keys.written("x", "everything", None, None)
