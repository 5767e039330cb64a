"""The chat page and the files that pages are made of: plain HTML, CSS and JavaScript, served as they are, and their words in each
language."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from penstock.errors import NotReady
from penstock.language.names import name_of
from penstock.language.phrases import PAGE, direction, languages, phrase
from penstock.server.http import Request, Response

__all__ = ["file", "page", "policy", "starting"]

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
NOBODY = "'none'"
LOADER = "/widget.js"  # what other sites load: it holds nothing of anybody's
OF_LOADER = (("cross-origin-resource-policy", "cross-origin"), ("cache-control", "public, max-age=3600"))

Headers = tuple[tuple[str, str], ...]

_PHRASES = re.compile(r"/static/phrases/(\w+)\.json")


def policy(*ancestors: str) -> str:
    """What a page may load, and which sites may show it in a frame; without any, none."""
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        f"base-uri 'none'; form-action 'none'; frame-ancestors {' '.join(ancestors or (NOBODY,))}"
    )


class _File(NamedTuple):
    content: bytes
    type: str
    tag: str


def _file(content: bytes, kind: str) -> _File:
    return _File(content, kind, f'"{blake2b(content, digest_size=8).hexdigest()}"')


def _json(value: Any) -> _File:
    return _file(json.dumps(value, ensure_ascii=False).encode(), "application/json")


@cache
def _files() -> dict[str, _File]:
    """path -> file."""
    found = {
        f"/static/{file.name}": _file(file.read_bytes(), TYPES[file.suffix])
        for file in FOLDER.iterdir()
        if file.suffix in TYPES
    }
    found["/"] = found["/static/chat.html"]
    found["/favicon.ico"] = found["/static/icon.svg"]
    found[LOADER] = found["/static/widget.js"]
    return found


@cache
def _languages() -> _File:
    """The languages that the page speaks, each with its own name for itself."""
    named = [(name_of(code, code), code) for code in languages()]
    return _json(
        [
            {"language": code, "direction": direction(code), "name": name[:1].upper() + name[1:]}
            for name, code in sorted(named, key=lambda one: one[0].casefold())
        ]
    )


@cache
def _phrases(language: str) -> _File:
    """The words of the page in one language. It does not know its readers, so it addresses them formally."""
    said = {english: phrase(english, language, formality="formal") for english in PAGE}
    return _json({"language": language, "direction": direction(language), "phrases": said})


def _found(path: str) -> _File | None:
    if path == "/static/phrases.json":
        return _languages()
    asked = _PHRASES.fullmatch(path)
    if asked and asked[1] in languages():
        return _phrases(asked[1])
    return _files().get(path)


STARTING = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><meta http-equiv="refresh" content="2"><title>Penstock</title>
<link rel="icon" href="/static/icon.svg"><link rel="stylesheet" href="/static/tokens.css">
<link rel="stylesheet" href="/static/console.css"></head>
<body class="alone"><main class="card narrow"><h1>Penstock</h1>
<p>The server is starting, or stopping. This page looks again by itself.</p></main></body></html>
"""


def starting() -> Response:
    """In place of a page of the console while there is none yet, or no more."""
    headers = (("content-security-policy", policy()), ("cache-control", "no-store"), ("retry-after", "2"))
    return Response(STARTING, NotReady.status, TYPES[".html"], headers)


def page(request: Request) -> Response | None:
    """The page or file at a path, or None where there is none. It holds nobody's data, so it needs no key."""
    found = _found(request.path) if request.method in ("GET", "HEAD") else None
    if found is None:
        return None
    return _sent(request, found, OF_LOADER if request.path == LOADER else (("cache-control", "no-cache"),), policy())


def file(request: Request, name: str, ancestors: Sequence[str], more: Headers = ()) -> Response:
    """A page by the name of its file, that these sites may show in a frame. more: headers besides."""
    return _sent(request, _files()[f"/static/{name}"], (("cache-control", "no-cache"), *more), policy(*ancestors))


def _sent(request: Request, found: _File, more: Headers, allowed: str) -> Response:
    headers = (("content-security-policy", allowed), ("etag", found.tag), *more)
    if request.headers.get("if-none-match") == found.tag:
        return Response(b"", 304, found.type, headers)
    return Response(b"" if request.method == "HEAD" else found.content, 200, found.type, headers)
