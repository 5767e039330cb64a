"""Conversations are kept for whoever had them: found again, shared by a link, exported, erased; and nobody reaches another's."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import HANDBOOK, KEYS, WITH_KEYS, Served, asked, serving, write

from penstock import conversations as module
from penstock.conversations import Conversations, Turn
from penstock.erase import Subject, carry_out, plan
from penstock.errors import BadRequest, Limited, NotFound
from penstock.retention import enforce
from penstock.storage.database import Database
from penstock.testing import WordEmbedder
from penstock.types import Caller

ANNA, BEN = Caller("anna"), Caller("ben")
ELSEWHERE = Caller("anna", tenant="acme")
QUESTION = "How long can books be returned?"


def turn(question: str = QUESTION, text: str = "Thirty days.") -> Turn:
    return Turn(question, {"text": text, "citations": []})


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
{WITH_KEYS}
"""
    with serving(folder, toml, embedder=WordEmbedder()) as served:
        yield served


def begun(client: httpx2.Client, question: str = QUESTION, text: str = "Thirty days.") -> dict[str, Any]:
    body = {"asked": "handbook", "turns": [{"question": question, "answer": {"text": text}}]}
    made = client.post("/api/conversations", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


# ---------------------------------------------------------------- kept and found


def test_a_conversation_is_kept_as_it_was_and_goes_on(kept: Conversations):
    first = kept.begin(ANNA, "handbook", [turn()])
    assert first.title == QUESTION
    assert kept.add(ANNA, first.id, Turn("And gift cards?", {"text": "Never 🎁.", "quoted": [0]}, "r1")).turns == 2
    whole = kept.get(ANNA, first.id)
    assert [one.question for one in whole.turns] == [QUESTION, "And gift cards?"]
    assert whole.turns[1].answer == {"text": "Never 🎁.", "quoted": [0]}
    assert whole.turns[1].request == "r1"
    assert kept.rename(ANNA, first.id, "  Returns \n of books ").title == "Returns of books"
    kept.remove(ANNA, first.id)
    with pytest.raises(NotFound):
        kept.get(ANNA, first.id)


@settings(max_examples=60, deadline=None)
@given(question=st.text(min_size=1).filter(str.strip), text=st.text(), more=st.dictionaries(st.text(), st.text()))
def test_whatever_was_said_is_read_back(tmp_path_factory: pytest.TempPathFactory, question: str, text: str, more: Any):
    kept = Conversations(Database(tmp_path_factory.mktemp("any") / "c.db"))
    said = Turn.read({"question": question, "answer": {**more, "text": text}})
    found = kept.get(ANNA, kept.begin(ANNA, "handbook", [said]).id)
    assert (found.turns[0].question, found.turns[0].answer) == (question, {**more, "text": text})


def test_words_are_found_in_titles_questions_and_answers(kept: Conversations):
    books = kept.begin(ANNA, "handbook", [turn()])
    parcels = kept.begin(ANNA, "handbook", [turn("How long do parcels take?", "Straße: FIVE days.")])
    named = kept.begin(ANNA, "handbook", [turn("x", "y")], title="Winter sale")
    kept.begin(BEN, "handbook", [turn("parcels", "parcels")])

    def ids(words: str) -> list[str]:
        return [one.id for one in kept.find(ANNA, words)[0]]

    assert ids("") == [named.id, parcels.id, books.id]
    assert ids("days") == [parcels.id, books.id]
    assert ids("DAYS strasse parcels") == [parcels.id], "all words, in question and answer, in whatever case"
    assert ids("winter") == [named.id]
    assert ids("days winter") == []


def test_a_long_list_comes_in_pieces_without_gaps(kept: Conversations):
    made = [kept.begin(ANNA, "handbook", [turn(f"Question {n}")]).id for n in range(7)]
    seen: list[str] = []
    more = True
    while more:
        found, more = kept.find(ANNA, limit=3, after=seen[-1] if seen else "")
        seen += [one.id for one in found]
    assert seen == made[::-1]


def test_a_long_question_makes_a_short_title(kept: Conversations):
    title = kept.begin(ANNA, "handbook", [turn("May I " + "return it " * 40)]).title
    assert len(title) <= 81
    assert title.endswith("return it…") or title.endswith("return…")
    assert len(kept.begin(ANNA, "handbook", [turn("字" * 500)]).title) == 81


def test_nobody_has_conversations_without_end(kept: Conversations, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST", 2)
    monkeypatch.setattr(module, "MOST_TURNS", 2)
    first = kept.begin(ANNA, "handbook", [turn()])
    kept.add(ANNA, first.id, turn())
    with pytest.raises(Limited):
        kept.add(ANNA, first.id, turn())
    kept.begin(ANNA, "handbook", [turn()])
    with pytest.raises(Limited):
        kept.begin(ANNA, "handbook", [turn()])
    kept.begin(BEN, "handbook", [turn()])


# ---------------------------------------------------------------- whose they are


@pytest.mark.parametrize("other", [BEN, ELSEWHERE])
def test_nobody_reaches_anothers(kept: Conversations, other: Caller):
    mine = kept.begin(ANNA, "handbook", [turn()]).id
    for reach in (
        lambda: kept.get(other, mine),
        lambda: kept.add(other, mine, turn()),
        lambda: kept.rename(other, mine, "theirs"),
        lambda: kept.remove(other, mine),
        lambda: kept.share(other, mine, for_s=60),
        lambda: kept.unshare(other, mine),
    ):
        with pytest.raises(NotFound):
            reach()
    assert kept.find(other) == ([], False)
    assert kept.get(ANNA, mine).kept.title == QUESTION


def test_a_shared_one_is_as_it_was_and_ends(kept: Conversations):
    mine = kept.begin(ANNA, "handbook", [turn()]).id
    first, _ = kept.share(ANNA, mine, for_s=60)
    kept.add(ANNA, mine, turn("A secret question"))
    assert [one.question for one in kept.shared(BEN, first).turns] == [QUESTION]
    assert kept.get(ANNA, mine).kept.shared > time.time()
    with pytest.raises(NotFound):
        kept.shared(ELSEWHERE, first)

    second, _ = kept.share(ANNA, mine, for_s=60)
    assert len(kept.shared(BEN, second).turns) == 2
    with pytest.raises(NotFound):
        kept.shared(BEN, first)
    kept.unshare(ANNA, mine)
    with pytest.raises(NotFound):
        kept.shared(BEN, second)
    short, _ = kept.share(ANNA, mine, for_s=-1)
    with pytest.raises(NotFound):
        kept.shared(BEN, short)
    third, _ = kept.share(ANNA, mine, for_s=60)
    kept.remove(ANNA, mine)
    with pytest.raises(NotFound):
        kept.shared(BEN, third)


# ---------------------------------------------------------------- over HTTP


def test_the_way_of_a_conversation_over_http(office: Served):
    clerk, boss = office.client(KEYS["clerk"]), office.client(KEYS["boss"])
    reply = clerk.post("/v1/chat/completions", json=asked("handbook", QUESTION))
    said = {"question": QUESTION, "answer": reply.json()["penstock"], "request": reply.headers["x-request-id"]}
    made = clerk.post("/api/conversations", json={"asked": "handbook", "turns": [said]}).json()
    path = f"/api/conversations/{made['id']}"
    assert clerk.post(f"{path}/turns", json=said).json()["turns"] == 2
    assert clerk.post(path, json={"title": "Returns"}).json()["title"] == "Returns"
    listed = clerk.get("/api/conversations?find=thirty").json()
    assert [one["id"] for one in listed["conversations"]] == [made["id"]]
    assert (listed["kept"], listed["share"], listed["more"]) == (True, True, False)
    assert clerk.get(path).json()["turns"][0]["answer"]["citations"][0]["source"] == "returns.md"

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
    assert found["apps"] == [{"name": "helper", "documents": "handbook", "questions": ["Is the shop open on Sundays?"]}]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"asked": "", "turns": []}, {"asked": "x", "turns": []}, {"asked": "x", "turns": "y"},
        {"asked": "x", "turns": [1]}, {"asked": "x" * 300, "turns": []},
        {"asked": "x", "turns": [{"question": " ", "answer": {"text": ""}}]},
        {"asked": "x", "turns": [{"question": "q", "answer": "a"}]},
        {"asked": "x", "turns": [{"question": "q", "answer": {"text": 1}}]},
        {"asked": "x", "turns": [{"question": "q", "answer": {"text": ""}, "request": 3}]},
        {"asked": "x", "turns": [{"question": "q", "answer": {"text": ""}, "request": "r" * 300}]},
        {"asked": "x", "title": 4, "turns": [{"question": "q", "answer": {"text": ""}}]},
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_refused(office: Served, body: dict[str, Any]):
    assert office.client(KEYS["clerk"]).post("/api/conversations", json=body).status_code == 400


def test_odd_addresses_and_sizes_are_refused(office: Served):
    clerk = office.client(KEYS["clerk"])
    mine = begun(clerk)["id"]
    for path in ("/api/conversations/none", "/api/conversations/%27%20or%201=1", "/api/shared/none"):
        assert clerk.get(path).status_code == 404, path
    for limit in ("0", "501", "x", "-1", "٣"):
        assert clerk.get(f"/api/conversations?limit={limit}").status_code == 400, limit
    assert clerk.get("/api/conversations?after=none").json()["conversations"] == []
    assert clerk.post(f"/api/conversations/{mine}", json={"title": " "}).status_code == 400
    assert clerk.post(f"/api/conversations/{mine}", json={"title": ["x"]}).status_code == 400
    huge = {"question": "q", "answer": {"text": "x" * (1 << 20)}}
    assert clerk.post(f"/api/conversations/{mine}/turns", json=huge).status_code == 413


def test_where_none_are_kept_there_are_none(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    toml = '[documents.handbook]\npaths = ["handbook"]\n[chat]\nhistory = false'
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:
        client = served.client()
        told = client.get("/api/conversations").json()
        assert told == {"kept": False, "share": False, "conversations": [], "more": False}
        body = {"asked": "handbook", "turns": [{"question": "q", "answer": {"text": "a"}}]}
        assert client.post("/api/conversations", json=body).status_code == 404
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
        old, new = begun(client)["id"], begun(client)["id"]
        with house.database.write() as w:
            w.execute("update conversations set changed = changed - 31 * 86400 where id = ?", (old,))
        done = {due.what: due.count for due in enforce(house)}
        assert done["conversations"] == 1
        assert [one["id"] for one in client.get("/api/conversations").json()["conversations"]] == [new]
        assert house.database.read("select count(*) from conversation_turns")[0][0] == 1


def test_whoever_is_erased_is_in_no_conversation(tmp_path: Path):
    with serving(tmp_path, documents=False) as served:
        client = served.client()
        begun(client, "Where does Sigrid Undset live?")
        begun(client, "Who wrote it?", "It was SIGRID  Undset.")
        other = begun(client)["id"]
        house = served.house
        house.conversations.begin(Caller("Sigrid Undset"), "handbook", [turn()])
        subject = Subject.of("Sigrid Undset")
        found = plan(house, subject)
        assert found.counts()["conversations"] == 3
        receipt = carry_out(house, found)
        assert receipt["erased"]["conversations"] == 3
        assert receipt["scan"]["found"] == []
        assert [one["id"] for one in client.get("/api/conversations").json()["conversations"]] == [other]


def test_a_turn_is_read_or_refused(kept: Conversations):
    with pytest.raises(BadRequest):
        kept.begin(ANNA, "handbook", [])
    with pytest.raises(BadRequest):
        Turn.read({"question": "q"})
