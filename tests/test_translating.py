"""Translation: never within one language, nothing lost that has to stay, memory, corrections, and what each engine is asked."""

import asyncio
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from played import Play, Played
from services import Service

from penstock.config import TranslatorSettings
from penstock.errors import (
    BadSetting,
    NotOffered,
    NotReady,
    PenstockError,
    Untranslated,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
)
from penstock.language import apertium
from penstock.language.apertium import Pairs
from penstock.language.engines import AWS, Apertium, DeepL, Google, LibreTranslate
from penstock.language.local import Local
from penstock.language.memory import Memory
from penstock.language.model import ByModel
from penstock.language.terms import Glossary, kept_apart, lost, marked, restored
from penstock.language.translating import Careful, Chain
from penstock.models.translate import read
from penstock.storage.database import Database
from penstock.types import TextDelta

GLOSSARY = Glossary(keep=("Penstock Pro", "FrostGuard"), terms={("return label", "de"): "Rücksendeetikett"})
TEXT = (
    "Order SKU-4711 of FrostGuard costs 1,250.50 € and ships on 3 May 2026; "
    "see https://example.com/a?b=1 or write to a@b.example."
)


class Engine:
    """Says what a function makes of each text, and keeps what it was asked."""

    name = "engine"

    def __init__(self, made: Callable[[str], str] = str.upper) -> None:
        self._made, self.asked = made, list[list[str]]()

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        self.asked.append(list(texts))
        return [self._made(text) for text in texts]


def translated(translator: Any, *texts: str, source: str = "en", target: str = "de") -> list[str]:
    found: list[str] = asyncio.run(translator.translate(list(texts), source=source, target=target))
    return found


# ---------------------------------------------------------------- with care


@pytest.mark.parametrize(("source", "target"), [("en", "en"), ("en-US", "en-GB"), ("pt_BR", "pt")])
def test_nothing_is_translated_within_one_language(source: str, target: str):
    engine = Engine()

    assert translated(Careful(engine), "faq", source=source, target=target) == ["faq"]
    assert engine.asked == []


def test_a_text_without_letters_stays_as_it_is():
    engine = Engine()

    assert translated(Careful(engine), "4711", "", "a") == ["4711", "", "A"]
    assert engine.asked == [["a"]]


def test_equal_texts_are_asked_about_once():
    engine = Engine()

    assert translated(Careful(engine), "yes", "no", "yes") == ["YES", "NO", "YES"]
    assert engine.asked == [["yes", "no"]]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: re.sub(r"\d+", "7", text),
        lambda text: text.lower(),
        lambda text: text.replace("FrostGuard", "Frostwächter"),
        lambda text: "etwas ganz anderes",
        lambda text: "",
        lambda text: re.sub(r"\[\[\d+\]\]", "", text),
        lambda text: text[::-1],
    ],
)
def test_what_has_to_stay_stays_whatever_an_engine_does(damage: Callable[[str], str]):
    (said,) = translated(Careful(Engine(damage), glossary=GLOSSARY), TEXT)

    for kept in ("SKU-4711", "FrostGuard", "https://example.com/a?b=1", "a@b.example", "1,250.50"):
        assert kept in said
    assert lost(TEXT, said, GLOSSARY, "de") == []


@given(st.text(st.characters(codec="utf-8", exclude_characters="[]"), max_size=120))
def test_marks_go_in_and_out_of_any_text(text: str):
    mark = marked(text, GLOSSARY)

    assert restored(mark.text, mark.held) == (text, True)


@given(st.integers(0, 10**9), st.sampled_from(["{} pieces", "of {} euros", "no {}, please", "A{}-B", "{} %"]))
def test_a_number_that_is_gone_is_missed_and_one_that_is_there_is_not(number: int, around: str):
    text = "It is " + around.format(number) + " today."

    assert lost(text, text, Glossary(), "de") == []
    assert number < 4 or lost(text, "Es ist heute.", Glossary(), "de")


