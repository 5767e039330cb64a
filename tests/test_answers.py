"""One question from start to finish: quoted answers, refusals, follow-ups, streams."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Caller, Message, Penstock
from penstock.answer import LONGEST_QUESTION, Quoted, Written
from penstock.config import Settings
from penstock.documents.followup import understood
from penstock.errors import BadRequest, NotFound, PenstockError, UpstreamError
from penstock.trace import Span, collect
from penstock.types import (
    ANYBODY,
    Answer,
    Event,
    Finished,
    ModelEvent,
    ModelRequest,
    Status,
    Stopped,
    TextDelta,
    Turn,
    Usage,
)

SHOP = {
    "returns.md": "# Returns\n\n## Books\n\nBooks can be returned within thirty days of delivery. They must be in the condition "
    "in which they were sent.\n\n## Sale items\n\nSale items are final and cannot be returned. Faulty ones are repaired.\n",
    "shipping.md": "# Shipping\n\nA parcel to Norway takes five working days. A parcel to Iceland takes nine working days. "
    "Express delivery costs 12 euros.\n",
    "people.md": "# People\n\nThe shop was founded by Astrid Lund in 1987. She sold it to her daughter in 2011.\n",
    "lines.md": "# Telephone\n\nA line can be suspended for the following reasons:\n\n- the bill is overdue\n- the card was lost\n"
    "- a court asks for it\n\nA suspended line costs nothing.\n",
    "faq.md": "# Questions\n\n## Do gift cards expire?\n\nNo, they never do.\n\n## Can I pay by invoice?\n\nOnly companies can.\n\n"
    "## Why was my referral rejected?\n\nIt came from the same household. Ask somebody else.\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Penstock:
    root = tmp_path_factory.mktemp("shop")
    for name, text in SHOP.items():
        (root / "docs").mkdir(exist_ok=True)
        (root / "docs" / name).write_text(text)
    return Penstock.open(root / "docs", settings=Settings(home=str(root / "home")))


@pytest.mark.parametrize(
    ("question", "quote", "source"),
    [
        ("How long do I have to return a book?", "Books can be returned within thirty days of delivery.", "returns.md"),
        ("How many days does a parcel to Norway take?", "A parcel to Norway takes five working days.", "shipping.md"),
        ("Who founded the shop?", "The shop was founded by Astrid Lund in 1987.", "people.md"),
        ("Do gift cards expire?", "No, they never do.", "faq.md"),
    ],
)
def test_an_answer_is_the_sentence_that_says_it_with_its_place(shop: Penstock, question: str, quote: str, source: str):
    answer = shop.ask(question)

    assert answer.status is Status.ANSWER
    assert quote in answer.text
    citation = next(c for c in answer.citations if c.quote == quote)
    assert citation.source == source
    assert shop.documents.document(citation.document_id)[1][citation.start : citation.end] == quote


@pytest.mark.parametrize(
    "question",
    ["What is the capital of France?", "Who won the football match yesterday?", "How do I bake sourdough bread?"],
)
def test_what_is_not_there_is_not_answered(shop: Penstock, question: str):
    answer = shop.ask(question)

    assert answer.status is Status.NOT_FOUND
    assert answer.text == "Not in your documents."
    assert answer.citations == ()
    assert answer.confidence < 0.2


def test_a_citation_knows_its_headings_its_version_and_its_chance(shop: Penstock):
    answer = shop.ask("Can sale items be returned?")

    assert answer.citations[0].section == ("Returns", "Sale items")
    assert answer.version == "v1"
    assert 0.5 < answer.confidence <= 1
    assert answer.citations[0].confidence == answer.confidence


def test_a_second_quote_comes_in_the_order_of_the_document(shop: Penstock):
    for question in ("Who founded and who sold the shop?", "How can books be returned, and in which condition?"):
        answer = shop.ask(question)
        starts = [(answer.citations[n].document_id, answer.citations[n].start) for n in answer.quoted]

        assert starts == sorted(starts)


def test_a_stream_says_what_the_whole_answer_says(shop: Penstock):
    async def told(question: str) -> tuple[str, Event]:
        text, event = "", None
        async for event in shop.house.answerer(shop.name).stream(Turn(question, Caller())):
            text += event.text if isinstance(event, TextDelta) else ""
        assert event is not None
        return text, event

    for question in (
        "Who founded the shop?",
        "How are books returned, in which condition?",
        "Why is the sky blue?",
        "gift",
    ):
        text, last = asyncio.run(told(question))
        whole = shop.ask(question)

        assert text == whole.text
        assert last == Finished(whole)


def test_each_room_that_a_question_passes_through_leaves_a_span_without_its_words(shop: Penstock):
    spans: list[Span] = []
    with collect(spans.append):
        shop.ask("Who founded the shop?")

    assert [span.name for span in spans] == ["understand", "guard", "search", "screen", "quote"]
    assert (spans[2].values["hits"], spans[4].values["status"]) == (8, "answer")
    assert all(span.duration_ms >= 0 for span in spans)
    assert "founded" not in repr(spans)


@pytest.mark.parametrize("question", ["", "   \n\t ", "x" * (LONGEST_QUESTION + 1)])
def test_a_question_that_is_none_is_refused(shop: Penstock, question: str):
    with pytest.raises(BadRequest):
        shop.ask(question)


@pytest.mark.parametrize(
    "question", ["?", "!!!", "🙂🙂", "\x00", "the of and", "'; drop table documents; --", "%s {0}", "\u202e"]
)
def test_odd_questions_are_answered_or_not_but_never_break(shop: Penstock, question: str):
    assert shop.ask(question).status in Status


# ---------------------------------------------------------------- follow-ups


def conversation(*asked: str) -> list[Message]:
    return [m for question in asked for m in (Message("user", question), Message("assistant", "…"))]


def test_a_follow_up_is_answered_from_the_conversation(shop: Penstock):
    answer = shop.ask("And to Iceland?", history=conversation("How long does a parcel to Norway take?"))

    assert "nine working days" in answer.text
    assert answer.question == "How long does a parcel to Iceland take?"


FOLLOW_UPS = [
    ("How long does a parcel to Norway take?", "and to Iceland?", "How long does a parcel to Iceland take?"),
    ("When was the Finse station opened?", "Hovden?", "When was the Hovden station opened?"),
    ("What is the fee of the Nordic Card?", "And the Green Account?", "What is the fee of the Green Account?"),
    ("When does the shop in Oslo open?", "And the one in Bergen?", "When does the shop in Bergen open?"),
    ("Can I return books?", "And for sale items?", "for sale items? (return books)"),
    ("Can I return books?", "And what about sale items?", "sale items? (return books)"),
    ("How do I return a book?", "What does it cost?", "What does it cost? (return book)"),
    ("How do I return a book?", "Why?", "Why? (return book)"),
    ("Wie lange dauert ein Paket nach Norwegen?", "Und nach Island?", "Wie lange dauert ein Paket nach Island?"),
    ("¿Cuánto tarda un paquete a Noruega?", "¿Y a Islandia?", "¿Cuánto tarda un paquete a Islandia?"),
]


@pytest.mark.parametrize(("asked", "follow_up", "wanted"), FOLLOW_UPS)
def test_a_question_gets_back_what_it_leaves_out(asked: str, follow_up: str, wanted: str):
    assert understood(follow_up, conversation(asked)).question == wanted


COMPLETE = [
    "How do I bake bread?",
    "Is there a swimming pool?",
    "How long is a shift?",
    "When is the avalanche course?",
    "And who is the safety officer?",
    "Is there a cable car?",
    "Can guests bring their dogs?",
    "How long does it take to ship a sofa?",
    "What is that blue lamp for?",
    "Wo darf man rauchen?",
    "Gibt es eine Seilbahn?",
    "Können Sie Bücher einbinden?",
    "Was kostet das Radom?",
    "¿Hay una piscina?",
    "Y a-t-il une piscine ?",
    "图书可以退货吗？",
    "Where is it allowed to smoke?",
]


@pytest.mark.parametrize("question", COMPLETE)
def test_a_question_that_can_stand_alone_is_left_alone(question: str):
    asked = ("How much did the new radome cost?", "Wann wurde die Küche gereinigt?")

    assert understood(question, conversation(*asked)).question == question


def test_words_do_not_pile_up_over_a_long_conversation():
    found = understood(
        "and the price?", conversation("How do I return a book?", "and the box?", "and the bill?", "why?")
    )

    assert found.question == "the price? (return book)"


def test_what_was_refused_explains_nothing():
    history = [Message("user", "What is the Wi-Fi password?"), Message("assistant", "Not in your documents.")]

    assert understood("and the fuel?", history).question == "and the fuel?"


def test_words_of_an_earlier_question_alone_answer_nothing(shop: Penstock):
    history = [
        Message("user", "Who founded the shop?"),
        Message("assistant", "The shop was founded by Astrid Lund in 1987."),
    ]

    answer = shop.ask("and the swimming pool?", history=history)

    assert answer.status is not Status.ANSWER


def test_a_fragment_that_finds_its_own_answer_gets_it(shop: Penstock):
    answer = shop.ask("and gift cards?", history=conversation("Do books expire?"))

    assert "No, they never do." in answer.text


@given(st.lists(st.text(max_size=60), max_size=8), st.text(max_size=80))
def test_no_conversation_breaks_the_understanding(asked: list[str], question: str):
    found = understood(question, [Message("user" if n % 2 else "assistant", text) for n, text in enumerate(asked)])

    assert found.question or not question.strip()


# ---------------------------------------------------------------- the Python door


def test_opening_a_folder_twice_indexes_only_what_changed(tmp_path: Path, folder: Path):
    settings = Settings(home=str(tmp_path / "home"))
    with Penstock.open(folder, settings=settings) as p:
        first = p.ask("How long can books be returned?")
    (folder / "returns.md").write_text("# Returns\n\nBooks can be returned within sixty days.\n")
    with Penstock.open(folder, settings=settings) as p:
        second = p.ask("How long can books be returned?")

    assert (first.version, second.version) == ("v1", "v2")
    assert "thirty" in first.text
    assert "sixty" in second.text


def test_the_only_collection_needs_no_name_and_several_do(tmp_path: Path, folder: Path):
    settings = Settings(home=str(tmp_path / "home"))
    with pytest.raises(NotFound, match="nothing is indexed"):
        Penstock.open(settings=settings)
    Penstock.open(folder, name="one", settings=settings).close()
    with Penstock.open(settings=settings) as p:
        assert p.name == "one"
    Penstock.open(folder, name="two", settings=settings).close()
    with pytest.raises(NotFound, match="several collections"):
        Penstock.open(settings=settings)


def test_a_place_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(NotFound, match="no file or folder"):
        Penstock.open(tmp_path / "nowhere", settings=Settings(home=str(tmp_path / "home")))


def test_asking_works_inside_a_running_event_loop(shop: Penstock):
    async def notebook() -> str:
        return shop.ask("Who founded the shop?").text

    assert "Astrid Lund" in asyncio.run(notebook())


def test_search_shows_passages_with_their_scores(shop: Penstock):
    found = shop.search("express delivery", k=2)

    assert found.hits[0].passage.source == "shipping.md"
    assert len(found.hits) == 2


# ---------------------------------------------------------------- written by a model


class Playing:
    """A model that says what it was given to say, or fails."""

    def __init__(self, *pieces: str, error: PenstockError | None = None) -> None:
        self.pieces, self.error, self.asked = pieces, error, list[ModelRequest]()

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelEvent]:
        self.asked.append(request)
        for piece in self.pieces:
            yield TextDelta(piece)
        if self.error:
            raise self.error
        yield Stopped(Usage(30, 4))


def written(shop: Penstock, question: str, *models: Playing, caller: Caller = ANYBODY) -> tuple[str, Answer]:
    quoted = Quoted(shop.house.library[shop.name], shop.house.quotes)
    answerer = Written(quoted, {f"model{n}": model for n, model in enumerate(models)})

    async def asked() -> tuple[str, Answer]:
        said, answer = "", None
        async for event in answerer.stream(Turn(question, caller)):
            match event:
                case TextDelta(text):
                    said += text
                case Finished(found):
                    answer = found
        assert answer is not None
        return said, answer

    return asyncio.run(asked())


def test_a_model_writes_from_numbered_passages(shop: Penstock):
    model = Playing("Within thirty ", "days [1].")

    said, answer = written(shop, "How long can books be returned?", model)

    shown = model.asked[0].body["messages"][-1]["content"]
    assert said == answer.text == "Within thirty days [1]."
    assert (answer.written_by, answer.usage.output_tokens) == ("model0", 4)
    assert answer.citations[0].quote in shown
    assert "source 1" in shown


def test_where_the_documents_are_silent_no_model_is_asked(shop: Penstock):
    model = Playing("Bobby Fischer.")

    said, answer = written(shop, "Who won the chess championship of 1972?", model)

    assert (model.asked, answer.status, answer.written_by) == ([], Status.NOT_FOUND, "")
    assert said == answer.text


def test_where_a_model_fails_the_next_one_writes_and_then_the_quote_answers(shop: Penstock):
    broken = Playing(error=UpstreamError("it is down"))

    _, by_second = written(shop, "How long can books be returned?", broken, Playing("Thirty days [1]."))
    _, by_quote = written(shop, "How long can books be returned?", broken, Playing(), Playing("  \n"))

    assert by_second.written_by == "model1"
    assert by_quote.written_by == ""
    assert "thirty days" in by_quote.text


def test_a_model_that_breaks_off_is_an_error_and_not_another_answer(shop: Penstock):
    with pytest.raises(UpstreamError, match="it died"):
        written(shop, "How long can books be returned?", Playing("Within", error=UpstreamError("it died")))
