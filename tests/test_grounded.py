"""Answers that are checked before they leave: sentence by sentence, as a whole, and in every language."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Penstock
from penstock.answer import Quoted, Written
from penstock.assemble import assemble
from penstock.config import AppSettings, Settings
from penstock.errors import UpstreamError
from penstock.guard.fence import Cited, Fence
from penstock.language.phrases import ANSWERS, PROMPTS, languages, phrase
from penstock.language.voice import DISAGREE, HEDGE, NOT_FOUND, OTHERWISE, SAYS, Voice, spoken_in
from penstock.types import (
    Answer,
    Claim,
    Evidence,
    Finished,
    Found,
    Hit,
    ModelEvent,
    ModelRequest,
    Passage,
    Record,
    Returned,
    Status,
    Stopped,
    TextDelta,
    Turn,
    Usage,
    Verdict,
)
from penstock.verify.check import verifier
from penstock.verify.claims import claims
from penstock.verify.conflicts import disagree
from penstock.verify.copies import copies
from penstock.verify.decide import Limits, confidence, decided
from penstock.verify.held import Across, Held, Unsupported
from penstock.verify.rows import as_text, strict
from penstock.writing import Checks

SHOP = {
    "returns.md": "# Returns\n\nBooks can be returned within thirty days of delivery. They must be in the condition in which "
    "they were sent. The money comes back within five days.\n",
    "old/returns.md": "---\ndate: 2019-05-01\n---\n# Returns of old\n\nA parcel to Norway takes eight working days.\n",
    "shipping.md": "---\ndate: 2025-02-01\n---\n# Shipping\n\nA parcel to Norway takes five working days. Express delivery costs "
    "12 euros.\n",
    "secret.md": "---\ntags: [protected]\n---\n# The house recipe\n\nTake two kilos of the darkest flour and let it rest beside "
    "the warm oven for eleven hours before the salt is folded in by hand.\n",
}  # fmt: skip
QUESTION = "How long can books be returned?"
TRUE, FALSE, MADE_UP = (
    "Books can be returned within thirty days of delivery [1].",
    "Books can be returned within ninety days of delivery [1].",
    "Penguins receive a purple voucher on Tuesdays [1].",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Penstock:
    root = tmp_path_factory.mktemp("shop")
    for name, text in SHOP.items():
        (root / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "docs" / name).write_text(text)
    return Penstock.open(root / "docs", settings=Settings(home=str(root / "home")))


class Playing:
    """A model that says one thing after the other, each time it is asked."""

    def __init__(self, *says: str, pieces: int = 7) -> None:
        self.says, self.pieces, self.asked = list(says), pieces, list[ModelRequest]()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        text = self.says[min(len(self.asked), len(self.says) - 1)]
        self.asked.append(request)
        for n in range(0, len(text), self.pieces):
            yield TextDelta(text[n : n + self.pieces])
        yield Stopped(Usage(30, 4))


def lexical(_: Turn) -> Any:
    return verifier("lexical")


def ask(
    shop: Penstock,
    question: str,
    *models: Playing,
    checks: Checks | None = None,
    voice: Voice | None = None,
    limits: Limits | None = None,
    record: Record | None = None,
    language: str = "",
    returned: tuple[Returned, ...] = (),
) -> tuple[list[str], Answer]:
    quoted = Quoted(shop.house.library[shop.name], shop.house.quotes, voice=voice or Voice(), limits=limits or Limits())
    named = {f"model{n}": model for n, model in enumerate(models)}
    answerer: Any = Written(quoted, named, checks or Checks(lexical)) if models else quoted

    async def asked() -> tuple[list[str], Answer]:
        said: list[str] = []
        async for event in answerer.stream(Turn(question, record=record, language=language, returned=returned)):
            match event:
                case TextDelta(text):
                    said.append(text)
                case Finished(found):
                    return said, found
        raise AssertionError("a stream ends with Finished")

    said, answer = asyncio.run(asked())
    assert "".join(said) == answer.text
    return said, answer


# ---------------------------------------------------------------- sentence by sentence


def test_a_sentence_leaves_when_it_was_checked_and_not_before(shop: Penstock):
    said, answer = ask(shop, QUESTION, Playing(f"{TRUE} The money comes back within five days [1]. ", pieces=3))

    assert [piece.strip() for piece in said if piece.strip()] == [TRUE, "The money comes back within five days [1]."]
    assert answer.verdict is not None
    assert [claim.label for claim in answer.verdict.claims] == ["supported", "supported"]
    assert answer.verdict.label == "supported"


def test_what_is_not_in_the_sources_is_marked(shop: Penstock):
    _, answer = ask(shop, QUESTION, Playing(f"{TRUE} {MADE_UP} {FALSE}"))

    assert answer.text == f"{TRUE} {MADE_UP} [not in the sources] {FALSE} [the sources say otherwise]"
    assert answer.verdict is not None
    assert [claim.label for claim in answer.verdict.claims] == ["supported", "not_found", "contradicted"]
    places = [answer.text[claim.start : claim.end] for claim in answer.verdict.claims]
    assert places == [text.replace(" [1].", " [1].") for text in (TRUE, MADE_UP, FALSE)]
    assert answer.verdict.label == "contradicted" or answer.verdict.support < 0.5


def test_a_sentence_is_rewritten_once_and_checked_again(shop: Penstock):
    model = Playing(f"{TRUE} {FALSE}", "Books can be returned within thirty days [1].")

    _, answer = ask(shop, QUESTION, model, checks=Checks(lexical, "rewrite"))

    assert answer.text == f"{TRUE} Books can be returned within thirty days [1]."
    assert len(model.asked) == 2
    assert [m["role"] for m in model.asked[1].body["messages"]] == ["system", "user", "assistant", "user"]
    assert "ninety" in model.asked[1].body["messages"][2]["content"]


@pytest.mark.parametrize("again", [FALSE, MADE_UP])
def test_where_rewriting_does_not_help_the_source_speaks(shop: Penstock, again: str):
    _, answer = ask(shop, QUESTION, Playing(FALSE, again), checks=Checks(lexical, "rewrite"))

    assert answer.text == "The source says: “Books can be returned within thirty days of delivery.” [1]"


@pytest.mark.parametrize("dash", ["-", " – ", "—"])
def test_a_sentence_of_which_nothing_is_left_is_left_out(shop: Penstock, dash: str):
    _, answer = ask(shop, QUESTION, Playing(f"{TRUE} {MADE_UP}", dash), checks=Checks(lexical, "rewrite"))

    assert answer.text.strip() == TRUE


def test_the_quote_takes_the_place_of_what_is_not_supported_once(shop: Penstock):
    _, answer = ask(shop, QUESTION, Playing(f"{FALSE} {FALSE}"), checks=Checks(lexical, "quote"))

    assert answer.text.count("“Books can be returned within thirty days of delivery.”") == 1
    assert "ninety" not in answer.text
    assert answer.written_by == "model0"


def test_where_nothing_is_left_the_documents_answer(shop: Penstock):
    _, answer = ask(shop, QUESTION, Playing(f"{FALSE} {MADE_UP}"), checks=Checks(lexical, "drop"))

    assert answer.text == "Books can be returned within thirty days of delivery."
    assert answer.written_by == ""


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 30), max_size=20))
def test_a_mark_of_the_fence_that_a_model_repeats_is_the_number_of_its_source(cuts: list[int]):
    fence = Fence()
    said = f"See [{fence.mark} source 2 {fence.mark}], not [1] or [x [{fence.mark} source 3 end {fence.mark}]. [{fence.mark[:5]}"
    cited, out, at = Cited(fence), "", 0
    for cut in cuts:
        out += cited.feed(said[at : at + cut])
        at += cut

    out += cited.feed(said[at:], last=True)

    assert out == f"See [2], not [1] or [x [3]. [{fence.mark[:5]}"


def test_what_claims_nothing_passes(shop: Penstock):
    text = f"Of course! {TRUE} I hope this helps!"

    assert ask(shop, QUESTION, Playing(text))[1].text == text


def test_what_was_wrong_is_in_the_journal_without_its_words(shop: Penstock):
    record = Record("")

    ask(shop, QUESTION, Playing(f"{TRUE} {MADE_UP}"), record=record)

    (event,) = record.guarded
    assert (event["decision"], [found["type"] for found in event["findings"]]) == ("review", ["UNSUPPORTED:not_found"])
    assert "penguin" not in json.dumps(event).lower()


class Sources:
    """A check that finds supported what has one of the given words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
        found = []
        for start, end in claims(text):
            good = any(word in text[start:end] for word in self.words)
            label: Any = "supported" if good else "not_found"
            evidence = (Evidence(0, 0, 5),)
            found.append(Claim(start, end, label, 0.9 if good else 0.1, evidence, () if good else ((start, end),)))
        return Verdict("supported", 0.9, tuple(found), "words")