@pytest.mark.parametrize(
    ("original", "translation"),
    [
        ("It costs 1,250.50 euros.", "Es kostet 1.250,50 Euro."),
        ("On May 3, 2026 we move.", "Am 3. Mai 2026 ziehen wir um."),
        ("Within 24 hours.", "Innerhalb von 24 Stunden."),
        ("Two rooms are free.", "Zwei Zimmer sind frei."),
        ("Version 2.4.1 is out.", "Version 2.4.1 ist da."),
    ],
)
def test_numbers_and_dates_may_be_written_as_the_other_language_writes_them(original: str, translation: str):
    assert lost(original, translation, Glossary(), "de") == []


@pytest.mark.parametrize(
    ("original", "translation", "kind"),
    [
        ("It costs 12 euros.", "Es kostet 21 Euro.", "number"),
        ("On May 3, 2026 we move.", "Am 5. März 2026 ziehen wir um.", "date"),
        ("Use code AB-12.", "Benutzen Sie den Code AB-21.", "verbatim"),
        ("Use Penstock Pro.", "Benutzen Sie Druckrohr Pro.", "verbatim"),
        ("Print the return label.", "Drucken Sie das Rückgabeschild.", "term"),
    ],
)
def test_what_was_changed_is_found(original: str, translation: str, kind: str):
    assert [one.kind for one in lost(original, translation, GLOSSARY, "de")] == [kind]


def test_a_term_with_one_translation_is_named_where_the_engine_used_another():
    careful = Careful(Engine(lambda text: "Drucken Sie das Schild."), glossary=GLOSSARY)

    assert "Rücksendeetikett" in translated(careful, "Print the return label.")[0]


def test_code_and_addresses_are_found_in_the_right_places():
    text = "Run `make up`, see https://x.example/a. Then {name} gets v1.2.3 and #42."

    assert [text[a:b] for a, b in kept_apart(text, Glossary())] == [
        "`make up`", "https://x.example/a", "{name}", "v1.2.3", "#42",
    ]  # fmt: skip


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(Untranslated, match="20,001"):
        translated(Careful(Engine()), "x" * 20_001)


# ---------------------------------------------------------------- memory


@pytest.fixture
def memory(home: Path) -> Memory:
    home.mkdir()
    return Memory(Database(home / "penstock.db"))


def test_what_was_translated_is_not_asked_again(memory: Memory):
    engine = Engine()
    careful = Careful(engine, memory=memory)

    assert translated(careful, "hello") == translated(careful, "hello  ") == ["HELLO"]
    assert len(engine.asked) == 1
    assert translated(careful, "hello", target="fr") == ["HELLO"]
    assert len(engine.asked) == 2


def test_a_correction_holds_until_it_is_forgotten(memory: Memory):
    careful = Careful(Engine(), memory=memory)
    translated(careful, "hello")

    memory.correct("hello", "hallo", source="en", target="de", by="hanna")
    memory.keep({"hello": "HELLO"}, source="en", target="de", engine="engine")
    assert translated(careful, "hello") == ["hallo"]
    assert [(one.original, one.translation, one.engine) for one in memory.all(corrected=True)] == [
        ("hello", "hallo", "hanna")
    ]

    assert memory.forget("hello", source="en", target="de")
    assert translated(careful, "hello") == ["HELLO"]


def test_what_is_remembered_keeps_a_glossary_that_came_later(memory: Memory):
    translated(Careful(Engine(), memory=memory), "Our Kraken is new.")
    careful = Careful(Engine(), glossary=Glossary(keep=("Kraken",)), memory=memory)

    assert "Kraken" in translated(careful, "Our Kraken is new.")[0]
    memory.correct("Our Kraken is new.", "Unser Krake ist neu.", source="en", target="de", by="hanna")
    assert translated(careful, "Our Kraken is new.") == ["Unser Krake ist neu."]


def test_a_thousand_texts_are_remembered_at_once(memory: Memory):
    texts = [f"text {n}" for n in range(1_200)]
    memory.keep({text: text.upper() for text in texts}, source="en", target="de", engine="e")

    assert memory.find(texts, source="en", target="de") == {text: text.upper() for text in texts}


# ---------------------------------------------------------------- several engines


class Failing(Engine):
    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        raise UpstreamError("down")


def test_the_second_engine_takes_over_where_the_first_fails():
    assert translated(Chain([Failing(), Engine()]), "a") == ["A"]


def test_where_all_fail_the_last_one_says_why():
    with pytest.raises(UpstreamError, match="down"):
        translated(Chain([Failing(), Failing()]), "a")


