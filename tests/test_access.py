"""Who may read what: nobody learns anything of a document that is closed to them, by search, listing, counts or errors."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from conftest import MakeLibrary, take
from hypothesis import given
from hypothesis import strategies as st
from serving import HANDBOOK, KEYS, PAY, WITH_KEYS, Served, serving, write

from penstock.assemble import House
from penstock.config import DocumentsSettings, KeySettings, RuleSettings
from penstock.documents.collection import Collection
from penstock.documents.quote import Quotes
from penstock.errors import NotFound
from penstock.keys import Keys
from penstock.models.kept import Scope
from penstock.storage.database import Database
from penstock.testing import WordEmbedder
from penstock.types import Caller, Document, ModelRequest

# ---------------------------------------------------------------- 100,000 triples of user, document and policy

DOCUMENTS, USERS, POLICIES = 2_500, 10, 4
PEOPLE = [f"person{n}" for n in range(12)]
ROLES = ["hr", "sales", "legal", "board"]
TENANTS = ["acme", "globex", ""]
WORDS = "parcel harbour invoice kroner refund winter supplier ladder contract bicycle lantern meadow copper".split()


@dataclass(frozen=True)
class Paper:
    """A document as the test knows it: a brute-force look at this says who may read what."""

    source: str
    text: str
    access: tuple[str, ...]
    secret: str  # a word that stands in no other


def papers(drawn: random.Random) -> list[Paper]:
    names = [
        *PEOPLE, *ROLES, *(f"user:{p}" for p in PEOPLE), *(f"role:{r}" for r in ROLES), *(f"group:{r}" for r in ROLES),
        "tenant:acme", "tenant:globex", "tenant:", "user:hr", "role:person1",
    ]  # fmt: skip
    found = []
    for n in range(DOCUMENTS):
        secret = f"zq{n:04d}x"
        said = " ".join(drawn.choices(WORDS, k=9))
        text = f"The {said} of {secret} is kept in room {n}."
        if n % 25 == 1:  # what others say too, some of them to other readers
            text = found[-1].text.replace(found[-1].secret, "the house")
        access = tuple(drawn.sample(names, drawn.choice((1, 1, 2, 4)))) if drawn.random() < 0.8 else ()
        found.append(Paper(f"{drawn.choice('abcd')}/{n}.txt", text, access, secret))
    return found


def users(drawn: random.Random) -> list[Caller]:
    found = [Caller(), Caller("owner", admin=True)]
    odd = ["tenant:acme", "user:person3", "role:board"]  # roles that would like to be something else
    while len(found) < USERS:
        roles = tuple(drawn.sample([*ROLES, *odd], drawn.choice((0, 1, 2))))
        found.append(Caller(drawn.choice(PEOPLE), roles, tenant=drawn.choice(TENANTS)))
    return found


def policies(drawn: random.Random) -> list[DocumentsSettings]:
    rules = [
        (),
        (RuleSettings(match="a/*", access=("hr",)),),
        (RuleSettings(match="*", access=("tenant:acme", "user:person2")), RuleSettings(match="b/*", access=("sales",))),
        (RuleSettings(match="c/1*", access=("nobody",)), RuleSettings(match="d/*", tags=("x",))),
    ]
    closed = [(), (), (), ("role:sales", "tenant:globex")]
    return [DocumentsSettings(rules=r, access=c) for r, c in zip(rules, closed, strict=True)]


def lets_in(names: tuple[str, ...], caller: Caller) -> bool:
    """The rule in words: an empty list lets everybody in; a name says a person or a role; with a prefix it says which."""

    def is_meant(name: str) -> bool:
        kind, _, value = name.partition(":")
        match kind if value or name.endswith(":") else "":
            case "user":
                return value == caller.name
            case "role" | "group":
                return value in caller.roles
            case "tenant":
                return bool(value) and value == caller.tenant
        return name == caller.name or name in caller.roles

    return not names or any(map(is_meant, names))


def may(paper: Paper, caller: Caller, policy: DocumentsSettings) -> bool:
    ruled = [rule.access for rule in policy.rules if rule.access and fnmatchcase(paper.source, rule.match)]
    return all(lets_in(names, caller) for names in (policy.access, paper.access, ruled[-1] if ruled else ()))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Collection, list[Paper]]]:
    from penstock.config import WebSettings
    from penstock.documents.library import Library

    folder = tmp_path_factory.mktemp("archive")
    known = papers(random.Random(11))
    library = Library(
        folder / "home", WordEmbedder, folder=folder, collections={"archive": DocumentsSettings()}, web=WebSettings()
    )
    take(library["archive"], *(Document(paper.source, paper.text, access=paper.access) for paper in known))
    yield library["archive"], known
    library.close()


def test_of_a_hundred_thousand_users_documents_and_policies_none_leaks(archive: tuple[Collection, list[Paper]]):
    collection, known = archive
    drawn, quotes, checked, denied = random.Random(23), Quotes(), 0, 0
    passages = {row.source: row.passages for row in collection.documents()}
    ids = {row.source: str(row.id) for row in collection.documents()}
    assert len(passages) == DOCUMENTS
    for policy in policies(drawn):
        collection.home.use_access({"archive": policy})
        for caller in users(drawn):
            allowed = {paper.source for paper in known if may(paper, caller, policy)}
            hidden = [paper for paper in known if paper.source not in allowed]
            checked, denied = checked + DOCUMENTS, denied + len(hidden)

            assert {row.source for row in collection.documents(caller)} == allowed
            (version,) = collection.versions(caller)
            assert (version.documents, version.passages) == (len(allowed), sum(passages[s] for s in allowed))
            if lets_in(policy.access, caller):
                view = collection.snapshot().view(caller, {})
                numbers = set(map(int, ids.values())) if view.documents is None else view.documents
                assert {str(number) for number in numbers} == {ids[source] for source in allowed}
            secrets = [paper.secret for paper in drawn.sample(hidden, min(2, len(hidden)))]
            for question in (*secrets, " ".join(drawn.sample(WORDS, 3)), f"What is kept with {drawn.choice(WORDS)}?"):
                found = collection.search(question, caller=caller, k=20)
                shown = {hit.passage.source for hit in found.hits} | {
                    s for hit in found.hits for s in hit.passage.also_in
                }
                assert shown <= allowed
                assert found.searched <= sum(passages[source] for source in allowed)
                answer = quotes.quote(question, found)
                cited = (*answer.citations, *answer.nearest)
                assert {c.source for c in cited} | {s for c in cited for s in c.also_in} <= allowed
                text = json.dumps([hit.passage.text for hit in found.hits]) + answer.text.replace(question, "")
                assert not any(secret in text for secret in secrets)
                if question in secrets:  # as if it stood in no document at all
                    nowhere = collection.search("zq9999x", caller=caller, k=1)
                    assert list(found.terms.values()) == list(nowhere.terms.values())
                    assert found.searched == nowhere.searched
            for paper in (*drawn.sample(hidden, min(5, len(hidden))), *drawn.sample(known, 5)):
                if paper.source in allowed:
                    assert collection.document(ids[paper.source], caller)[1] == paper.text
                else:
                    with pytest.raises(NotFound) as refused:
                        collection.document(ids[paper.source], caller)
                    with pytest.raises(NotFound) as missing:
                        collection.document("999999", caller)
                    assert str(refused.value).replace(ids[paper.source], "999999") == str(missing.value)
    assert checked >= 100_000
    assert 0.2 < denied / checked < 0.95
    print(f"{checked} triples, {denied} of them denied")


names = st.text(max_size=8) | st.sampled_from(
    ["anna", "hr", "tenant:acme", "user:anna", "role:hr", "group:hr", "tenant:", "user:"]
)


@given(
    names, st.lists(names, max_size=3), st.sampled_from(["", "acme", "a:b", "tenant:acme"]), st.lists(names, max_size=4)
)
def test_rights_say_what_the_rule_says_in_words(name: str, roles: list[str], tenant: str, access: list[str]):
    caller = Caller(name, tuple(roles), tenant=tenant)
    odd = {entry for entry in (name, *roles) if entry.startswith(("user:", "role:", "group:", "tenant:"))}

    if not odd & set(access):
        assert (not access or not caller.rights.isdisjoint(access)) == lets_in(tuple(access), caller)


def test_a_role_cannot_pass_for_a_tenant_or_a_person():
    caller = Caller("user:boss", ("tenant:acme", "user:anna"))

    assert caller.rights.isdisjoint({"tenant:acme", "user:anna", "boss", "user:boss"} - {"user:user:boss"})


# ---------------------------------------------------------------- what is kept for one is not told to another


@pytest.mark.parametrize(
    "other",
    [Caller("a", ("hr",), tenant="globex"), Caller("a", (), tenant="acme"), Caller("b", ("hr",), tenant="acme"),
     Caller("a", ("hr",), tenant="acme", team="t")],
)  # fmt: skip
def test_an_answer_that_is_kept_is_told_to_nobody_with_other_rights(other: Caller):
    def key(caller: Caller) -> bytes | None:
        return Scope("faq").key(ModelRequest(dialect="chat", model="faq", body={"messages": []}, caller=caller))

    own = Caller("a", ("hr",), tenant="acme")
    assert key(own) == key(Caller("a", ("hr",), tenant="acme"))
    assert key(own) != key(other)


def test_a_key_brings_its_tenant(home: Path):
    database = Database(home / "penstock.db")
    keys = Keys(database, {"fixed": KeySettings(key="fixed-key-0123456789", tenant="globex")})
    _, secret = keys.create("shop", tenant="acme")

    assert keys.find(secret.encode()).tenant == "acme"
    assert keys.find(b"fixed-key-0123456789").tenant == "globex"
    assert keys.get("shop").plain()["tenant"] == "acme"
    database.close()


def test_the_same_words_for_other_readers_are_not_named_beside_ours(make_library: MakeLibrary):
    library = make_library()
    shop = library.create("shop")
    text = "Books can be returned within thirty days of the day on which they were bought in any of our shops."
    take(shop, Document("open.txt", text), Document("board.txt", text, access=("board",)), Document("too.txt", text))

    hit = shop.search("When can books be returned?", caller=Caller("anna")).hits[0].passage

    assert {hit.source, *hit.also_in} == {"open.txt", "too.txt"}


def test_a_filter_tells_nothing_of_fields_that_only_closed_documents_have(make_library: MakeLibrary):
    library = make_library()
    shop = library.create("shop")
    take(shop, Document("open.txt", "Books are sold here.", metadata={"shelf": "a"}),
         Document("hr.txt", "Pay is high.", metadata={"salary": "b"}, access=("hr",)))  # fmt: skip

    with pytest.raises(Exception, match="no document has a field 'salary'") as refused:
        shop.search("books", caller=Caller("anna"), where={"salary": "b"})
    assert "known: " in str(refused.value)
    assert "salary" not in str(refused.value).split("known: ")[1]


# ---------------------------------------------------------------- rules that change


def test_a_rule_that_closes_holds_at_once_and_in_every_version(make_library: MakeLibrary, tmp_path: Path):
    write(tmp_path / "docs", HANDBOOK | PAY)
    settings = DocumentsSettings(paths=(str(tmp_path / "docs"),))
    library = make_library(handbook=settings)
    handbook = library["handbook"]
    handbook.sync()
    (tmp_path / "docs" / "more.txt").write_text("More is said here.")
    handbook.sync()
    assert handbook.search("What does the director earn?").hits

    closing = DocumentsSettings(paths=settings.paths, rules=(RuleSettings(match="salaries*", access=("hr",)),))
    assert library.use_access({"handbook": closing})

    assert "salaries.md" not in {hit.passage.source for hit in handbook.search("What does the director earn?").hits}
    handbook.use("v1")
    assert "salaries.md" not in {row.source for row in handbook.documents(Caller("anna"))}
    assert "salaries.md" in {row.source for row in handbook.documents(Caller("anna", ("hr",)))}
    assert not library.use_access({"handbook": closing})


def test_a_collection_that_is_closed_is_closed_at_once(make_library: MakeLibrary):
    library = make_library(shop=DocumentsSettings())
    take(library["shop"], Document("a.txt", "Books are sold here."))
    assert library["shop"].search("books").hits

    library.use_access({"shop": DocumentsSettings(access=("tenant:acme",))})

    assert not library["shop"].search("books").hits
    assert library["shop"].search("books", caller=Caller("x", tenant="acme")).hits


# ---------------------------------------------------------------- a running server


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "shop"
    write(folder / "docs", HANDBOOK | PAY)
    toml = f'[documents.handbook]\npaths = ["docs"]\n{WITH_KEYS}'
    with serving(folder, toml, embedder=WordEmbedder()) as served:
        yield served


def soon(true: Callable[[], bool], within_s: float = 10.0) -> float:
    """Waits until it is so. Returns how long that took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < within_s
        time.sleep(0.02)
    return time.monotonic() - started


