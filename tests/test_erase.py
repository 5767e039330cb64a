"""Erasing: whoever was erased is in no file any more, nobody else loses anything, and the trail still verifies."""

import json
import re
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from conftest import take

from penstock.assemble import House
from penstock.cli.main import cli
from penstock.config import DocumentsSettings, EncryptionSettings, Settings, WebSettings
from penstock.documents.library import Library
from penstock.erase import Subject, carry_out, check_receipt, plan
from penstock.errors import BadRequest, Conflict
from penstock.observe.journal import Journal, Row
from penstock.storage.audit import Audit, acting
from penstock.storage.envelope import Encryption
from penstock.testing import WordEmbedder
from penstock.types import Caller, Document

NAMES = ("Anna Zwirnbach", "anna.zwirnbach@example.com", "p-471108")
ANNA = Subject.of(NAMES[1], NAMES[::2])
SHARED = "Parcels to Norway take five working days to arrive at the harbour of Bergen in winter and summer alike."


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def house(home: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[House]:
    """A home in which Anna is everywhere, and Bo too."""
    settings = Settings(
        home=str(home),
        folder=tmp_path,
        documents={"hr": DocumentsSettings(keep_versions=9)},
        encryption=EncryptionSettings(content=request.param),
    )
    house = House(settings)
    sealing = Encryption(house.envelope, "documents") if request.param else None
    collections = settings.documents
    house.__dict__["library"] = library = Library(
        home, WordEmbedder, folder=tmp_path, collections=collections, web=WebSettings(), encryption=sealing
    )
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "rota.md").write_text("# Rota\n\nAnna Zwirnbach opens the shop on Mondays.\n\nBo closes it on Fridays.\n")
    (folder / "hours.md").write_text("# Hours\n\nThe shop in Bergen opens at nine and closes at six.\n")
    hr = library["hr"]
    hr.add([str(folder)])
    hr.put("Anna Zwirnbach cv.txt", b"She has sold books for ten years in four cities of this country.")
    hr.put("prices.txt", b"Books cost twelve kroner. Maps cost nine kroner each.")
    token = acting.set("anna.zwirnbach@example.com")
    library.audit.write("login.succeeded", target="anna.zwirnbach@example.com")
    acting.reset(token)
    journal = Journal(house.database, home / "journal")
    for n, person in enumerate(("p-471108", "p-2", "p-471108")):
        guarded = json.dumps([{"text": "mail to Anna Zwirnb\u00e4ch" if n else "call ANNA  ZWIRNBACH"}])
        row = Row(f"r{n}", f"t{n}", time.time(), "shop", person, "", "", "m", "chat", False, 200, "ok", "", False, 1.0, 2.0,
                  3, 4, 0, 0, 5, "", guarded)  # fmt: skip
        journal.write(row, [(f"budget/each/{person}/limit_usd", 0, 5)])
    journal.close()
    house.files.add("shop", "a.jsonl", b'{"user": "p-471108", "n": 1}\n{"user": "p-2", "n": 2}\n', purpose="batch")
    house.files.add("shop", "b.jsonl", b'{"text": "Anna \\u005awirnbach"}\n', purpose="batch")
    house.batches  # noqa: B018  its tables
    with house.database.write() as w:
        w.execute("insert into batch_results values ('b1', 1, 1, ?)", (b'{"said": "Hello Anna Zwirnbach"}',))
        w.execute("insert into batch_results values ('b1', 2, 1, ?)", (b'{"said": "Hello Bo"}',))
    yield house
    house.close()


def remains(home: Path, names: tuple[str, ...] = NAMES) -> list[str]:
    """Where any name is left: in the bytes of any file in three encodings, in its name, or in what is packed in the database."""
    found = []
    for path in home.rglob("*"):
        data = path.read_bytes().lower() if path.is_file() else b""
        for name in names:
            if name.lower() in path.name.lower():
                found.append(f"name of {path}")
            encodings = [e for e in ("utf-8", "utf-16-le", "utf-16-be") if name.lower().encode(e) in data]
            found += [f"{name} as {encoding} in {path}" for encoding in encodings]
    with closing(sqlite3.connect(home / "penstock.db")) as database:
        tables = database.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            for row in database.execute(f"select * from {table}"):
                for value in row:
                    text = value if isinstance(value, str) else str(value)
                    if isinstance(value, bytes):
                        with suppress(zlib.error):
                            text = zlib.decompress(value).decode()
                    found += [f"{name} in {table}" for name in names if name.lower() in text.lower()]
    return found


