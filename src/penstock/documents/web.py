"""Web pages and sitemaps, fetched politely: robots.txt is heeded, hosts get pauses, unchanged pages are not sent again.

An address that a name resolves to is checked before it is asked, and it is that very address that is asked, so neither a
redirect nor a name server can lead into a private network.
"""

from __future__ import annotations

import gzip
import io
import ipaddress
import re
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree

from penstock.config import RuleSettings, WebSettings
from penstock.documents import rules
from penstock.documents.catalog import digest
from penstock.documents.ingest import Incoming, Opened
from penstock.documents.reading import Limits, Raw, Skipped, read
from penstock.errors import BadRequest, NotFound, TooLarge, Unreadable, UpstreamError
from penstock.types import Document

if TYPE_CHECKING:
    import httpx2

__all__ = ["Fetcher", "pages"]

REDIRECTS = 5
LONGEST_DELAY_S = 30.0  # whatever robots.txt asks for
LARGEST_SITEMAP = 50 << 20  # the protocol allows no more
_KINDS = {
    "text/html": ".html", "application/xhtml+xml": ".html", "application/pdf": ".pdf", "text/plain": ".txt", "text/markdown": ".md",
    "text/csv": ".csv", "application/json": ".json", "application/zip": ".zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """What a server sent. fingerprint: its ETag or date, to ask next time whether the page changed."""

    url: str
    data: bytes
    kind: str
    fingerprint: str
    modified: str


@dataclass
class Fetcher:
    """One polite client. It remembers when each host was asked last, and what its robots.txt says."""

    settings: WebSettings
    _asked: dict[str, float] = field(default_factory=dict)
    _robots: dict[str, RobotFileParser] = field(default_factory=dict)

    def get(self, url: str, fingerprint: str = "") -> Page | None:
        """Fetch a page; None when it is unchanged since the fingerprint was given.

        Raises UpstreamError, NotFound for 404 and 410, TooLarge, and BadRequest for what may not be fetched.
        """
        parts = urlsplit(url)
        if not self._allowed(url):
            raise BadRequest(f"robots.txt of {parts.netloc} does not allow {url}")
        robots = self._robots[f"{parts.scheme}://{parts.netloc}"]
        asked_for = float(robots.crawl_delay(self.settings.user_agent) or 0)
        self._pause(parts.netloc, min(max(self.settings.delay_s, asked_for), LONGEST_DELAY_S))
        headers = {}
        if fingerprint.startswith("etag:"):
            headers["if-none-match"] = fingerprint.removeprefix("etag:")
        elif fingerprint.startswith("date:"):
            headers["if-modified-since"] = fingerprint.removeprefix("date:")
        return self._request(url, headers)

    def _allowed(self, url: str) -> bool:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._robots:
            robots = RobotFileParser()
            try:
                page = self._request(f"{site}/robots.txt", {})
                robots.parse(page.data.decode("utf-8", "replace").splitlines() if page else [])
            except NotFound:
                robots.parse([])  # no rules
            except TooLarge:
                robots.parse(["User-agent: *", "Disallow: /"])
            self._robots[site] = robots
        return self._robots[site].can_fetch(self.settings.user_agent, url)

    def _pause(self, host: str, seconds: float) -> None:
        wait = self._asked.get(host, -seconds) + seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._asked[host] = time.monotonic()

    def _request(self, url: str, headers: Mapping[str, str]) -> Page | None:
        import httpx2

        with httpx2.Client(timeout=self.settings.timeout_s, trust_env=True) as client:
            for _ in range(REDIRECTS + 1):
                try:
                    with client.stream("GET", **self._target(url, headers)) as response:
                        if response.has_redirect_location:
                            url = urljoin(url, response.headers["location"])
                            continue
                        return self._page(url, response)
                except httpx2.HTTPError as error:
                    raise UpstreamError(f"{url} did not answer: {error or type(error).__name__}") from error
                except httpx2.InvalidURL as error:
                    raise BadRequest(f"'{url}' is no address: {error}") from error
        raise UpstreamError(f"{url} redirects more than {REDIRECTS} times")

    def _target(self, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """The request for a URL, addressed to the checked address of its host, with the host's name for TLS and `Host`."""
        import httpx2

        target = httpx2.URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise BadRequest(f"'{url}' is no web address")
        agent = f"{self.settings.user_agent} (document indexing)"
        common = {"host": target.netloc.decode(), "user-agent": agent, "accept-encoding": "gzip, deflate", **headers}
        if self.settings.allow_private:
            return {"url": target, "headers": common}
        address = _public_address(target.host, target.port or (443 if target.scheme == "https" else 80))
        return {"url": target.copy_with(host=address), "headers": common, "extensions": {"sni_hostname": target.host}}

    def _page(self, url: str, response: httpx2.Response) -> Page | None:
        if response.status_code == 304:
            return None
        if response.status_code in (404, 410):
            raise NotFound(f"{url} is gone ({response.status_code})")
        if response.status_code >= 400:
            raise UpstreamError(f"{url} answered {response.status_code}")
        pieces, size, limit = [], 0, self.settings.max_page_mb << 20
        for piece in response.iter_bytes():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"{url} is over {self.settings.max_page_mb} MB", hint="raise web.max_page_mb")
            pieces.append(piece)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        etag, date = response.headers.get("etag", ""), response.headers.get("last-modified", "")
        return Page(
            url,
            b"".join(pieces),
            _KINDS.get(media_type, ""),
            f"etag:{etag}" if etag else f"date:{date}" if date else "",
            _day(date),
        )


