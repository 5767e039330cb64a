"""Follow-up questions, understood from the conversation by rule: "and to Iceland?" gets its question back.

Only what cannot stand alone is touched: a fragment without a question word or verb ("and to Iceland?", "the fuel?", "why?"),
and a question whose subject is a pronoun ("What does it cost?"). A phrase with the same preposition, or a name, takes the
place of the one before; otherwise the words of the earlier question are added, of the last complete one that was answered.
What comes out is for searching and is shown to the reader. English, German, French, Spanish, Italian, Portuguese, Dutch;
questions in other languages stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from penstock.text.sentences import sentences_of
from penstock.text.stopwords import STOPWORDS
from penstock.text.words import query_terms, term_ids
from penstock.types import Answer, Found, Message

__all__ = ["REFUSAL", "Understood", "speaks_of", "understood"]

REFUSAL = "Not in your documents."
TURNS = 6  # questions looked back at
LONGEST_FRAGMENT = 6  # words
LONGEST_AROUND = 2_000  # characters of a message that a question is looked for in
LONGEST = 500  # characters of a question that is understood from others, or that others are understood from

_CONTINUES = re.compile(
    r"[¿¡]?(?:(?:ok(?:ay)?|yes|no|so|well|ja|oui|sí|si)\W+)?"
    r"(?:and|but|or|also|plus|then|what about|how about|what if|what of|same for|"
    r"und(?: was ist mit| wie ist es)?|aber|oder|auch|was ist mit|wie ist es mit|"
    r"et|mais|ou|aussi|qu'en est-il|y(?! a-)|pero|o|también|qué pasa con|y qué|e|ma|anche|e se|mas|também|e quanto|"
    r"en|maar|hoe zit het met)"
    r"\b[\s,:]*(?:what about\b\s*)?",
    re.I,
)
_ASKS = frozenset(  # a question with one of these has a verb or a question word of its own
    (
        "who whom whose what which when where why how is are was were am do does did can could may might must shall should "
        "will would has have had isn don doesn didn can cannot tell explain show list describe give find compare summarise "
        "wer wen wem wessen was welche welcher welches welchen wann wo woher wohin warum wieso weshalb wie ist sind war waren "
        "bin hat habe haben hatte kann können kannst konnte darf dürfen muss müssen soll sollen sollte wird werden wurde gibt "
        "qui que quoi quel quelle quels quelles quand où pourquoi comment combien est sont était ai as avons peut peux puis "
        "pouvez doit dois faut suis va vont existe t "  # the t of "a-t-il"
        "quién quiénes qué cuál cuáles cuándo dónde cómo cuánto cuánta cuántos cuántas quien cual cuando donde como es son está "
        "están era fue hay tiene tengo puede puedo pueden debe debo hace cuesta "
        "chi cosa quale quali quando dove perché come quanto quanta quanti quante è sono era ha ho posso può possono devo deve "
        "quem qual quais onde porquê são está estão tem tenho pode podem devo deve há custa "
        "wie wat welke welk wanneer waar waarom hoe zijn heeft heb hebben kan kunnen mag mogen moet moeten wordt worden"
    ).split()
)
_MEASURES = frozenset(  # after "how": they say what is asked for, and not of what
    "long much many often far old big high soon lange viel viele oft weit alt hoch groß mucho muchos tiempo longtemps".split()
)
_PRONOUNS = frozenset(  # always stand for something that was said
    (
        "it its they them their theirs he him his she her ihn ihm ihnen er sie dafür damit davon dazu darin dort "
        "elle ils elles lui leur él ella ellos ellas lei lui loro ele ela eles elas hij zij hem haar hen hun daar"
    ).split()
)
_PRONOUNS_AT_THE_END = frozenset(  # otherwise they are articles, or stand for nothing: "is there a pool?", "gibt es …?"
    (
        "that this these those one ones same such there es das dies diese dieser dieses il ça cela ceci celui celle ceux celles "
        "lo eso esto esos estas estos aquello allí esso essa questo questa quello quella lì isso isto aquilo het dat dit deze"
    ).split()
)
_OBJECTS = frozenset("it them him her".split())
_POLITE = frozenset(
    "Sie Ihnen Ihr Ihre Ihren Ihrem Ihrer".split()
)  # with a capital, and not first, they mean the reader
_PERSONAL = frozenset("he him his she her er ihn ihm sie ihr il elle lui él ella lei ele ela hij zij".split())
_PREPOSITIONS = (
    "a|for|in|on|at|with|without|to|from|by|about|after|before|during|outside|inside|under|over|"
    "für|bei|mit|ohne|nach|vor|aus|von|zu|pour|dans|avec|sans|chez|de|para|con|sin|en|por|per|senza|da|em|com|sem|voor|met|zonder|naar|van"
)
_PHRASE = re.compile(rf"({_PREPOSITIONS})\s+(.+)", re.I)
_NAME = r"[A-ZÀ-Þ][\w'-]*(?:\s+[A-ZÀ-Þ][\w'-]*)*"  # one or more words with capitals: what follows is not part of it
_WORD = re.compile(r"[^\W_]+")
_COURTESY = re.compile(
    r"^(?:hi|hello|hey|dear (?:all|team|sir or madam)|good (?:morning|afternoon|evening)|hallo|guten (?:tag|morgen)|hola|"
    r"buenos días|bonjour|salut|ciao|buongiorno|olá)(?: there| all| team| zusammen)?[\s,!.]+|"
    r"\b(?:can|could|would) you (?:please |kindly )?(?:tell|explain to|help) me[:,]?\s+(?:with this[:,]?\s+)?|"
    r"\b(?:please )?tell me[:,]?\s+(?=\w+\b.*\?)|\bi(?: would|'d) like to know[:,]?\s+|\bi was wondering[:,]?\s+|"
    r"\bkönn(?:en sie|t ihr|test du) mir (?:bitte )?sagen[:,]?\s+|\bpodría decirme[:,]?\s+|\bpouvez-vous me dire[:,]?\s+|"
    r"^(?:question|frage|pregunta)\s*:\s*",
    re.I,
)
_THANKS = re.compile(  # and greetings: they are about nothing
    r"(?:(?:many |best |kind )?(?:thanks?|regards|wishes)(?: you)?(?: (?:so|very) much| a lot| in advance)*|cheers|hi|hello|hey|"
    r"good (?:morning|afternoon|evening)|ok(?:ay)?|vielen dank|danke(?: schön)?|hallo|guten (?:tag|morgen)|"
    r"(?:muchas )?gracias|hola|buenos días|merci(?: beaucoup)?|bonjour|grazie|ciao|obrigad[oa])(?: (?:there|all|team))?[\s.!,]*",
    re.I,
)
_LATIN = re.compile(r"[a-zà-ɏ]", re.I)
_FUNCTION = frozenset().union(*STOPWORDS.values())


class Understood(NamedTuple):
    """A question as it is searched. fragment: what it says itself, where it could not stand alone. joined: whether the
    words of an earlier question were put beside it."""

    question: str
    fragment: str = ""
    joined: bool = False


def understood(question: str, history: Sequence[Message], refusals: tuple[str, ...] = (REFUSAL,)) -> Understood:
    """The question with what it leaves out, from the questions before it; as it is, where it leaves out nothing.

    What is said around a question, to greet or to tell how it came about, is put aside; a pronoun may stand for it. refusals:
    what answers begin with that are none.
    """
    asked, around = _asked(_plain(question))
    if around:
        history = [*history, Message("user", around)]
    base, answer = "", ""
    messages = [m for m in history if m.role != "system" and m.content.strip()][-2 * TURNS :]
    for n, message in enumerate(messages):
        refused = n + 1 < len(messages) and messages[n + 1].content.startswith(refusals)
        if message.role == "assistant":
            answer = message.content[:LONGEST]
        elif not refused and not _THANKS.fullmatch(message.content.strip()):  # what was refused explains nothing
            found = _understood(base, answer, _plain(message.content))
            base = base if found.joined else found.question
    return _understood(base, answer, asked or _plain(question))


def _asked(text: str) -> tuple[str, str]:
    """(the sentences that ask, what is said around them); ("", "") where there is nothing to tell apart."""
    if len(text) > LONGEST_AROUND:
        return "", ""
    parts = (text[a:b] for a, b in sentences_of(text, "en"))
    sentences = [_COURTESY.sub("", part).strip(" ,:") for part in parts if not _THANKS.fullmatch(part.strip())]
    asking = [s for s in sentences if s.endswith(("?", "？", "؟"))]
    if not asking or " ".join(asking) == text:
        return "", ""
    around = " ".join(s for s in sentences if s and s not in asking and _WORD.search(s))
    return " ".join(s[:1].upper() + s[1:] for s in asking), around


def _plain(text: str) -> str:
    """On one line, and of a length that any rule here is done with at once; a longer one leaves nothing out anyway."""
    return " ".join(text[:LONGEST].split()) if len(text) <= LONGEST else text


def _understood(base: str, answer: str, question: str) -> Understood:
    if len(question) > LONGEST or len(base) > LONGEST:
        return Understood(question)
    opening = _CONTINUES.match(question)
    rest = question[opening.end() :] if opening else question
    words = _WORD.findall(rest)
    lowered = [word.lower() for word in words]
    if not base or not words or len(_LATIN.findall(rest)) < 0.5 * sum(map(len, words)):
        return Understood(question)
    refers = _refers(words)
    if not refers and not _is_fragment(lowered):
        return Understood(question)
    if changed := _replaced(base, rest):
        return Understood(changed, rest)
    known = set(lowered)
    added = [word for word in _WORD.findall(base) if word.lower() not in _FUNCTION | known]
    if any(word in _PERSONAL for word in lowered):
        added += [name for name in _names(answer) if name.lower() not in known]
    ending = "" if rest[-1] in "?？؟.!" else "?"
    joined = f"{rest}{ending} ({' '.join(dict.fromkeys(added))})" if added else question
    return Understood(joined, "" if refers else rest, joined=True)


def _is_fragment(words: list[str]) -> bool:
    """No question word and no verb to be found, or nothing else: "the fuel?", "why?", "how long?"."""
    content = [word for word in words if word not in _FUNCTION | _ASKS | _MEASURES]
    return not content or (len(words) <= LONGEST_FRAGMENT and not any(word in _ASKS for word in words))


def _refers(words: list[str]) -> bool:
    """Whether a pronoun stands for something outside the question."""
    for n, word in enumerate(words):
        lowered = word.lower()
        if n == len(words) - 1 and n > 0 and lowered in _PRONOUNS_AT_THE_END:
            return True
        if lowered in _PRONOUNS and not (n and word in _POLITE):
            if n == len(words) - 1 and n > 0 and lowered in _OBJECTS:  # "can I return it?"
                return True
            before = [w for w in map(str.lower, words[:n]) if w not in _FUNCTION | _ASKS | _MEASURES]
            stands_for_what_follows = lowered == "it" and "to" in map(str.lower, words[n + 1 :])  # "does it take to …"
            if not before and not stands_for_what_follows:
                return True
    return False


def _replaced(base: str, rest: str) -> str:
    """The earlier question with its phrase of the same preposition, or its name, exchanged; "" where it has none."""
    bare = re.sub(r"^(?:the|el|la|le|lo|il)\s+ones?\s+", "", rest.rstrip("?？؟.! "), flags=re.I)
    if phrase := _PHRASE.fullmatch(bare):
        end = rf"{_NAME}|.+?(?=\s+(?i:{_PREPOSITIONS})\s|[?？؟.!,;(]|$)"
        return _exchanged(base, rf"\b(?i:{phrase[1]})\s+(?:{end})", f"{phrase[1].lower()} {phrase[2]}")
    named = re.fullmatch(rf"(?:(?i:the|an?|el|la|los|las|le|les|il|lo|o|os|as)\s+)?({_NAME})", bare)
    if named and named[1].split()[0].lower() not in _FUNCTION | _ASKS:
        return _exchanged(base, rf"(?<=\s){_NAME}", named[1])
    return ""


def _exchanged(base: str, pattern: str, new: str) -> str:
    """The text with the last match of the pattern exchanged."""
    found = list(re.finditer(pattern, base))
    return f"{base[: found[-1].start()]}{new}{base[found[-1].end() :]}" if found else ""


def _names(answer: str) -> list[str]:
    """The names in an answer's first words: capitals that do not open a sentence."""
    return [m[0] for m in re.finditer(r"(?<=[a-zà-ÿ,;] )[A-ZÀ-Þ][\w-]+|^[A-ZÀ-Þ][\w-]+(?= [A-ZÀ-Þ])", answer[:300])][:4]


def speaks_of(fragment: str, answer: Answer, found: Found) -> bool:
    """Whether the passage that is quoted first has a word of the fragment: words of earlier questions alone find anything."""
    wanted = {term for ids in query_terms(fragment, found.languages).values() for term in ids}
    if not wanted:
        return True
    quoted = {citation.passage_id for citation in answer.citations[:1]}
    for hit in found.hits:
        if hit.passage.id in quoted:
            said = " ".join((hit.passage.title, *hit.passage.section, hit.passage.text))
            return not wanted.isdisjoint(term_ids(said, hit.passage.language))
    return False