SENTENCES = st.lists(
    st.sampled_from(
        [
            "Good it is here.",
            "Bad it is there [2].",
            "Good again, said she [1].",
            "Bad it was, indeed.",
            "\n- Good it was.",
            "Ok?",
        ]
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(
    sentences=SENTENCES,
    cuts=st.lists(st.integers(1, 40), max_size=30),
    policy=st.sampled_from(["mark", "quote", "drop"]),
)
def test_wherever_a_stream_is_cut_the_same_is_said(sentences: list[str], cuts: list[int], policy: Unsupported):
    text = " ".join(sentences)

    async def said(pieces: Sequence[str]) -> tuple[str, list[Claim]]:
        held = Held(Sources("Good"), ["Here it stands."], unsupported=policy)
        out = "".join([await held.feed(piece) for piece in pieces]) + await held.close()
        return out, held.claims

    pieces, at = [], 0
    for cut in cuts:
        pieces.append(text[at : at + cut])
        at += cut
    whole, claims = asyncio.run(said([text]))
    cut_up, _ = asyncio.run(said([*pieces, text[at:]]))

    assert cut_up == whole
    assert all(whole[claim.start : claim.end].strip() for claim in claims)
    if policy == "drop":
        assert "Bad" not in whole


class Gate:
    """A way out that takes links out, and turns a stand-in back."""

    careful, advice = False, ""

    def enter(self, text: str, surface: str) -> str:
        return text.replace("Lund", "PERSON_1A")

    def withholds(self, text: str) -> bool:
        return False

    def leaving(self) -> Any:
        return self

    stopped = False

    def restored(self, text: str, *, last: bool = False) -> str:
        return text.replace("PERSON_1A", "Lund")

    def gated(self, words: str, *, last: bool = False) -> str:
        return words.replace("http://evil.example", "")


def test_what_is_checked_has_its_words_back_and_the_gate_comes_last(shop: Penstock):
    model = Playing(f"{TRUE} See http://evil.example for Lund. {MADE_UP}", pieces=200)
    quoted = Quoted(shop.house.library[shop.name], shop.house.quotes, guard=lambda _: Gate())
    heard: list[str] = []

    class Hearing(Sources):
        async def verify(self, text: str, sources: Sequence[str], *, question: str = "", language: str = "") -> Verdict:
            heard.append(text)
            return await super().verify(text, sources)

    async def asked() -> Answer:
        checks = Checks(lambda _: Hearing("Books"))
        async for event in Written(quoted, {"model": model}, checks).stream(Turn(QUESTION)):
            if isinstance(event, Finished):
                return event.answer
        raise AssertionError("a stream ends with Finished")

    answer = asyncio.run(asked())

    assert any("http://evil.example for Lund" in text for text in heard)
    assert "evil" not in answer.text
    assert answer.verdict is not None
    said = [answer.text[claim.start : claim.end] for claim in answer.verdict.claims]
    assert said[0] == TRUE
    assert said[-1] == MADE_UP


# ---------------------------------------------------------------- as a whole


def test_a_limit_decides_the_gravest_that_applies():
    limits = Limits(hedge=0.8, hand_over=0.5, abstain=0.2)

    assert [decided(sure, limits) for sure in (0.9, 0.7, 0.4, 0.1)] == ["answer", "hedge", "hand_over", "abstain"]
    assert decided(0.0, Limits()) == "answer"


def test_confidence_falls_with_support_and_with_sources_that_disagree():
    good, bad = Claim(0, 5, "supported", 0.9), Claim(6, 9, "not_found", 0.1)

    assert confidence(0.8, [good]) == pytest.approx(0.72)
    assert confidence(0.8, [good, bad]) < confidence(0.8, [good])
    assert confidence(0.8, [good], disagree=True) < confidence(0.8, [good])
    assert confidence(0.8, [Claim(0, 5, "unscored", 0.0)]) == 0.8


@pytest.mark.parametrize("models", [[], [Playing(MADE_UP)]])
def test_what_is_too_uncertain_is_handed_over_and_no_word_of_it_leaves(shop: Penstock, models: list[Playing]):
    limits = Limits(hand_over=0.99)

    said, answer = ask(shop, QUESTION, *models, checks=Checks(lexical, limits=limits), limits=limits)

    assert "".join(said) == "This answer is uncertain. A person will look at it."
    assert (answer.status, answer.citations, bool(answer.nearest)) == (Status.HANDED_OVER, (), True)


@pytest.mark.parametrize("models", [[], [Playing(TRUE)]])
def test_a_reserve_stands_before_an_answer(shop: Penstock, models: list[Playing]):
    limits = Limits(hedge=0.999)

    _, answer = ask(shop, QUESTION, *models, checks=Checks(lexical, limits=limits), limits=limits)

    assert answer.text.startswith(f"{HEDGE} Books can be returned")
    if answer.verdict:
        claim = answer.verdict.claims[0]
        assert answer.text[claim.start : claim.end] == TRUE


def test_an_answer_may_not_be_said_at_all(shop: Penstock):
    limits = Limits(abstain=0.999)

    _, answer = ask(shop, QUESTION, Playing(TRUE), checks=Checks(lexical, limits=limits), limits=limits)

    assert (answer.text, answer.status) == (NOT_FOUND, Status.NOT_FOUND)


# ---------------------------------------------------------------- sources that disagree


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("Books can be returned within 30 days.", "Books can be returned within 14 days.", True),
        ("Returns are free until 2024-12-01.", "Returns are free until 2025-03-01.", True),
        ("Gift cards can be refunded.", "Gift cards cannot be refunded.", True),
        ("Members can borrow 10 books.", "Members can borrow 12 books.", True),
        ("Members can borrow ten books.", "Members can borrow 10 books.", False),
        ("Delivery takes 1 week.", "Delivery takes 7 days.", False),
        ("Standard delivery takes 3 working days.", "Express delivery takes 1 working day.", False),
        ("Plan A costs 10 EUR.", "Plan B costs 20 EUR.", False),
        ("Refunds take 5 days.", "Refunds take 5 days, for cheques 10 days.", False),
        ("The shop opens at nine.", "Delivery costs 5 euros.", False),
        ("", "", False),
    ],
)
def test_sources_disagree_where_both_cannot_be_right(one: str, other: str, wanted: bool):
    assert disagree(one, other, "en") is wanted
    assert disagree(other, one, "en") is wanted


