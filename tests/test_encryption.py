"""Encryption at rest: with it on, no file in the home folder says what the documents say; without it, nothing is different."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from penstock.config import DocumentsSettings, WebSettings
from penstock.documents.catalog import SkippedRow, digest
from penstock.documents.library import Library
from penstock.documents.segment import Segment
from penstock.errors import StorageError
from penstock.storage.arrays import open_arrays, verify_arrays, write_arrays
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption, Envelope, FileKeys
from penstock.testing import WordEmbedder
from penstock.types import Found

MakeSealed = Callable[..., Library]

SAID = ("Quetzalcoatl", "forty-two", "Returns", "thirty", "Krähenbühl", "zebrafish", "confidential")


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Iterator[MakeSealed]:
    """A library in the test's home, encrypted or not: several times, as several processes see it."""
    opened: list[tuple[Library, Database]] = []

    def make(*, encrypted: bool = True) -> Library:
        database = Database(home / "penstock.db")
        envelope = Envelope(database, FileKeys(tmp_path / "keys"))
        encryption = Encryption(envelope, "documents") if encrypted else None
        web, kept = WebSettings(), {"notes": DocumentsSettings(keep_versions=3)}
        library = Library(home, WordEmbedder, folder=tmp_path, collections=kept, web=web, encryption=encryption)
        opened.append((library, database))
        return library

    yield make
    for library, database in opened:
        library.close()
        database.close()


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "a.md").write_text("# Returns policy\n\nQuetzalcoatl may return forty-two books within thirty days.\n")
    (folder / "b.md").write_text("# Staff\n\nWilhelmina Krähenbühl feeds the zebrafish each morning at nine.\n")
    (folder / "c.html").write_text(
        "<html><head><title>confidential zebrafish</title></head><body><p>Feed them twice.</p></body>"
    )
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 confidential")
    return folder


def everything(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file())


def said_in(home: Path) -> set[str]:
    """Which of the documents' words any file says, in whatever encoding."""
    found = everything(home).lower()
    ways = ("utf-8", "utf-16-le", "unicode_escape")
    return {word for word in SAID if any(word.lower().encode(way) in found for way in ways)}


def passages(found: Found) -> list[str]:
    return [hit.passage.text for hit in found.hits]


def test_no_file_of_the_home_folder_says_what_a_document_says(home: Path, papers: Path, make: MakeSealed):
    notes = make()["notes"]
    notes.add([str(papers)])

    assert (home / "penstock.db-wal").stat().st_size > 0
    assert list((home / "segments").rglob("*.arrays"))
    assert said_in(home) == set()
    for text in ("Quetzalcoatl may return forty-two books within thirty days.", "confidential zebrafish"):
        assert digest(text) not in everything(home)
    for path in papers.iterdir():
        assert digest(path.read_bytes()) not in everything(home)
    with sqlite3.connect(home / "penstock.db") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.execute("vacuum")
    connection.close()
    assert said_in(home) == set()


def test_the_scan_finds_the_words_when_encryption_is_off(home: Path, papers: Path, make: MakeSealed):
    """So that the test above can fail."""
    make(encrypted=False)["notes"].add([str(papers)])

    assert {"Quetzalcoatl", "Krähenbühl", "zebrafish", "confidential"} <= said_in(home)


def test_a_segment_says_nothing_of_terms_and_vectors_either(home: Path, papers: Path, make: MakeSealed):
    notes = make()["notes"]
    notes.add([str(papers)])
    found = everything(home)
    (file,) = (home / "segments").rglob("*.arrays")
    segment = Segment.open(file, notes.home.encryption)

    for part in (segment.term, segment.vectors[0], segment.key, segment.signature[0]):
        assert part.tobytes()[:32] not in found
    assert verify_arrays(file)


