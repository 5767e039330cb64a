"""How likely it is that people would call a turn of a conversation unsatisfying, turn by turn, and what spoke for it.

Two readers, added up. The first knows what people say who are content or are not (refusals, corrections, wishes for something
else, thanks), what an assistant says that fails them, and repetition; it does so in seven languages, by word lists, and its
weights are set by hand. The second reads English by the shipped encoder: two linear heads, trained on dialogues that we
generate, say how a turn of a person and one of an assistant feel, in whatever words. A turn rests on itself and on what came
before it, never on what follows.

It knows text alone: no ratings, no clicks, no tone of voice. What it was measured on is in the card.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
import zipfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import re2

from penstock.encoder import WEIGHTS as SHIPPED
from penstock.encoder import shipped
from penstock.errors import BadRequest, StorageError
from penstock.text.languages import identifier
from penstock.text.stopwords import STOPWORDS
from penstock.types import Message

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from penstock.types import Embedder

    Floats = NDArray[np.float32]

__all__ = [
    "CARRIED",
    "LANGUAGES",
    "WEIGHTS",
    "Felt",
    "Heads",
    "Judged",
    "Satisfaction",
    "Spoken",
    "card",
    "lists_of",
    "signs",
    "spoken",
]

FOLDER = SHIPPED / "satisfaction"
LANGUAGES = ("en", "de", "es", "fr", "it", "nl", "pt")  # that have word lists; the encoder reads English

# What each sign adds to the log-odds of low satisfaction, before calibration. Set by hand, in round numbers: no rating taught them.
WEIGHTS = {
    "negation": 1.0,
    "refusal": 0.5,  # begins with a no, and neither thanks nor says that this was all
    "frustration": 0.6,
    "correction": 0.5,
    "something else": 0.5,
    "repeats": 0.5,  # times the share of its words that were in the turn before
    "praise": -0.6,  # without a negation
    "thanks": -0.5,
    "acceptance": -0.5,
    "done": -0.3,
    "first turn": -1.2,  # nothing has happened yet
    "assistant apologised": 0.8,
    "assistant failed": 0.4,
    "assistant said no": 0.3,
    "assistant succeeded": -0.2,
    "assistant repeats": 0.3,  # times the share of its words that were in one turn of it before
}
# What the same signs add when they stood in earlier turns; each turn back counts 0.7 times as much.
CARRIED = {
    "assistant apologised": 0.25, "negation": 0.15, "frustration": 0.15, "correction": 0.1, "praise": -0.1, "thanks": -0.1,
}  # fmt: skip
FADING = 0.7

PEOPLE = frozenset({"user", "human", "customer", "person"})
ASSISTANTS = frozenset({"assistant", "agent", "bot", "ai", "model"})
PASSED_OVER = frozenset({"system", "developer", "tool", "function", "action"})
LONGEST = 4000  # characters of a turn that are looked at
REMEMBERED = 20  # turns in which a repetition is looked for
FEWEST_LETTERS = 12  # of a conversation, below which it is taken for English
SURE_LETTERS = 60  # from where on it may be in a language that has no lists
LEAST_WHY = 0.15  # log-odds from where on a sign is named

_WORDS = re.compile(r"\w+")
_MARKS = re.compile("[\u0300-\u036f]")
_START = {"no", "yes"}  # concepts that count as the first words only


@dataclass(frozen=True, slots=True)
class Felt:
    """A turn of a person."""

    at: int  # its place in the conversation, from 0
    low: float  # the probability that the mean of three ratings, 1 to 5, would be below 3
    why: tuple[tuple[str, float], ...]  # signs and what they add to the log-odds, the strongest first


@dataclass(frozen=True, slots=True)
class Judged:
    """A conversation. turns: none where nobody judged it, which says nothing of how satisfied people were."""

    language: str
    turns: tuple[Felt, ...]
    unscored: str = ""  # why nobody judged it


class Spoken(NamedTuple):
    """A turn of a person, with what the assistant said since the turn before."""

    at: int
    text: str
    answered: str


class Satisfaction:
    """Judges conversations. Safe to share between threads once it has judged one."""

    def __init__(self, folder: Path = FOLDER, *, encoder: Callable[[], Embedder] | None = shipped) -> None:
        """encoder: opened when the first English conversation comes; None: word lists alone, some thirty times as fast."""
        self._folder, self._open = folder, encoder

    def of(self, turns: Sequence[Message | tuple[str, str]], *, language: str = "") -> list[Felt]:
        """How each turn of a person feels, in order. language: ISO 639-1, where it is known.

        Raises BadRequest for a role that is not known, and for a conversation in a language that has no word lists.
        """
        judged = self.judge(turns, language=language)
        if judged.unscored:
            raise BadRequest(judged.unscored, hint=f"there are word lists for {', '.join(LANGUAGES)}")
        return list(judged.turns)

    def judge(self, turns: Sequence[Message | tuple[str, str]], *, language: str = "") -> Judged:
        """The same for conversations in any language. Raises BadRequest for a role that is not known."""
        people = spoken(turns)
        language = language.partition("-")[0].lower() or _language(people)
        if language not in LANGUAGES:
            return Judged(language, (), f"satisfaction is not judged in the language '{language}'")
        found = signs(people, lists_of(self._folder, language))
        reads = language == "en" and self._open is not None
        if reads:
            for each, (person, assistant) in zip(found, self._tones(people), strict=True):
                each["tone"], each["assistant's tone"] = person, assistant
        slope, offset = self.heads.calibration["with" if reads else "without"]
        return Judged(
            language, tuple(_felt(turn.at, each, slope, offset) for turn, each in zip(people, found, strict=True))
        )

    def _tones(self, people: Sequence[Spoken]) -> list[tuple[float, float]]:
        """What the encoder reads from each turn, and from the assistant's before it."""
        texts = list(dict.fromkeys(text for turn in people for text in (turn.text, turn.answered) if text.strip()))
        if not texts:
            return [(0.0, 0.0)] * len(people)
        vectors = dict(zip(texts, self._encoder.embed([text[:LONGEST] for text in texts]), strict=True))
        heads = self.heads
        return [
            (
                float(vectors[turn.text] @ heads.person) + heads.person_bias if turn.text in vectors else 0.0,
                float(vectors[turn.answered] @ heads.assistant) + heads.assistant_bias if turn.answered in vectors else 0.0,
            )
            for turn in people
        ]  # fmt: skip

    @cached_property
    def _encoder(self) -> Embedder:
        assert self._open is not None
        return self._open()

    @cached_property
    def heads(self) -> Heads:
        """What was learnt."""
        return Heads.read(self._folder)


