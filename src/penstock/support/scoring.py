"""Conversations in, what each metric counts in them out. One conversation is scored by itself, whatever others say: so the order of
a log makes no difference, and a part of it gives the same as the whole."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import PenstockError, StorageError
from penstock.evaluate.bertscore import BertScore
from penstock.evaluate.text_metrics import text_metric
from penstock.observe.satisfaction import FOLDER, LANGUAGES, Satisfaction, lists_of
from penstock.observe.satisfaction import plain as folded
from penstock.support.conversations import Conversation, Spoken
from penstock.support.facts import Checked, Given, sentence_around
from penstock.support.phrases import GENERAL, acknowledges, hands_over, not_understood
from penstock.support.report import Evidence, Finding
from penstock.support.scored import Scored
from penstock.text.languages import identifier
from penstock.text.stopwords import STOPWORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.language.intents import Intents
    from penstock.support.data import Data
    from penstock.support.report import FindingKind
    from penstock.types import Embedder
    from penstock.verify.verifier import Lexical

    Vectors = NDArray[np.float32]

__all__ = ["RELEVANT", "Scorer"]

UPSET = 0.5  # probability of a rating below 3 from where on a turn is called upset
RELEVANT = 0.9  # share of other questions that are further from an answer
COVERAGE = 0.15  # what the share of a question's words in the answer adds to their nearness
FAMILIAR = 0.6  # of the encoder with an answer, from where on it may judge it
UNSUPPORTED = 0.3  # probability below which a sentence is told to be in none of its texts
MOST_FINDINGS = 50  # of one conversation
REMEMBERED = 20_000  # vectors of texts, which bots say again and again
LONGEST = 2000  # characters of a text that the encoder is shown
SAME, ALIKE = 0.9, 0.7  # share of words from where on two answers say the same, or speak of the same
FEWEST_WORDS = 5  # of an answer, for it to repeat another one
SAMPLE = 1000  # characters by which a language is told
_WORD = re.compile(r"[^\W\d_]{2,}")
_NEGATION = re.compile(r"\b(?:not|no|never|cannot|nicht|kein\w*|nie|pas|non|nunca|não|niet|geen)\b|n['’]t\b", re.I)
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.](?=\d)[^.!?\n]*)*[.!?]*")
_OF_ITSELF = re.compile(  # what a bot says of itself, or asks for: in no source, and no invention
    r"\W*(?:i|we|i['’]\w+|we['’]\w+|let me|sorry|please|thank|thanks|ich|wir|bitte|danke|je|nous|merci|veuillez|yo|nosotros|por "
    r"favor|gracias"
    r"|he|hemos|puedo|io|noi|ho|abbiamo|grazie|eu|nós|obrigad\w|ik|wij|we|bedankt|you can (?:ask|tell|reach))\b",
    re.I,
)
_PLAIN_NO = frozenset({"no", "nein", "non", "não", "nao", "nee"})  # by itself it answers a question, and is no failure
_ASKS = re.compile(r"[?？؟]\s*$|[?？؟]\s")


@dataclass(frozen=True)
class _Answered:
    """An answer that was given before, as the next ones are held against it."""

    at: int
    asked: frozenset[str]
    words: frozenset[str]
    claims: tuple[Checked, ...]
    sentences: tuple[tuple[str, frozenset[str]], ...]


class Scorer:
    """Safe to use for one thread at a time."""

    def __init__(
        self, *, encoder: Embedder | None = None, intents: Intents | None = None, data: Data | None = None, keep_text: bool = True,
        find_intents: bool = False,
    ) -> None:  # fmt: skip
        """encoder: without one, relevance, BERTScore and the finer half of satisfaction are left out. find_intents: keep the
        vectors of first questions, by which intents are found later."""
        self._encoder = _Remembering(encoder) if encoder is not None else None
        self._intents, self._data, self._keep_text, self._find = intents, data, keep_text, find_intents
        remembering = self._encoder
        self._satisfaction = Satisfaction(encoder=None if remembering is None else lambda: remembering)
        self._vocabulary = data.vocabulary if data is not None else {}

    def score(self, conversations: Sequence[Conversation]) -> list[Scored]:
        """Several at once, since their texts are embedded together."""
        if self._encoder is not None:
            self._encoder.prepare(
                turn.text[:LONGEST]
                for one in conversations
                for turn in one.turns
                if turn.role in ("customer", "bot") and turn.text.strip()
            )
        return [self._one(one) for one in conversations]

    def _one(self, conversation: Conversation) -> Scored:
        language = conversation.language or _language(conversation)
        looked = _Look(self, conversation, language)
        looked.turns()
        looked.mood()
        looked.outcome()
        first = next((turn.text for turn in conversation.turns if turn.role == "customer" and turn.text.strip()), "")
        intent = conversation.intent
        if not intent and self._intents is not None and first:
            intent = self._intents.of(first, language=language).name
        vector: tuple[int, ...] = ()
        if not intent and self._find and self._encoder is not None and first:
            vector = tuple(round(float(one)) for one in self._encoder.embed([first[:LONGEST]])[0] * 127)
        about = {"intent": intent, "release": conversation.release, "language": language}
        findings = [_with_group(one, about) for one in looked.findings[:MOST_FINDINGS]]
        times = [turn.at for turn in conversation.turns if turn.at is not None]
        return Scored(
            id=conversation.id, release=conversation.release, language=language, intent=intent,
            customer=hashlib.sha256(conversation.customer.encode()).hexdigest()[:16] if conversation.customer else "",
            started=conversation.started, ended=max(times, default=conversation.started), turns=len(conversation.turns),
            answers=len(conversation.answers), counts={name: (a, b) for name, (a, b) in looked.counts.items()},
            latencies_ms=tuple(looked.latencies), unscored=dict(looked.unscored), values=looked.values, findings=tuple(findings),
            escalated=looked.escalated, resolved=looked.resolved, upset=looked.upset,
            question=" ".join(first.split())[:200] if self._keep_text else "", vector=vector,
        )  # fmt: skip

    @cached_property
    def _general(self) -> tuple[Vectors, list[frozenset[str]]]:
        """The general questions, as vectors and as words."""
        assert self._encoder is not None
        return self._encoder.inner.embed(GENERAL), [_content(one, "en") for one in GENERAL]

    def relevance(self, question: str, answer: str) -> float:
        """The share of general questions that an answer is further from than from its own, 0 to 1."""
        assert self._encoder is not None
        general, words = self._general
        vectors = self._encoder.embed([question[:LONGEST], answer[:LONGEST]])
        said = _content(answer, "en")
        own = float(vectors[0] @ vectors[1]) + COVERAGE * _share(_content(question, "en"), said)
        others = general @ vectors[1] + COVERAGE * np.array([_share(one, said) for one in words])
        return float(np.mean(others < own))

    @cached_property
    def _lexical(self) -> Lexical:
        from penstock.verify.verifier import Lexical

        return Lexical()

    @cached_property
    def _bertscore(self) -> BertScore:
        return BertScore(self._encoder.inner if self._encoder is not None else None)


@dataclass
class _Look:
    """One look at one conversation."""

    scorer: Scorer
    conversation: Conversation
    language: str
    counts: dict[str, tuple[float, float]] = field(default_factory=dict)
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    unscored: dict[str, tuple[str, int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    escalated: bool = False
    resolved: bool = False
    upset: float | None = None
    open_question: bool = False
    _answers: list[_Answered] = field(default_factory=list)

    def count(self, metric: str, value: float, at: int | None = None, *, of: float = 1.0) -> None:
        total, n = self.counts.get(metric, (0.0, 0.0))
        self.counts[metric] = (total + value, n + of)
        if at is not None:
            self.values.setdefault(metric, {})[at] = value / of if of else value

    def not_scored(self, metric: str, why: str) -> None:
        _, n = self.unscored.get(metric, ("", 0))
        self.unscored[metric] = (why, n + 1)

    def find(
        self, kind: FindingKind, turn: int, why: str, *, span: tuple[int, int] = (0, 0), against: Sequence[Evidence] = ()
    ) -> None:  # fmt: skip
        keep = self.scorer._keep_text
        text = self.conversation.turns[turn].text
        start, end = span if span[1] else (0, len(text))
        sentence = sentence_around(text, *span, self.language)[:400] if span[1] else text[:400]
        if not keep:
            against = tuple(Evidence(one.source, one.field) for one in against)
        asked = next((one.text for one in reversed(self.conversation.turns[: turn + 1]) if one.role == "customer"), "")
        self.findings.append(
            Finding(
                kind=kind, conversation=self.conversation.id, turn=turn, why=why if keep else kind.replace("_", " "), start=start,
                end=end,
                said=text[start:end][:200] if keep else "", text=sentence if keep else "",
                asked=" ".join(asked.split())[:400] if keep else "", against=tuple(against),
            )
        )  # fmt: skip

    # ------------------------------------------------------------ turn by turn

    def turns(self) -> None:
        conversation = self.conversation
        given = Given(self.scorer._vocabulary)
        given.add_rows(conversation.rows)
        given.add_texts(conversation.sources)
        asked: list[tuple[int, Spoken]] = []  # since the last answer
        rows_changed = 0
        for at, turn in enumerate(conversation.turns):
            match turn.role:
                case "customer":
                    given.add_said(turn.text)
                    asked.append((at, turn))
                    self._look_up(given)
                case "person":
                    given.add_said(turn.text)
                    self.escalated = True
                    asked = []
                case "tool":
                    given.add_rows(turn.rows)
                    given.add_texts(turn.sources)
                    if turn.text.strip()[:1] not in ("{", "["):
                        given.add_said(turn.text)
                    rows_changed = at
                case "bot":
                    if turn.rows:
                        rows_changed = at
                    given.add_rows(turn.rows)
                    given.add_texts(turn.sources)
                    if at and not any(one.role == "customer" for one in conversation.turns[:at]):
                        self._look_up(given)
                    self._answer(at, turn, given, asked, rows_changed)
                    asked = []
        self.open_question = any(_ASKS.search(turn.text) for _, turn in asked)
        if self.open_question and not self.escalated:
            self.count("coherence", 0.0)
            self.find("unanswered", asked[-1][0], "the last question has no answer")

    def _look_up(self, given: Given) -> None:
        if self.scorer._data is not None:
            said = [turn.text for turn in self.conversation.turns if turn.role == "customer"]
            given.add_rows(self.scorer._data.of(said, self.conversation.customer))

    def _answer(
        self, at: int, turn: Spoken, given: Given, asked: Sequence[tuple[int, Spoken]], rows_changed: int
    ) -> None:
        question = "\n".join(one.text for _, one in asked)
        claims = given.check(turn.text, at=turn.at if turn.at is not None else self.conversation.started)
        self._facts(at, turn, given, claims, question)
        self._personal(at, turn, given, claims)
        if turn.latency_ms is not None:
            self.latencies.append(turn.latency_ms)
        elif turn.at is not None and asked and (before := asked[-1][1].at) is not None and turn.at >= before:
            self.latencies.append(1000 * (turn.at - before))
        tokens = (turn.input_tokens or 0) + (turn.output_tokens or 0)
        if turn.input_tokens is not None or turn.output_tokens is not None:
            self.count("_tokens", tokens)
        if turn.hand_over or hands_over(turn.text):
            self.escalated = True
        if asked:
            self._relevant(at, turn, question)
            self._coherent(at, turn, question, claims, rows_changed)
        for name in ("bleu", "rougeL", "meteor", "bertscore") if turn.references else ():
            if name == "bertscore" and self.scorer._encoder is None:
                self.not_scored(name, "there is no encoder")
                continue
            score = self.scorer._bertscore.score if name == "bertscore" else text_metric(name).score
            try:
                self.count(name, score(turn.text, turn.references).value, at)
            except PenstockError as error:
                self.not_scored(name, error.message[:100])

    def _facts(self, at: int, turn: Spoken, given: Given, claims: Sequence[Checked], question: str) -> None:
        told = [one for one in claims if one.outcome != "unchecked"]
        bad = [one for one in told if one.outcome != "supported"]
        if told:
            self.count("accuracy", len(told) - len(bad), at, of=len(told))
        elif not claims:
            self.not_scored("accuracy", "says no number, date, code or state")
        else:
            self.not_scored("accuracy", "nothing was given to check it by")
        for one in bad:
            kind: FindingKind = (
                "wrong_name" if one.kind == "name" else "made_up" if one.outcome == "not_found" else "wrong_fact"
            )
            against = (Evidence(one.row, one.field, one.instead),) if one.outcome == "contradicted" else ()
            self.find(kind, at, one.why, span=(one.start, one.end), against=against)
        unsupported = self._unsupported(at, turn, given, question) if given.texts else 0
        if told or given.texts:
            self.count("hallucination", float(bool(bad) or unsupported > 0), at)
        else:
            self.not_scored("hallucination", "nothing was given to check it by")

    def _unsupported(self, at: int, turn: Spoken, given: Given, question: str) -> int:
        """How many of an answer's sentences are in none of its texts."""
        sources = [*given.texts, *given.row_texts][:200]
        verdict = self.scorer._lexical.check(turn.text, sources, question=question, language=self.language or "en")
        found = 0
        for claim in verdict.claims:
            said = turn.text[claim.start : claim.end]
            if (
                claim.label not in ("not_found", "contradicted")
                or claim.support >= UNSUPPORTED
                or _OF_ITSELF.match(said)
            ):
                continue
            if len(_content(said, self.language)) >= 4:
                found += 1
                if not any(one.turn == at and claim.start <= one.start < claim.end for one in self.findings):
                    self.find(
                        "unsupported", at, "the texts that were given do not say this", span=(claim.start, claim.end)
                    )
        return found

    def _personal(self, at: int, turn: Spoken, given: Given, claims: Sequence[Checked]) -> None:
        if not given.has_rows:
            return
        wrong = any(one.outcome == "contradicted" for one in claims)
        rightly = any(one.outcome == "supported" and one.own for one in claims)
        self.count("personalisation", float(rightly and not wrong), at)

    def _relevant(self, at: int, turn: Spoken, question: str) -> None:
        if self.scorer._encoder is None:
            self.not_scored("relevance", "there is no encoder")
        elif len(_content(question, self.language)) < 3:
            self.not_scored("relevance", "answers no question that stands by itself")
        elif turn.text.rstrip().endswith(("?", "？", "؟")):
            self.not_scored("relevance", "asks back")
        elif len(_content(turn.text, self.language)) < 2:
            self.not_scored("relevance", "has too few words")
        elif (
            self.language not in ("", "en")
            or self.scorer._encoder.inner.familiarity(f"{question} {turn.text}") < FAMILIAR
        ):
            self.not_scored("relevance", f"the encoder does not read '{self.language}'")
        else:
            share = self.scorer.relevance(question, turn.text)
            self.count("relevance", float(share >= RELEVANT), at)
            if share < 0.5:
                self.find(
                    "irrelevant", at, f"{1 - share:.0%} of general questions are nearer to this answer than its own"
                )

    def _coherent(self, at: int, turn: Spoken, question: str, claims: Sequence[Checked], rows_changed: int) -> None:
        words, asked = _content(turn.text, self.language), _content(question, self.language)
        parts = tuple(
            (found.group(), _content(found.group(), self.language)) for found in _SENTENCE.finditer(turn.text)
        )
        said = _Answered(at, asked, words, tuple(claims), parts)
        good = True
        if _ASKS.search(question) and not_understood(turn.text):
            good = False
            self.find("unanswered", at, "says that it did not understand, or has no answer")
        for before in self._answers:
            if (
                len(words) >= FEWEST_WORDS
                and _alike(words, before.words) >= SAME
                and _numbers(said) == _numbers(before)
                and asked
                and _alike(asked, before.asked) < 0.6
            ):
                good = False
                self.find("repetition", at, f"repeats turn {before.at}", against=(Evidence(f"turn {before.at}"),))
                break
            if before.at >= rows_changed and (why := _contradicts(said, before)):
                good = False
                self.find(
                    "contradiction",
                    at,
                    f"turn {before.at} said: {why}",
                    against=(Evidence(f"turn {before.at}", "", why),),
                )
                break
        self.count("coherence", float(good), at)
        self._answers.append(said)
        del self._answers[:-20]

    # ------------------------------------------------------------ the whole

    def mood(self) -> None:
        """How the customer felt, and whether somebody cared."""
        turns = [(_as_heard(turn.role), turn.text) for turn in self.conversation.turns]
        language = self.language if self.language in LANGUAGES else ""
        if self.language and not language:
            for name in ("upset", "mood_change", "empathy", "unsatisfied_predicted"):
                self.not_scored(name, f"there are no word lists for '{self.language}'")
            return
        judged = self.scorer._satisfaction.judge(turns, language=language)
        if judged.unscored or not judged.turns:
            for name in ("upset", "unsatisfied_predicted"):
                self.not_scored(name, judged.unscored or "no customer says anything")
            return
        for felt in judged.turns:
            self.count("upset", felt.low, felt.at)
        self.upset = judged.turns[-1].low
        self.count("unsatisfied_predicted", self.upset)
        if len(judged.turns) > 1:
            self.count("mood_change", self.upset - judged.turns[0].low)
        spoken = self.conversation.turns
        for felt in judged.turns:
            if felt.low < UPSET:
                continue
            reply = next(
                (n for n in range(felt.at + 1, len(spoken)) if spoken[n].role in ("bot", "person", "customer")), None
            )
            if reply is None or spoken[reply].role != "bot":
                continue
            cares = acknowledges(spoken[reply].text)
            self.count("empathy", float(cares), reply)
            if not cares:
                self.find("no_empathy", reply, "the customer is upset, and no word of it")

    def outcome(self) -> None:
        one = self.conversation
        if one.escalated is not None:
            self.escalated = one.escalated
        bots = [turn for turn in one.turns if turn.role == "bot"]
        people = [turn for turn in one.turns if turn.role == "customer"]
        tokens, with_tokens = self.counts.pop("_tokens", (0.0, 0.0))
        if not bots:
            self.not_scored("resolved", "the bot says nothing in it")
            return
        self.resolved = one.resolved if one.resolved is not None else self._looks_resolved(bots[-1])
        self.count("escalated", float(self.escalated))
        self.count("contained", float(not self.escalated))
        self.count("resolved", float(self.resolved))
        if one.csat is not None:
            self.count("csat", one.csat)
            self.count("unsatisfied_given", float(one.csat < 3))
        if with_tokens:
            self.counts["tokens_per_resolved"] = (tokens, float(self.resolved))
        if self.resolved and people:
            self.count("turns_to_resolution", len(people))
        failed = not self.escalated and (not self.resolved or (self.upset is not None and self.upset >= UPSET))
        self.count("silent_failure", float(failed))
        if failed:
            why = (
                "nobody took over, and it was not resolved"
                if not self.resolved
                else "nobody took over, and the customer left upset"
            )
            self.find("silent_failure", len(one.turns) - 1, why)

    def _looks_resolved(self, last: Spoken) -> bool:
        if self.escalated or self.open_question or not_understood(last.text):
            return False
        if self.upset is not None and self.upset >= UPSET:
            return False
        language = self.language if self.language in LANGUAGES else "en"
        try:
            failure = lists_of(FOLDER, language)["failure"]
        except StorageError:
            return True
        people = [turn.text for turn in self.conversation.turns if turn.role == "customer"]
        thanked = bool(people) and lists_of(FOLDER, language)["thanks"].search(folded(people[-1])) is not None
        return thanked or not any(
            found.group().strip(" ,?") not in _PLAIN_NO for found in failure.finditer(folded(last.text))
        )


