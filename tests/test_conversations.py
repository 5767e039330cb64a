"""Conversations are kept for whoever had them: found again, shared by a link, exported, erased; and nobody reaches another's."""

import sqlite3
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import HANDBOOK, KEYS, WITH_KEYS, Served, asked, serving, write

from penstock import conversations as module
from penstock.conversations import Conversations, Kept, Turn
from penstock.erase import Subject, carry_out, plan
from penstock.errors import BadRequest, Limited, NotFound
from penstock.retention import enforce
from penstock.storage.database import Database
from penstock.testing import WordEmbedder
from penstock.types import Caller

ANNA, BEN = Caller("anna"), Caller("ben")
ELSEWHERE = Caller("anna", tenant="acme")
QUESTION = "How long can books be returned?"


def new() -> str:
    return uuid.uuid4().hex


def turn(question: str = QUESTION, text: str = "Thirty days.") -> Turn:
    return Turn(new(), question, {"text": text, "citations": []})


def begin(kept: Conversations, caller: Caller, *turns: Turn, title: str = "") -> Kept:
    return kept.keep(caller, new(), "handbook", turns or [turn()], title=title)


@pytest.fixture
def kept(tmp_path: Path) -> Conversations:
    return Conversations(Database(tmp_path / "c.db"))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("office")
    write(folder / "handbook", HANDBOOK)
    toml = f"""
[documents.handbook]
paths = ["handbook"]
questions = ["When do refunds arrive?"]
[apps.helper]
documents = "handbook"
questions = ["Is the shop open on Sundays?"]
[apps.quiet]
documents = "handbook"
history = false
{WITH_KEYS}
"""
    with serving(folder, toml, embedder=WordEmbedder()) as served:
        yield served


def begun(client: httpx2.Client, question: str = QUESTION, text: str = "Thirty days.") -> dict[str, Any]:
    body = {"asked": "handbook", "turns": [said(question, text)]}
    made = client.put(f"/api/conversations/{new()}", json=body)
    assert made.status_code == 200, made.text
    found: dict[str, Any] = made.json()
    return found


def said(question: str = QUESTION, text: str = "Thirty days.") -> dict[str, Any]:
    return {"id": new(), "question": question, "answer": {"text": text}}


# ---------------------------------------------------------------- kept and found


def test_a_conversation_is_kept_as_it_was_and_goes_on(kept: Conversations):
    first = begin(kept, ANNA)
    assert first.title == QUESTION
    more = Turn(new(), "And gift cards?", {"text": "Never 🎁.", "quoted": [0]}, "r1")
    for _ in range(2):  # what is sent twice is there once
        assert kept.keep(ANNA, first.id, "handbook", [more], begins=False).turns == 2
    whole = kept.get(ANNA, first.id)
    assert [one.question for one in whole.turns] == [QUESTION, "And gift cards?"]
    assert whole.turns[1].answer == {"text": "Never 🎁.", "quoted": [0]}
    assert whole.turns[1].request == "r1"
    kept.change(ANNA, first.id, more.id, {"text": "Never.", "reply": "Ask Berta."})
    assert kept.get(ANNA, first.id).turns[1].answer == {"text": "Never.", "reply": "Ask Berta."}
    assert [one.id for one in kept.find(ANNA, "berta").kept] == [first.id]
    with pytest.raises(NotFound):
        kept.change(ANNA, first.id, new(), {"text": ""})
    assert kept.rename(ANNA, first.id, "  Returns \n of books ").title == "Returns of books"
    kept.remove(ANNA, first.id)
    for gone in (
        lambda: kept.get(ANNA, first.id),
        lambda: kept.keep(ANNA, first.id, "handbook", [turn()], begins=False),
    ):
        with pytest.raises(NotFound):
            gone()


@settings(max_examples=60, deadline=None)
@given(question=st.text(min_size=1).filter(str.strip), text=st.text(), more=st.dictionaries(st.text(), st.text()))
def test_whatever_was_said_is_read_back(tmp_path_factory: pytest.TempPathFactory, question: str, text: str, more: Any):
    kept = Conversations(Database(tmp_path_factory.mktemp("any") / "c.db"))
    one = Turn.read({"id": new(), "question": question, "answer": {**more, "text": text}})
    found = kept.get(ANNA, begin(kept, ANNA, one).id)
    assert (found.turns[0].question, found.turns[0].answer) == (question, {**more, "text": text})


def test_several_that_keep_the_same_at_once_keep_it_once(tmp_path: Path):
    kept, number = Conversations(Database(tmp_path / "c.db")), new()
    turns = [turn(f"Question {n}") for n in range(5)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: kept.keep(ANNA, number, "handbook", turns[: n % 5 + 1]), range(40)))
    assert {one.question for one in kept.get(ANNA, number).turns} == {f"Question {n}" for n in range(5)}