@dataclass(frozen=True, slots=True)
class Heads:
    """Two directions in the encoder's space, and what turns a sum of log-odds into a probability."""

    person: Floats  # (384,)
    person_bias: float
    assistant: Floats  # (384,)
    assistant_bias: float
    calibration: dict[str, tuple[float, float]]  # `with` and `without` the encoder: slope, offset

    @classmethod
    def read(cls, folder: Path) -> Heads:
        """Raises StorageError where they are not there, or damaged."""
        try:
            with (folder / "heads.npz").open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                numbers = dict(file)
            person, assistant = numbers["person"].astype(np.float32), numbers["assistant"].astype(np.float32)
            (a, b), calibration = numbers["biases"].tolist(), numbers["calibration"].tolist()
            return cls(person, a, assistant, b, {"with": tuple(calibration[0]), "without": tuple(calibration[1])})
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StorageError(f"the heads of satisfaction in {folder} cannot be loaded: {error}") from error


# ---------------------------------------------------------------- turns


def spoken(turns: Sequence[Message | tuple[str, str]]) -> list[Spoken]:
    """The turns of people, each with the assistant's words before it.

    Where nobody is called the assistant and a `system` speaks after the first words of a person, it is the assistant; otherwise
    what a `system` says is instructions, and is passed over, as are tools. Raises BadRequest for any other role.
    """
    pairs = [(turn.role, turn.content) if isinstance(turn, Message) else turn for turn in turns]
    roles = [role.strip().lower() for role, _ in pairs]
    for at, role in enumerate(roles):
        if role not in PEOPLE | ASSISTANTS | PASSED_OVER:
            raise BadRequest(f"turn {at} is of '{role[:40]}'", hint="roles are user, assistant and system")
    first = next((at for at, role in enumerate(roles) if role in PEOPLE), len(roles))
    answers = ASSISTANTS
    if not ASSISTANTS & set(roles) and "system" in roles[first:]:
        answers = frozenset({"system"})
    found, since = [], list[str]()
    for at, (role, (_, text)) in enumerate(zip(roles, pairs, strict=True)):
        if role in PEOPLE:
            found.append(Spoken(at, _whole(text), " ".join(since)))
            since = []
        elif role in answers and text.strip():
            since.append(_whole(text))
    return found


def _whole(text: str) -> str:
    """Without half surrogate pairs, which are no characters."""
    return text.encode("utf-8", "replace").decode()


def _language(people: Sequence[Spoken]) -> str:
    """Of a conversation: where few words leave it open, the likeliest of those that have lists."""
    text = " ".join(part for turn in people for part in (turn.text, turn.answered))
    found = identifier().identify(text)
    if found.script not in ("", "Latin"):
        return found.language or "und"
    letters = sum(letter.isalpha() for letter in text[: 2 * SURE_LETTERS])
    if found.sure and (found.language in LANGUAGES or letters >= SURE_LETTERS):
        return found.language
    return identifier().identify(text, among=LANGUAGES).language if letters >= FEWEST_LETTERS else "en"


