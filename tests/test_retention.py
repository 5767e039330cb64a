"""How long what is kept is kept: what is past its time goes, nothing else does, and the trail says so."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from penstock import retention
from penstock.assemble import House
from penstock.cli.main import cli
from penstock.config import (
    AuditSettings,
    BatchSettings,
    ChatSettings,
    DocumentsSettings,
    JournalSettings,
    RuleSettings,
    Seconds,
    Settings,
    VaultSettings,
    WebSettings,
)
from penstock.documents.library import Library
from penstock.documents.segment import Segment, SegmentFolder
from penstock.observe.journal import Journal, Row
from penstock.server.app import App
from penstock.testing import WordEmbedder

DAY = 86_400.0
Make = Callable[..., House]


@pytest.fixture
def make(home: Path, tmp_path: Path) -> Iterator[Make]:
    opened: list[House] = []

    def make(**settings: Any) -> House:
        house = House(Settings(home=str(home), folder=tmp_path, **settings))
        collections, web = house.settings.documents, WebSettings()
        house.__dict__["library"] = Library(home, WordEmbedder, folder=tmp_path, collections=collections, web=web)
        opened.append(house)
        return house

    yield make
    for house in opened:
        house.close()


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "old.md").write_text("---\ndate: 2001-05-04\n---\n# Old\n\nThe shop in Bergen opened at seven.\n")
    (folder / "new.md").write_text("# New\n\nThe shop in Bergen opens at nine.\n")
    return folder


def keeping(days: float, match: str = "*") -> DocumentsSettings:
    return DocumentsSettings(keep_versions=9, rules=(RuleSettings(match=match, keep=Seconds(days * DAY)),))


def counts(found: list[retention.Due]) -> dict[str, int]:
    return {due.setting: due.count for due in found}


def test_documents_past_their_time_leave_every_version(make: Make, papers: Path):
    house = make(documents={"hr": DocumentsSettings(keep_versions=9)})
    house.library["hr"].add([str(papers)])
    house = make(documents={"hr": keeping(365)})

    assert counts(retention.look(house)) == {"documents.hr.rules": 1}
    assert counts(retention.enforce(house))["documents.hr.rules"] == 1

    catalog = house.library["hr"].home.catalog
    assert [row.source for row in catalog.every_document(house.library["hr"].number)] == ["new.md"]
    found = house.library["hr"].search("When did the shop open at seven?")
    assert {hit.passage.source for hit in found.hits} == {"new.md"}
    record = next(house.audit.records(kind="retention.applied"))
    assert (record.target, record.facts["count"]) == ("documents of 'hr'", 1)


def test_a_document_past_its_time_is_not_taken_in_and_the_list_of_skipped_files_says_why(make: Make, papers: Path):
    house = make(documents={"hr": keeping(365)})

    house.library["hr"].add([str(papers)])
    again = house.library["hr"].sync()

    assert [row.source for row in house.library["hr"].documents()] == ["new.md"]
    assert [skipped.source for skipped in house.library["hr"].skipped()] == ["old.md"]
    assert "2001-05-04" in house.library["hr"].skipped()[0].reason
    assert again.added == []


def test_of_several_rules_the_last_one_that_fits_says_how_long(make: Make, papers: Path):
    rules = (RuleSettings(keep=Seconds(DAY)), RuleSettings(match="old*", keep=Seconds(100 * 365 * DAY)))
    house = make(documents={"hr": DocumentsSettings(rules=rules)})

    house.library["hr"].add([str(papers)])

    assert [row.source for row in house.library["hr"].documents()] == ["new.md", "old.md"]


def test_files_and_ended_batches_go_after_their_time_and_what_a_batch_reads_stays(make: Make, home: Path):
    house = make(batches=BatchSettings(keep=Seconds(DAY)))
    names = [house.files.add("shop", f"{n}.jsonl", b"{}\n", purpose="batch").id for n in range(3)]
    for n in (0, 1):
        house.batches.create(
            "shop", endpoint="/v1/embeddings", input_id=names[n], window="24h", window_s=9e9, metadata={}
        )
    with house.database.write() as w:
        w.execute("update files set created = ? where id in (?, ?)", (time.time() - 2 * DAY, *names[:2]))
        w.execute("update batches set created = ?, ended = (input = ?)", (time.time() - 2 * DAY, names[0]))

    assert counts(retention.enforce(house))["batches.keep"] == 2

    assert set(house.files.ids()) == set(names[1:])
    assert not house.files.path(names[0]).exists()
    assert house.database.read("select input from batches") == [(names[1],)]


def test_the_journal_and_the_trail_lose_what_is_past_its_time(make: Make, home: Path):
    house = make(journal=JournalSettings(keep=Seconds(DAY)), audit=AuditSettings(keep=Seconds(3600)))
    journal = Journal(house.database, home / "journal")
    for n, at in enumerate((time.time() - 2 * DAY, time.time())):
        journal.write(Row(f"r{n}", f"t{n}", at, "k", "", "", "", "m", "chat", False, 200, "ok", "", False, 1.0, 2.0,
                          3, 4, 0, 0, 5, ""), [])  # fmt: skip
    journal.close()
    house.audit.write("key.created", target="early")
    with house.database.write() as w:
        w.execute("update audit_checkpoints set at = 1000")
    house.audit.write("key.created", target="late")

    found = counts(retention.enforce(house))

    assert found == {"journal.keep": 1, "audit.keep": 1}
    assert house.database.read("select id from requests") == [("r1",)]
    assert [record.kind for record in house.audit.records()] == ["key.created", "retention.applied", "audit.pruned"]


def test_scopes_of_the_vault_that_nobody_uses_go_with_their_keys_and_used_ones_stay(make: Make):
    house = make(vault=VaultSettings(keep=Seconds(7 * DAY)))
    for name in ("key/old", "key/new"):
        house.vault.scope("acme", name).token("PERSON", "Anna Berg")
    with house.database.write() as w:
        w.execute("update vault_scopes set used = ? where name = 'key/old'", (time.time() - 8 * DAY,))

    assert counts(retention.enforce(house))["vault.keep"] == 1

    assert house.vault.scopes("acme") == ["key/new"]
    house.vault.scope("acme", "key/new")  # a use
    assert counts(retention.enforce(house))["vault.keep"] == 0


def test_with_no_such_setting_nothing_goes(make: Make, papers: Path):
    forever = {"journal": JournalSettings(keep=Seconds(0)), "chat": ChatSettings(keep=Seconds(0))}
    house = make(documents={"hr": DocumentsSettings()}, **forever)
    house.library["hr"].add([str(papers)])

    assert retention.enforce(house) == []
    assert not retention.has_rules(house)


def test_a_running_server_sees_to_it_by_itself(make: Make, papers: Path):
    house = make(documents={"hr": DocumentsSettings()})
    house.library["hr"].add([str(papers)])
    house = make(documents={"hr": keeping(365)})
    app = App(house)

    app.open()
    until = time.monotonic() + 20
    while time.monotonic() < until and not list(house.audit.records(kind="retention.applied")):
        time.sleep(0.05)
    app.work.end(within_s=5)

    assert [row.source for row in house.library["hr"].documents()] == ["new.md"]


def test_who_opens_a_version_while_something_is_erased_in_it_reads_what_is_left(
    make: Make, papers: Path, monkeypatch: pytest.MonkeyPatch
):
    house, other = make(documents={"hr": DocumentsSettings()}), make(documents={"hr": keeping(365)})
    house.library["hr"].add([str(papers)])
    opened, erased = SegmentFolder.__getitem__, list[int]()

    def slowly(folder: SegmentFolder, name: str) -> Segment:
        if not erased:
            erased.append(1)
            retention.enforce(other)
        return opened(folder, name)

    monkeypatch.setattr(SegmentFolder, "__getitem__", slowly)
    house.library["hr"].forget()
    house.library["hr"].segments.hold(())

    assert [row.source for row in house.library["hr"].snapshot().documents.values()] == ["new.md"]


def test_the_terminal_shows_what_is_due_and_then_removes_it(home: Path, tmp_path: Path, papers: Path):
    settings = tmp_path / "penstock.toml"
    settings.write_text(f'home = "{home}"\n[documents.hr]\npaths = ["{papers}"]\n')
    runner = CliRunner()
    assert runner.invoke(cli, ["--config", str(settings), "docs", "sync", "hr"]).exit_code == 0
    with settings.open("a") as file:
        file.write('[[documents.hr.rules]]\nkeep = "365d"\n')

    due = runner.invoke(cli, ["--config", str(settings), "retain", "--dry-run"])
    done = runner.invoke(cli, ["--config", str(settings), "retain", "--json"])
    again = runner.invoke(cli, ["--config", str(settings), "retain", "--dry-run", "--json"])

    assert "documents of 'hr'" in due.output
    assert "past its time" in due.output
    assert {"what": "documents of 'hr'", "setting": "documents.hr.rules", "count": 1} in json.loads(done.stdout)
    assert all(row["count"] == 0 for row in json.loads(again.stdout))


def test_an_empty_home_stays_empty(home: Path, tmp_path: Path):
    settings = tmp_path / "penstock.toml"
    settings.write_text(f'home = "{home}"\n')

    result = CliRunner().invoke(cli, ["--config", str(settings), "retain"])

    assert result.exit_code == 1
    assert not home.exists()