def test_a_disagreement_is_shown_with_dates_the_newest_first(shop: Penstock):
    said, answer = ask(shop, "How many working days does a parcel to Norway take?")

    assert answer.text.startswith(f"{DISAGREE}\n\nShipping of 2025-02-01: A parcel to Norway takes five working days.")
    assert "Returns of old of 2019-05-01: A parcel to Norway takes eight working days." in answer.text
    assert len(answer.conflicts) == 1
    assert len(said) == 5


def test_a_model_does_not_hide_a_disagreement(shop: Penstock):
    model = Playing("A parcel to Norway takes five working days [1].")

    _, answer = ask(shop, "How many working days does a parcel to Norway take?", model)

    assert answer.text.startswith(f"{model.says[0]}\n\n{DISAGREE}")
    assert {answer.citations[n].date for pair in answer.conflicts for n in pair} == {"2025-02-01", "2019-05-01"}


# ---------------------------------------------------------------- copies, rows


def test_a_near_copy_of_a_protected_passage_is_marked(shop: Penstock):
    text = "Take two kilos of the darkest flour and let it rest beside the warm oven for eleven hours, before salt is folded in."

    _, answer = ask(
        shop,
        "How long does the darkest flour rest beside the oven?",
        Playing(text),
        checks=Checks(lexical, protected=("protected",)),
    )

    (copied,) = answer.copied
    assert answer.text[copied.start : copied.end].startswith("Take two kilos")
    assert answer.citations[copied.citation].source.endswith("secret.md")