def _public_address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UpstreamError(f"the name {host} cannot be resolved: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not ipaddress.ip_address(address.partition("%")[0]).is_global:
            raise BadRequest(
                f"{host} is at {address}, a private address", hint="web.allow_private = true, if that is meant"
            )
    return f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]


def _day(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat() if date else ""
    except ValueError:
        return ""


def pages(
    place: str, settings: WebSettings, limits: Limits, ruled: Sequence[RuleSettings], known: Mapping[str, str]
) -> Iterator[Incoming]:
    """The pages at an address: those a sitemap lists, or the page itself.

    known: URL -> fingerprint of what is indexed. A sitemap's date decides without a request whether a page changed.
    """
    fetcher = Fetcher(settings)
    listed = {place: ""}
    if urlsplit(place).path.endswith((".xml", ".xml.gz")):
        listed = dict(_sitemap(fetcher, place, settings.max_pages))
    for url, changed in listed.items():
        fingerprint = (
            f"sitemap:{changed}" if changed else f"ask:{time.time_ns()}"
        )  # without a date, the server is asked
        yield _incoming(fetcher, url, fingerprint, known.get(url, ""), limits, ruled)


def _incoming(
    fetcher: Fetcher, url: str, fingerprint: str, old: str, limits: Limits, ruled: Sequence[RuleSettings]
) -> Incoming:
    def opened() -> Opened | None:
        page = fetcher.get(url, old)
        if page is None:
            return None
        raw = Raw(url, page.data, limits, modified=page.modified, kind=page.kind)
        kept = fingerprint if fingerprint.startswith("sitemap:") else page.fingerprint
        return Opened(digest(page.data), kept, _ruled(read(raw), ruled))

    return Incoming(url, fingerprint, opened)


def _ruled(found: Iterable[Document | Skipped], ruled: Sequence[RuleSettings]) -> Iterator[Document | Skipped]:
    for item in found:
        yield rules.apply(item, ruled) if isinstance(item, Document) else item


def _sitemap(fetcher: Fetcher, url: str, limit: int) -> Iterator[tuple[str, str]]:
    """(address, date of last change or "") of each page, through sitemap indexes; sitemaps.org protocol 0.9."""
    waiting, seen, count = [url], set[str](), 0
    while waiting and count < limit:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        page = fetcher.get(current)
        root = _xml(current, page.data if page else b"")
        for entry in root:
            children = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in entry}
            address = children.get("loc", "")
            if entry.tag.endswith("sitemap") and address:
                waiting.append(address)
            elif address and address not in seen and count < limit:
                seen.add(address)
                count += 1
                yield address, children.get("lastmod", "")


def _xml(url: str, data: bytes) -> ElementTree.Element:
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST_SITEMAP)
        if re.search(rb"<!(DOCTYPE|ENTITY)", data[:2000]):
            raise Unreadable(f"the sitemap {url} declares XML entities, which none needs")
        return ElementTree.fromstring(data)  # noqa: S314  entities are refused above
    except (ElementTree.ParseError, OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"{url} is no sitemap: {error}") from error