def test_whoever_was_erased_is_in_no_file_any_more_and_the_trail_still_verifies(house: House, home: Path):
    assert len(set(map(str, remains(home)))) > 5

    receipt = carry_out(house, plan(house, ANNA))

    assert remains(home) == []
    assert receipt["scan"]["found"] == []
    assert receipt["erased"] == {
        "documents": 2, "requests": 2, "budgets": 1, "files": 2, "batches": 1,
        "names": receipt["erased"]["names"],
    }  # fmt: skip
    assert receipt["erased"]["names"] >= 3
    assert house.library.audit.verify().problems == ()
    assert Audit(house.database).verify().problems == ()


def test_nobody_else_loses_anything(house: House):
    carry_out(house, plan(house, ANNA))

    assert [row.source for row in house.library["hr"].documents()] == ["hours.md", "prices.txt"]
    assert house.library["hr"].search("What do maps cost?").hits[0].passage.source == "prices.txt"
    rows = house.database.read("select person, cost_pico_usd, guarded != '' from requests order by id")
    assert rows == [("", 5, 0), ("p-2", 5, 1), ("", 5, 0)]
    assert house.database.read("select counter from spend") == [("budget/each/p-2/limit_usd",)]
    (left,) = house.database.read("select id, bytes from files")
    assert house.files.path(left[0]).read_bytes() == b'{"user": "p-2", "n": 2}\n'
    assert left[1] == 24
    assert house.database.read("select line from batch_results") == [(2,)]


def test_every_version_is_without_them_and_reads_well(house: House):
    hr = house.library["hr"]
    before = {version.number: version.documents for version in hr.versions()}

    carry_out(house, plan(house, ANNA))

    assert {version.number for version in hr.versions()} == set(before)
    for version in hr.versions():
        snapshot = hr.snapshot(version.number)
        view = snapshot.everything()
        hits = hr.found("Who opens the shop at nine?", snapshot, view, k=10).hits
        assert {hit.passage.source for hit in hits} <= {"hours.md", "prices.txt"}
        assert version.passages == view.count == sum(row.passages for row in snapshot.documents.values())
        assert version.documents == len(snapshot.documents) < before[version.number]
    hr.use("v1")
    assert hr.search("When does the shop open?").hits[0].passage.source == "hours.md"


