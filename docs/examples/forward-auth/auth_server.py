"""A small authentication server: who has a password here has a folder of the same name at the gateway.

It answers what nginx (auth_request) and h2gate (forward) ask: 204 and who it is, 401 for whoever it does not know, 403
for whoever it knows and does not let in. USERS="alice:secret bob:other" python auth_server.py [PORT]
"""

import binascii
import hmac
import os
import sys
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USERS = dict(each.split(":", 1) for each in os.environ["USERS"].split())
BLOCKED = os.environ.get("BLOCKED", "").split()


def user_of(authorization: str) -> str | None:
    """The user whose password came along (RFC 7617)."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    expected = USERS.get(name, "")
    return name if expected and hmac.compare_digest(expected.encode(), password.encode()) else None


class Handler(BaseHTTPRequestHandler):
    """A question: the credential is in its fields, X-Original-Method and X-Original-URI tell what it is for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        user = user_of(self.headers.get("Authorization", ""))
        if user is None:
            self.answer(401, {"WWW-Authenticate": 'Basic realm="files"', "Content-Length": "0"})
        elif user in BLOCKED:
            self.answer(403, {"Content-Length": "0"})
        else:
            self.answer(204, {"Remote-User": user, "X-H2gate-Scope": f"storage.modify:/{user} storage.read:/{user}"})

    def answer(self, status: int, fields: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """The question and the answer, never the credential."""
        print(self.headers.get("X-Original-Method"), self.headers.get("X-Original-URI"), args[1], flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        print(f"ready on http://127.0.0.1:{server.server_address[1]}/auth", flush=True)
        server.serve_forever()
