"""What is wrong with an answer: names for it, and how each is told.

Five are told from the text alone, in microseconds: a refusal, one that breaks off, one in another language than was asked for, one
that goes round in circles, one that is not in the form that was asked for. Three need a check of another part, which is handed
in: whether the sources support it, whether it is about the question, whether it is harmful. How often each is right was measured;
see benchmarks/faults.py. A name says what was found, and not whose fault it is: a refusal may be what a policy wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import re2

from penstock.types import Answer, Status

__all__ = ["FAULTS", "Checks", "Fault", "Form", "faults", "faults_of"]

Fault = Literal[
    "ungrounded", "off_topic", "refusal", "toxic", "wrong_language", "wrong_format", "truncated", "repeating", "empty"
]
FAULTS: tuple[Fault, ...] = (
    "ungrounded", "off_topic", "refusal", "toxic", "wrong_language", "wrong_format", "truncated", "repeating", "empty",
)  # fmt: skip
Form = Literal["", "json", "list", "number", "yes_or_no"]

SURE_LANGUAGE = 0.9  # probability from where on an answer is said to be in another language
LEAST_LETTERS = 24  # of an answer, before its language is judged
UNRELATED = 0.1  # similarity to the question below which no sentence of an answer is about it
HARMFUL = 0.8  # probability of harm
LOOKED_AT = 400  # characters at either end

# What a refusal says of itself, near the beginning. "I cannot find" and "we cannot ship" are answers.
_DO_IT = (
    "help(?: you| with| him| her| them| that| this| here|[.,!])|assist|answer|comply|fulfil|discuss|do that|do this"
    "|support (?:this|that)|continue|engage"
    "|(?:provide|give|share|generate|create) (?:you with )?"
    "(?:that|this|any|information|advice|instructions|guidance|medical|legal|financial|content)"
)
_REFUSALS = {
    "en": (
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b",
        rf"\bi (?:can['’]?t|cannot|can not|won['’]?t|will not|must decline to|must refuse to) (?:{_DO_IT})",
        rf"\bi(?:['’]m| am) (?:sorry, but i(?:['’]m| am) )?(?:unable|not able|not allowed|not permitted) to (?:{_DO_IT})",
        r"\bi (?:have to|must) (?:decline|refuse)\b",
    ),
    "de": (
        r"\bich kann (?:dir|ihnen|das|dabei|dazu|diese\w*)[^.!?\n]{0,40} nicht (?:weiterhelfen|helfen|beantworten|geben|tun)",
        r"\btut mir leid, [^.!?\n]{0,20}ich kann\b[^.!?\n]{0,60}\bnicht\b",
    ),
    "es": (
        r"\b(?:lo siento|disculp|perd[oó]n)[^.!?\n]{0,24} no puedo\b",
        r"\bno puedo (?:ayudar|responder|proporcionar|cumplir)",
    ),
    "fr": (r"\bje ne (?:peux|puis) pas (?:vous |t['’]|r[ée]pondre|aider|fournir|r[ée]aliser)",),
    "it": (r"\b(?:mi dispiace|spiacente)[^.!?\n]{0,24} non posso\b", r"\bnon posso (?:aiutar|risponder|fornir)"),
    "pt": (
        r"\b(?:desculpe|sinto muito|lamento)[^.!?\n]{0,24} n[ãa]o posso\b",
        r"\bn[ãa]o posso (?:ajudar|responder|fornecer)",
    ),
    "nl": (r"\bik kan (?:je|u|dit|dat|hier)[^.!?\n]{0,40} niet (?:mee )?(?:helpen|beantwoorden)",),
    "pl": (r"\bnie mog[ęe] (?:pom[óo]c|odpowiedzie[ćc]|spe[łl]ni[ćc]|udzieli[ćc])",),
    "ru": (r"(?:^|[^а-я])я не могу (?:помочь|ответить|выполнить|предоставить)",),
    "ar": (r"لا (?:أستطيع|يمكنني) (?:المساعدة|مساعدتك|الإجابة|تقديم)",),
    "zh": (r"我(?:不能|无法|無法)(?:帮助|幫助|回答|提供|协助|協助)", r"抱歉[,，]?我(?:不能|无法|無法)"),
    "ja": (r"お(?:手伝い|答え)(?:することは)?でき(?:ません|かねます)",),
    "ko": (r"도와 ?드릴 수 없",),
}
_REFUSES = re2.compile("(?i)" + "|".join(one for said in _REFUSALS.values() for one in said))
_ENDS_WELL = re.compile(r"[.!?…:;。！？؟।|>\])}»”\"'’`*_]\s*$|\d\s*$|[\U0001F300-\U0001FAFF☀-➿]\s*$")
_ENDS_OPEN = re.compile(
    r"(?i)(?:[,(\[{–—&+=/-]|\b(?:and|or|but|the|a|an|of|to|in|for|with|within|from|by|at|than|as|your|their|its|that|which|is|are|und|oder|der|die|das|ein|eine|mit|zu"
    r"|von|y|o|el|la|los|las|de|que|con|et|ou|le|les|des|du|qui|avec|e|il|di|che|con))\s*$"
)
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+\S")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.S)
_QUOTED = re.compile(r"“[^”]*”|\"[^\"\n]*\"|„[^“”]*[“”]|«[^»]*»")
_NUMBER = re.compile(r"[-+]?\d[\d.,\s]*%?")
_YES_OR_NO = re.compile(r"(?i)(?:yes|no|ja|nein|s[íi]|oui|non|si|sim|n[ãa]o|да|нет|是|否|はい|いいえ|نعم|لا)\b")


@dataclass(frozen=True, slots=True)
class Checks:
    """What other parts say of an answer; none of them: nobody asked."""

    supported: Callable[[str], bool] | None = None  # whether the sources support all of it
    relation: Callable[[str, str], float] | None = None  # (question, answer) -> similarity of its nearest sentence
    harm: Callable[[str], float] | None = None  # probability


def faults(answer: Answer) -> tuple[Fault, ...]:
    """What is wrong with an answer of an app, from what is known of it already. Only what a model wrote is looked at closely."""
    found: list[Fault] = []
    claims = answer.verdict.claims if answer.verdict else ()
    if any(claim.label in ("contradicted", "not_found") for claim in claims):
        found.append("ungrounded")
    if answer.status is Status.REFUSED:
        return (*found, "refusal")
    if answer.written_by and answer.status is Status.ANSWER:
        found += faults_of(answer.text, language=answer.language)
    return tuple(found)


def faults_of(
    text: str,
    *,
    question: str = "",
    language: str = "",
    form: Form = "",
    cut: bool | None = None,
    checks: Checks = Checks(),
) -> list[Fault]:
    """What is wrong with any answer.

    language: that it should be in, ISO 639-1; "": any. form: that it should have. cut: whether the model ended because of its limit
    of tokens, where that is known. A refusal is not judged further.
    """
    plain = text.strip()
    if not plain:
        return ["empty"]
    if refuses(plain):
        return ["refusal"]
    found: list[Fault] = []
    if checks.supported and not checks.supported(plain):
        found.append("ungrounded")
    if checks.relation and question and checks.relation(question, plain) < UNRELATED:
        found.append("off_topic")
    if checks.harm and checks.harm(plain) >= HARMFUL:
        found.append("toxic")
    if language and _speaks_another(plain, language):
        found.append("wrong_language")
    if form and not _has_form(plain, form):
        found.append("wrong_format")
    if breaks_off(plain) if cut is None else cut:
        found.append("truncated")
    if goes_round(plain):
        found.append("repeating")
    return found


def refuses(text: str) -> bool:
    """Whether an answer says that it is none, in one of thirteen languages."""
    return _REFUSES.search(text[:LOOKED_AT]) is not None


def breaks_off(text: str) -> bool:
    """Whether a text ends in the middle: of a code block, of a bracket, after a word that something follows, or of a long sentence
    without a mark. A list's last item and a short label need none."""
    if text.count("```") % 2:
        return True
    end = text.rstrip()
    line = end.rsplit("\n", 1)[-1]
    last = line[-24:]
    if _ENDS_OPEN.search(last) and not _ITEM.match(line):
        return True
    if _ENDS_WELL.search(last):
        return False
    return len(line) > 60 and not _ITEM.match(line) and not line.startswith(("#", "|"))