def test_answers_are_the_same_with_encryption_and_without(tmp_path: Path, papers: Path, make: MakeSealed):
    notes = make()["notes"]
    notes.add([str(papers)])
    plain = Library(tmp_path / "plain", WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
    plain.create("notes").add([str(papers)])

    for question in ("How many books may Quetzalcoatl return?", "Who feeds the zebrafish?", "confidential"):
        sealed, other = make()["notes"].search(question), plain["notes"].search(question)
        assert passages(sealed) == passages(other) != []
        assert [hit.passage.title for hit in sealed.hits] == [hit.passage.title for hit in other.hits]
        assert [hit.passage.section for hit in sealed.hits] == [hit.passage.section for hit in other.hits]
    assert [(s.source, s.reason, s.hint) for s in notes.skipped()] == [
        (s.source, s.reason, s.hint) for s in plain["notes"].skipped()
    ]
    plain.close()


def test_what_did_not_change_is_not_read_again_and_its_vectors_are_kept(papers: Path, make: MakeSealed):
    make()["notes"].add([str(papers)])
    (papers / "a.md").write_text("# Returns policy\n\nQuetzalcoatl may return forty-three books.\n")
    report = make()["notes"].sync()

    assert report.embedded == 1
    assert passages(make()["notes"].search("How many books may Quetzalcoatl return?"))[0].endswith("forty-three books.")


def test_without_its_keys_an_encrypted_collection_says_so(papers: Path, make: MakeSealed, tmp_path: Path):
    make()["notes"].add([str(papers)])

    with pytest.raises(StorageError, match="encrypted") as refused:
        make(encrypted=False)["notes"].search("Who feeds the zebrafish?")
    assert "switch encryption on" in refused.value.hint
    (tmp_path / "keys").rename(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is missing"):
        make()["notes"].search("Who feeds the zebrafish?")


def test_encryption_can_be_switched_on_later(home: Path, papers: Path, make: MakeSealed):
    make(encrypted=False)["notes"].add([str(papers)])
    (papers / "d.md").write_text("# Otters\n\nThe otters sleep in the reservoir.\n")
    notes = make()["notes"]
    notes.sync()

    assert passages(notes.search("Who feeds the zebrafish?"))
    assert b"otters sleep" not in everything(home)
    assert passages(make()["notes"].search("Where do the otters sleep?"))[0] == "The otters sleep in the reservoir."


def test_what_is_encrypted_is_gone_when_its_key_is_destroyed(papers: Path, make: MakeSealed):
    library = make()
    library["notes"].add([str(papers)])
    assert library.encryption
    library.encryption.envelope.destroy("", purpose="documents")

    with pytest.raises(StorageError, match="erased"):
        make()["notes"].search("Who feeds the zebrafish?")


def test_after_a_rotation_old_and_new_documents_are_read(papers: Path, make: MakeSealed):
    library = make()
    library["notes"].add([str(papers)])
    assert library.encryption
    library.encryption.envelope.rotate()
    (papers / "d.md").write_text("# Otters\n\nThe otters sleep in the reservoir.\n")
    make()["notes"].sync()

    assert passages(make()["notes"].search("Where do the otters sleep?"))
    assert passages(make()["notes"].search("Who feeds the zebrafish?"))


def test_a_passage_moved_to_another_row_is_noticed(papers: Path, make: MakeSealed):
    library = make()
    library["notes"].add([str(papers)])
    ids = [row for (row,) in library.catalog.database.read("select id from passages order by id")]
    with library.catalog.database.write() as w:
        w.execute("update passages set text = (select text from passages where id = ?) where id = ?", (ids[0], ids[1]))

    with pytest.raises(StorageError, match="cannot be opened"):
        library.catalog.passages(ids)


def test_why_a_file_was_skipped_is_sealed(home: Path, make: MakeSealed):
    library = make()
    number = library.catalog.create("notes", shared=True)
    row = SkippedRow("a.txt", "a.txt", "f", "it says Quetzalcoatl", "look at zebrafish", "2026-01-01")
    library.catalog.set_skipped(number, gone=(), found=[row])

    assert said_in(home) == set()
    assert library.catalog.skipped(number) == [row]


def test_a_file_of_arrays_is_sealed_as_a_whole_and_opens_as_it_was(home: Path, tmp_path: Path, make: MakeSealed):
    encryption = make().encryption
    arrays = {"a": np.arange(100_000, dtype=np.int32), "b": np.zeros((0, 3), np.float32), "c": np.array([b"zebrafish"])}
    facts = {"name": "Quetzalcoatl"}
    name = write_arrays(tmp_path, arrays, facts, encryption=encryption)
    plain = write_arrays(tmp_path, arrays, facts)

    for file, key in ((name, encryption), (plain, None), (plain, encryption)):
        opened, known = open_arrays(tmp_path / file, encryption=key)
        assert known == facts
        assert all((opened[part] == arrays[part]).all() and opened[part].dtype == arrays[part].dtype for part in arrays)
        assert not opened["a"].flags.writeable
    content = (tmp_path / name).read_bytes()
    assert b"Quetzalcoatl" not in content
    assert b"zebrafish" not in content
    assert verify_arrays(tmp_path / name)
    (tmp_path / name).write_bytes(content[:-1])
    with pytest.raises(StorageError, match="damaged"):
        open_arrays(tmp_path / name, encryption=encryption)
