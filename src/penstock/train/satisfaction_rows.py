"""Dialogues whose satisfaction is known because they were made with it: people ask, assistants help, fail, misunderstand, refuse.

A dialogue has a family (tasks, tastes, support, questions, home), a domain, and an assistant that is more or less able. Each
turn is an act: the assistant offers, confirms, fails, loses the thread; the person accepts, corrects, wants something else,
complains. What an act does to satisfaction is said in the two tables below: they are reasoned, and no rating of a real
dialogue is in them. Three raters then give 1 to 5, with their own leniency and noise, and part of what was felt carries over
to the next turn.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.train.satisfaction_phrases import domains, said

__all__ = ["FAMILIES", "Dialogue", "Rated", "dialogues"]

FAMILIES = ("tasks", "tastes", "support", "questions", "home")
NEUTRAL = 3.15  # where raters stand when nothing has happened
CARRIED = 0.35  # of a turn's distance from neutral, into the next
LENIENCY, NOISE = 0.2, 0.5  # standard deviations: of a dialogue's raters, of one rating
RATERS = 3

# What the person's act says of how content they are, in points of five.
USER = {
    "ask": 0.0, "answer": 0.0, "accept": 0.3, "praise": 0.7, "thank": 0.35, "close": 0.05, "next": 0.0, "question": -0.05,
    "like": 0.4, "known": -0.2, "dislike": -0.5, "decline": -0.4, "other": -0.35, "correct": -0.5, "repeat": -0.7,
    "complain": -1.4, "giveup": -0.7, "sad": -0.6, "relax": -0.15, "indifferent": -0.2, "luke": -0.25, "impatient": -0.7,
    "fine": 0.1, "why": -0.35, "chat": 0.1,
}  # fmt: skip
# What the assistant's act before it does.
SYSTEM = {
    "": 0.15, "greet": 0.05, "ask": 0.0, "askagain": -0.3, "offer": 0.0, "confirm": 0.0, "yes": 0.05, "no": -0.3, "fail": -0.45,
    "success": 0.15, "more": 0.0, "lost": -0.5, "refuse": -0.5, "wait": -0.15, "bye": 0.1, "chat": 0.05, "same": -0.5,
}  # fmt: skip


def _chances(table: str) -> dict[str, dict[str, float]]:
    """`act: next 2, other 0.5` by lines, as numbers."""
    lines = (line.strip().partition(": ") for line in table.strip().split("\n"))
    pairs = {act: (one.split(" ") for one in nexts.split(", ")) for act, _, nexts in lines}
    return {act: {name: float(chance) for name, chance in nexts} for act, nexts in pairs.items()}


# What people do after an act of the assistant, and how often.
ANSWERS = _chances("""
    greet: ask 1
    ask: answer 10, indifferent 1.5, question 1, correct 0.5, luke 0.4, why 0.2
    askagain: answer 3, repeat 4, correct 2, complain 1, giveup 0.3
    offer: accept 4, question 3, other 2.5, decline 2, praise 0.7, luke 0.8, correct 0.7, sad 0.4, indifferent 0.3
    confirm: accept 5, correct 2.5, decline 1, praise 0.4, question 0.6
    yes: next 2, question 2, accept 1.5, thank 2, praise 1, close 1, decline 0.7, other 0.5, correct 0.3
    no: question 3, fine 2, other 2, sad 1.5, accept 0.7, relax 1, why 0.5, giveup 0.4, close 0.7
    fail: relax 3, other 2, repeat 1.2, complain 1, giveup 1, sad 1, fine 1, close 1, why 0.6, next 0.8
    success: thank 3, praise 2, next 2, close 1.5, question 1, correct 0.4
    more: close 5, next 3, question 2, decline 0.4, thank 0.5
    lost: repeat 4, correct 2.5, complain 2, giveup 1, question 0.6, why 0.4
    refuse: complain 2, why 2, sad 2, fine 1, giveup 1, question 1, other 0.7
    wait: fine 4, impatient 1.5, thank 1
    bye: thank 1, close 3
    chat: chat 3, next 1, question 1
    same: repeat 3, complain 2, correct 1, giveup 0.7, other 1
""")
TASTES = _chances("""
    ask: answer 7, like 3, dislike 3, indifferent 0.7, known 0.8, luke 0.5
    offer: like 4, dislike 3, known 2.5, other 1.5, accept 1.5, question 1.2, luke 0.8, decline 0.5, praise 0.4
    yes: like 2, dislike 1, accept 1, thank 1, question 1, other 0.6, close 0.5, luke 0.5
    chat: chat 3, like 2, dislike 1, next 0.4, question 1
