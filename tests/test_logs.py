"""The log: JSON with what a line is about, moderated in either form."""

from __future__ import annotations

import json
import logging
import sys

from h2gate.logs import ACCESS, FORMAT, LINES, Errand, JsonFormatter, Moderation, TextFormatter, errand


def record(message: str, *args: object, name: str = "h2gate.front", **more: object) -> logging.LogRecord:
    found = logging.LogRecord(name, logging.WARNING, "file.py", 1, message, args, None)
    found.__dict__ |= more
    return found


def told(line: logging.LogRecord) -> dict[str, object]:
    text = JsonFormatter().format(line)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_a_line_of_json_has_time_level_logger_and_message() -> None:
    found = told(record("PUT %s failed", 'a"b\n'))
    assert found["message"] == 'PUT a"b\n failed'
    assert (found["level"], found["logger"]) == ("warning", "h2gate.front")
    assert str(found["time"]).endswith("Z")


def test_a_line_of_text_is_one_line_and_tells_a_terminal_nothing_whatever_a_peer_has_called_a_file() -> None:
    name = "a\r\n2026-01-01 forged\x1b[2J\x85\x9b2J\u2028\u2029\u202eb \xe9"
    text = TextFormatter(FORMAT).format(record("PUT %s", name))
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert text.endswith(
        r"PUT a\u000d\u000a2026-01-01 forged\u001b[2J\u0085\u009b2J\u2028\u2029\u202eb \u00e9".replace(
            r"\u00e9", "\xe9"
        )
    )


def test_a_traceback_follows_a_line_of_text_as_it_is() -> None:
    try:
        raise ValueError("no")
    except ValueError:
        found = record("x")
        found.exc_info = sys.exc_info()
    assert TextFormatter(FORMAT).format(found).splitlines()[-1] == "ValueError: no"


def test_a_line_names_the_request_and_the_upload_that_the_task_is_about() -> None:
    token = errand.set(Errand("r1", "u1"))
    try:
        assert {"request_id": "r1", "upload_id": "u1"}.items() <= told(record("x")).items()
    finally:
        errand.reset(token)
    assert "request_id" not in told(record("x"))


def test_an_exception_is_told_in_the_same_line() -> None:
    line = record("x")
    try:
        raise ValueError("the reason")
    except ValueError:
        line.exc_info = sys.exc_info()
    assert "ValueError: the reason" in str(told(line)["exception"])


def test_members_of_a_record_are_members_of_its_line() -> None:
    assert told(record("x", members={"status": 201}))["status"] == 201


def test_the_access_log_is_not_moderated_and_all_others_are() -> None:
    moderation = Moderation(clock=lambda: 0.0)
    passed = [
        moderation.filter(record("same", name=name)) for name in ("h2gate.front", ACCESS) for _ in range(2 * LINES)
    ]
    assert passed == [True] * LINES + [False] * LINES + [True] * 2 * LINES
