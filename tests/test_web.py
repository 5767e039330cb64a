"""Web pages are fetched politely, kept while a server is down, let go when they are gone, and never from inside our walls."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import MakeLibrary
from fpdf import FPDF

from penstock.config import WebSettings
from penstock.documents.collection import Collection
from penstock.documents.reading import Limits
from penstock.documents.web import Fetcher, pages
from penstock.errors import BadRequest, NotFound, PenstockError, TooLarge, Unreadable, UpstreamError

HTML = "text/html; charset=utf-8"


@dataclass
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: Callable[[Callable[[bytes], object]], None] | None = None  # writes the body itself


def page(words: str, **headers: str) -> Reply:
    body = f"<html><head><title>{words[:20]}</title></head><body><p>{words}</p></body></html>"
    return Reply(body.encode(), headers={"content-type": HTML} | {k.replace("_", "-"): v for k, v in headers.items()})


def to(place: str, status: int = 302) -> Reply:
    return Reply(status=status, headers={"location": place})


class Site:
    """A web site on loopback: what lies at each path, and what was asked of it."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | Callable[[dict[str, str]], Reply]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        site = self

        class Door(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                site.asked.append((self.path, headers))
                found = site.replies.get(self.path, Reply(b"nothing here", 404))
                reply = found if isinstance(found, Reply) else found(headers)
                self.send_response(reply.status)
                length = {} if reply.drip else {"content-length": str(len(reply.body))}
                for name, value in (length | reply.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # whoever asked had enough
                    reply.drip(self.wfile.write) if reply.drip else self.wfile.write(reply.body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def __setitem__(self, path: str, reply: Reply | Callable[[dict[str, str]], Reply]) -> None:
        self.replies[path] = reply

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked if path != "/robots.txt"]

    def sitemap(self, *entries: str, **dates: str) -> Reply:
        rows = [f"<url><loc>{e if '://' in e else self.url + e}</loc></url>" for e in entries]
        rows += [f"<url><loc>{self.url}/{e}</loc><lastmod>{date}</lastmod></url>" for e, date in dates.items()]
        xml = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{"".join(rows)}</urlset>'
        return Reply(xml.encode(), headers={"content-type": "application/xml"})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
def collection(make_library: MakeLibrary) -> Collection:
    return make_library().create("web")


def fetcher(**settings: Any) -> Fetcher:
    return Fetcher(WebSettings(**{"allow_private": True, "delay_s": 0.0, "timeout_s": 5.0} | settings))


def sources(collection: Collection) -> list[str]:
    return [row.source for row in collection.documents()]


def reasons(collection: Collection) -> str:
    return "\n".join(row.reason for row in collection.skipped())


# ---------------------------------------------------------------- a page


def test_a_page_is_cited_by_its_address(site: Site, collection: Collection):
    site["/faq"] = page("Parcels to Norway take five days.")
    collection.add([f"{site.url}/faq"])
    hit = collection.search("How long do parcels to Norway take?").hits[0]

    assert hit.passage.source == f"{site.url}/faq"
    assert hit.passage.text == "Parcels to Norway take five days."
    assert site.asked[-1][1]["user-agent"] == "penstock (document indexing)"


def test_a_fragment_is_a_place_in_a_page_and_no_page_of_its_own(site: Site, collection: Collection):
    site["/faq"] = page("Parcels to Norway take five days.")
    site["/sitemap.xml"] = site.sitemap("/faq#norway", "/faq#sweden", "/faq")
    collection.add([f"{site.url}/faq#top", f"{site.url}/sitemap.xml"])

    assert sources(collection) == [f"{site.url}/faq"]
    assert site.paths.count("/faq") == 1


def test_a_pdf_is_read_over_http_with_its_pages(site: Site, collection: Collection):
    pdf = FPDF()
    pdf.set_font("Helvetica")
    for words in ("Parcels to Norway take five days.", "Books can be returned within thirty days."):
        pdf.add_page()
        pdf.cell(text=words)
    site["/terms"] = Reply(bytes(pdf.output()), headers={"content-type": "application/pdf"})
    collection.add([f"{site.url}/terms"])

    assert collection.search("returned books").hits[0].passage.page == 2


@pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", "text/plain", ""])
def test_a_pdf_is_known_by_its_content_whatever_the_server_calls_it(
    site: Site, collection: Collection, media_type: str
):
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica")
    pdf.cell(text="Parcels to Norway take five days.")
    site["/file"] = Reply(bytes(pdf.output()), headers={"content-type": media_type})
    collection.add([f"{site.url}/file"])

    assert collection.documents()[0].media_type == "application/pdf"


def test_a_page_without_a_content_type_is_known_by_its_beginning(site: Site, collection: Collection):
    site["/a.php"] = Reply(b"<!DOCTYPE html><title>Hours</title><p>We open at nine.</p>")
    collection.add([f"{site.url}/a.php"])

    assert collection.documents()[0].title == "Hours"
    assert collection.search("When do you open?").hits[0].passage.text == "We open at nine."


def test_an_error_page_in_the_place_of_a_pdf_is_read_as_the_page_it_is(site: Site, collection: Collection):
    site["/terms.pdf"] = page("Please log in to read our terms and conditions.")
    collection.add([f"{site.url}/terms.pdf"])

    assert collection.documents()[0].media_type == "text/html"


def test_a_picture_or_binary_is_skipped_with_its_reason(site: Site, collection: Collection):
    site["/a"] = Reply(bytes(range(256)) * 8, headers={"content-type": "application/octet-stream"})
    collection.add([f"{site.url}/a"])

    assert "neither text nor a known kind" in reasons(collection)


WORDS = "Größe und Straße: das Paket wird übergeben."


@pytest.mark.parametrize("charset", ["windows-1252", "iso-8859-1", "utf-16", "utf-8", '"ISO-8859-15"'])
def test_the_header_says_how_a_page_is_encoded(site: Site, collection: Collection, charset: str):
    body = f'<html><meta charset="koi8-r"><p>{WORDS}</p></html>'.encode(charset.strip('"'))
    site["/a"] = Reply(body, headers={"content-type": f"text/html; charset={charset}"})
    collection.add([f"{site.url}/a"])

    assert collection.search("Paket").hits[0].passage.text == WORDS


@pytest.mark.parametrize("charset", ["", "; charset=no-such", "; charset=hex", "; charset=utf-8"])
def test_a_header_that_is_silent_or_wrong_leaves_it_to_the_page(site: Site, collection: Collection, charset: str):
    body = f'<html><meta charset="windows-1252"><p>{WORDS}</p></html>'.encode("windows-1252")
    site["/a"] = Reply(body, headers={"content-type": f"text/html{charset}"})
    collection.add([f"{site.url}/a"])

    assert collection.search("Paket").hits[0].passage.text == WORDS


# ---------------------------------------------------------------- again, later


def test_a_page_with_an_etag_is_not_sent_twice(site: Site, collection: Collection):
    words = page("Parcels to Norway take five days.", etag='"v1"')
    site["/faq"] = lambda asked: Reply(status=304) if asked.get("if-none-match") == '"v1"' else words
    collection.add([f"{site.url}/faq"])
    report = collection.sync()

    assert (report.version, report.unchanged) == (None, 1)
    assert site.asked[-1][1]["if-none-match"] == '"v1"'
    assert collection.search("Norway").hits


def test_a_page_with_a_date_is_not_sent_twice_and_is_cited_with_it(site: Site, collection: Collection):
    date = "Fri, 20 Nov 2026 10:00:00 GMT"
    words = page("Parcels to Norway take five days.", last_modified=date)
    site["/faq"] = lambda asked: Reply(status=304) if asked.get("if-modified-since") == date else words
    collection.add([f"{site.url}/faq"])

    assert collection.sync().version is None
    assert collection.documents()[0].date == "2026-11-20"


@pytest.mark.parametrize(
    "date", ["yesterday", "Fri, 99 Nov 99999 10:00:00 GMT", "0", "Mon, 01 Jan 0000 00:00:00 +9999"]
)
def test_a_date_that_is_none_is_no_date(site: Site, collection: Collection, date: str):
    site["/faq"] = page("Parcels to Norway take five days.", last_modified=date)
    collection.add([f"{site.url}/faq"])

    assert collection.documents()[0].date == ""


def test_an_etag_that_no_header_can_carry_is_not_sent_back(site: Site, collection: Collection):
    site["/faq"] = page("Parcels to Norway take five days.", etag='"\xe9"')
    collection.add([f"{site.url}/faq"])

    assert collection.sync().unchanged == 1
    assert "if-none-match" not in site.asked[-1][1]


def test_a_page_that_changed_replaces_itself(site: Site, collection: Collection):
    site["/faq"] = page("Parcels to Norway take five days.")
    collection.add([f"{site.url}/faq"])
    site["/faq"] = page("Parcels to Norway take two days.")
    report = collection.sync()

    assert report.changed == [f"{site.url}/faq"]
    assert collection.search("Norway").hits[0].passage.text == "Parcels to Norway take two days."


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_is_gone_goes(site: Site, collection: Collection, status: int):
    site["/faq"], site["/hours"] = page("Parcels to Norway take five days."), page("We open at nine.")
    collection.add([f"{site.url}/faq", f"{site.url}/hours"])
    site["/faq"] = Reply(b"gone", status)
    report = collection.sync()

    assert report.removed == [f"{site.url}/faq"]
    assert sources(collection) == [f"{site.url}/hours"]


@pytest.mark.parametrize("status", [500, 502, 503, 429, 403])
def test_a_page_whose_server_is_down_stays(site: Site, collection: Collection, status: int):
    site["/faq"] = page("Parcels to Norway take five days.")
    collection.add([f"{site.url}/faq"])
    site["/faq"] = Reply(b"no", status)
    report = collection.sync()

    assert (report.version, report.unchanged) == (None, 1)
    assert f"answered {status}" in report.skipped[0].reason
    assert collection.search("Norway").hits


def test_pages_stay_when_nobody_answers(site: Site, collection: Collection):
    site["/faq"] = page("Parcels to Norway take five days.")
    collection.add([f"{site.url}/faq"])
    site.close()
    report = collection.sync()

    assert "did not answer" in report.skipped[0].reason
    assert sources(collection) == [f"{site.url}/faq"]


# ---------------------------------------------------------------- sitemaps


def test_a_sitemap_brings_its_pages(site: Site, collection: Collection):
    site["/sitemap.xml"] = site.sitemap("/a", "/b")
    site["/a"], site["/b"] = page("We open at nine."), page("Parcels to Norway take five days.")
    collection.add([f"{site.url}/sitemap.xml"])

    assert sources(collection) == [f"{site.url}/a", f"{site.url}/b"]


def test_a_page_that_leaves_the_sitemap_leaves_the_index(site: Site, collection: Collection):
    site["/a"], site["/b"] = page("We open at nine."), page("Parcels to Norway take five days.")
    site["/sitemap.xml"] = site.sitemap("/a", "/b")
    collection.add([f"{site.url}/sitemap.xml"])
    site["/sitemap.xml"] = site.sitemap("/a")

    assert collection.sync().removed == [f"{site.url}/b"]


def test_pages_stay_while_their_sitemap_cannot_be_had(site: Site, collection: Collection):
    site["/a"], site["/sitemap.xml"] = page("We open at nine."), site.sitemap("/a")
    collection.add([f"{site.url}/sitemap.xml"])
    for broken in (Reply(b"", 500), Reply(b"<urlset><url>"), Reply(b"<html>login</html>" * 2)):
        site["/sitemap.xml"] = broken

        assert collection.sync().skipped[0].source == f"{site.url}/sitemap.xml"
        assert sources(collection) == [f"{site.url}/a"]


def test_a_date_in_the_sitemap_spares_the_request(site: Site, collection: Collection):
    site["/a"], site["/sitemap.xml"] = page("We open at nine."), site.sitemap(a="2026-11-01")
    collection.add([f"{site.url}/sitemap.xml"])
    collection.sync()
    site["/a"], site["/sitemap.xml"] = page("We open at ten."), site.sitemap(a="2026-11-20")
    report = collection.sync()

    assert site.paths.count("/a") == 2
    assert report.changed == [f"{site.url}/a"]


def test_sitemaps_of_sitemaps_packed_or_not_are_followed(site: Site, collection: Collection):
    inner = [f"<sitemap><loc>{site.url}/{name}</loc></sitemap>" for name in ("one.xml", "two.xml.gz")]
    site["/sitemap.xml"] = Reply(f"<sitemapindex>{''.join(inner)}</sitemapindex>".encode())
    site["/one.xml"] = site.sitemap("/a")
    site["/two.xml.gz"] = Reply(gzip.compress(site.sitemap("/b", "/a").body))
    site["/a"], site["/b"] = page("We open at nine."), page("Parcels to Norway take five days.")
    collection.add([f"{site.url}/sitemap.xml"])

    assert sources(collection) == [f"{site.url}/a", f"{site.url}/b"]


def test_no_more_pages_are_taken_than_was_set(site: Site):
    site["/sitemap.xml"] = site.sitemap(*(f"/{n}" for n in range(20)))
    settings = WebSettings(allow_private=True, delay_s=0, max_pages=3)

    assert len(list(pages(f"{site.url}/sitemap.xml", Fetcher(settings), Limits(), (), {}))) == 3


def test_sitemaps_that_name_ever_new_sitemaps_come_to_an_end(site: Site):
    for n in range(30):
        site[f"/{n}.xml"] = Reply(f"<sitemapindex><sitemap><loc>/{n + 1}.xml</loc></sitemap></sitemapindex>".encode())
    settings = WebSettings(allow_private=True, delay_s=0, max_pages=5)

    assert list(pages(f"{site.url}/0.xml", Fetcher(settings), Limits(), (), {})) == []
    assert len(site.paths) == 5


def test_a_sitemap_speaks_for_its_own_site_alone(site: Site, collection: Collection):
    other = Site()
    other["/b"], site["/a"] = page("Nobody asked for this."), page("We open at nine.")
    site["/sitemap.xml"] = site.sitemap("/a", f"{other.url}/b", "file:///etc/passwd", "http://[broken")
    report = collection.add([f"{site.url}/sitemap.xml"])
    other.close()

    assert sources(collection) == [f"{site.url}/a"]
    assert other.asked == []
    assert [s.source for s in report.skipped] == [f"{other.url}/b", "file:///etc/passwd"]
    assert "is on another site than its sitemap" in report.skipped[0].reason


def laughs(comment: int) -> bytes:
    entities = "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(8))
    return (
        f'<?xml version="1.0"?><!--{"x" * comment}--><!DOCTYPE z [<!ENTITY a "ha">{entities}]>'
        f"<urlset><url><loc>&i;</loc></url></urlset>"
    ).encode()


@pytest.mark.parametrize(
    "hostile",
    [
        laughs(0),
        laughs(5000),
        laughs(0).decode().encode("utf-16"),
        b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>&x;</loc></url></urlset>',
        gzip.compress(laughs(0)),
        gzip.compress(b"<urlset>" + b" " * (60 << 20)),
        gzip.compress(b"<urlset/>")[:-9],
        b"",
        b"\xff\xfe\x00",
        b"<urlset>" * 100_000,
    ],
    ids=["laughs", "laughs late", "laughs in utf-16", "external", "packed", "bomb", "cut", "empty", "noise", "deep"],
)
def test_a_hostile_sitemap_is_refused(site: Site, hostile: bytes):
    site["/sitemap.xml"] = Reply(hostile)

    with pytest.raises(Unreadable, match=r"sitemap\.xml is no sitemap"):
        list(pages(f"{site.url}/sitemap.xml", Fetcher(WebSettings(allow_private=True, delay_s=0)), Limits(), (), {}))


# ---------------------------------------------------------------- politeness


def test_what_robots_txt_forbids_is_not_asked(site: Site, collection: Collection):
    site["/robots.txt"] = Reply(b"\xef\xbb\xbfUser-agent: *\nDisallow: /private/\n")
    site["/private/a"], site["/b"] = page("A secret."), page("We open at nine.")
    report = collection.add([f"{site.url}/private/a", f"{site.url}/b"])

    assert site.paths == ["/b"]
    assert "does not allow" in report.skipped[0].reason


def test_rules_for_our_own_name_count_before_those_for_all(site: Site):
    site["/robots.txt"] = Reply(b"User-agent: penstock\nDisallow: /a\n\nUser-agent: *\nDisallow: /\n")
    site["/b"] = page("We open at nine.")
    polite = fetcher()

    assert polite.get(f"{site.url}/b")
    with pytest.raises(BadRequest, match="does not allow"):
        polite.get(f"{site.url}/a")


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_site_without_rules_may_be_read(site: Site, status: int):
    site["/robots.txt"], site["/a"] = Reply(b"no", status), page("We open at nine.")

    assert fetcher().get(f"{site.url}/a")


def test_a_site_whose_rules_cannot_be_read_now_is_left_alone(site: Site):
    site["/robots.txt"], site["/a"] = Reply(b"", 503), page("We open at nine.")

    with pytest.raises(UpstreamError, match="answered 503"):
        fetcher().get(f"{site.url}/a")
    assert site.paths == []


def test_a_site_with_endless_rules_is_left_alone(site: Site):
    site["/robots.txt"], site["/a"] = Reply(b"#" * (2 << 20)), page("We open at nine.")

    with pytest.raises(BadRequest, match="does not allow"):
        fetcher(max_page_mb=1).get(f"{site.url}/a")


def test_rules_are_read_once(site: Site):
    site["/a"] = page("We open at nine.")
    polite = fetcher()
    for _ in range(3):
        polite.get(f"{site.url}/a")

    assert [path for path, _ in site.asked].count("/robots.txt") == 1


@pytest.mark.parametrize(
    ("robots", "pause"),
    [(b"User-agent: *\nCrawl-delay: 30\n", 30), (b"User-agent: *\nCrawl-delay: 9999\n", 30), (b"", 20)],
)
def test_a_host_gets_a_pause_between_two_requests(
    site: Site, monkeypatch: pytest.MonkeyPatch, robots: bytes, pause: int
):
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    site["/robots.txt"], site["/a"] = Reply(robots), page("We open at nine.")
    polite = fetcher(delay_s=20)
    polite.get(f"{site.url}/a")
    polite.get(f"{site.url}/a")

    assert [round(p, -1) for p in pauses] == [pause]


# ---------------------------------------------------------------- redirects


def test_a_redirect_is_followed_and_the_address_that_was_named_is_cited(site: Site, collection: Collection):
    site["/old"], site["/new"] = to("/new#part", 301), page("We open at nine.")
    collection.add([f"{site.url}/old"])

    assert sources(collection) == [f"{site.url}/old"]
    assert site.paths == ["/old", "/new"]


def test_a_redirect_that_never_ends_is_given_up(site: Site):
    site["/a"], site["/b"] = to("/b"), to("/a")

    with pytest.raises(UpstreamError, match="redirects more than 5 times"):
        fetcher().get(f"{site.url}/a")


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/a", "http://[::1", "http://a:99999/"])
def test_a_redirect_to_what_is_no_web_address_is_refused(site: Site, place: str):
    site["/a"] = to(place)

    with pytest.raises(BadRequest):
        fetcher().get(f"{site.url}/a")


# ---------------------------------------------------------------- too much, too slow


def test_a_page_over_the_limit_is_refused(site: Site):
    site["/a"] = Reply(b"x" * ((1 << 20) + 1), headers={"content-type": "text/plain"})

    with pytest.raises(TooLarge, match="is over 1 MB"):
        fetcher(max_page_mb=1).get(f"{site.url}/a")


def test_a_page_without_end_is_cut_off(site: Site):
    def endless(write: Callable[[bytes], object]) -> None:
        while True:
            write(b"x" * 65_536)

    site["/a"] = Reply(drip=endless)

    with pytest.raises(TooLarge, match="is over 1 MB"):
        fetcher(max_page_mb=1).get(f"{site.url}/a")


@pytest.mark.parametrize("times", [1, 2])
def test_a_packed_page_counts_as_what_it_unpacks_to(site: Site, times: int):
    body = b" " * (200 << 20)
    for _ in range(times):
        body = gzip.compress(body, 1)
    site["/a"] = Reply(body, headers={"content-encoding": ", ".join(["gzip"] * times)})

    with pytest.raises((TooLarge, UpstreamError), match=r"is over 1 MB|was not asked for"):
        fetcher(max_page_mb=1).get(f"{site.url}/a")


def test_a_packed_page_is_unpacked(site: Site):
    words = page("We open at nine.")
    site["/a"] = Reply(gzip.compress(words.body), headers={"content-encoding": "gzip", "content-type": HTML})
    found = fetcher().get(f"{site.url}/a")

    assert found
    assert found.data == b"\xef\xbb\xbf" + words.body


@pytest.mark.parametrize("damage", [b"not gzip at all", gzip.compress(b"We open at nine.")[:-6]])
def test_a_packed_page_that_is_damaged_is_an_upstream_error(site: Site, damage: bytes):
    site["/a"] = Reply(damage, headers={"content-encoding": "gzip"})

    with pytest.raises(UpstreamError, match=r"sent a damaged page|ends early"):
        fetcher().get(f"{site.url}/a")


def test_a_page_that_ends_before_its_length_is_an_upstream_error(site: Site):
    site["/a"] = Reply(b"We open", headers={"content-length": "100"})

    with pytest.raises(UpstreamError, match="did not answer"):
        fetcher().get(f"{site.url}/a")


def test_a_server_that_says_nothing_is_given_up(site: Site):
    released = threading.Event()
    site["/a"] = lambda _: (released.wait(5), page("Late."))[1]  # type: ignore[func-returns-value]

    with pytest.raises(UpstreamError, match="did not answer"):
        fetcher(timeout_s=0.1).get(f"{site.url}/a")
    released.set()


def test_a_page_that_drips_is_given_up_after_the_time_that_was_set(site: Site):
    def drip(write: Callable[[bytes], object]) -> None:
        for _ in range(200):
            write(b"x")
            time.sleep(0.02)

    site["/a"] = Reply(drip=drip)

    with pytest.raises(UpstreamError, match=r"was not complete after 0\.2 s"):
        fetcher(timeout_s=0.2).get(f"{site.url}/a")


@pytest.mark.parametrize(
    "address", ["http://", "https://", "http://[::1", "http://a b/", "http://" + "a" * 70 + ".com/"]
)
def test_an_address_that_is_none_is_skipped_and_stops_nothing(site: Site, collection: Collection, address: str):
    site["/a"] = page("We open at nine.")
    report = collection.add([address, f"{site.url}/a"])

    assert sources(collection) == [f"{site.url}/a"]
    assert report.skipped[0].source.startswith(address[:7])


# ---------------------------------------------------------------- our own walls

PUBLIC = "93.184.215.14"


@pytest.fixture
def internet(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A name server of the test's own, and a public address at which the test's site lies."""
    names = {"public.example": [PUBLIC]}
    real_lookup, real_connect = socket.getaddrinfo, socket.socket.connect

    def lookup(host: str, port: int, *args: Any, **options: Any) -> Any:
        if host not in names:
            return real_lookup(host, port, *args, **options)
        addresses = names[host]
        address = addresses.pop(0) if len(addresses) > 1 else addresses[0]
        return real_lookup(address, port, *args, **options)

    def connect(self: socket.socket, address: Any) -> None:
        real_connect(self, ("127.0.0.1", address[1]) if address[0] == PUBLIC else address)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", connect)
    return names


def public(site: Site, name: str = "public.example") -> str:
    return site.url.replace("127.0.0.1", name)


def walled() -> Fetcher:
    return Fetcher(WebSettings(delay_s=0, timeout_s=5))


def test_a_public_page_is_asked_by_its_name_at_the_address_that_was_checked(site: Site, internet: dict[str, list[str]]):
    site["/a"] = page("We open at nine.")

    assert walled().get(f"{public(site)}/a")
    assert site.asked[-1][1]["host"] == public(site).removeprefix("http://")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "10.0.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "intranet.example",
    ],
)
def test_no_spelling_of_a_private_address_is_asked(site: Site, internet: dict[str, list[str]], host: str):
    internet["intranet.example"] = ["10.0.0.1"]

    with pytest.raises(BadRequest, match=r"a private address|is no address"):
        walled().get(f"{public(site, host)}/a")
    assert site.asked == []


def test_a_name_with_one_private_address_among_others_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch):
    real = socket.getaddrinfo
    both = lambda _, port, **options: real(PUBLIC, port, **options) + real("10.0.0.1", port, **options)  # noqa: E731
    monkeypatch.setattr(socket, "getaddrinfo", both)

    with pytest.raises(BadRequest, match=r"10\.0\.0\.1, a private address"):
        walled().get(f"{public(site)}/a")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "intranet.example"])
def test_a_redirect_leads_to_no_private_address(site: Site, internet: dict[str, list[str]], host: str):
    internet["intranet.example"] = ["10.0.0.1"]
    site["/a"], site["/secret"] = to(f"{public(site, host)}/secret"), page("The root password.")

    with pytest.raises(BadRequest, match="a private address"):
        walled().get(f"{public(site)}/a")
    assert site.paths == ["/a"]


def test_a_name_that_changes_its_address_is_asked_only_where_it_was_checked(site: Site, internet: dict[str, list[str]]):
    internet["rebinding.example"] = [PUBLIC, PUBLIC, "127.0.0.1"]  # robots.txt, the page, and whoever asks once more
    site["/a"] = page("We open at nine.")
    polite = walled()

    assert polite.get(f"{public(site, 'rebinding.example')}/a")
    with pytest.raises(BadRequest, match="a private address"):
        polite.get(f"{public(site, 'rebinding.example')}/a")


def test_a_name_that_nobody_knows_is_an_upstream_error(monkeypatch: pytest.MonkeyPatch):
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(UpstreamError, match="cannot be resolved"):
        walled().get("http://no-such.example/")


def test_every_refusal_of_a_page_is_ours(site: Site):
    for status in range(400, 512, 9):
        site["/a"] = Reply(b"no", status)
        with pytest.raises(PenstockError) as caught:
            fetcher().get(f"{site.url}/a")
        assert isinstance(caught.value, NotFound if status in (404, 410) else UpstreamError)


def test_a_page_from_the_day_it_was_changed_is_dated(site: Site, collection: Collection):
    today = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    site["/a"] = page("We open at nine.", last_modified=today)
    collection.add([f"{site.url}/a"])

    assert collection.documents()[0].date == datetime.now(UTC).date().isoformat()
