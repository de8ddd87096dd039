"""The pages people see in a browser: plain HTML, no scripts, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from markupsafe import Markup, escape

from h2gate.fields import moment
from h2gate.upload import Identity

_PAGE = Markup(
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<title>{title}</title><style>"
    "body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}}"
    "td,th{{padding:.1rem 1rem .1rem 0;text-align:left}}"
    "td.n{{text-align:right;font-variant-numeric:tabular-nums}}</style>"
    "<h1>{title}</h1>{body}"
)
_FORM = Markup(
    "<form method=post enctype=multipart/form-data>"
    "<label>Add files <input type=file name=file multiple required></label>"
    " <button>Upload</button></form>"
)


def listing_page(folder: str, entries: Sequence[tuple[str, bool, Identity]]) -> bytes:
    """A folder as a table of links, and a form that adds files to it."""
    rows = [Markup("<tr><td><a href='../'>../</a><td><td></tr>")] if folder else []
    for name, is_folder, identity in entries:
        shown = name + ("/" if is_folder else "")
        size = "" if is_folder else f"{identity.size:,}"
        time = f"{moment(identity.modified_ns):%Y-%m-%d %H:%M:%S}"
        rows.append(
            Markup("<tr><td><a href='./{}'>{}</a><td class=n>{}<td>{}</tr>").format(
                quote(shown, errors="surrogateescape"), escape(shown.encode("utf-8", "replace").decode()), size, time
            )
        )
    table = Markup("<table><tr><th>Name<th>Bytes<th>Changed (UTC)</tr>{}</table>").format(Markup("").join(rows))
    return page(f"/files/{folder}", table + _FORM)


def page(title: str, body: Markup) -> bytes:
    """A whole page."""
    return str(_PAGE.format(title=title, body=body)).encode()