def test_a_place_in_the_index_that_others_shared_is_inherited(home: Path, tmp_path: Path):
    library = Library(home, WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
    house = House(Settings(home=str(home), folder=tmp_path), library)
    shop = library.create("shop")
    take(shop, Document("anna.txt", SHARED), Document("one.txt", SHARED), Document("two.txt", f"{SHARED} Snow is rare."),
         Document("three.txt", "Books can be returned within thirty days."))  # fmt: skip
    take(
        shop, Document("anna.txt", SHARED), Document("one.txt", SHARED), Document("four.txt", "Maps cost nine kroner.")
    )
    assert shop.versions()[-1].documents >= 3
    held = shop.search("How long do parcels to Norway take?")

    carry_out(house, plan(house, Subject.of("source:anna.txt")))

    found = shop.search("How long do parcels to Norway take?")
    assert "anna.txt" in {held.hits[0].passage.source, *held.hits[0].passage.also_in}
    assert found.hits[0].passage.source == "one.txt"
    assert "anna.txt" not in found.hits[0].passage.also_in
    assert found.hits[0].passage.text == SHARED
    assert [found.hits[0].passage.text[s.start : s.end] for s in found.hits[0].sentences] == [SHARED]
    for version in shop.versions():
        assert "anna.txt" not in {row.source for row in library.catalog.documents(shop.number, version.number)}
    house.close()


def test_a_server_that_held_the_version_open_finds_its_way(house: House, home: Path, tmp_path: Path):
    other = Library(
        home,
        WordEmbedder,
        folder=tmp_path,
        collections=house.settings.documents,
        web=WebSettings(),
        encryption=house.library.catalog.encryption,
    )
    assert other["hr"].search("Who opens the shop on Mondays?").hits[0].passage.source == "rota.md"

    carry_out(house, plan(house, ANNA))

    assert {hit.passage.source for hit in other["hr"].search("Who opens the shop on Mondays?").hits} <= {
        "hours.md", "prices.txt",
    }  # fmt: skip
    other.close()


def test_without_documents_they_are_counted_and_left(house: House):
    receipt = carry_out(house, plan(house, ANNA), documents=False)

    assert receipt["left"] == {"documents": 2}
    assert receipt["erased"]["documents"] == 0
    assert len(house.library["hr"].documents()) == 4
    assert receipt["scan"]["found"]  # and it says where


def test_documents_are_erased_by_their_source(house: House):
    found = plan(house, Subject.of("source:pri*"))
    assert [one.source for one in found.documents] == ["prices.txt"]

    carry_out(house, found)

    assert "prices.txt" not in [row.source for row in house.library["hr"].documents()]
    assert "hr/prices.txt" not in house.library.audit.names().values()


def test_other_parts_erase_what_they_keep(house: House):
    told: list[tuple[str, ...]] = []

    def notes(names: tuple[str, ...]) -> int:
        told.append(tuple(names))
        return 7

    receipt = carry_out(house, plan(house, ANNA), erasers=[("notes", notes)])

    assert told == [ANNA.names]
    assert receipt["erased"]["notes"] == 7


def test_the_vault_forgets_whom_its_stand_ins_stand_for(house: House, home: Path):
    team, own = house.vault.scope("acme", "team/shop"), house.vault.scope("", "key/anna.zwirnbach@example.com")
    anna, bo = team.token("PERSON", "Anna Zwirnbach"), team.token("PERSON", "Bo Lind")
    own.token("PERSON", "Cleo Lind")

    receipt = carry_out(house, plan(house, ANNA))

    assert receipt["erased"]["stand_ins"] == 2
    again = house.vault.scope("acme", "team/shop", whole=True)
    assert (again.value(anna), again.value(bo)) == (None, "Bo Lind")
    assert house.vault.scopes("") == []
    assert remains(home) == []


def test_a_key_that_has_their_name_is_not_taken_away_behind_their_back(house: House):
    house.keys.create("anna.zwirnbach", team="p-471108")

    with pytest.raises(Conflict) as refused:
        carry_out(house, plan(house, ANNA))
    assert "penstock keys revoke anna.zwirnbach" in refused.value.hint
    assert plan(house, ANNA).requests == 2  # nothing was erased

    house.keys.revoke("anna.zwirnbach")
    house.keys.remove("anna.zwirnbach")
    carry_out(house, plan(house, Subject.of(NAMES[1], [*NAMES[::2], "anna.zwirnbach"])))
    assert remains(house.settings.home_path) == []


def test_it_can_be_run_again(house: House, home: Path):
    carry_out(house, plan(house, ANNA))
    receipt = carry_out(house, plan(house, ANNA))

    assert not any(receipt["erased"].values())
    assert house.library.audit.verify().problems == ()


# ---------------------------------------------------------------- the receipt


def test_the_receipt_names_nobody_and_is_known_by_whoever_knows_the_name(house: House):
    receipt = json.loads(json.dumps(carry_out(house, plan(house, ANNA))))

    assert not any(name.lower() in json.dumps(receipt).lower() for name in NAMES)
    assert check_receipt(receipt)
    assert check_receipt(receipt, ANNA)
    assert not check_receipt(receipt, Subject.of("Bo Zwirnbach"))
    record = [one for one in house.library.audit.records() if one.kind == "subject.erased"][-1]
    assert (record.number, record.hash) == (receipt["audit"]["record"], receipt["audit"]["hash"])
    assert record.facts["receipt"] == receipt["receipt"]


def test_a_receipt_that_was_changed_is_known(house: House):
    receipt = carry_out(house, plan(house, ANNA))

    for name in receipt:
        assert not check_receipt({**receipt, name: "0" * 64})
        assert not check_receipt({key: value for key, value in receipt.items() if key != name})
    assert not check_receipt({})


# ---------------------------------------------------------------- who is meant


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("Anna Berg", "dear anna\u00a0 BERG,", True),
        ("Anna Berg", "Anna Bergmann", False),
        ("Ann", "Annual report", False),
        ("Ann", "(Ann)", True),
        ("Anna Ström", "Anna Stro\u0308m", True),
        ("Straße", "STRASSE", True),
        ("田中太郎", "営業部の田中太郎さん", True),
        ("Ｔａｎａｋａ", "tanaka", True),
        ("a+b@example.com", "a+b@example.com,", True),
        ("a+b@example.com", "aab@example.com", False),
        ("(((", "((((", True),
    ],
)
def test_a_name_is_found_as_a_whole_word_however_it_is_written(name: str, text: str, found: bool):
    assert Subject.of(name).mentioned_in(text) is found


