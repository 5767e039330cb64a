"""How an app speaks to people: in which language, how it addresses them, and what an answer says around its quotes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from penstock.errors import PenstockError
from penstock.language.names import name_of
from penstock.language.phrases import ANSWERS, PROMPTS, Formality, every, phrase
from penstock.language.translating import same_language
from penstock.trace import log
from penstock.types import Answer, Citation, Message, Status, TextDelta, Translator, Turn

__all__ = ["Voice", "spoken_in"]

(
    NOT_FOUND, RELATED, HEDGE, HANDED_OVER, SAYS, MISSING, DISAGREE, DATED, UNDATED, STOPPED, _, TRANSLATED, ORIGINAL,
) = ANSWERS  # fmt: skip
ASKED, IN_LANGUAGE, FORMALLY, INFORMALLY, REWRITE = PROMPTS
OTHERWISE = "the sources say otherwise"
LOOKED_BACK = 3  # questions of a conversation


def spoken_in(turn: Turn) -> tuple[str, ...]:
    """The languages of the passages that were found for a turn, that of most of them first; its own where none can be told."""
    hits = turn.found.hits if turn.found else ()
    counts = Counter(hit.passage.language for hit in hits if hit.passage.language)
    return tuple(language for language, _ in counts.most_common()) or (turn.language,)


@dataclass(frozen=True)
class Voice:
    """languages: those that an app is asked in, the first where it cannot be told; none: all that are known. translator: what
    translates for whoever asks a turn."""

    languages: tuple[str, ...] = ()
    formality: Formality = ""
    translator: Callable[[Turn], Translator] | None = None

    def language_of(self, question: str, history: Sequence[Message] = ()) -> str:
        """The language of a question, ISO 639-1. Where it cannot be told, that of the questions before it."""
        from penstock.text.languages import identifier  # which needs numpy: who asks nothing does not load it

        found = identifier().identify(question, among=self.languages)
        if found.sure:
            return found.language
        asked = [message.content for message in history if message.role == "user"][-LOOKED_BACK:]
        together = identifier().identify("\n".join([*asked, question]), among=self.languages) if asked else found
        if together.sure:
            return together.language
        return self.languages[0] if self.languages else "en"

    def say(self, english: str, language: str, /, **values: object) -> str:
        """A fixed phrase in the reader's language."""
        return phrase(english, language, formality=self.formality, **values)

    @cached_property
    def refusals(self) -> tuple[str, ...]:
        """What an answer begins with that is none, in every language."""
        return every(NOT_FOUND)

    def instructions(self, language: str) -> str:
        """What a model is told that writes in a language."""
        told = [self.say(ASKED, language)]
        if language != "en":
            told.append(self.say(IN_LANGUAGE, language, language=name_of(language, language)))
        if self.formality:
            told.append(self.say(FORMALLY if self.formality == "formal" else INFORMALLY, language))
        return " ".join(told)

    async def asked_in(self, turn: Turn) -> str:
        """The question in the language of the documents, where that is another and something translates; "" elsewhere."""
        languages = spoken_in(turn)
        if self.translator is None or any(same_language(turn.language, one) for one in languages):
            return ""
        try:
            said = await self.translator(turn).translate([turn.standalone], source=turn.language, target=languages[0])
        except PenstockError as error:
            log("question not translated", level="warning", error=error.code)
            return ""
        return said[0]

    async def pieces(self, turn: Turn, answer: Answer, *, hedged: bool = False) -> list[TextDelta]:
        """What is said of an answer in the words of the documents: phrases in the reader's language, quotes with their citations.

        Where a quote is in another language than the reader's, its translation stands before it, if something translates, and
        says that a machine made it.
        """
        language = answer.language
        if answer.status is Status.REFUSED:
            return [TextDelta(self.say(answer.text, language))]
        if answer.status in (Status.NOT_FOUND, Status.HANDED_OVER) or not answer.quoted:
            return [TextDelta(self.say(HANDED_OVER if answer.status is Status.HANDED_OVER else NOT_FOUND, language))]
        if answer.conflicts:
            return self.disagreement(answer)
        opening = self.say(RELATED, language) if answer.status is Status.RELATED else ""
        if hedged and not opening:
            opening = self.say(HEDGE, language)
        quotes = [answer.citations[n] for n in answer.quoted]
        languages = {hit.passage.id: hit.passage.language for hit in turn.found.hits} if turn.found else {}
        foreign = {languages.get(quote.passage_id, "") for quote in quotes} - {"", language}
        if foreign:
            opening = await self._translated(opening, quotes, sorted(foreign)[0], turn)
        pieces = [TextDelta(f"{opening} ")] if opening else []
        for place, n in enumerate(answer.quoted):
            pieces.append(TextDelta((" " if place else "") + answer.citations[n].quote, citation=n))
        return pieces

    async def _translated(self, opening: str, quotes: Sequence[Citation], source: str, turn: Turn) -> str:
        """What stands before quotes in another language."""
        language = turn.language
        if self.translator is None or same_language(source, language):
            return opening or self.say(SAYS, language)
        texts = [" ".join(quote.quote.split()) for quote in quotes]
        try:
            said = await self.translator(turn).translate(texts, source=source, target=language)
        except PenstockError as error:
            log("answer not translated", level="warning", error=error.code)
            return opening or self.say(SAYS, language)
        name = name_of(source, language)
        made = self.say(TRANSLATED, language, language=name)
        original = self.say(ORIGINAL, language, language=name)
        return f"{f'{opening} ' if opening else ''}{made} {' '.join(said)}\n\n{original}"

    def disagreement(self, answer: Answer) -> list[TextDelta]:
        """Sources that disagree, the newest first, each with its date."""
        language = answer.language
        shown = list(dict.fromkeys(n for pair in answer.conflicts for n in pair))
        shown.sort(key=lambda n: answer.citations[n].date, reverse=True)
        pieces = [TextDelta(self.say(DISAGREE, language))]
        for n in shown:
            citation = answer.citations[n]
            name = citation.title or citation.source
            head = (
                self.say(DATED, language, source=name, date=citation.date)
                if citation.date
                else self.say(UNDATED, language, source=name)
            )
            pieces += [TextDelta(f"\n\n{head} "), TextDelta(citation.quote, citation=n)]
        return pieces
