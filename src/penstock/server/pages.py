"""The chat page and the files it is made of: plain HTML, CSS and JavaScript, served as they are."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

from penstock.server.http import Request, Response

__all__ = ["page"]

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """path -> (content, type, tag)."""
    found = {}
    for file in FOLDER.iterdir():
        if file.suffix in TYPES:
            content = file.read_bytes()
            found[f"/static/{file.name}"] = (
                content,
                TYPES[file.suffix],
                f'"{blake2b(content, digest_size=8).hexdigest()}"',
            )
    found["/"] = found["/static/chat.html"]
    found["/favicon.ico"] = found["/static/icon.svg"]
    return found


def page(request: Request) -> Response | None:
    """The page or file at a path, or None where there is none. It holds nobody's data, so it needs no key."""
    if request.method not in ("GET", "HEAD") or request.path not in _files():
        return None
    content, kind, tag = _files()[request.path]
    headers = (("content-security-policy", POLICY), ("etag", tag), ("cache-control", "no-cache"))
    if request.headers.get("if-none-match") == tag:
        return Response(b"", 304, kind, headers)
    return Response(b"" if request.method == "HEAD" else content, 200, kind, headers)
