"""Web pages and sitemaps, fetched politely: robots.txt is heeded, hosts get pauses, unchanged pages are not sent again.

An address that a name resolves to is checked before it is asked, and it is that very address that is asked, so neither a
redirect nor a name server can lead into a private network.
"""

from __future__ import annotations

import codecs
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
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import SplitResult, urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser
from xml.etree import ElementTree

from penstock.config import RuleSettings, WebSettings
from penstock.documents import rules
from penstock.documents.catalog import digest
from penstock.documents.ingest import Incoming, Opened
from penstock.documents.markup import parse
from penstock.documents.reading import Limits, Raw, Skipped, read
from penstock.errors import BadRequest, NotFound, TooLarge, Unreadable, UpstreamError
from penstock.types import Document

if TYPE_CHECKING:
    import ssl

    import httpx2

__all__ = ["Fetcher", "pages"]

REDIRECTS = 5
LONGEST_DELAY_S = 30.0  # whatever robots.txt asks for
LARGEST_SITEMAP = 50 << 20  # the protocol allows no more
_TEXTS = frozenset({"text/html", "application/xhtml+xml", "text/plain", "text/markdown", "text/csv"})
_WRAPPING = [
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
]
_HTML = re.compile(rb"\s*<(!doctype html|html)", re.I)  # whatever a page's name ends in
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
        parts = _parts(url)
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
        parts = _parts(url)
        site = f"{parts.scheme}://{parts.netloc}"
        if site not in self._robots:
            robots = RobotFileParser()
            try:
                page = self._request(f"{site}/robots.txt", {})
                robots.parse(page.data.decode("utf-8-sig", "replace").splitlines() if page else [])
            except (NotFound, _Refused):
                robots.parse([])  # no rules, as RFC 9309 has it for every 4xx
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

        deadline = time.monotonic() + self.settings.timeout_s
        with httpx2.Client(timeout=self.settings.timeout_s, trust_env=True, verify=_trusted()) as client:
            for _ in range(REDIRECTS + 1):
                try:
                    with client.stream("GET", **self._target(url, headers)) as response:
                        if response.has_redirect_location:
                            url = urldefrag(urljoin(url, response.headers["location"])).url
                            continue
                        return self._page(url, response, deadline)
                except httpx2.HTTPError as error:
                    raise UpstreamError(f"{url} did not answer: {error or type(error).__name__}") from error
                except (httpx2.InvalidURL, ValueError) as error:
                    raise BadRequest(f"'{url}' is no address, or leads to none: {error}") from error
        raise UpstreamError(f"{url} redirects more than {REDIRECTS} times")

    def _target(self, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """The request for a URL, addressed to the checked address of its host, with the host's name for TLS and `Host`."""
        import httpx2

        target = httpx2.URL(url)
        if target.scheme not in ("http", "https") or not target.host or (target.port or 0) > 65_535:
            raise BadRequest(f"'{url}' is no web address")
        agent = f"{self.settings.user_agent} (document indexing)"
        common = {"host": target.netloc.decode(), "user-agent": agent, "accept-encoding": "gzip", **headers}
        if self.settings.allow_private:
            return {"url": target, "headers": common}
        address = _public_address(target.host, target.port or (443 if target.scheme == "https" else 80))
        return {"url": target.copy_with(host=address), "headers": common, "extensions": {"sni_hostname": target.host}}

    def _page(self, url: str, response: httpx2.Response, deadline: float) -> Page | None:
        if response.status_code == 304:
            return None
        if response.status_code in (404, 410):
            raise NotFound(f"{url} is gone ({response.status_code})")
        if response.status_code >= 400:
            busy = response.status_code == 429 or response.status_code >= 500
            raise (UpstreamError if busy else _Refused)(f"{url} answered {response.status_code}")
        data = self._body(url, response, deadline)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        etag, date = (response.headers.get(name, "") for name in ("etag", "last-modified"))
        etag = etag if etag.isascii() else ""  # it could not be sent back
        return Page(
            url,
            _in_utf8(data, response) if media_type in _TEXTS else data,
            _KINDS.get(media_type) or (".html" if _HTML.match(data) else ""),
            f"etag:{etag}" if etag else f"date:{date}" if date else "",
            _day(date),
        )

    def _body(self, url: str, response: httpx2.Response, deadline: float) -> bytes:
        """The body, unpacked piece by piece, so that neither a bomb nor a drip costs more than the limits."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise UpstreamError(f"{url} is sent in the encoding '{encoding}', which was not asked for")
        unpack = None if encoding == "identity" else zlib.decompressobj(31)
        data, limit = bytearray(), self.settings.max_page_mb << 20
        for piece in response.iter_raw():
            try:
                data += unpack.decompress(piece, limit + 1 - len(data)) if unpack else piece
            except zlib.error as error:
                raise UpstreamError(f"{url} sent a damaged page: {error}") from error
            if len(data) > limit:
                raise TooLarge(f"{url} is over {self.settings.max_page_mb} MB", hint="raise web.max_page_mb")
            if time.monotonic() > deadline:
                raise UpstreamError(f"{url} was not complete after {self.settings.timeout_s:g} s")
        if unpack and data and not unpack.eof:
            raise UpstreamError(f"{url} sent a page that ends early")
        return bytes(data)


class _Refused(UpstreamError):
    """A server's plain no, as in 401 or 403."""


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities we trust, loaded once: that takes longer than most pages."""
    import httpx2

    return httpx2.create_ssl_context()


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:
        raise BadRequest(f"'{url}' is no address: {error}") from error


def _in_utf8(data: bytes, response: httpx2.Response) -> bytes:
    """Text whose header names its encoding, as UTF-8 with the mark that outweighs what a page says of itself."""
    named = (response.charset_encoding or "").lower()
    if not named or data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return data
    try:
        encoding = codecs.lookup(named).name
        return data.decode("cp1252" if encoding in ("iso8859-1", "ascii") else encoding).encode("utf-8-sig")
    except (LookupError, ValueError):
        return data  # the header is wrong: the readers find out


def _public_address(host: str, port: int) -> str:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UpstreamError(f"the name {host} cannot be resolved: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not _public(address):
            raise BadRequest(
                f"{host} is at {address}, a private address", hint="web.allow_private = true, if that is meant"
            )
    return f"[{addresses[0]}]" if ":" in addresses[0] else addresses[0]


def _public(address: str) -> bool:
    """Whether an address is on the internet, and so is one that is wrapped in it for another network to unwrap."""
    found = ipaddress.ip_address(address.partition("%")[0])
    every: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [found]
    if isinstance(found, ipaddress.IPv6Address):
        every += [wrapped for wrapped in (found.sixtofour, *(found.teredo or ())) if wrapped]
        every += [ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF) for network in _WRAPPING if found in network]
    local = isinstance(found, ipaddress.IPv6Address) and found.is_site_local
    return not local and all(one.is_global and not one.is_multicast for one in every)


def _day(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat() if date else ""
    except (ValueError, OverflowError):
        return ""


def pages(
    place: str, fetcher: Fetcher, limits: Limits, ruled: Sequence[RuleSettings], known: Mapping[str, str]
) -> Iterator[Incoming]:
    """The pages at an address: those a sitemap lists, or the page itself.

    known: URL -> fingerprint of what is indexed. A sitemap's date decides without a request whether a page changed.
    """
    if "@" in _parts(place).netloc:
        raise BadRequest("an address with a password in it is not fetched: it would be shown with every quote")
    place = _parts(place)._replace(fragment="").geturl()
    listed: Iterable[_Listed] = [_Listed(place)]
    if _parts(place).path.endswith((".xml", ".xml.gz")):
        listed = _sitemap(fetcher, place, fetcher.settings.max_pages)
    for page in list(listed):
        if page.foreign:
            yield Incoming(page.url, "foreign", partial(_refuse, page.url, place))
            continue
        # without a date, the server is asked
        fingerprint = f"sitemap:{page.changed}" if page.changed else f"ask:{time.time_ns()}"
        yield _incoming(fetcher, page.url, fingerprint, known.get(page.url, ""), limits, ruled)


class _Listed(NamedTuple):
    """A page that is to be read."""

    url: str
    changed: str = ""  # date of the last change, as its sitemap has it
    foreign: bool = False  # on another site than the sitemap, which may speak for its own alone


def _refuse(url: str, sitemap: str) -> NoReturn:
    raise BadRequest(f"{url} is on another site than its sitemap {sitemap}", hint="add its own sitemap, or the page")


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


def _sitemap(fetcher: Fetcher, url: str, limit: int) -> Iterator[_Listed]:
    """The pages of a sitemap, through sitemap indexes; sitemaps.org protocol 0.9. At most `limit` of either."""
    waiting, seen, count, sites = [url], set[str](), 0, {_site(url)}
    for _ in range(limit):
        if not waiting or count >= limit:
            return
        current = waiting.pop(0)
        page = fetcher.get(current)
        if current == url and page:
            sites.add(_site(page.url))
        for entry in _xml(current, page.data if page else b""):
            children = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in entry}
            address = _joined(current, children.get("loc", ""))
            if not address or address in seen or count >= limit:
                continue
            seen.add(address)
            foreign = _site(address) not in sites
            if entry.tag.endswith("sitemap") and not foreign:
                waiting.append(address)
            else:
                count += 1
                yield _Listed(address, children.get("lastmod", ""), foreign)


def _site(url: str) -> str:
    return _parts(url).netloc.lower().removeprefix("www.")


def _joined(sitemap: str, address: str) -> str:
    """An entry's address without its fragment; "" for what is none."""
    try:
        return urldefrag(urljoin(sitemap, address)).url if address else ""
    except ValueError:
        return ""


def _xml(url: str, data: bytes) -> ElementTree.Element:
    try:
        if data.startswith(b"\x1f\x8b"):
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST_SITEMAP)
        return parse(data)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise Unreadable(f"{url} is no sitemap: {error}") from error
