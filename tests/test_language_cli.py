"""`penstock language`, `translate`, `translations` and POST /v1/language: told, translated, corrected, taken elsewhere."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services import Service
from serving import Served, serving
from upstream import Upstream, upstream

from penstock.cli.main import cli
from penstock.language.memory import Memory
from penstock.storage.database import Database

GERMAN, ENGLISH = "Wo ist mein Paket geblieben?", "Where is my parcel, please?"
MIXED = "Hello, I need some help with this. Je voudrais savoir quand mon colis arrive."


def run(*arguments: str, text: str | bytes = "", home: Path | None = None) -> Any:
    environment = {"PENSTOCK_HOME": str(home)} if home else {}
    return CliRunner().invoke(cli, list(arguments), input=text, env=environment)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(printed: str) -> list[Any]:
    return [json.loads(line) for line in printed.split("\n") if line]


def shouting(path: str, body: Any) -> Any:
    """What LibreTranslate would answer, if it only wrote in capitals."""
    return {"translatedText": [text.upper() for text in body["q"]]}


@pytest.fixture
def libre(service: Service) -> Service:
    """A translator in the settings."""
    service.answers = [shouting]
    Path("penstock.toml").write_text(
        f'[translators.libre]\nkind = "libretranslate"\nbase_url = "{service.url}"\n[glossaries.shop]\nkeep = ["FrostGuard"]\n',
        "utf-8",
    )
    return service


# ---------------------------------------------------------------- which language


def test_a_text_is_told_with_its_name_and_script():
    assert run("language", GERMAN).stdout == "German (de)  100%  Latin\n"
    assert json.loads(run("language", "--json", GERMAN).stdout) == {
        "lang": "de", "confidence": 1.0, "script": "Latin", "sure": True, "name": "German",
    }  # fmt: skip


def test_whoever_is_not_sure_says_so():
    assert run("language", "ok").stdout.startswith("unsure, perhaps ")
    assert run("language", "4711").stdout == "no language can be told: there is nothing to go by\n"


def test_what_is_piped_in_is_told_whatever_its_bytes():
    assert "Spanish" in run("language", text="¿Podría decirme cuándo sale el tren?").stdout
    assert run("language", text=b"\xff\xfe\x00 caf\xe9").exit_code == 0
    assert run("language", text="").exit_code == 0


def test_where_the_language_changes_is_shown():
    assert "35-76  fr  Je voudrais" in run("language", "--stretches", MIXED).stdout


def test_only_languages_that_can_be_told_are_listed():
    assert json.loads(run("language", "--json", "--among", "en, nl", GERMAN).stdout)["lang"] in ("en", "nl")
    assert "'xx'" in str(run("language", "--among", "xx", "hello").exception)


def test_rows_come_back_in_order_and_a_bad_one_does_not_stop_the_others():
    rows = lines({"text": GERMAN, "id": 7}, {"nothing": 1}, {"text": "12"}, {"text": 5}, ["x"]) + "no json\n\xff\n"

    found = read(run("language", "--jsonl", "-", "--stretches", text=rows.encode("latin-1")).stdout)

    assert found[0] == {
        "text": GERMAN, "id": 7, "lang": "de", "confidence": 1.0, "script": "Latin", "sure": True,
        "spans": [[0, len(GERMAN) - 1, "de"]],
    }  # fmt: skip
    assert (found[2]["lang"], found[2]["confidence"], found[2]["sure"]) == ("", 0.0, False)
    assert [one["line"] for one in found if "error" in one] == [2, 4, 5, 6, 7]


@given(st.lists(st.text(st.characters(), max_size=80), max_size=8))
def test_any_rows_get_as_many_answers(texts: list[str]):
    found = read(run("language", "--jsonl", "-", text=lines(*({"text": text} for text in texts))).stdout)

    assert len(found) == len(texts)
    assert all(0 <= one["confidence"] <= 1 and isinstance(one["sure"], bool) for one in found)


def test_a_huge_text_is_told():
    assert "English" in run("language", text="where is my parcel " * 60_000).stdout


# ---------------------------------------------------------------- translations


def test_rows_are_translated_unless_they_are_in_the_language_already(libre: Service):
    rows = lines({"text": GERMAN}, {"text": ENGLISH}, {"text": "4711"}, {"text": "chat", "lang": "fr"})

    german, english, number, french = read(run("language", "--jsonl", "-", "--to", "en", text=rows).stdout)

    assert german["translation"] == GERMAN.upper()
    assert (english["translation"], number["translation"]) == (ENGLISH, "4711")
    assert (french["lang"], french["translation"]) == ("fr", "CHAT")
    assert sorted((asked[3]["source"], asked[3]["target"]) for asked in libre.asked) == [("de", "en"), ("fr", "en")]


def test_without_a_translator_the_language_is_told_and_the_row_says_what_is_missing():
    german, english = read(
        run("language", "--jsonl", "-", "--to", "en", text=lines({"text": GERMAN}, {"text": ENGLISH})).stdout
    )

    assert (german["lang"], english["translation"]) == ("de", ENGLISH)
    assert "[translators." in german["error"]["hint"]
    assert "nothing translates" in str(run("translate", GERMAN, "--to", "en").exception)


def test_a_row_that_an_engine_fails_at_does_not_stop_the_others(libre: Service):
    libre.answers = [500, shouting]

    found = read(
        run("language", "--jsonl", "-", "--to", "en", text=lines({"text": GERMAN}, {"text": GERMAN + "!"})).stdout
    )

    assert sorted("error" in one for one in found) == [False, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("translate", GERMAN, "--to", "en", "--by", "deepl"), "known: libre"),
        (("translate", GERMAN, "--to", "en", "--glossary", "legal"), "known: shop"),
        (("translate", GERMAN, "--to", "English"), "ISO 639-1"),
        (("translate", "x" * 20_001, "--to", "de", "--from", "en"), "20,001"),
        (("translations", "forget", "never seen", "--from", "en", "--to", "de"), "penstock translations list"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_hint(libre: Service, arguments: tuple[str, ...], said: str):
    assert said in str(run(*arguments).exception)


@pytest.mark.parametrize("arguments", [(GERMAN, "--to", "en"), (GERMAN, "--jsonl", "-"), (GERMAN, "--by", "libre")])
def test_one_text_and_rows_are_not_mixed_up(arguments: tuple[str, ...]):
    assert run("language", *arguments).exit_code == 2


def test_one_of_several_translators_has_to_be_named(libre: Service):
    with Path("penstock.toml").open("a") as file:
        file.write('[translators.other]\nkind = "apertium"\n')

    assert "libre, other" in str(run("translate", GERMAN, "--to", "en").exception)
    assert run("translate", GERMAN, "--to", "en", "--by", "libre").stdout == f"{GERMAN.upper()}\n"


def test_a_text_is_translated_once_and_then_remembered(libre: Service):
    assert run("translate", GERMAN, "--to", "en").stdout == f"{GERMAN.upper()}\n"
    assert run("translate", GERMAN, "--to", "en").stdout == f"{GERMAN.upper()}\n"
    assert len(libre.asked) == 1


def test_a_text_in_the_language_already_is_printed_as_it_is(libre: Service):
    found = run("translate", ENGLISH, "--to", "en")

    assert found.stdout == f"{ENGLISH}\n"
    assert "English already" in found.stderr
    assert libre.asked == []


def test_terms_stay_and_what_could_not_be_kept_is_said(libre: Service):
    libre.answers = [lambda path, body: {"translatedText": ["Das ist es." for _ in body["q"]]}]

    kept = run("translate", "Use FrostGuard on the windows.", "--to", "de", "--from", "en", "--glossary", "shop")
    damaged = run("translate", "The shop opens in March.", "--to", "de", "--from", "en")

    assert "FrostGuard" in kept.stdout
    assert damaged.stderr == "" or damaged.stderr.startswith("not kept: the date")


# ---------------------------------------------------------------- corrections


def test_a_correction_is_what_a_text_becomes_until_it_is_forgotten(libre: Service):
    arguments = ("--from", "de", "--to", "en")
    assert run("translations", "correct", GERMAN, "Where did my parcel end up?", *arguments).exit_code == 0

    assert run("translate", GERMAN, "--to", "en").stdout == "Where did my parcel end up?\n"
    (listed,) = json.loads(run("translations", "list", "--corrections", "--json").stdout)
    assert (listed["original"], listed["corrected"]) == (GERMAN, True)
    assert "Where did my parcel" in run("translations", "list").stdout

    assert run("translations", "forget", GERMAN, *arguments).exit_code == 0
    assert run("translate", GERMAN, "--to", "en").stdout == f"{GERMAN.upper()}\n"
    assert run("translations", "list", "--corrections").stdout == "nothing was corrected\n"


@pytest.mark.parametrize("original", ["", "  \n"])
def test_nothing_is_corrected_into_something(original: str):
    assert run("translations", "correct", original, "etwas", "--from", "en", "--to", "de").exit_code == 2


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(words, words, st.sampled_from(["de", "pt-BR"]), st.booleans()),
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_what_is_exported_can_be_imported_elsewhere(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]):
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    memory = Memory(Database(here / "penstock.db"))
    for original, translation, target, corrected in rows:
        if corrected:
            memory.correct(original, translation, source="en", target=target, by="hanna")
        else:
            memory.keep({original: translation}, source="en", target=target, engine="libre")

    exported = run("translations", "export", home=here).stdout
    assert run("translations", "import", "-", text=exported, home=there).exit_code == 0

    def without_time(printed: str) -> list[Any]:
        return sorted((row | {"at": ""} for row in read(printed)), key=repr)

    assert without_time(run("translations", "export", home=there).stdout) == without_time(exported)


def test_an_import_keeps_corrections_that_are_there(libre: Service):
    run("translations", "correct", "hello", "hallo", "--from", "en", "--to", "de")
    row = {"from": "en", "to": "de", "original": "hello", "translation": "HELLO"}

    run("translations", "import", "-", text=lines(row))
    assert run("translate", "hello", "--from", "en", "--to", "de").stdout == "hallo\n"

    run("translations", "import", "-", text=lines(row | {"corrected": True}))
    assert run("translate", "hello", "--from", "en", "--to", "de").stdout == "HELLO\n"


@pytest.mark.parametrize(
    "line",
    [b"no json", b"[]", b'{"from": "en"}', b'{"from": "en", "to": "German", "original": "a", "translation": "b"}',
     b'{"from": "en", "to": "de", "original": " ", "translation": "b"}', b"\xff\xfe", b"[" * 100_000,
     b'{"from": "en", "to": "de", "original": "a", "translation": "b", "corrected": 1}'],
)  # fmt: skip
def test_a_file_with_a_row_that_is_none_changes_nothing(line: bytes):
    good = lines({"from": "en", "to": "de", "original": "hello", "translation": "hallo"}).encode()

    assert run("translations", "import", "-", text=good + line).exit_code == 1
    assert run("translations", "list").stdout == "nothing was translated\n"


# ---------------------------------------------------------------- over HTTP


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture(scope="module")
def libre_server() -> Iterator[Service]:
    service = Service()
    service.answers = [shouting]
    yield service
    service.server.shutdown()
    service.server.server_close()


@pytest.fixture(scope="module")
def served(up: Upstream, libre_server: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    toml = f"""
    [models.small]
    base_url = "{up.url}"
    input_usd_per_million = 1
    output_usd_per_million = 2
    [translators.libre]
    kind = "libretranslate"
    base_url = "{libre_server.url}"
    [translators.written]
    kind = "model"
    model = "small"
    [keys.shop]
    key = "shop-key-0123456789"
    [keys.faq]
    key = "faq-key-0123456789"
    models = ["faq"]
    """
    with serving(tmp_path_factory.mktemp("language"), toml, documents=False) as served:
        yield served


@pytest.fixture
def client(served: Served) -> httpx2.Client:
    return served.client("shop-key-0123456789")


def test_texts_are_told_over_http(client: httpx2.Client):
    one = client.post("/v1/language", json={"text": GERMAN}).json()
    two = client.post("/v1/language", json={"texts": [MIXED, "4711"], "among": ["en", "fr"], "stretches": True}).json()

    assert one == {"lang": "de", "confidence": 1.0, "script": "Latin", "sure": True}
    assert [span[2] for span in two["results"][0]["spans"]] == ["en", "fr"]
    assert (two["results"][1]["sure"], two["results"][1]["spans"]) == (False, [])


def test_texts_are_translated_over_http_and_not_kept(client: httpx2.Client, served: Served):
    served.house.translations.correct("Danke schön", "Cheers", source="de", target="en", by="hanna")
    body = {"texts": [GERMAN, ENGLISH, "Danke schön"], "to": "en", "by": "libre"}

    found = client.post("/v1/language", json=body).json()["results"]

    assert [one["translation"] for one in found] == [GERMAN.upper(), ENGLISH, "Cheers"]
    assert [one.original for one in served.house.translations.all()] == ["Danke schön"]


def test_a_model_that_translates_is_booked_on_whoever_asked(client: httpx2.Client, served: Served, up: Upstream):
    found = client.post("/v1/language", json={"text": GERMAN, "to": "en", "by": "written"}).json()
    served.house.gateway.journal.drain()

    assert found["translation"]
    (row,) = served.house.database.read("select key, cost_pico_usd from requests where model = 'small'")
    assert row[0] == "shop"
    assert row[1] > 0


def test_a_key_for_some_models_does_not_translate_by_others(served: Served):
    client = served.client("faq-key-0123456789")

    assert client.post("/v1/language", json={"text": GERMAN}).status_code == 200
    for by in ("libre", "written"):
        assert client.post("/v1/language", json={"text": GERMAN, "to": "en", "by": by}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [{}, {"text": 1}, {"texts": []}, {"texts": [1]}, {"text": "a", "among": "en"}, {"text": "a", "among": ["xx"]},
     {"text": "a", "stretches": 1}, {"text": "a", "to": 5}, {"text": "a", "to": "German", "by": "libre"},
     {"text": GERMAN, "to": "en"}, {"text": "a" * 1_000_001}, {"texts": [""] * 10_001},
     {"text": "a b " * 30_000, "stretches": True}],
)  # fmt: skip
def test_a_strange_request_is_refused(client: httpx2.Client, body: dict[str, Any]):
    assert client.post("/v1/language", json=body).status_code == 400


def test_an_unknown_translator_is_named_and_nobody_without_a_key_gets_in(client: httpx2.Client, served: Served):
    assert client.post("/v1/language", json={"text": GERMAN, "to": "en", "by": "x"}).status_code == 404
    assert served.client().post("/v1/language", json={"text": GERMAN}).status_code == 401