# ---------------------------------------------------------------- models


def test_a_model_is_told_the_languages_and_its_answer_is_the_translation():
    model = Played(Play((TextDelta("Wo ist "), TextDelta("mein Paket?\n"))))
    by = ByModel("small", model, read=read, formality="formal")

    assert translated(by, "Where is my parcel?") == ["Wo ist mein Paket?"]
    system, user = model.asked[0].body["messages"]
    assert "from English to German" in system["content"]
    assert "Sie" in system["content"]
    assert user["content"] == "Where is my parcel?"


def test_a_model_that_says_nothing_or_far_too_much_has_not_translated():
    for said in ("  ", "x" * 400):
        with pytest.raises(UpstreamError):
            translated(ByModel("small", Played(Play((TextDelta(said),))), read=read), "Yes.")


# ---------------------------------------------------------------- services


def settings(kind: Any, service: Service, **more: Any) -> TranslatorSettings:
    return TranslatorSettings(kind=kind, base_url=service.url, api_key="key-0123456789", timeout_s=2.0, **more)


def test_deepl_is_asked_as_it_wants_to_be(service: Service):
    service.answers = [{"translations": [{"text": "Hallo"}, {"text": "Tschüss"}]}]
    deepl = DeepL("deepl", settings("deepl", service, formality="formal"))

    assert translated(deepl, "Hello", "Bye") == ["Hallo", "Tschüss"]
    method, path, headers, body = service.asked[0]
    assert (method, path) == ("POST", "/v2/translate")
    assert headers["authorization"] == "DeepL-Auth-Key key-0123456789"
    assert body == {"text": ["Hello", "Bye"], "source_lang": "EN", "target_lang": "DE", "formality": "prefer_more"}


def test_deepl_wants_a_region_for_english_and_a_free_key_has_its_own_address(service: Service):
    service.answers = [{"translations": [{"text": "Hello"}]}]
    translated(DeepL("deepl", settings("deepl", service)), "Hallo", source="de", target="en")

    assert service.asked[0][3]["target_lang"] == "EN-US"
    free = DeepL("deepl", TranslatorSettings(kind="deepl", api_key="abc:fx"))
    assert free._client.base_url.host == "api-free.deepl.com"


def test_libretranslate_is_asked_as_it_wants_to_be(service: Service):
    service.answers = [{"translatedText": ["Hallo"]}]

    assert translated(LibreTranslate("libre", settings("libretranslate", service)), "Hello") == ["Hallo"]
    assert service.asked[0][1] == "/translate"
    assert service.asked[0][3] == {
        "q": ["Hello"], "source": "en", "target": "de", "format": "text", "api_key": "key-0123456789",
    }  # fmt: skip


def test_google_is_asked_as_it_wants_to_be(service: Service):
    service.answers = [{"data": {"translations": [{"translatedText": "Hallo"}]}}]

    assert translated(Google("google", settings("google", service)), "Hello") == ["Hallo"]
    _, path, headers, body = service.asked[0]
    assert path == "/language/translate/v2"
    assert headers["x-goog-api-key"] == "key-0123456789"
    assert body == {"q": ["Hello"], "source": "en", "target": "de", "format": "text"}


def aws(service: Service, **more: Any) -> AWS:
    return AWS("aws", TranslatorSettings(kind="aws", base_url=service.url, api_key="AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG",
                                         region="eu-central-1", **more))  # fmt: skip


def test_aws_is_asked_with_a_signed_request_for_each_text(service: Service):
    service.answers = [{"TranslatedText": "Hallo"}, {"TranslatedText": "Tschüss"}]

    assert translated(aws(service, formality="informal"), "Hello", "Bye") == ["Hallo", "Tschüss"]
    _, path, headers, _ = service.asked[0]
    lowered = {name.lower(): value for name, value in headers.items()}
    assert path == "/"
    assert lowered["x-amz-target"] == "AWSShineFrontendService_20170701.TranslateText"
    assert re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/translate/aws4_request, "
        r"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=[0-9a-f]{64}",
        lowered["authorization"],
    )