def terminal(served: Served) -> House:
    """Another process on the same home, as far as a test can tell."""
    house = House(served.house.settings)
    house.__dict__["library"] = type(served.house.library)(
        served.house.settings.home_path,
        WordEmbedder,
        folder=served.house.settings.folder,
        collections=served.house.settings.documents,
        web=served.house.settings.web,
    )
    return house


def test_a_key_that_is_revoked_elsewhere_works_no_more_a_moment_later(served: Served):
    other = terminal(served)
    _, secret = other.keys.create("shop", roles=["hr"])
    client = served.client(secret)
    soon(lambda: client.get("/api/me").status_code == 200)

    other.keys.revoke("shop")

    took = soon(lambda: client.get("/api/me").status_code == 401)
    print(f"revoked after {took:.2f} s")
    other.close()


def test_a_document_that_is_removed_or_closed_elsewhere_is_gone_with_the_next_question(served: Served):
    other, boss, clerk = terminal(served), served.client(KEYS["boss"]), served.client(KEYS["clerk"])

    def sources(client: object) -> set[str]:
        found = client.post("/api/collections/handbook/search", json={"query": "parcels shop books salaries", "k": 50})  # type: ignore[attr-defined]
        return {hit["passage"]["source"] for hit in found.json()["hits"]}

    assert sources(boss) == {*HANDBOOK, *PAY}
    assert sources(clerk) == {*HANDBOOK}
    (served.house.settings.folder / "docs" / "hours.txt").unlink()
    other.library["handbook"].sync()
    assert sources(clerk) == {"returns.md", "shipping.md"}

    closed = RuleSettings(match="returns*", access=("board",))
    held = other.settings.documents["handbook"]
    other.library.settings = {"handbook": DocumentsSettings(paths=held.paths, rules=(*held.rules, closed))}
    other.library["handbook"].sync()
    assert sources(clerk) == {"shipping.md"}
    assert sources(boss) == {"shipping.md", "salaries.md"}
    other.close()