def test_a_passage_that_is_told_in_other_words_is_no_copy():
    passage = SHOP["secret.md"]

    text = "The dough is made of dark flour, which rests for eleven hours next to the oven before it is salted."
    assert copies(text, [passage]) == []
    assert copies("", [passage]) == copies(passage, []) == []
    assert len(copies(passage, [passage])) == 1


LETTERS = "alpha beta gamma delta epsilon zeta eta theta iota kappa".split()


@given(words=st.lists(st.sampled_from(LETTERS), min_size=20, max_size=60))
def test_a_copy_is_found_wherever_it_stands(words: list[str]):
    passage = " ".join(words)
    text = f"Before it something else is said. {passage} And after it too."

    found = copies(text, [passage])

    assert found
    assert found[0].start <= text.index(passage)
    assert found[-1].end >= text.index(passage) + len(passage) - 1


def test_rows_of_a_tool_are_sources():
    rows = [{"order": 4711, "total_eur": 12.5, "shipped": False, "items": [{"name": "Tea", "count": 2}], "note": None}]
    text = as_text(rows)

    assert text == "order: 4711; total eur: 12.5; shipped: no; items: name: Tea, count: 2; note: none."
    assert as_text(json.dumps(rows)) == text
    assert as_text("{not json") == "{not json"
    assert as_text([]) == ""


