"""Collections: what a sync finds, and what versions promise."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import MakeLibrary, take

from penstock.config import DocumentsSettings, RuleSettings, Seconds
from penstock.documents.collection import Collection
from penstock.documents.library import Library
from penstock.errors import BadRequest, Conflict, NotFound, Unreadable, WorseVersion
from penstock.testing import WordEmbedder
from penstock.types import Caller, Document

ANYBODY = Caller()


def sources(collection: Collection) -> list[str]:
    return [row.source for row in collection.documents()]


def first(collection: Collection, question: str, caller: Caller = ANYBODY) -> str:
    hits = collection.search(question, caller=caller).hits
    return hits[0].passage.text if hits else ""


@pytest.fixture
def handbook(library: Library, folder: Path) -> Collection:
    collection = library.create("handbook")
    collection.add([str(folder)])
    return collection


# ---------------------------------------------------------------- what a sync finds


def test_a_sync_tells_added_changed_moved_and_removed(handbook: Collection, folder: Path):
    (folder / "gifts.md").write_text("# Gifts\n\nGift cards never expire.\n")
    (folder / "returns.md").write_text("# Returns\n\nBooks can be returned within sixty days.\n")
    (folder / "old").mkdir()
    shutil.move(folder / "shipping.md", folder / "old" / "shipping.md")
    (folder / "hours.txt").unlink()

    report = handbook.sync()

    assert (report.added, report.changed) == (["gifts.md"], ["returns.md"])
    assert (report.moved, report.removed) == (["shipping.md -> old/shipping.md"], ["hours.txt"])
    assert sources(handbook) == ["gifts.md", "old/shipping.md", "returns.md"]
    assert "sixty" in first(handbook, "return books")


def test_a_sync_that_finds_nothing_new_makes_no_version(handbook: Collection):
    report = handbook.sync()

    assert (report.version, report.unchanged) == (None, 3)
    assert len(handbook.versions()) == 1


def test_a_file_saved_again_as_it_was_is_not_indexed_again(handbook: Collection, folder: Path):
    os.utime(folder / "returns.md", ns=(1, 1))

    assert handbook.sync().version is None
    assert handbook.sync().version is None


def test_a_refresh_embeds_only_what_changed(make_library: MakeLibrary, folder: Path):
    embedder = WordEmbedder()
    collection = make_library(embedder).create("handbook")
    collection.add([str(folder)])
    before = embedder.embedded
    (folder / "returns.md").write_text("# Returns\n\nBooks can be returned within sixty days. Sale items are final.\n")

    report = collection.sync()

    assert (report.embedded, report.documents) == (1, 3)
    assert embedder.embedded - before == 3  # the passage and its two sentences


def test_a_file_that_comes_back_is_not_embedded_again(handbook: Collection, folder: Path):
    text = (folder / "returns.md").read_text()
    (folder / "returns.md").unlink()
    handbook.sync()
    (folder / "returns.md").write_text(text)

    report = handbook.sync()

    assert (report.added, report.embedded) == (["returns.md"], 0)


def test_files_that_cannot_be_read_are_listed_and_stop_nothing(handbook: Collection, folder: Path):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nothing more")
    (folder / "empty.md").write_bytes(b"")
    (folder / "gifts.md").write_text("Gift cards never expire.")

    report = handbook.sync()

    assert report.added == ["gifts.md"]
    assert [row.source for row in handbook.skipped()] == ["broken.pdf", "empty.md"]
    assert all(row.reason for row in handbook.skipped())
    assert handbook.sync().version is None


def test_a_changed_file_that_cannot_be_read_any_more_leaves(handbook: Collection, folder: Path):
    (folder / "returns.md").write_bytes(b"")

    assert handbook.sync().removed == ["returns.md"]


def test_a_folder_that_cannot_be_looked_at_keeps_its_documents(handbook: Collection, folder: Path):
    folder.rename(folder.with_name("away"))

    report = handbook.sync()

    assert (report.removed, len(report.skipped)) == ([], 1)
    assert "Books" in first(handbook, "return books")
    assert handbook.remove(str(folder)).removed == ["hours.txt", "returns.md", "shipping.md"]


def test_two_folders_with_files_of_one_name_keep_both(handbook: Collection, tmp_path: Path):
    other = tmp_path / "north"
    other.mkdir()
    (other / "returns.md").write_text("Boats cannot be returned.")

    handbook.add([str(other)])

    assert sources(handbook) == ["hours.txt", "north/returns.md", "returns.md", "shipping.md"]


def test_new_access_rules_hold_after_the_next_sync(make_library: MakeLibrary, folder: Path):
    make_library().create("handbook").add([str(folder)])
    rule = RuleSettings(match="returns*", access=("clerk",), tags=("policy",))
    collection = make_library(handbook=DocumentsSettings(rules=(rule,)))["handbook"]

    report = collection.sync()

    assert (sorted(report.changed), report.embedded) == (["hours.txt", "returns.md", "shipping.md"], 0)
    assert "Books" not in first(collection, "return books")
    assert "Books" in first(collection, "return books", Caller("ann", ("clerk",)))
    assert collection.search("return books", caller=Caller("ann", ("clerk",)), where={"tag": "policy"}).searched == 1


def test_a_file_that_was_too_large_is_read_once_the_limit_is_raised(make_library: MakeLibrary, folder: Path):
    (folder / "long.txt").write_text("A long line of words.\n" * 60_000)
    collection = make_library(handbook=DocumentsSettings(max_file_mb=1)).create("handbook")
    assert [s.source for s in collection.add([str(folder)]).skipped] == ["long.txt"]

    report = make_library(handbook=DocumentsSettings(max_file_mb=2))["handbook"].sync()

    assert "long.txt" in report.added


def test_a_citation_is_marked_stale_by_rule(make_library: MakeLibrary, folder: Path):
    rule = RuleSettings(match="returns*", stale_after=Seconds(86400.0))
    collection = make_library(handbook=DocumentsSettings(rules=(rule,))).create("handbook")
    os.utime(folder / "returns.md", (0, 0))
    collection.add([str(folder)])

    hits = {hit.passage.source: hit.passage for hit in collection.search("books parcels shop").hits}

    assert (hits["returns.md"].date, hits["returns.md"].stale) == ("1970-01-01", True)
    assert not hits["shipping.md"].stale


# ---------------------------------------------------------------- near-duplicates


def test_what_is_said_twice_is_stored_once_and_found_in_both_places(library: Library):
    text = "Books can be returned within thirty days when the receipt is shown at the counter in the shop."
    collection = library.create("handbook")
    take(collection, Document("a.md", text), Document("b.md", text))

    (hit,) = collection.search("return books").hits

    assert collection.versions()[-1].passages == 1
    assert {hit.passage.source, *hit.passage.also_in} == {"a.md", "b.md"}


def test_the_same_words_for_other_readers_stand_for_themselves(library: Library):
    text = "The director earns ninety thousand a year, as the board decided at its meeting in the spring."
    collection = library.create("handbook")
    take(collection, Document("secret.md", text, access=("hr",)), Document("open.md", text), Document("c.md", "Cats."))

    stranger, clerk = (
        collection.search("What does the director earn?", caller=caller) for caller in (ANYBODY, Caller("a", ("hr",)))
    )

    assert [(hit.passage.source, hit.passage.also_in) for hit in stranger.hits[:1]] == [("open.md", ())]
    assert (stranger.searched, clerk.searched) == (2, 3)
    assert {hit.passage.source for hit in clerk.hits[:2]} == {"secret.md", "open.md"}


LONG = "Books can be returned within thirty days of delivery when the receipt is shown at the counter of the shop"


def test_an_edit_of_a_word_is_found_by_that_word(handbook: Collection, folder: Path):
    (folder / "returns.md").write_text(f"{LONG}.\n")
    handbook.sync()
    (folder / "returns.md").write_text(f"{LONG}, kindly.\n")

    report = handbook.sync()

    assert report.embedded == 1
    assert handbook.search("kindly").hits[0].parts["bm25"] > 0


@pytest.mark.parametrize("gone", ["a.md", "b.md", None])
def test_what_is_said_twice_survives_another_embedder(make_library: MakeLibrary, folder: Path, gone: str | None):
    for name in ("a.md", "b.md", "c.md"):
        (folder / name).write_text(f"{LONG}.\n")
    make_library().create("handbook").add([str(folder)])
    if gone:
        (folder / gone).unlink()
    other = make_library(WordEmbedder("other"))["handbook"]
    other.sync()

    hit = other.search("return books with a receipt at the counter").hits[0]

    assert {hit.passage.source, *hit.passage.also_in} == {"a.md", "b.md", "c.md"} - {gone}


def test_another_embedder_changes_nothing_in_who_may_read_what(make_library: MakeLibrary, folder: Path):
    rule = RuleSettings(match="secret*", access=("board",))
    settings = DocumentsSettings(rules=(rule,))
    for name in ("public.txt", "secret.txt"):
        (folder / name).write_text(f"{LONG}.\n")
    make_library(handbook=settings).create("handbook").add([str(folder)])
    other = make_library(WordEmbedder("other"), handbook=settings)["handbook"]
    other.sync()

    hits = other.search("return books with a receipt at the counter", k=9).hits

    assert hits[0].passage.source == "public.txt"
    assert not any("secret" in name for hit in hits for name in (hit.passage.source, *hit.passage.also_in))


def test_rules_hold_for_the_path_in_a_folder_even_when_its_names_are_told_apart(
    make_library: MakeLibrary, folder: Path, tmp_path: Path
):
    settings = DocumentsSettings(rules=(RuleSettings(match="hr/*", access=("hr",)),))
    other = tmp_path / "other"
    (other / "hr").mkdir(parents=True)
    (other / "hr" / "pay.md").write_text("The director earns 90,000 a year.")
    collection = make_library(handbook=settings).create("handbook")
    collection.add([str(folder), str(other)])
    (other / "returns.md").write_text("Boats cannot be returned.")
    (other / "hr" / "pay.md").write_text("The director earns 95,000 a year now.")

    collection.sync()

    assert {row.source: row.access for row in collection.documents()}["other/hr/pay.md"] == ("hr",)
    assert not any("director" in hit.passage.text for hit in collection.search("director earns").hits)


def test_the_index_and_the_uploads_of_others_are_no_documents_of_a_folder_around_them(
    make_library: MakeLibrary, home: Path
):
    library = make_library()
    library.create("hr").put("pay.md", b"The director earns 90,000 a year.")
    (home.parent / "open.md").write_text("The shop is open.")
    collection = library.create("all")

    collection.add([str(home.parent)])

    assert "open.md" in sources(collection)
    assert not any("pay" in source for source in sources(collection))


def test_when_the_first_of_two_places_leaves_the_other_still_answers(handbook: Collection, folder: Path):
    text = "Gift cards never expire and can be spent in every shop of ours, at the counter or on our pages."
    (folder / "a.md").write_text(text)
    (folder / "b.md").write_text(text)
    handbook.sync()
    (folder / "a.md").unlink()
    handbook.sync()

    hit = handbook.search("Do gift cards expire?").hits[0]

    assert (hit.passage.source, hit.passage.also_in) == ("b.md", ())


# ---------------------------------------------------------------- versions


def revise(folder: Path, days: str) -> None:
    (folder / "returns.md").write_text(f"# Returns\n\nBooks can be returned within {days} days.\n")


def test_a_version_can_be_taken_back_and_forth_by_name(handbook: Collection, folder: Path):
    revise(folder, "sixty")
    handbook.sync()

    handbook.use("previous")
    back = first(handbook, "return books")
    handbook.use("v2")

    assert "thirty" in back
    assert "sixty" in first(handbook, "return books")
    assert [version.live for version in handbook.versions()] == [False, True]


def test_after_going_back_a_sync_builds_on_what_is_live(handbook: Collection, folder: Path):
    revise(folder, "sixty")
    handbook.sync()
    handbook.use("v1")
    (folder / "gifts.md").write_text("Gift cards never expire.")

    report = handbook.sync()

    assert (report.version, report.added, report.changed) == (3, ["gifts.md"], ["returns.md"])
    assert "sixty" in first(handbook, "return books")
    handbook.use("v1")
    assert sources(handbook) == ["hours.txt", "returns.md", "shipping.md"]


def test_two_versions_are_compared_passage_by_passage(handbook: Collection, folder: Path):
    revise(folder, "sixty")
    handbook.sync()

    difference = handbook.difference("v1", "v2")

    assert [source for source, _ in difference.added] == ["returns.md"]
    assert "sixty" in difference.added[0][1]
    assert "thirty" in difference.removed[0][1]
    assert difference.same == 2


def test_only_so_many_versions_are_kept_and_the_live_one_always(make_library: MakeLibrary, folder: Path, home: Path):
    collection = make_library(handbook=DocumentsSettings(keep_versions=2)).create("handbook")
    collection.add([str(folder)])
    for days in ("forty", "fifty", "sixty"):
        revise(folder, days)
        collection.sync()

    names = [version.name for version in collection.versions()]

    assert names == ["v3", "v4"]
    assert {path.name for path in collection.segments.path.iterdir()} == collection.home.catalog.segment_files(1)
    with pytest.raises(NotFound, match="v1"):
        collection.use("v1")


def test_a_version_that_was_built_unpublished_answers_nothing_until_it_is_used(handbook: Collection, folder: Path):
    revise(folder, "sixty")
    report = handbook.sync(publish=False)
    before = first(handbook, "return books")
    handbook.use("newest")

    assert not report.published
    assert "thirty" in before
    assert "sixty" in first(handbook, "return books")


@pytest.mark.parametrize("name", ["v9", "9", "yesterday", "", "v", "-1"])
def test_a_version_that_does_not_exist_is_refused_by_name(handbook: Collection, name: str):
    with pytest.raises(NotFound):
        handbook.use(name)


def test_a_search_that_is_running_keeps_the_version_it_began_with(handbook: Collection, folder: Path):
    held = handbook.snapshot()
    revise(folder, "sixty")
    handbook.sync()

    hits = handbook.found("return books", held, held.everything(), k=1).hits

    assert "thirty" in hits[0].passage.text


def test_a_version_dropped_in_the_middle_of_a_search_is_searched_anew(make_library: MakeLibrary, folder: Path):
    settings = DocumentsSettings(keep_versions=1)
    writer, reader = (make_library(handbook=settings).create("handbook") for _ in range(2))
    writer.add([str(folder)])
    stale = reader.snapshot()
    revise(folder, "sixty")
    writer.sync()
    live = reader.home.catalog.live
    answers = iter([stale.number])  # the first look at what is live came before the publish
    reader.home.catalog.live = lambda number: next(answers, None) or live(number)  # type: ignore[method-assign]

    found = reader.search("return books")

    assert (found.version, "sixty" in found.hits[0].passage.text) == ("v2", True)


def test_what_another_process_publishes_is_served_at_once(make_library: MakeLibrary, folder: Path):
    writer, reader = (make_library().create("handbook") for _ in range(2))
    writer.add([str(folder)])
    before = first(reader, "return books")
    revise(folder, "sixty")
    writer.sync()

    assert "thirty" in before
    assert "sixty" in first(reader, "return books")


def test_a_collection_made_anew_by_another_process_is_not_mistaken_for_the_old_one(
    make_library: MakeLibrary, folder: Path
):
    one, other = make_library(), make_library()
    one.create("handbook").add([str(folder)])
    first(other["handbook"], "return books")
    one.remove("handbook")
    revise(folder, "sixty")
    one.create("handbook").add([str(folder)])

    assert "sixty" in first(other["handbook"], "return books")


def test_two_writers_at_once_are_refused_clearly(handbook: Collection, make_library: MakeLibrary):
    with handbook.writing(), pytest.raises(Conflict, match="another process is indexing 'handbook'"):
        make_library()["handbook"].sync()


# ---------------------------------------------------------------- the golden questions


@pytest.fixture
def gated(make_library: MakeLibrary, folder: Path, tmp_path: Path) -> Collection:
    rows = [{"question": "How long can I return books?", "source": "returns.md"},
            {"question": "How long do parcels to Norway take?", "contains": "five days"}]  # fmt: skip
    (tmp_path / "golden.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    collection = make_library(handbook=DocumentsSettings(golden="golden.jsonl")).create("handbook")
    collection.add([str(folder)])
    return collection


def test_a_version_that_answers_the_golden_questions_worse_is_not_published(gated: Collection, folder: Path):
    (folder / "returns.md").write_text("# Careers\n\nWe are hiring.\n")
    (folder / "shipping.md").unlink()

    with pytest.raises(WorseVersion, match=r"recall@5 fell from 1.000 to 0.") as refused:
        gated.sync()

    assert "penstock docs use v2" in refused.value.hint
    assert "Books" in first(gated, "return books")
    assert [(version.state, version.live) for version in gated.versions()] == [("ready", True), ("refused", False)]


def test_a_refused_version_can_be_published_all_the_same(gated: Collection, folder: Path):
    (folder / "shipping.md").unlink()
    with pytest.raises(WorseVersion):
        gated.sync()

    gated.use("v2")

    assert sources(gated) == ["hours.txt", "returns.md"]


def test_refusals_that_come_again_and_again_push_no_good_version_out(gated: Collection, folder: Path):
    revise(folder, "sixty")
    gated.sync()
    (folder / "shipping.md").unlink()
    for _ in range(7):
        with pytest.raises(WorseVersion):
            gated.sync()

    assert [(v.name, v.state) for v in gated.versions()] == [("v1", "ready"), ("v2", "ready"), ("v9", "refused")]


def test_a_version_that_answers_as_well_is_published(gated: Collection, folder: Path):
    revise(folder, "sixty")

    assert gated.sync().published


def test_a_version_of_another_embedder_is_held_to_what_the_live_one_scored(
    gated: Collection, make_library: MakeLibrary, folder: Path
):
    settings = gated.settings
    (folder / "returns.md").write_text("# Careers\n\nWe are hiring.\n")
    other = make_library(WordEmbedder("other"), handbook=settings)["handbook"]

    with pytest.raises(WorseVersion, match="golden questions nDCG@10 fell from 1"):
        other.sync()


def test_a_version_of_another_embedder_is_not_made_live_by_mistake(handbook: Collection, make_library: MakeLibrary):
    other = make_library(WordEmbedder("other"))["handbook"]
    other.sync()

    with pytest.raises(Conflict, match="was embedded by"):
        other.use("v1")

    assert "Books" in first(other, "return books")


# ---------------------------------------------------------------- removing


def test_an_upload_is_kept_and_can_be_removed(library: Library):
    collection = library.create("inbox")
    collection.put("notes.md", b"Gift cards never expire.")
    collection.put("more.md", b"Boats cannot be returned.")

    collection.sync()
    collection.remove("notes.md")

    assert sources(collection) == ["more.md"]
    assert [path.name for path in collection.uploads.iterdir()] == ["more.md"]


def test_an_upload_that_gives_nothing_changes_nothing(library: Library):
    collection = library.create("inbox")
    collection.put("notes.md", b"Gift cards never expire.")

    broken = {
        "broken.pdf": b"%PDF-1.7 nothing more",
        "notes.md": b"\x00\x01binary",
        "empty.zip": b"PK\x05\x06" + bytes(18),
    }
    for name, data in broken.items():
        with pytest.raises(Unreadable, match=name):
            collection.put(name, data)

    assert [(path.name, path.read_bytes()) for path in collection.uploads.iterdir()] == [
        ("notes.md", b"Gift cards never expire.")
    ]
    assert (sources(collection), collection.skipped(), len(collection.versions())) == (["notes.md"], [], 1)


def test_an_upload_whose_build_is_given_up_is_not_kept(library: Library):
    class Stopping:
        def start(self, files: int) -> None: ...
        def file(self, name: str) -> None: ...
        def page(self, number: int, pages: int) -> None: ...
        def passages(self, done: int) -> None:
            raise KeyboardInterrupt

    collection = library.create("inbox")
    with pytest.raises(KeyboardInterrupt):
        collection.put("notes.md", b"Gift cards never expire.", progress=Stopping())

    assert list(collection.uploads.iterdir()) == []
    assert collection.versions() == []


def test_an_upload_waits_for_a_refresh_to_end(library: Library):
    collection = library.create("inbox")
    with ThreadPoolExecutor(1) as pool:
        with collection.writing():
            waiting = pool.submit(collection.put, "notes.md", b"Gift cards never expire.")
            assert not waiting.done()

        assert waiting.result().added == ["notes.md"]


@pytest.mark.parametrize("name", ["../../etc/passwd.md", "/etc/passwd.md", "..\\..\\passwd.md", "a\0b/passwd.md"])
def test_no_upload_leaves_its_folder(library: Library, name: str):
    collection = library.create("inbox")

    collection.put(name, b"root is no user of ours")

    assert [path.name for path in collection.uploads.iterdir()] == ["passwd.md"]


def test_a_folder_can_be_removed_but_not_a_file_that_it_still_holds(handbook: Collection, folder: Path):
    with pytest.raises(BadRequest, match="would come back"):
        handbook.remove("returns.md")

    assert handbook.remove(str(folder)).removed == ["hours.txt", "returns.md", "shipping.md"]


def test_removing_what_is_not_there_says_so(handbook: Collection):
    with pytest.raises(NotFound, match="neither a place nor a document"):
        handbook.remove("nothing.md")


def test_a_removed_collection_leaves_nothing_behind(handbook: Collection, home: Path):
    handbook.home.remove("handbook")

    assert handbook.home.names() == []
    assert list((home / "segments").iterdir()) == []
    for table in ("documents", "passages", "texts", "versions", "version_segments", "memberships"):
        assert handbook.home.catalog.database.read(f"select count(*) from {table}")[0][0] == 0


def test_a_document_of_another_version_than_the_live_one_is_not_shown(handbook: Collection, folder: Path):
    before = {row.source: row.id for row in handbook.documents()}["returns.md"]
    revise(folder, "sixty")
    handbook.sync(publish=False)
    newest = handbook.home.catalog.database.read("select max(id) from documents")[0][0]

    with pytest.raises(NotFound):
        handbook.document(str(newest))

    handbook.use("newest")
    with pytest.raises(NotFound):
        handbook.document(str(before))
    assert "sixty" in handbook.document(str(newest))[1]


def test_a_document_is_shown_only_to_those_who_may_read_it(library: Library):
    collection = library.create("handbook")
    take(collection, Document("pay.md", "The director earns 90,000.", access=("hr",)))
    (row,) = collection.documents()

    with pytest.raises(NotFound):
        collection.document(str(row.id))

    assert collection.document(str(row.id), Caller("ann", ("hr",)))[1] == "The director earns 90,000."
    assert collection.documents(Caller()) == []


OPERATIONS: list[tuple[str, Callable[[Collection], object]]] = [
    ("add", lambda c: c.add(["nowhere"])),
    ("difference", lambda c: c.difference("v1", "v2")),
    ("search", lambda c: c.search("anything")),
    ("document", lambda c: c.document("1")),
]


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_a_collection_without_a_version_says_what_is_missing(
    library: Library, name: str, operation: Callable[[Collection], object]
):
    with pytest.raises(NotFound) as refused:
        operation(library.create("empty"))

    assert refused.value.message


def test_a_version_that_is_too_uneven_between_languages_is_not_published(
    make_library: MakeLibrary, tmp_path: Path, folder: Path
):
    rows = [
        {"question": "How long can books be returned?", "source": "returns.md"},
        {"question": "Wie lange kann ich Hefte zurückgeben?", "source": "nowhere.md"},
    ]
    (tmp_path / "golden.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    settings = DocumentsSettings(golden="golden.jsonl", golden_gap=0.5)
    collection = make_library(handbook=settings).create("handbook")

    with pytest.raises(WorseVersion, match=r"recall@5 in 'de' is 0\.000, 1\.000 below"):
        collection.add([str(folder)])
