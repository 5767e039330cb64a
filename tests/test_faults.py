"""What goes wrong outside: killed processes, full disks, files that change. The old version answers, nothing is half done."""

import errno
import os
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import MakeLibrary

from penstock.config import DocumentsSettings, WebSettings
from penstock.documents.collection import Collection
from penstock.documents.library import Library
from penstock.errors import Conflict, PenstockError, StorageError
from penstock.storage import files
from penstock.storage.arrays import verify_arrays
from penstock.storage.database import Database
from penstock.testing import WordEmbedder

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork, to kill a copy of this process")


def write_generation(folder: Path, generation: str, files: int = 4) -> None:
    folder.mkdir(exist_ok=True)
    for n in range(files):
        (folder / f"{n}.md").write_text(f"# Notes {n}\n\nBook {n} belongs to generation {generation}.\n")


def generations(collection: Collection) -> set[str]:
    """Which generations one search sees; a torn read would see two."""
    hits = collection.search("Which generation does the book belong to?", k=20).hits
    assert len(hits) == 4
    return {hit.passage.text.split()[-1].rstrip(".") for hit in hits}


def open_library(home: Path, folder: Path, **settings: DocumentsSettings) -> Library:
    return Library(home, WordEmbedder, folder=folder, collections=settings, web=WebSettings())


def assert_sound(home: Path, folder: Path, expected: set[str]) -> None:
    """The home is whole, answers from one generation, and takes the next one without help."""
    library = open_library(home, folder)
    try:
        catalog = library.catalog
        assert catalog.database.read("pragma integrity_check")[0][0] == "ok"
        assert catalog.database.read("pragma foreign_key_check") == []
        assert all(verify_arrays(home / "segments" / str(n) / name) for n, name in catalog.all_segment_files())
        assert generations(library["notes"]) <= expected
        assert len(generations(library["notes"])) == 1
        library["notes"].sync()
        assert generations(library["notes"]) == {"two"}
        assert not any(version.state == "building" for version in library["notes"].versions())
        assert {path.name for path in (home / "segments" / "1").iterdir()} == catalog.segment_files(1)
    finally:
        library.close()