def test_what_is_said_of_rows_has_their_numbers():
    rows = as_text({"order": 4711, "tea items": 2})

    def label(text: str) -> str:
        return strict(verifier("lexical").check(text, [rows]), text, [rows]).label

    assert label("Order 4711 has 2 items of tea.") == "supported"
    assert label("Order 4711 has 3 items of tea.") != "supported"
    assert label("Order 4712 has 2 items of tea.") != "supported"


ORDER = Returned(
    "get_order", json.dumps({"order": 4711, "status": "shipped", "total": "12.50 EUR", "arrives": "2026-12-03"})
)


def test_what_a_model_says_of_a_tools_rows_is_held_to_them(shop: Penstock):
    model = Playing("Your order 4711 has shipped [1]. It arrives on December 9 [1]. The total is 12.50 EUR [1]. ")

    _, answer = ask(shop, "Where is my order 4711?", model, returned=(ORDER,))

    assert answer.citations[0].source == "get_order"
    assert answer.verdict is not None
    assert [claim.label for claim in answer.verdict.claims] == ["supported", "contradicted", "supported"]
    assert "December 9 [1]. [the sources say otherwise]" in answer.text
    assert "status: shipped" in model.asked[0].body["messages"][1]["content"]


@pytest.mark.parametrize(
    ("said", "labels"),
    [
        ("Ihre Bestellung 4711 kommt am 3. Dezember 2026 an. ", ["unscored"]),
        ("Ihre Bestellung 4711 kostet 12,50 Euro. Sie kommt am 9. Dezember 2026 an. ", ["unscored", "not_found"]),
    ],
)
def test_numbers_of_rows_hold_in_another_language_too(shop: Penstock, said: str, labels: list[str]):
    _, answer = ask(shop, "Wo ist meine Bestellung 4711?", Playing(said), language="de", returned=(ORDER,))

    assert answer.verdict is not None
    assert [claim.label for claim in answer.verdict.claims] == labels


def test_rows_and_documents_answer_together(shop: Penstock):
    model = Playing("Your order 4711 has shipped [1]. Books can be returned within thirty days of delivery [2]. ")

    _, answer = ask(shop, QUESTION, model, returned=(ORDER,))

    assert [citation.source for citation in answer.citations][:2] == ["get_order", "returns.md"]
    assert answer.verdict is not None
    assert answer.verdict.label == "supported"


def test_without_a_model_the_rows_are_quoted(shop: Penstock):
    _, answer = ask(shop, "Where is my order 4711?", returned=(ORDER,))

    assert (answer.status, answer.text) == (Status.ANSWER, as_text(ORDER.text))


def test_a_tool_that_returned_nothing_changes_nothing(shop: Penstock):
    _, answer = ask(shop, QUESTION, returned=(Returned("get_order", "[]"),))

    assert answer.citations[0].source == "returns.md"


# ---------------------------------------------------------------- languages


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Wer hat die Schachweltmeisterschaft 1972 gewonnen?", "de"),
        ("¿Quién ganó el campeonato mundial de ajedrez de 1972?", "es"),
        ("Qui a gagné le championnat du monde d'échecs en 1972 ?", "fr"),
        ("Кто выиграл чемпионат мира по шахматам в 1972 году?", "ru"),
        ("1972年国际象棋世界冠军是谁？", "zh"),
        ("من فاز ببطولة العالم للشطرنج عام 1972؟", "ar"),
    ],
)
def test_a_refusal_is_in_the_language_of_the_question(shop: Penstock, question: str, language: str):
    _, answer = ask(shop, question)

    assert (answer.status, answer.language) == (Status.NOT_FOUND, language)
    assert answer.text == phrase(NOT_FOUND, language)
    assert answer.text != NOT_FOUND


def test_an_app_has_its_languages_and_its_form_of_address(shop: Penstock):
    voice = Voice(("de", "en"), "informal")

    _, answer = ask(shop, "1972?", voice=voice)
    _, formal = ask(shop, "Wer gewann 1972 die Weltmeisterschaft?", voice=Voice(("de",), "formal"))

    assert answer.language == "de"
    assert answer.text == phrase(NOT_FOUND, "de", formality="informal")
    assert formal.text == phrase(NOT_FOUND, "de", formality="formal")