def test_a_rule_that_is_written_into_the_settings_file_holds_a_moment_later(served: Served):
    clerk, file = served.client(KEYS["clerk"]), served.house.settings.file
    assert file
    assert clerk.get("/api/collections/handbook/documents").text.count("returns.md")

    file.write_text(file.read_text().replace("salaries*", "*"), "utf-8")

    took = soon(lambda: "returns.md" not in clerk.get("/api/collections/handbook/documents").text)
    print(f"closed after {took:.2f} s")
    assert clerk.post("/api/collections/handbook/search", json={"query": "books"}).json()["hits"] == []
    assert served.client(KEYS["boss"]).post("/api/collections/handbook/search", json={"query": "books"}).json()["hits"]
    kinds = [(record.kind, record.target) for record in served.house.audit.records()]
    assert ("policy.changed", "documents.handbook") in kinds


def test_counts_and_notes_of_versions_are_those_of_what_a_caller_may_read(served: Served):
    boss, clerk = served.client(KEYS["boss"]), served.client(KEYS["clerk"])

    (for_boss,) = boss.get("/api/collections/handbook/versions").json()["versions"]
    (for_clerk,) = clerk.get("/api/collections/handbook/versions").json()["versions"]
    (listed,) = clerk.get("/api/collections").json()["collections"]

    assert (for_boss["documents"], for_clerk["documents"], listed["documents"]) == (4, 3, 3)
    assert for_clerk["passages"] == listed["passages"] < for_boss["passages"]
    assert (for_boss["note"], for_clerk["note"]) == ("sync", "")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/diff"), ("POST", "/versions/v1/use"), ("POST", "/sync"), ("POST", "/documents?name=a.txt"),
     ("DELETE", "/documents?source=salaries.md")],
)  # fmt: skip
def test_what_shows_or_changes_all_documents_is_for_admins(served: Served, method: str, path: str):
    refused = served.client(KEYS["clerk"]).request(method, f"/api/collections/handbook{path}", content=b"x")

    assert refused.status_code == 403
    assert "director" not in refused.text