class _Remembering:
    """An encoder that knows what it embedded lately. Satisfies `Embedder`."""

    def __init__(self, inner: Embedder) -> None:
        self.inner = inner
        self._vectors: dict[str, Vectors] = {}

    @property
    def id(self) -> str:
        return self.inner.id

    @property
    def dim(self) -> int:
        return self.inner.dim

    def prepare(self, texts: Any) -> None:
        fresh = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if len(self._vectors) + len(fresh) > REMEMBERED:
            self._vectors.clear()
        if fresh:
            self._vectors.update(zip(fresh, self.inner.embed(fresh), strict=True))

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.prepare(texts)
        missing = [text for text in texts if text not in self._vectors]
        if missing:
            self._vectors.update(zip(missing, self.inner.embed(missing), strict=True))
        return np.stack([self._vectors[text] for text in texts]) if texts else self.inner.embed([])

    def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[Vectors]:
        return self.inner.embed_parts(items)

    def count_tokens(self, texts: Sequence[str]) -> int:
        return self.inner.count_tokens(texts)

    def familiarity(self, text: str) -> float:
        return self.inner.familiarity(text)


# ---------------------------------------------------------------- words


def _language(conversation: Conversation) -> str:
    """Of what the customer says, else of all that is said; "" where it cannot be told."""
    for roles in (("customer",), ("customer", "bot")):
        found = identifier().identify(" ".join(turn.text for turn in conversation.turns if turn.role in roles)[:SAMPLE])
        if found.sure:
            return found.language
    return ""