""")
# What an able assistant does after an act of a person.
ABLE = _chances("""
    ask: ask 4, offer 3, yes 1
    answer: offer 3, ask 3, confirm 1.5
    accept: success 2, ask 1.5, confirm 1.5, more 0.5
    praise: more 3, bye 1
    thank: more 3, bye 1.5
    close: bye 1
    next: ask 2, offer 2, yes 0.5
    question: yes 4, no 1
    like: offer 2, ask 2, chat 1
    known: offer 3, ask 1
    dislike: offer 3, ask 2
    decline: more 2, ask 1, yes 0.7
    other: offer 4, ask 0.5
    correct: confirm 3, offer 1, success 0.7
    repeat: yes 2, offer 1.5, confirm 1
    complain: offer 1, success 1, wait 0.5
    giveup: more 1, bye 1
    sad: offer 2, more 1
    relax: offer 3, success 1, confirm 1
    indifferent: offer 3, ask 1
    luke: confirm 1, offer 1, success 1
    impatient: success 1, offer 1
    fine: success 1, offer 1, more 1
    why: yes 1, offer 1
    chat: chat 1, ask 2, offer 2
""")
UNABLE = {"fail": 4, "lost": 2.5, "no": 2, "askagain": 1.5, "refuse": 1, "wait": 0.8, "same": 1.2}
FIRM = (
    "tasks",
    "home",
    "support",
)  # families that confirm and book; elsewhere `confirm` and `success` become an offer or an answer
INSTEAD = {
    "value": "style",
    "feature": "topic",
    "style": "value",
    "topic": "feature",
}  # where a domain has none of them
ANYWHERE = {
    "question": ("what does it cost", "when does it open", "how does it work", "what is the difference", "can i change it later"),
    "answer": ("It is on the second page.",), "issue": ("it does not work",), "command": ("show me the list",),
}  # fmt: skip

_CHOICE = re.compile(r"\(([^()]*)\)")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Rated:
    """A turn of a person, rated. feeling: 1 to 5, before raters; low: whether the mean of three ratings is below 3."""

    at: int  # index into the dialogue's turns
    act: str
    system: str  # the assistant's act before it
    feeling: float
    low: bool


@dataclass(frozen=True, slots=True)
class Dialogue:
    family: str
    domain: str
    turns: tuple[tuple[str, str], ...]  # (role, text)
    rated: tuple[Rated, ...]


class _Speaker:
    """Says an act in the words of a domain."""

    def __init__(
        self, family: str, slots: Mapping[str, Sequence[str]], lines: Mapping[str, Sequence[str]], draw: random.Random
    ):
        self._family, self._slots, self._lines, self._draw = family, slots, lines, draw

    def can(self, who: str, act: str) -> bool:
        return bool(self._pool(who, act))

    def say(self, who: str, act: str) -> str:
        draw = self._draw
        text = draw.choice(self._pool(who, act))
        while found := _CHOICE.search(text):
            text = text[: found.start()] + draw.choice(found[1].split("|")) + text[found.end() :]
        return _SLOT.sub(lambda slot: self._filled(slot[1]), text)

    def _pool(self, who: str, act: str) -> Sequence[str]:
        own = self._lines.get(f"{who}.{act}.{self._family}", ())
        everybody = self._lines.get(f"{who}.{act}", ())
        if own and everybody and self._family == "tastes":
            return [*own, *own, *everybody[: max(1, len(own) // 2)]]  # talk about likes has its own words
        return [*own, *everybody]

    def _filled(self, name: str) -> str:
        draw, slots = self._draw, self._slots
        match name:
            case "number":
                return str(draw.randint(10**4, 10**9))
            case "name":
                return draw.choice(("anna miller", "jo brown", "sam", "lee chen", "maria", "david k.", "priya", "tom"))
            case "more":
                return draw.choice(("i needed it", "what now?", "ok then", "anything else?"))
            case "with":
                return draw.choice((f"with {self._filled('feature')}", f"for {self._filled('value')}"))
        name = name.rstrip("2")
        if name == "kinds" and name not in slots:
            return f"{draw.choice(slots['kind'])}s"
        return draw.choice(slots.get(name) or slots.get(INSTEAD.get(name, "")) or ANYWHERE[name])


def dialogues(count: int, *, seed: int, half: int | None = None) -> list[Dialogue]:
    """So many dialogues. half: of the lines of `said.txt`, 0 or 1, that they are spoken in; without it, all of them."""
    draw = random.Random(seed)  # noqa: S311  draws, and no secrets
    everything, lines = domains(), said()
    if half is not None:
        lines = {title: part for title, rows in lines.items() if (part := rows[half::2] or rows)}
    names = list(everything)
    weights = [{"tasks": 1.0, "tastes": 1.4}.get(name.split(".")[0], 0.8) for name in names]
    found = []
    for _ in range(count):
        name = draw.choices(names, weights)[0]
        found.append(_dialogue(name, _Speaker(name.split(".")[0], everything[name], lines, draw), draw))
    return found


def _dialogue(name: str, speaker: _Speaker, draw: random.Random) -> Dialogue:
    family, _, domain = name.partition(".")
    able = draw.betavariate(4, 1.3)
    leniency, style = draw.gauss(0, LENIENCY), draw.choice(("plain", "plain", "lower", "bare", "capital"))
    length = draw.randint(3, 11)
    turns: list[tuple[str, str]] = []
    rated: list[Rated] = []
    carried, system = 0.0, ""
    if draw.random() < (0.6 if family == "tastes" else 0.2):
        system = "greet"
        turns.append(("system", _styled(speaker.say("system", "greet"), "capital")))
    act = "ask" if system != "greet" or family != "tastes" else draw.choice(("ask", "answer", "like"))
    asked = ""
    while True:
        text = asked if act == "repeat" and asked and draw.random() < 0.35 else speaker.say("user", act)
        if act in ("thank", "fine", "decline", "praise", "accept") and draw.random() < 0.25:
            after = draw.choice(("next", "question", "answer"))
            text = f"{text} {speaker.say('user', after)}"
        elif act in ("question", "next", "other", "answer", "dislike") and draw.random() < 0.12:
            before = draw.choice(("thank", "fine", "chat") if act != "dislike" else ("known", "decline"))
            text = f"{speaker.say('user', before)} {text}" if speaker.can("user", before) else text
        elif act in ("repeat", "correct", "sad", "complain") and draw.random() < 0.25:
            text = f"{text} {speaker.say('user', draw.choice(('relax', 'question', 'other', 'repeat')))}"
        if act in ("ask", "next", "question"):
            asked = text
        turns.append(("user", _styled(text, style)))
        apart = USER[act] + SYSTEM[system] + CARRIED * carried
        carried = apart
        rated.append(Rated(len(turns) - 1, act, system, NEUTRAL + apart, _rated_low(NEUTRAL + apart + leniency, draw)))
        if len(rated) >= length or (act in ("close", "giveup") and draw.random() < 0.75):
            break
        system = _drawn(
            UNABLE if draw.random() > able and act not in ("close", "praise", "thank", "chat") else ABLE[act], draw
        )
        if system in ("confirm", "success") and family not in FIRM:
            system = draw.choice(("offer", "yes"))
        said_before = [text for role, text in turns if role == "system"]
        if system == "same" and not said_before:
            system = "lost"
        text = said_before[-1] if system == "same" else _styled(speaker.say("system", system), "capital")
        if system in ("fail", "no", "yes", "success") and draw.random() < 0.15:
            text = f"{text} {_styled(speaker.say('system', draw.choice(('more', 'offer'))), 'capital')}"
        turns.append(("system", text))
        following = dict(ANSWERS[system])
        if family == "tastes":
            following = TASTES.get(system, following)
        options = {act: chance for act, chance in following.items() if speaker.can("user", act)}
        act = _drawn(options, draw)
    return Dialogue(family, domain, tuple(turns), tuple(rated))


def _rated_low(feeling: float, draw: random.Random) -> bool:
    ratings = [min(5, max(1, round(draw.gauss(feeling, NOISE)))) for _ in range(RATERS)]
    return sum(ratings) / RATERS < 3


def _drawn(chances: Mapping[str, float], draw: random.Random) -> str:
    return draw.choices(list(chances), list(chances.values()))[0]


def _styled(text: str, style: str) -> str:
    """The same words as another person would type them."""
    text = re.sub(r"\s+([.,!?])", r"\1", " ".join(text.split()))
    match style:
        case "lower":
            return text.lower()
        case "bare":
            return re.sub(r"[.,!]", "", text).replace("'", "")
        case "capital":
            return re.sub(r"(^|[.!?] )([a-z])", lambda found: found[1] + found[2].upper(), re.sub(r"\bi\b", "I", text))
    return text