def test_the_signature_is_that_of_awss_own_library():
    """Computed once by botocore 1.44 for the same request."""
    engine = AWS(
        "aws", TranslatorSettings(kind="aws", api_key="AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG", region="eu-central-1")
    )

    signed = engine._signed(b'{"Text":"Hello"}', 1_767_225_600.0)

    assert signed["x-amz-date"] == "20260101T000000Z"
    assert signed["authorization"].endswith(SIGNATURE)


SIGNATURE = "f88cd3dd002399482f54007072a28d4852fb5cb14f31f4d402be3eeaa4950c03"


def test_many_texts_go_in_several_calls(service: Service):
    service.answers = [lambda path, body: {"translatedText": [text.upper() for text in body["q"]]}]
    texts = [f"text {n}" for n in range(120)]

    assert translated(LibreTranslate("libre", settings("libretranslate", service)), *texts) == [
        t.upper() for t in texts
    ]
    assert [len(asked[3]["q"]) for asked in service.asked] == [50, 50, 20]


@pytest.mark.parametrize(
    ("answer", "error"),
    [(500, UpstreamError), (429, UpstreamBusy), (456, UpstreamBusy), (403, UpstreamRefused), (400, NotOffered),
     (b"<html>", UpstreamError), ({"translatedText": []}, UpstreamError), ({"other": 1}, UpstreamError),
     ({"translatedText": [5]}, UpstreamError)],
)  # fmt: skip
def test_a_service_that_fails_says_so_and_repeats_no_words(service: Service, answer: Any, error: type[PenstockError]):
    service.answers = [answer]

    with pytest.raises(error) as raised:
        translated(LibreTranslate("libre", settings("libretranslate", service)), "Anna is ill")
    assert "Anna" not in f"{raised.value} {raised.value.hint}"


def test_a_service_that_is_slow_is_given_up(service: Service):
    service.answers, service.slow_s = [{"translatedText": ["x"]}], 3.0

    with pytest.raises(UpstreamTimeout):
        translated(LibreTranslate("libre", settings("libretranslate", service)), "Hello")


def test_what_is_missing_in_the_settings_is_named():
    with pytest.raises(BadSetting, match=r"translators.libre.base_url"):
        LibreTranslate("libre", TranslatorSettings(kind="libretranslate"))
    with pytest.raises(BadSetting, match="ID:SECRET"):
        AWS("aws", TranslatorSettings(kind="aws", api_key="x", region="eu-central-1"))


# ---------------------------------------------------------------- Apertium


def test_a_way_over_other_languages_is_found():
    pairs = Pairs([("eng", "spa"), ("spa", "eng"), ("spa", "por"), ("por", "spa"), ("fra", "spa")])

    assert pairs.way("en", "es") == [("eng", "spa")]
    assert pairs.way("fr", "en") == [("fra", "spa"), ("spa", "eng")]
    assert pairs.way("en", "fr") == []
    assert pairs.way("pt-BR", "en-GB") == [("por", "spa"), ("spa", "eng")]


def test_apertiums_server_is_asked_step_by_step(service: Service):
    listed = {"responseData": [{"sourceLanguage": "fra", "targetLanguage": "spa"},
                               {"sourceLanguage": "spa", "targetLanguage": "eng"}]}  # fmt: skip
    service.answers = [
        listed,
        {"responseData": {"translatedText": "hola"}},
        {"responseData": {"translatedText": "hello"}},
    ]

    assert translated(Apertium("apertium", settings("apertium", service)), "bonjour", source="fr", target="en") == [
        "hello"
    ]
    assert [asked[1] for asked in service.asked] == ["/listPairs", "/translate", "/translate"]
    assert service.asked[1][3] == "langpair=fra%7Cspa&q=bonjour&markUnknown=no"


def test_without_the_program_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(apertium.shutil, "which", lambda name: None)

    with pytest.raises(NotReady, match="apertium-apy") as raised:
        translated(Apertium("apertium", TranslatorSettings(kind="apertium")), "Hello", target="es")
    assert "apt install" in raised.value.hint