# ---------------------------------------------------------------- signs


def signs(people: Sequence[Spoken], lists: dict[str, Any]) -> list[dict[str, float]]:
    """The signs in each turn with what they add to the log-odds; `earlier turns` is what is left of those before."""
    found: list[dict[str, float]] = []
    carried = 0.0
    said: deque[frozenset[str]] = deque(maxlen=REMEMBERED)  # by the assistant
    before: frozenset[str] = frozenset()
    for turn in people:
        text, answered = plain(turn.text), plain(turn.answered)
        words, answer = _content(text, lists), _content(answered, lists)
        strengths = _of_person(text, lists) | _of_assistant(answered, lists)
        strengths["repeats"] = _shared(words, before)
        strengths["assistant repeats"] = max((_shared(answer, one) for one in said), default=0.0)
        strengths["first turn"] = float(not found)
        each = {name: WEIGHTS[name] * strength for name, strength in strengths.items() if strength}
        if carried:
            each["earlier turns"] = carried
        found.append(each)
        carried = FADING * carried + sum(weight * strengths[name] for name, weight in CARRIED.items())
        before = words
        if answer:
            said.append(answer)
    return found


def plain(text: str) -> str:
    """Lower case, without accents, with straight apostrophes: as the lists read it. Text beyond 4,000 characters is left out."""
    text = unicodedata.normalize("NFKD", text[:LONGEST]).casefold()
    text = _MARKS.sub("", unicodedata.normalize("NFKD", text))[:LONGEST]
    return text.replace("\u2019", "'").replace("`", "'")


def _of_person(text: str, lists: dict[str, Any]) -> dict[str, float]:
    text = lists["harmless"].sub(" ", text)
    no, thanks, done = (lists[name].search(text) is not None for name in ("no", "thanks", "done"))
    negation = lists["negation"].search(text) is not None
    return {
        "negation": float(negation),
        "refusal": float(no and not thanks and not done),
        "frustration": float(lists["frustration"].search(text) is not None),
        "correction": float(lists["correction"].search(text) is not None),
        "something else": float(lists["other"].search(text) is not None),
        "praise": float(not negation and lists["praise"].search(text) is not None),
        "thanks": float(thanks),
        "acceptance": float(not no and lists["yes"].search(text) is not None),
        "done": float(done),
    }


def _of_assistant(text: str, lists: dict[str, Any]) -> dict[str, float]:
    return {
        "assistant apologised": float(lists["apology"].search(text) is not None),
        "assistant failed": float(lists["failure"].search(text) is not None),
        "assistant said no": float(lists["assistant_negation"].search(text) is not None),
        "assistant succeeded": float(lists["success"].search(text) is not None),
    }


def _content(text: str, lists: dict[str, Any]) -> frozenset[str]:
    stopwords: frozenset[str] = lists["stopwords"]
    return frozenset(_WORDS.findall(text)) - stopwords


def _shared(words: frozenset[str], others: frozenset[str]) -> float:
    return len(words & others) / min(len(words), len(others)) if words and others else 0.0


def _felt(at: int, found: dict[str, float], slope: float, offset: float) -> Felt:
    logit = offset + slope * sum(found.values())
    named = ((name, round(slope * value, 2)) for name, value in found.items() if abs(slope * value) >= LEAST_WHY)
    return Felt(at, 1 / (1 + math.exp(-logit)), tuple(sorted(named, key=lambda one: -abs(one[1]))))


# ---------------------------------------------------------------- lists


@cache
def lists_of(folder: Path, language: str) -> dict[str, Any]:
    """A compiled expression for each concept, and `stopwords`, which carry no content. Raises StorageError without the file."""
    try:
        text = (folder / "words.txt").read_text("utf-8")
    except OSError as error:
        raise StorageError(f"the words of satisfaction cannot be read: {error}") from error
    said = {}
    for section in text.split("\n[")[1:]:
        title, _, lines = section.partition("]\n")
        said[title] = next(line[4:] for line in lines.split("\n") if line.startswith(f"{language}: "))
    filler = said.pop("filler")
    found: dict[str, Any] = {
        title: re2.compile(rf"^\W*(?:(?:{filler})\W+)*(?:{words})(?:\b|\W|$)" if title in _START else rf"\b(?:{words})(?:\b|\?|$)")
        for title, words in said.items()
    }  # fmt: skip
    found["stopwords"] = frozenset(plain(word) for word in STOPWORDS.get(language, ()))
    return found


def card() -> dict[str, Any]:
    """What the heads were trained on, who set the other weights, and what was measured."""
    loaded: dict[str, Any] = json.loads((FOLDER / "card.json").read_text("utf-8"))
    return loaded
