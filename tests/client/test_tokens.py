"""Where tokens come from: each source, the order in which a command looks at them, and that none of them is told."""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from h2gate.client import tokens
from h2gate.client.claiming import chosen
from h2gate.client.failures import NoToken
from h2gate.client.tokens import FromCommand, FromFile, Given, Token, TokenSource
from h2gate.errors import ConfigError

GATE = "https://gate.example/files/"


def jwt(**claims: object) -> str:
    parts = ({"alg": "ES256"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


DEEP = f"x.{base64.urlsafe_b64encode(b'[' * 3000 + b']' * 3000).decode()}.x"


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


async def value(source: TokenSource | None, stale: Token | None = None) -> str:
    assert source is not None
    return (await source.token(stale)).value


# -- tokens


def test_jwt_tells_when_it_expires_and_how_long_it_lives() -> None:
    token = Token.of(jwt(iat=1000, exp=4600) + "\n", "x")
    assert (token.expires_at, token.lifetime_seconds) == (4600, 3600)


@pytest.mark.parametrize(
    "text", ["opaque", "h2g_id_secret", "a.b.c", DEEP, f"{'e30'}.{'W10'}.x", jwt(exp="soon"), "a+/~-_=="]
)
def test_token_that_says_nothing_of_its_end_is_taken(text: str) -> None:
    assert Token.of(text, "x") == Token(text)


@pytest.mark.parametrize("text", ["", " ", "two words", "a\r\nX-Evil: 1", "sécret", "=", "x" * (tokens.MAX_BYTES + 1)])
def test_text_that_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(NoToken) as refused:
        Token.of(text, "where it was")
    assert str(refused.value) == "where it was: what is there is no token"


def test_token_is_not_in_its_repr() -> None:
    assert "secret" not in repr([Token("secret"), Given("secret").__dict__])


# -- files


async def test_file_is_read_again_for_another_token(tmp_path: Path) -> None:
    source = FromFile(private(tmp_path / "token", "one\n"), "--token-file")
    assert await value(source) == "one"
    private(tmp_path / "token", "two\n")
    assert await value(source, Token("one")) == "two"


@pytest.mark.parametrize(("mode", "is_private", "why"), [(0o644, False, "chmod"), (0o640, True, "chmod")])
async def test_file_that_others_may_read_is_refused(tmp_path: Path, mode: int, is_private: bool, why: str) -> None:
    file = private(tmp_path / "token", "secret", mode)
    with pytest.raises(NoToken, match=why):
        await value(FromFile(file, "x", private=is_private))


async def test_file_of_a_group_may_be_named(tmp_path: Path) -> None:
    assert await value(FromFile(private(tmp_path / "token", "t", 0o640), "x")) == "t"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = private(tmp_path / "token", "secret")
    os.chown(file, 12345, 12345)
    with pytest.raises(NoToken, match="somebody else"):
        await value(FromFile(file, "x"))


async def test_link_is_no_discovered_file_and_a_pipe_is_none_at_all(tmp_path: Path) -> None:
    private(tmp_path / "token", "t")
    (tmp_path / "link").symlink_to("token")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(NoToken):
        await value(FromFile(tmp_path / "link", "x", private=True))
    assert await value(FromFile(tmp_path / "link", "x")) == "t"
    with pytest.raises(NoToken, match="regular"):
        await value(FromFile(tmp_path / "pipe", "x"))
    with pytest.raises(NoToken, match="No such file"):
        await value(FromFile(tmp_path / "nothing", "x"))


async def test_file_that_is_too_long_is_read_in_part_and_refused(tmp_path: Path) -> None:
    with pytest.raises(NoToken):
        await value(FromFile(private(tmp_path / "token", "x" * (tokens.MAX_BYTES + 5)), "x"))


# -- commands


async def test_command_is_run_again_for_another_token(tmp_path: Path) -> None:
    count = tmp_path / "count"
    code = f"f = open({str(count)!r}, 'a+'); f.write('x'); f.seek(0); print('t%d' % len(f.read()))"
    source = FromCommand(python(code), "x")
    assert [await value(source), await value(source, Token("t1"))] == ["t1", "t2"]


async def test_command_gets_no_standard_input() -> None:
    assert await value(FromCommand(python("import sys; print('n%d' % len(sys.stdin.read()))"), "x")) == "n0"


async def test_command_is_no_shell() -> None:
    with pytest.raises(NoToken, match="is no token"):
        await value(FromCommand("echo a;b", "x"))


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (python("print('secret'); raise SystemExit(3)"), "ended with 3"),
        ("/nowhere/to/be/found secret", "No such file"),
        (python("print('x' * 200000)"), "too much"),
        (python("pass"), "no token"),
    ],
)
async def test_command_that_fails_is_told_without_what_it_said(command: str, why: str) -> None:
    with pytest.raises(NoToken, match=why) as failed:
        await value(FromCommand(command, "--token-command"))
    assert str(failed.value).startswith("--token-command: ")
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("what", ["import time; time.sleep(600)", "import os, time; os.fork() or time.sleep(5)"])
async def test_command_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(tokens, "SECONDS", 0.5)
    with pytest.raises(NoToken, match="took longer"):
        await value(FromCommand(python(what), "x"))