class Engine:
    """Translates by a list: what it says in a language is always the same."""

    name = "list"

    def __init__(self, **said: str) -> None:
        self.said, self.asked = said, list[tuple[str, str, str]]()

    async def translate(self, texts: Sequence[str], *, source: str, target: str) -> list[str]:
        self.asked += [(text, source, target) for text in texts]
        if target not in self.said:
            raise UpstreamError("it is down")
        return [self.said[target] for _ in texts]


def speaking(engine: Engine | None) -> Any:
    return (lambda _: engine) if engine else None


def test_a_quote_in_another_language_is_translated_and_the_original_shown(shop: Penstock):
    engine = Engine(es="Los libros se pueden devolver dentro de los treinta días.")

    _, answer = ask(shop, QUESTION, voice=Voice(translator=speaking(engine)), language="es")

    assert engine.asked[-1][1:] == ("en", "es")
    assert answer.text == (
        "Traducción automática del inglés: Los libros se pueden devolver dentro de los treinta días.\n\nEn el original (inglés): "
        "Books can be returned within thirty days of delivery."
    )


@pytest.mark.parametrize("engine", [None, Engine()])
def test_without_an_engine_the_quote_stands_in_the_original_with_a_phrase_around_it(shop: Penstock, engine: Any):
    _, answer = ask(shop, QUESTION, voice=Voice(translator=speaking(engine)), language="es")

    assert answer.text == f"{phrase(SAYS, 'es')} Books can be returned within thirty days of delivery."


def test_a_model_is_told_the_language_and_its_words_are_not_compared_with_other_ones(shop: Penstock):
    model = Playing("Los libros se pueden devolver dentro de los noventa días siguientes a la entrega [1].")

    _, answer = ask(shop, QUESTION, model, voice=Voice(formality="formal"), language="es")

    told = model.asked[0].body["messages"][0]["content"]
    assert "Escribe la respuesta en español." in told
    assert "Trata de «usted»" in told
    assert answer.text == model.says[0]
    assert answer.verdict is not None
    assert answer.verdict.label == "unscored"


def test_with_an_engine_a_sentence_is_translated_before_it_is_checked(shop: Penstock):
    engine = Engine(en="Books can be returned within ninety days of delivery.")
    model = Playing("Los libros se pueden devolver dentro de los noventa días siguientes a la entrega [1].")

    _, answer = ask(shop, QUESTION, model, voice=Voice(translator=speaking(engine)), language="es")

    assert answer.text == f"{model.says[0]} [{phrase(OTHERWISE, 'es')}]"


def test_an_english_answer_to_a_spanish_question_is_checked_as_it_is(shop: Penstock):
    _, answer = ask(shop, QUESTION, Playing(FALSE), language="es")

    assert answer.verdict is not None
    assert answer.verdict.label == "contradicted"


def test_the_language_of_most_passages_is_the_one_to_translate_into():
    def hit(language: str) -> Hit:
        return Hit(Passage("1", "1", "a.md", "x", 0, 1, language=language), 1.0, {})

    found = Found(tuple(map(hit, ("de", "en", "", "en"))), "v1", languages=("", "de", "en"))

    assert spoken_in(Turn("¿?", language="es", found=found)) == ("en", "de")
    assert spoken_in(Turn("¿?", language="es")) == ("es",)


def test_an_engine_that_fails_leaves_a_sentence_unscored():
    across = Across(verifier("lexical"), ("en",), language_of=lambda _: "es", translator=Engine())

    verdict = asyncio.run(across.verify("Los libros se pueden devolver.", ["Books can be returned."]))

    assert verdict.label == "unscored"


@pytest.mark.parametrize("language", languages())
def test_no_catalogue_leaves_a_phrase_of_an_answer_in_english(language: str):
    said = [phrase(english, language, formality="formal") for english in (*ANSWERS, *PROMPTS)]

    if language != "en":
        assert not set(said) & set(ANSWERS) & set(PROMPTS)


# ---------------------------------------------------------------- by the settings


def test_an_app_is_grounded_unless_it_says_otherwise(tmp_path: Path):
    house = assemble(Settings(home=str(tmp_path)))

    assert house.checks("shop", AppSettings()).verifier is not None
    assert house.checks("shop", AppSettings(grounded=False)).verifier is None
    assert house.voice("shop", AppSettings(languages=("de",), formality="informal")).languages == ("de",)