def test_words_are_found_in_titles_questions_and_answers(kept: Conversations):
    books = begin(kept, ANNA)
    parcels = begin(kept, ANNA, turn("How long do parcels take?", "Straße: FIVE days to a cafe\u0301 in İstanbul."))
    named = begin(kept, ANNA, turn("x", "y"), title="Winter sale")
    begin(kept, BEN, turn("parcels", "parcels"))

    def ids(words: str) -> list[str]:
        return [one.id for one in kept.find(ANNA, words).kept]

    assert ids("") == [named.id, parcels.id, books.id]
    assert ids("days") == [parcels.id, books.id]
    assert ids("DAYS strasse parcels") == [parcels.id], "all words, in question and answer, in whatever case"
    assert ids("café istanbul") == [parcels.id], "in whatever form"
    assert ids("winter") == [named.id]
    assert ids("days winter") == []


def test_a_long_list_comes_in_pieces_without_gaps(kept: Conversations):
    made = [begin(kept, ANNA, turn(f"Question {n}")).id for n in range(7)]
    seen: list[str] = []
    after, pages = "", 0
    while pages == 0 or after:
        found, after = kept.find(ANNA, "question" if pages % 2 else "", limit=3, after=after)
        seen += [one.id for one in found]
        pages += 1
        if pages == 1:
            kept.remove(ANNA, seen[-1])  # the last one that is known may be gone
    assert (seen, pages) == (made[::-1], 3)


def test_a_long_question_makes_a_short_title(kept: Conversations):
    title = begin(kept, ANNA, turn("May I " + "return it " * 40)).title
    assert len(title) <= 81
    assert title.endswith(("return it…", "return…"))
    assert len(begin(kept, ANNA, turn("字" * 500)).title) == 81


def test_nobody_has_conversations_without_end(kept: Conversations, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "MOST_TURNS", 2)
    first = begin(kept, ANNA)
    kept.keep(ANNA, first.id, "handbook", [turn()])
    with pytest.raises(Limited):
        kept.keep(ANNA, first.id, "handbook", [turn()])
    with pytest.raises(Limited):
        begin(kept, ANNA, turn(), turn(), turn())
    begin(kept, ANNA)
    with pytest.raises(Limited):
        begin(kept, ANNA)
    begin(kept, BEN)
    monkeypatch.setattr(module, "MOST_KEPT", 500)
    with pytest.raises(Limited):
        begin(kept, BEN, turn("q", "x" * 500))


# ---------------------------------------------------------------- whose they are


@pytest.mark.parametrize("other", [BEN, ELSEWHERE])
def test_nobody_reaches_anothers(kept: Conversations, other: Caller):
    one = turn()
    mine = begin(kept, ANNA, one).id
    for reach in (
        lambda: kept.get(other, mine),
        lambda: kept.keep(other, mine, "handbook", [turn()]),
        lambda: kept.change(other, mine, one.id, {"text": ""}),
        lambda: kept.rename(other, mine, "theirs"),
        lambda: kept.remove(other, mine),
        lambda: kept.share(other, mine, for_s=60),
        lambda: kept.unshare(other, mine),
    ):
        with pytest.raises(NotFound):
            reach()
    assert kept.find(other) == ([], "")
    assert [one.question for one in kept.get(ANNA, mine).turns] == [QUESTION]


def test_a_new_key_of_an_old_name_is_somebody_else(tmp_path: Path):
    toml = f'[keys.boss]\nkey = "{KEYS["boss"]}"\nadmin = true'
    with serving(tmp_path, toml, documents=False) as served:
        keys = served.house.keys
        first = served.client(keys.create("temp")[1])
        keys.refresh()
        begun(first, "A secret of the first one?")
        keys.revoke("temp")
        keys.remove("temp")
        second = served.client(keys.create("temp")[1])
        keys.refresh()
        assert second.get("/api/conversations").json()["conversations"] == []
        for name in ("owner", "console"):
            with pytest.raises(BadRequest):
                keys.create(name)


def test_the_owner_is_the_same_with_and_without_the_printed_link(kept: Conversations):
    mine = begin(kept, Caller("console", admin=True))
    assert kept.get(Caller("owner", admin=True), mine.id).kept.title == QUESTION