@pytest.mark.skipif(
    not shutil.which("apertium-apy") or not Path("/usr/share/apertium/modes/eng-spa.mode").is_file(),
    reason="Apertium is not on this machine: apt install apertium-apy apertium-eng-spa",
)
def test_the_real_apertium_translates_and_ends_with_its_owner():
    engine = Apertium("apertium", TranslatorSettings(kind="apertium"))

    said = translated(engine, "The parcel arrives on Monday.", "Where is order 4711?", target="es")
    with pytest.raises(NotOffered, match="no way from de to en"):
        translated(engine, "Wo?", source="de", target="en")
    engine.close()

    assert said[0] == "El paquete llega el lunes."
    assert "4711" in said[1]
    assert engine._service is not None
    assert engine._service._process is not None
    assert engine._service._process.poll() is not None


# ---------------------------------------------------------------- models on this machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of CTranslate2's, as small as can be and with random weights, and real SentencePiece models."""
    pytest.importorskip("ctranslate2", reason="the extra 'translate' is not installed")
    pytest.importorskip("sentencepiece", reason="the extra 'translate' is not installed")
    return tiny_model(tmp_path_factory.mktemp("model"))


def tiny_model(folder: Path) -> Path:
    import numpy as np
    import sentencepiece
    from ctranslate2.specs import TransformerSpec

    text = folder / "text.txt"
    draw = random.Random(3)
    words = "where is my parcel order the a to it arrives on monday please send back label number".split()
    text.write_text("\n".join(" ".join(draw.choices(words, k=6)) for _ in range(400)))
    for name in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(folder / name), vocab_size=60, hard_vocab_limit=False, minloglevel=2
        )
        (folder / f"{name}.model").rename(folder / f"{name}.spm")
    tokens = [sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm")).id_to_piece(n) for n in range(60)
              if n < sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm")).vocab_size()]  # fmt: skip
    size, dim = len(tokens), 16
    spec = TransformerSpec.from_config(1, 2, pre_norm=True)
    numbers = np.random.default_rng(3)

    def weights(rows: int, columns: int) -> Any:
        return numbers.normal(0, 0.2, (rows, columns)).astype(np.float32)

    def linear(layer: Any, rows: int, columns: int) -> None:
        layer.weight, layer.bias = weights(rows, columns), np.zeros(rows, np.float32)

    def norm(layer: Any) -> None:
        layer.gamma, layer.beta = np.ones(dim, np.float32), np.zeros(dim, np.float32)

    for side in (spec.encoder, spec.decoder):
        embeddings = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embeddings.weight = weights(size, dim)
        norm(side.layer_norm)
        for layer in side.layer:
            attentions = [layer.self_attention] + ([layer.attention] if hasattr(layer, "attention") else [])
            for attention in attentions:
                norm(attention.layer_norm)
                shapes = (
                    [(3 * dim, dim), (dim, dim)]
                    if len(attention.linear) == 2
                    else [(dim, dim), (2 * dim, dim), (dim, dim)]
                )
                for one, shape in zip(attention.linear, shapes, strict=True):
                    linear(one, *shape)
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, 32, dim)
            linear(layer.ffn.linear_1, dim, 32)
    linear(spec.decoder.projection, size, dim)
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.add_source_eos = False
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    return folder


def test_a_model_in_a_folder_gives_a_translation_for_each_text(folder: Path):
    local = Local("house", TranslatorSettings(kind="local", model=str(folder), source="en", target="de"), folder.parent)

    said = translated(local, "where is my parcel", "send it back", "")

    assert len(said) == 3
    assert all(isinstance(text, str) for text in said)
    assert said == translated(local, "where is my parcel", "send it back", "")


def test_a_model_of_one_pair_says_which_one_it_knows(folder: Path):
    local = Local("house", TranslatorSettings(kind="local", model=str(folder), source="en", target="de"), folder.parent)

    with pytest.raises(NotOffered, match="from 'en' to 'de', not from 'en' to 'fr'"):
        translated(local, "hello", target="fr")


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path):
    pytest.importorskip("ctranslate2", reason="the extra 'translate' is not installed")
    local = Local("house", TranslatorSettings(kind="local", model="nothing"), tmp_path)
    with pytest.raises(BadSetting, match="no folder"):
        translated(local, "hello")

    (tmp_path / "empty").mkdir()
    with pytest.raises(PenstockError) as raised:
        translated(Local("house", TranslatorSettings(kind="local", model="empty"), tmp_path), "hello")
    assert "ct2-transformers-converter" in raised.value.hint