def _content(text: str, language: str) -> frozenset[str]:
    return frozenset(
        word for word in _WORD.findall(text.casefold()) if word not in STOPWORDS.get(language or "en", _NONE)
    )


_NONE: frozenset[str] = frozenset()


def _share(words: frozenset[str], there: frozenset[str]) -> float:
    """Of some words, how many are there, by their beginnings."""
    if not words:
        return 0.0
    beginnings = {word[:5] for word in there}
    return sum(word[:5] in beginnings for word in words) / len(words)


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def _numbers(said: _Answered) -> frozenset[str]:
    return frozenset(one.said.casefold() for one in said.claims if one.kind in ("code", "date", "amount", "number"))


def _contradicts(said: _Answered, before: _Answered) -> str:
    """What an earlier answer said otherwise; "" where nothing."""
    codes = {one.said.casefold() for one in said.claims if one.kind == "code"}
    earlier_codes = {one.said.casefold() for one in before.claims if one.kind == "code"}
    if codes != earlier_codes:
        return ""
    wrong = any(one.outcome in ("contradicted", "not_found") for one in (*said.claims, *before.claims))
    for text, words in said.sentences:
        if len(words) < 3:
            continue
        for earlier, others in before.sentences:
            if _alike(words, others) < ALIKE or text.rstrip().endswith("?") or earlier.rstrip().endswith("?"):
                continue
            if _alike(words, others) >= SAME and bool(_NEGATION.search(text)) != bool(_NEGATION.search(earlier)):
                return " ".join(earlier.split())[:200]
            figures, others_figures = set(re.findall(r"\d[\d.,]*", text)), set(re.findall(r"\d[\d.,]*", earlier))
            if wrong and figures and others_figures and not figures & others_figures:
                return " ".join(earlier.split())[:200]
    return ""


def _as_heard(role: str) -> str:
    """A role as satisfaction knows it."""
    return {"customer": "user", "bot": "assistant", "person": "assistant"}.get(role, "tool")


def _with_group(finding: Finding, about: Mapping[str, str]) -> Finding:
    return replace(finding, intent=about["intent"], release=about["release"], language=about["language"])