def test_a_shared_one_is_as_it_was_and_ends(kept: Conversations):
    one = Turn(new(), QUESTION, {"text": "Thirty days.", "waiting": "w1"}, "r1")
    mine = begin(kept, ANNA, one).id
    first, _ = kept.share(ANNA, mine, for_s=60)
    kept.keep(ANNA, mine, "handbook", [turn("A secret question")])
    kept.change(ANNA, mine, one.id, {"text": "Another text."})
    kept.rename(ANNA, mine, "A secret title")
    seen = kept.shared(BEN, first)
    assert (seen.kept.title, [(one.question, one.answer, one.request) for one in seen.turns]) == (
        QUESTION, [(QUESTION, {"text": "Thirty days."}, "")],
    )  # fmt: skip
    assert kept.get(ANNA, mine).kept.shared > time.time()
    with pytest.raises(NotFound):
        kept.shared(ELSEWHERE, first)

    second, _ = kept.share(ANNA, mine, for_s=60)
    assert len(kept.shared(BEN, second).turns) == 2
    assert len(kept.shared(BEN, first).turns) == 1, "both links work"
    kept.unshare(ANNA, mine)
    for secret in (first, second, kept.share(ANNA, mine, for_s=-1).secret):
        with pytest.raises(NotFound):
            kept.shared(BEN, secret)
    third, _ = kept.share(ANNA, mine, for_s=60)
    kept.remove(ANNA, mine)
    with pytest.raises(NotFound):
        kept.shared(BEN, third)


# ---------------------------------------------------------------- over HTTP


def test_the_way_of_a_conversation_over_http(office: Served):
    clerk, boss = office.client(KEYS["clerk"]), office.client(KEYS["boss"])
    reply = clerk.post("/v1/chat/completions", json=asked("handbook", QUESTION))
    first = said() | {"answer": reply.json()["penstock"], "request": reply.headers["x-request-id"]}
    path = f"/api/conversations/{new()}"
    assert clerk.put(path, json={"asked": "handbook", "turns": [first], "begins": False}).status_code == 404
    made = clerk.put(path, json={"asked": "handbook", "turns": [first]}).json()
    assert clerk.put(path, json={"asked": "handbook", "turns": [first, said()], "begins": False}).json()["turns"] == 2
    assert clerk.post(path, json={"title": "Returns"}).json()["title"] == "Returns"
    listed = clerk.get("/api/conversations?find=thirty").json()
    assert [one["id"] for one in listed["conversations"]] == [made["id"]]
    assert (listed["kept"], listed["share"], listed["after"]) == (True, True, "")
    assert clerk.get(path).json()["turns"][0]["answer"]["citations"][0]["source"] == "returns.md"
    changed = {"answer": {"text": "Thirty days.", "reply": "Yes."}}
    assert clerk.put(f"{path}/turns/{first['id']}", json=changed).status_code == 200

    secret = clerk.post(f"{path}/share").json()["secret"]
    assert boss.get(path).status_code == 404, "an admin has no more right to it"
    seen = boss.get(f"/api/shared/{secret}").json()
    assert (seen["by"], seen["title"], len(seen["turns"]), seen["turns"][0]["request"]) == ("clerk", "Returns", 2, "")
    assert office.client().get(f"/api/shared/{secret}").status_code == 401
    assert clerk.delete(f"{path}/share").status_code == 200
    assert boss.get(f"/api/shared/{secret}").status_code == 404
    assert clerk.delete(path).status_code == 200
    assert clerk.delete(path).status_code == 404
    kinds = [record["kind"] for record in boss.get("/console/audit?as=json").json()["records"]]
    assert {"conversation.shared", "conversation.unshared"} <= set(kinds)


def test_questions_to_offer_come_with_what_can_be_asked(office: Served):
    found = office.client(KEYS["clerk"]).get("/api/collections").json()
    assert found["collections"][0]["questions"] == ["When do refunds arrive?"]
    helper, quiet = found["apps"]
    assert helper == {
        "name": "helper", "documents": "handbook", "questions": ["Is the shop open on Sundays?"], "history": True, "bot": False,
    }  # fmt: skip
    assert quiet["history"] is False


def test_an_app_may_keep_none(office: Served):
    body = {"asked": "quiet", "turns": [said()]}
    assert office.client(KEYS["clerk"]).put(f"/api/conversations/{new()}", json=body).status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"asked": ""}, {"asked": "x" * 300}, {"asked": 3}, {"turns": []}, {"turns": "y"}, {"turns": [1]}, {"title": 4},
        {"turns": [said() | {"question": " "}]}, {"turns": [said() | {"answer": "a"}]},
        {"turns": [said() | {"answer": {"text": 1}}]}, {"turns": [said() | {"request": 3}]},
        {"turns": [said() | {"request": "r" * 300}]}, {"turns": [said() | {"id": "x"}]}, {"turns": [said() | {"id": None}]},
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused(office: Served, change: dict[str, Any]):
    body = {"asked": "handbook", "turns": [said()]} | change
    assert office.client(KEYS["clerk"]).put(f"/api/conversations/{new()}", json=body).status_code == 400