@pytest.mark.parametrize("name", ["", " ", "Bo", "x", "  a  "])
def test_a_name_that_is_in_every_text_is_refused(name: str):
    with pytest.raises(BadRequest, match="too short"):
        Subject.of(name)


def test_a_long_text_takes_no_long_time_to_look_through():
    text = "anna " * 400_000 + "\x00\ud800" + "Zwirnbac" * 100_000
    started = time.process_time()

    assert not ANNA.mentioned_in(text)
    assert time.process_time() - started < 30  # hours, were it not linear


# ---------------------------------------------------------------- the terminal


def run(home: Path, *arguments: str, answer: str = "") -> Result:
    sealed = str((home / "keys").exists()).lower()
    environment = {"PENSTOCK_HOME": str(home), "PENSTOCK_ENCRYPTION_CONTENT": sealed}
    return CliRunner().invoke(cli, ["erase", *arguments], env=environment, input=answer)


def test_the_terminal_shows_asks_and_writes_the_receipt(house: House, home: Path, tmp_path: Path):
    names = [word for name in NAMES[::2] for word in ("--also", name)]
    dry = run(home, NAMES[1], *names, "--dry-run", "--json")
    no = run(home, NAMES[1], *names, answer="n\n")
    house.close()
    house.library.close()

    assert json.loads(re.search(r"\{.*\}", dry.stdout, re.S)[0])["documents"] == 2
    assert no.exit_code
    assert "The documents stay" in no.output
    yes = run(home, NAMES[1], *names, "--documents", "--yes", "--receipt", str(tmp_path / "anna.json"))
    assert yes.exit_code == 0, yes.output
    assert "rota.md" in yes.output  # in a folder of their own
    assert check_receipt(json.loads((tmp_path / "anna.json").read_text()), ANNA)
    assert remains(home) == []


def test_there_must_be_something_to_erase_from(home: Path):
    assert "nothing to erase" in str(run(home, "Anna Berg").exception)
    assert not home.exists()


def test_who_may_read_what_is_left_stays_as_it_was(home: Path, tmp_path: Path):
    library = Library(home, WordEmbedder, folder=tmp_path, collections={}, web=WebSettings())
    house = House(Settings(home=str(home), folder=tmp_path), library)
    shop = library.create("shop")
    take(shop, Document("anna.txt", SHARED, access=("hr",)), Document("one.txt", SHARED, access=("hr",)),
         Document("open.txt", "Books can be returned within thirty days."))  # fmt: skip

    carry_out(house, plan(house, Subject.of("source:anna.txt")))

    question = "How long do parcels to Norway take?"
    assert shop.search(question, caller=Caller("a", ("hr",))).hits[0].passage.source == "one.txt"
    assert {hit.passage.source for hit in shop.search(question, caller=Caller("b")).hits} <= {"open.txt"}
    house.close()