def goes_round(text: str) -> bool:
    """Whether a text says the same stretch of eight words or more three times, as small models do that have lost their way."""
    words = text.casefold().split()
    if len(words) < 24:
        return False
    seen: dict[tuple[str, ...], int] = {}
    for n in range(len(words) - 7):
        piece = tuple(words[n : n + 8])
        seen[piece] = seen.get(piece, 0) + 1
        if seen[piece] >= 3:
            return True
    return False


def _speaks_another(text: str, language: str) -> bool:
    """Code and quotations, which may be in any language, do not count."""
    from penstock.text.languages import identifier  # a plain gateway never loads numpy

    said = _QUOTED.sub(" ", _CODE.sub(" ", text))[:LOOKED_AT]
    if sum(letter.isalpha() for letter in said) < LEAST_LETTERS:
        return False
    found = identifier().identify(said)
    return found.language not in ("", language) and found.confidence >= SURE_LANGUAGE


def _has_form(text: str, form: Form) -> bool:
    match form:
        case "json":
            inside = re.sub(r"^```(?:json)?\s*|\s*```$", "", text)
            return _is_json(inside)
        case "list":
            lines = [line for line in text.splitlines() if line.strip()]
            return sum(_ITEM.match(line) is not None for line in lines) >= max(1, len(lines) - 1)
        case "number":
            return _NUMBER.fullmatch(text.rstrip(".")) is not None
        case "yes_or_no":
            return _YES_OR_NO.match(text) is not None
    return True


def _is_json(text: str) -> bool:
    try:
        value: Any = orjson.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict | list)