def test_odd_addresses_and_sizes_are_refused(office: Served):
    clerk = office.client(KEYS["clerk"])
    mine = begun(clerk)["id"]
    for path in ("/api/conversations/none", "/api/conversations/%27%20or%201=1", "/api/shared/none"):
        assert clerk.get(path).status_code == 404, path
    for query in (
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=-1",
        "limit=٣",
        "after=none",
        "after=1,2",
        f"after=1e9,{mine}",
    ):
        assert clerk.get(f"/api/conversations?{query}").status_code == 400, query
    assert clerk.put("/api/conversations/none", json={"asked": "x", "turns": [said()]}).status_code == 404
    assert clerk.post(f"/api/conversations/{mine}", json={"title": " "}).status_code == 400
    assert clerk.post(f"/api/conversations/{mine}", json={"title": ["x"]}).status_code == 400
    huge = {"asked": "x", "turns": [said(text="字" * (1 << 20))]}
    assert clerk.put(f"/api/conversations/{mine}", json=huge).status_code == 413
    large = {"asked": "x", "turns": [said(text="字" * 900_000)]}
    assert clerk.put(f"/api/conversations/{mine}", json=large).status_code == 200


def test_where_none_are_kept_there_are_none(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    toml = '[documents.handbook]\npaths = ["handbook"]\n[chat]\nhistory = false'
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:
        client = served.client()
        told = client.get("/api/conversations").json()
        assert told == {"kept": False, "share": False, "conversations": [], "after": ""}
        body = {"asked": "handbook", "turns": [said()]}
        assert client.put(f"/api/conversations/{new()}", json=body).status_code == 404
        assert not served.house.database.has("conversations")


def test_where_nothing_is_shared_nothing_can_be(tmp_path: Path):
    with serving(tmp_path, "[chat]\nshare = 0", documents=False) as served:
        client = served.client()
        mine = begun(client)["id"]
        assert client.get("/api/conversations").json()["share"] is False
        assert client.post(f"/api/conversations/{mine}/share").status_code == 403
        assert client.get("/api/shared/guessed").status_code == 404


# ---------------------------------------------------------------- sealed, over, forgotten


def test_words_are_sealed_where_content_is(tmp_path: Path):
    with serving(tmp_path, "[encryption]\ncontent = true", documents=False) as served:
        client = served.client()
        mine = begun(client, "Where is the purple elephant?", "In the purple house.")
        assert client.get("/api/conversations?find=elephant").json()["conversations"][0]["id"] == mine["id"]
        with sqlite3.connect(served.house.database.path) as raw:
            everything = "".join(map(repr, raw.execute("select * from conversations, conversation_turns").fetchall()))
        assert "purple" not in everything


def test_what_nobody_went_on_with_goes_in_time(tmp_path: Path):
    with serving(tmp_path, '[chat]\nkeep = "30d"', documents=False) as served:
        house, client = served.house, served.client()
        old, young = begun(client)["id"], begun(client)["id"]
        with house.database.write() as w:
            w.execute("update conversations set changed = changed - 31 * 86400 where id = ?", (old,))
        assert client.get(f"/api/conversations/{old}").status_code == 404
        assert [one["id"] for one in client.get("/api/conversations").json()["conversations"]] == [young]
        done = {due.what: due.count for due in enforce(house)}
        assert done["conversations"] == 1
        assert house.database.read("select count(*) from conversation_turns")[0][0] == 1


@pytest.mark.parametrize("sealed", [False, True])
def test_whoever_is_erased_is_in_no_conversation(tmp_path: Path, sealed: bool):
    toml = "[encryption]\ncontent = true" if sealed else ""
    with serving(tmp_path, toml, documents=False) as served:
        client = served.client()
        begun(client, "Where does Sigrid Undset live?")
        begun(client, "Who wrote it?", 'It was "SIGRID  Undset".')
        begun(client, "Who is there?", "There are:\nSigrid Undset\tand others")
        shared = begun(client, "Who was it?", "Sigrid Undset!")
        assert client.post(f"/api/conversations/{shared['id']}/share").status_code == 201
        whole = client.get(f"/api/conversations/{shared['id']}").json()
        path = f"/api/conversations/{shared['id']}/turns/{whole['turns'][0]['id']}"
        assert client.put(path, json={"answer": {"text": "Somebody."}}).status_code == 200, (
            "it stands in the link alone"
        )
        other = begun(client)["id"]
        house = served.house
        begin(house.conversations, Caller("Sigrid Undset"))
        subject = Subject.of("Sigrid Undset")
        found = plan(house, subject)
        assert found.counts()["conversations"] == 5
        receipt = carry_out(house, found)
        assert receipt["erased"]["conversations"] == 5
        assert receipt["scan"]["found"] == []
        assert [one["id"] for one in client.get("/api/conversations").json()["conversations"]] == [other]