@pytest.mark.parametrize("command", ["", "  ", "echo 'open"])
def test_command_that_is_none_is_refused_at_once(command: str) -> None:
    with pytest.raises(ConfigError, match="--token-command"):
        FromCommand(command, "--token-command")


# -- the order


class Login:
    """Stands for what is stored."""

    async def token(self, stale: Token | None) -> Token:
        return Token("stored")


@pytest.fixture
def everything(tmp_path: Path) -> dict[str, str]:
    """An environment in which every way leads to a token."""
    private(tmp_path / f"bt_u{os.geteuid()}", "runtime")
    return {
        "H2GATE_TOKEN": "own",
        "H2GATE_TOKEN_FILE": str(private(tmp_path / "own", "own-file")),
        "BEARER_TOKEN": "bearer",
        "BEARER_TOKEN_FILE": str(private(tmp_path / "bearer", "bearer-file")),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }


async def test_first_source_that_is_there_is_the_one(tmp_path: Path, everything: dict[str, str]) -> None:
    def pick(environment: dict[str, str], **more: Any) -> Awaitable[str]:
        return value(chosen(GATE, Login, environment=environment, **more))

    file = private(tmp_path / "file", "file")
    assert await pick(everything, file=file) == "file"
    assert await pick(everything, command="echo command") == "command"
    found = []
    while everything:
        found.append(await pick(everything))
        everything.pop(next(iter(everything)))
    assert found == ["own", "own-file", "bearer", "bearer-file", "runtime"]
    assert await pick({"H2GATE_TOKEN": "", "BEARER_TOKEN": " ", "XDG_RUNTIME_DIR": "/nowhere"}) == "stored"


async def test_file_in_a_shared_folder_is_ours_or_passed_by(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    file = private(tmp_path / f"bt_u{os.geteuid()}", "planted")
    os.chown(file, 12345, 12345)
    assert await value(chosen(GATE, Login, environment={"XDG_RUNTIME_DIR": str(tmp_path)})) == "stored"


async def test_source_that_is_no_good_is_not_passed_by(tmp_path: Path) -> None:
    environment = {"H2GATE_TOKEN_FILE": str(tmp_path / "nothing"), "BEARER_TOKEN": "another identity"}
    with pytest.raises(NoToken, match="H2GATE_TOKEN_FILE"):
        await value(chosen(GATE, Login, environment=environment))
    with pytest.raises(NoToken, match="H2GATE_TOKEN"):
        chosen(GATE, Login, environment={"H2GATE_TOKEN": "two words"})


def test_what_is_not_meant_for_this_gateway_does_not_go_in_clear(everything: dict[str, str]) -> None:
    clear = "http://gate.example/"
    for name in ("H2GATE_TOKEN", "H2GATE_TOKEN_FILE"):
        assert chosen(clear, Login, environment=everything) is not None  # to be refused by the client
        del everything[name]
    assert chosen(clear, Login, environment=everything) is None


def test_two_sources_named_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which is it"):
        chosen(GATE, Login, file=tmp_path / "a", command="b")


def test_nothing_is_nobody() -> None:
    environment = {"XDG_RUNTIME_DIR": "/nowhere"}
    found = chosen(GATE, lambda: None, environment=environment)
    assert found is None or Path(f"/tmp/bt_u{os.geteuid()}").exists()  # noqa: S108
