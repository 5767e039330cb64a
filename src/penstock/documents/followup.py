"""Follow-up questions, understood from the conversation by rule: "and for sale items?" gets its subject back.

A question follows another when it opens with a word that continues ("and", "what about"), when its subject is a pronoun,
or when it is a fragment. Where both have a phrase with the same preposition, the new one takes the old one's place;
otherwise the words of the earlier question are added. What comes out is for searching and is shown to the reader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from penstock.documents.stopwords import STOPWORDS
from penstock.types import Message

__all__ = ["standalone"]

TURNS = 6  # questions looked back at

_CONTINUES = re.compile(
    r"(?:(?:ok(?:ay)?|yes|no|so|well|ja|oui|sí|si)\W+)?"
    r"(?:and|but|or|also|plus|then|what about|how about|what if|what of|same for|"
    r"und(?: was ist mit| wie ist es)?|aber|oder|auch|was ist mit|wie ist es mit|"
    r"et|mais|ou|aussi|qu'en est-il|y|pero|o|también|qué pasa con|y qué|e|ma|anche|e se|mas|também|e quanto|"
    r"en|maar|hoe zit het met)"
    r"\b[\s,:]*(?:what about\b\s*)?",
    re.I,
)
_PRONOUNS = frozenset(
    (
        "it its they them their theirs that this these those he him his she her one ones there same such "
        "es sie ihn ihm ihr das dies diese dieser dieses dort dafür damit davon dazu darin "
        "il elle ils elles lui leur ça cela ceci celui celle ceux celles "
        "él ella ellos ellas lo eso esto esos estas estos aquello allí "
        "esso essa essi esse questo questa quello quella lì "
        "ele ela eles elas isso isto aquilo "
        "het zij hem haar hen hun dat dit deze daar"
    ).split()
)
_PERSONAL = frozenset("he him his she her er ihn ihm sie ihr il elle lui él ella lei ele ela hij zij".split())
_PREPOSITIONS = (
    "for|in|on|at|with|without|to|from|by|about|after|before|during|outside|inside|under|over|"
    "für|bei|mit|ohne|nach|vor|aus|von|zu|pour|dans|avec|sans|chez|de|para|con|sin|en|por|per|senza|da|em|com|sem|voor|met|zonder|naar|van"
)
_PHRASE = re.compile(rf"({_PREPOSITIONS})\s+(.+)", re.I)
_NAME = r"[A-ZÀ-Þ][\w'-]*(?:\s+[A-ZÀ-Þ][\w'-]*)*"  # one or more words with capitals: what follows is not part of it
_WORD = re.compile(r"[^\W_]+")
_FUNCTION = frozenset().union(*STOPWORDS.values())


def standalone(question: str, history: Sequence[Message]) -> str:
    """The question with the subject it leaves out, from the questions before it; as it is, where it leaves out nothing."""
    understood, answer = "", ""
    for message in [m for m in history if m.role != "system"][-2 * TURNS :]:
        if message.role == "assistant":
            answer = message.content
        elif message.content.strip():
            understood = _joined(understood, answer, message.content.strip())
    return _joined(understood, answer, question.strip())


def _joined(before: str, answer: str, question: str) -> str:
    opening = _CONTINUES.match(question)
    rest = question[opening.end() :] if opening else question
    words = [word.lower() for word in _WORD.findall(rest)]
    content = [word for word in words if word not in _FUNCTION]
    refers = _PRONOUNS.intersection(words)
    fragment = (
        len(content) <= 2 and len(words) <= 5 and not re.match(r"(what|who|where) (is|are|was|were)\b", rest, re.I)
    )
    if not before or not (opening or refers or fragment) or (len(content) > 5 and not opening):
        return question
    phrase = _PHRASE.match(rest)
    if phrase:
        changed = _replaced(before, phrase[1], phrase[2])
        if changed:
            return changed
    known = {word.lower() for word in words}
    added = [word for word in _WORD.findall(before) if word.lower() not in _FUNCTION | known]
    if _PERSONAL & refers:
        added += [name for name in _names(answer) if name.lower() not in known]
    ending = "" if not rest or rest[-1] in "?？؟.!" else "?"
    return f"{rest}{ending} ({' '.join(dict.fromkeys(added))})" if added else question


def _replaced(before: str, preposition: str, phrase: str) -> str:
    """The earlier question with its own phrase of that preposition exchanged, or "" where it has none."""
    rest = rf"{_NAME}|.+?(?=\s+(?i:{_PREPOSITIONS})\s|[?？؟.!,;(]|$)"
    pattern = re.compile(rf"\b(?i:{preposition})\s+(?:{rest})")
    found = list(pattern.finditer(before))
    if not found:
        return ""
    last = found[-1]
    return f"{before[: last.start()]}{preposition.lower()} {phrase.rstrip('?？؟.! ')}{before[last.end() :]}"


def _names(answer: str) -> list[str]:
    """The names in an answer's first words: capitals that do not open a sentence."""
    return [m[0] for m in re.finditer(r"(?<=[a-zà-ÿ,;] )[A-ZÀ-Þ][\w-]+|^[A-ZÀ-Þ][\w-]+(?= [A-ZÀ-Þ])", answer[:300])][:4]