# ---------------------------------------------------------------- kill -9


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Run the work in a copy of this process that kills itself at the nth step of writing. False: it ended before."""
    child = os.fork()
    if child == 0:
        with suppressed_output():
            steps = iter(range(1_000_000))

            def count() -> None:
                if next(steps) == step:
                    os.kill(os.getpid(), signal.SIGKILL)

            counting(count)
            try:
                work()
            finally:
                os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@contextmanager
def suppressed_output() -> Iterator[None]:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    yield


def counting(count: Callable[[], None]) -> None:
    """Call `count` around every transaction and every file that appears: the moments after which the disk looks otherwise."""
    write, replace = Database.write, os.replace

    @contextmanager
    def counted_write(self: Database) -> Iterator[sqlite3.Connection]:
        count()
        with write(self) as connection:
            yield connection
            count()  # everything is written, nothing is committed
        count()

    def counted_replace(source: str, target: str) -> None:
        count()
        replace(source, target)
        count()

    Database.write = counted_write  # type: ignore[method-assign]
    os.replace = counted_replace  # type: ignore[assignment]


@forks
def test_killed_at_any_step_of_a_build_or_publish_the_home_stays_sound(tmp_path: Path):
    steps = 0
    while True:
        home, folder = tmp_path / f"home{steps}", tmp_path / f"docs{steps}"
        write_generation(folder, "one")
        library = open_library(home, folder)
        library.create("notes").add([str(folder)])
        library.close()
        write_generation(folder, "two")

        def work(home: Path = home, folder: Path = folder) -> None:
            open_library(home, folder, notes=DocumentsSettings(keep_versions=1))["notes"].sync()

        killed = killed_at(steps, work)
        assert_sound(home, folder, {"one", "two"})
        if not killed:
            break
        steps += 1

    assert steps > 10


@forks
def test_killed_at_any_moment_the_home_stays_sound(tmp_path: Path):
    home, folder = tmp_path / "home", tmp_path / "docs"
    write_generation(folder, "one")
    library = open_library(home, folder)
    library.create("notes").add([str(folder)])
    library.close()
    for n in range(12):
        child = os.fork()
        if child == 0:
            with suppressed_output():
                collection = open_library(home, folder)["notes"]
                for generation in "ab" * 1000:
                    write_generation(folder, generation)
                    collection.sync()
            os._exit(0)
        time.sleep(0.03 + n * 0.013)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        library = open_library(home, folder)
        assert generations(library["notes"])
        assert library.catalog.database.read("pragma integrity_check")[0][0] == "ok"
        write_generation(folder, "a")  # the files may have been caught half rewritten
        library["notes"].sync()
        library.close()

    write_generation(folder, "two")
    assert_sound(home, folder, {"a", "b", "two"})


@forks
def test_vectors_of_an_interrupted_build_are_used_by_the_next(tmp_path: Path):
    home, folder = tmp_path / "home", tmp_path / "docs"
    write_generation(folder, "two", files=30)

    def work() -> None:
        finish = open_library(home, folder)
        publish = finish.catalog.finish_version

        def killed(*args: object, **values: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        finish.catalog.finish_version = killed  # type: ignore[method-assign]
        assert publish
        finish.create("notes").add([str(folder)])

    assert killed_at(1_000_000, work)
    library = open_library(home, folder)

    report = library.create("notes").add([str(folder)])

    assert (report.embedded, report.reused) == (0, 30)
    library.close()


# ---------------------------------------------------------------- full and read-only disks


@pytest.fixture
def notes(make_library: MakeLibrary, tmp_path: Path) -> Collection:
    write_generation(tmp_path / "docs", "one")
    collection = make_library().create("notes")
    collection.add([str(tmp_path / "docs")])
    write_generation(tmp_path / "docs", "two")
    return collection


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_the_segments_is_said_and_changes_nothing(
    notes: Collection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with monkeypatch.context() as patch:

        def full(*, prefix: str, suffix: str, dir: Path) -> tuple[int, str]:  # noqa: A002
            return os.open("/dev/full", os.O_WRONLY), str(dir / f"{prefix}full{suffix}")

        patch.setattr(tempfile, "mkstemp", full)
        with pytest.raises(StorageError, match="the disk is full") as refused:
            notes.sync()

    assert "free some space" in refused.value.hint
    assert generations(notes) == {"one"}
    assert notes.sync().published
    assert generations(notes) == {"two"}


def test_a_full_disk_under_the_catalog_is_said_and_changes_nothing(notes: Collection, tmp_path: Path):
    database = notes.home.catalog.database
    (tmp_path / "docs" / "long.md").write_text("\n\n".join(f"Paragraph {n} tells of {n * n}." * 9 for n in range(900)))
    pages = database.read("pragma page_count")[0][0]
    database.read(f"pragma max_page_count = {pages + 4}")

    with pytest.raises(StorageError, match="the disk is full"):
        notes.sync()

    assert generations(notes) == {"one"}
    database.read("pragma max_page_count = 1000000")
    assert notes.sync().published


def test_a_home_that_cannot_be_made_says_where_to_put_it(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StorageError, match="home"):
        open_library(tmp_path / "file" / "home", tmp_path)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_home_is_said_and_still_answers(notes: Collection, home: Path):
    for path in (home, *home.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        with pytest.raises(StorageError, match="cannot be written"):
            notes.sync()
        assert generations(notes) == {"one"}
    finally:
        for path in (home, *home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_the_system_refuses_becomes_an_error_with_the_path_and_a_reason(number: int, tmp_path: Path):
    with pytest.raises(StorageError) as refused, files.storage_errors(tmp_path / "x"):
        raise OSError(number, os.strerror(number))

    assert str(tmp_path / "x") in refused.value.message


def test_a_damaged_segment_is_named_and_not_answered_from(notes: Collection, make_library: MakeLibrary, home: Path):
    (segment,) = (home / "segments").glob("*/*.arrays")
    segment.write_bytes(segment.read_bytes()[:-100])

    with pytest.raises(StorageError, match="damaged"):
        make_library()["notes"].search("books")


def test_a_damaged_catalog_is_said_with_the_way_out(tmp_path: Path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "penstock.db").write_bytes(b"this is no database" * 100)

    with pytest.raises(StorageError, match="damaged") as refused:
        open_library(home, tmp_path)

    assert "penstock restore" in refused.value.hint


# ---------------------------------------------------------------- files that misbehave


def test_a_file_that_changes_while_it_is_read_keeps_its_old_text(
    notes: Collection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    restless = tmp_path / "docs" / "1.md"
    read = Path.read_bytes

    def changing(path: Path) -> bytes:
        data = read(path)
        if path == restless:
            with path.open("a") as file:
                file.write("more ")
        return data

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", changing)
        report = notes.sync()

    assert [skipped.source for skipped in report.skipped] == ["1.md"]
    assert "keeps changing" in report.skipped[0].reason
    texts = {hit.passage.source: hit.passage.text for hit in notes.search("book", k=9).hits}
    assert "one" in texts["1.md"]
    assert "two" in texts["2.md"]
    assert "1.md" in notes.sync().changed


def test_links_in_circles_and_to_the_outside_are_not_followed(library: Library, tmp_path: Path):
    folder, outside = tmp_path / "docs", tmp_path / "secret.md"
    write_generation(folder, "one")
    outside.write_text("A secret outside.")
    (folder / "loop").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")
    (folder / "gone.md").symlink_to(folder / "nothing.md")
    (folder / "out.md").symlink_to(outside)
    (folder / "below").mkdir()
    (folder / "below" / "up").symlink_to(folder / "below")

    collection = library.create("notes")
    collection.add([str(folder)])

    assert [row.source for row in collection.documents()] == ["0.md", "1.md", "2.md", "3.md"]


def test_names_that_are_no_text_and_pipes_are_no_trouble(library: Library, tmp_path: Path):
    folder = tmp_path / "docs"
    write_generation(folder, "one")
    try:
        (folder / os.fsdecode(b"caf\xe9.md")).write_text("Coffee is served at ten.")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only names that are text")
    os.mkfifo(folder / "pipe.md")

    report = library.create("notes").add([str(folder)])

    assert len(report.added) == 5
    assert not report.skipped


def test_a_text_of_200_mb_is_refused_before_it_is_read(library: Library, tmp_path: Path):
    folder = tmp_path / "docs"
    write_generation(folder, "one")
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(200 << 20)

    report = library.create("notes").add([str(folder)])

    assert [skipped.reason for skipped in report.skipped] == ["'huge.txt' is 200 MB, the limit is 100 MB"]
    assert generations(library["notes"]) == {"one"}


def pdf_of(pages: int) -> bytes:
    """A PDF written by hand: one short line on each page."""
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(pages))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Count {pages} /Kids [{kids}] >>",
               "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]  # fmt: skip
    for n in range(pages):
        stream = f"BT /F1 12 Tf 72 720 Td (Order {n} was delivered on day {n % 365}.) Tj ET"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R "
                       "/Resources << /Font << /F1 3 0 R >> >> >>")  # fmt: skip
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, offsets = b"%PDF-1.4\n", []
    pieces = [body]
    at = len(body)
    for number, content in enumerate(objects, 1):
        piece = f"{number} 0 obj\n{content}\nendobj\n".encode()
        offsets.append(at)
        at += len(piece)
        pieces.append(piece)
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    pieces.append(f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
                  f"<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{at}\n%%EOF\n".encode())  # fmt: skip
    return b"".join(pieces)


@pytest.mark.slow
def test_a_pdf_of_10_000_pages_is_read_to_its_last_page(library: Library, tmp_path: Path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "orders.pdf").write_bytes(pdf_of(10_000))
    collection = library.create("orders")
    collection.add([str(folder)])

    hit = collection.search("order 9998 delivered").hits[0]

    assert "Order 9998 was" in hit.passage.text
    assert hit.passage.page == 9999


@pytest.mark.slow
def test_a_text_of_200_mb_is_read_where_the_limit_allows_it(make_library: MakeLibrary, tmp_path: Path):
    class Flat(WordEmbedder):
        """One vector for all: this is about what is around it."""

        def embed_parts(self, items):  # type: ignore[no-untyped-def]
            return [self.embed([""] * (1 + len(spans))) for _, spans in items]

    folder = tmp_path / "docs"
    folder.mkdir()
    with (folder / "huge.txt").open("w") as file:
        for n in range(1_000_000):
            file.write(f"Order number {n} was sent to customer {n * 7919 % 100_003} by train and ship, and by cart from there "
                       f"to the house where number {n} lives; it was signed for at {n % 24} o'clock.\n\n")  # fmt: skip
        file.write("The password of the lighthouse is swordfish.\n")
    collection = make_library(Flat(), big=DocumentsSettings(max_file_mb=300)).create("big")
    collection.add([str(folder)])

    assert "swordfish" in collection.search("password of the lighthouse").hits[0].passage.text


# ---------------------------------------------------------------- many at once


def test_readers_during_publishes_never_see_two_versions_at_once(make_library: MakeLibrary, tmp_path: Path):
    folder = tmp_path / "docs"
    write_generation(folder, "0")
    settings = DocumentsSettings(keep_versions=1)
    writer, reader = (make_library(notes=settings).create("notes") for _ in range(2))
    writer.add([str(folder)])
    torn: list[set[str]] = []
    failed: list[PenstockError] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen = generations(reader)
            except Conflict as error:
                failed.append(error)
                continue
            if len(seen) != 1:
                torn.append(seen)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for generation in range(1, 25):
        write_generation(folder, str(generation))
        writer.sync()
    done.set()
    for thread in threads:
        thread.join()

    assert torn == []
    assert generations(reader) == {"24"}


def test_many_threads_may_open_and_search_one_library(notes: Collection):
    seen: list[set[str]] = []
    threads = [threading.Thread(target=lambda: seen.append(generations(notes))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [{"one"}] * 16
