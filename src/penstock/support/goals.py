"""What simulated customers want, what they know, and what they are like. Knows no bot and no shop.

A goal is told by data, so that a file can hold it; whether it was reached is a check on how things stand in the end, and not on
what the bot said of it, where a check is given.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from penstock.errors import BadRequest, Unreadable

if TYPE_CHECKING:
    from penstock.support.simulator import Simulated

__all__ = ["MOODS", "Fact", "Goal", "Mood", "Reached", "Visitor", "compiled", "load_goals", "visitors"]

Mood = Literal[
    "polite", "terse", "angry", "confused", "chatty", "typos", "changes_mind", "impatient", "distrustful", "mixed_languages"
]  # fmt: skip
MOODS: Final[tuple[Mood, ...]] = get_args(Mood)
OPPOSED: Final = ({"polite", "angry"}, {"terse", "chatty"})  # that nobody is at once
LARGEST_FILE: Final = 32 << 20  # bytes
LONGEST: Final = 4_000  # characters of one text

# How a bot's question for a fact is told, in English, German, Spanish, French and Italian.
ASKED: Final[Mapping[str, str]] = {
    "email": r"e-?mail|correo|courriel|adresse électronique",
    "code": r"\bcode\b|\bcódigo\b|\bcodice\b",
    "name": r"\b(?:full |your |first and last )?names?\b|\bnombre\b|\bnom\b|\bnome\b|\bnachname\b",
    "first_name": r"first name|vorname|nombre\b|prénom|\bnome\b",
    "last_name": r"last name|surname|family name|nachname|apellido|nom de famille|cognome",
    "postcode": r"post ?code|zip|postal code|postleitzahl|plz|código postal|code postal|\bcap\b",
    "order": r"(?:which|what|the|your|an?) orders?\b|order (?:number|id)|bestell(?:ung|nummer)|pedido|commande|ordine",
    "item": r"(?:which|what) (?:item|article|product|one|of them)|welche[rsn]? (?:artikel|produkt)|qué artículo|quel article",
    "reason": r"\breasons?\b|\bwhy\b|\bgrund\b|\bwarum\b|motivo|raison|pourquoi|perché",
    "address": r"address|anschrift|adresse|dirección|indirizzo",
    "payment": r"pay(?:ment|pal)?\b|\bcard\b|refund(?:ed)? to|bezahl|zahlung|pago|paiement|pagamento",
}


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that a customer knows, or looks up when asked, such as a code that was sent to them. asked: pattern of a bot's
    question for it; "": the usual words for facts of that name."""

    name: str
    value: str | Callable[[], str]
    asked: str = ""
    personal: bool = False  # a distrustful customer wants to know what for

    @property
    def said(self) -> str:
        return self.value if isinstance(self.value, str) else self.value()

    def place(self, text: str) -> int:
        """Where a text asks for it; -1 where it does not."""
        found = [
            one.start() for one in compiled(self.asked or ASKED.get(self.name, re.escape(self.name))).finditer(text)
        ]
        return found[-1] if found else -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What somebody wants of a bot. All patterns are regular expressions, whatever the case.

    opening: wordings of which one is said first, and another where the bot did not understand. choices: quick replies that they
    would press, the best first. agrees: patterns that must all stand in what is read back, or they say no. done: pattern of a
    reply by which they see that they have what they came for. then: what they want next in the same conversation.
    """

    id: str
    wants: str  # a sentence, which is what a model that plays the customer is told
    opening: tuple[str, ...]
    done: str
    facts: tuple[Fact, ...] = ()
    choices: tuple[str, ...] = ()
    agrees: tuple[str, ...] = ()
    then: tuple[Goal, ...] = ()
    intent: str = ""
    language: str = "en"
    reached: Callable[[Simulated], bool] | None = None  # how things stand in the end; None: what was said counts

    def __post_init__(self) -> None:
        """Raises BadRequest for a goal that nobody could have."""
        if not self.id or not self.opening or not all(text.strip() for text in self.opening):
            raise BadRequest(f"the goal '{self.id[:80]}' needs an `id` and an `opening`, which is what is said first")
        for pattern in (self.done, *self.choices, *self.agrees, *(fact.asked for fact in self.facts)):
            compiled(pattern)


@dataclass(frozen=True, slots=True)
class Reached:
    """A check that a file can hold. All that is given must hold: patterns in what the bot said, whether a person took over, and
    what a query gives as rows of the database at `state`, which is opened to be read only."""

    says: tuple[str, ...] = ()
    not_says: tuple[str, ...] = ()
    handed_over: bool | None = None
    sql: str = ""
    rows: Sequence[Sequence[Any]] = ()
    state: Path | None = None

    def __call__(self, conversation: Simulated) -> bool:
        """Raises BadRequest for a query that cannot be made."""
        replies = "\n".join(one.reply for one in conversation.exchanges)
        if not all(compiled(one).search(replies) for one in self.says) or any(
            compiled(one).search(replies) for one in self.not_says
        ):
            return False
        if self.handed_over is not None and self.handed_over != conversation.handed_over:
            return False
        return not self.sql or self._found() == [list(row) for row in self.rows]

    def _found(self) -> list[list[Any]]:
        if self.state is None:
            raise BadRequest("a goal asks for rows of a database, and none was given", hint="--state FILE")
        try:
            connection = sqlite3.connect(f"{self.state.resolve().as_uri()}?mode=ro", uri=True, timeout=10)
            try:
                return [list(row) for row in connection.execute(self.sql).fetchmany(1000)]
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise BadRequest(f"the query of a goal failed on {self.state}: {error}") from error


@cache
def compiled(text: str) -> re.Pattern[str]:
    """Whatever the case. Raises BadRequest."""
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise BadRequest(f"'{text[:80]}' is no regular expression: {error}") from error


# ---------------------------------------------------------------- who comes


@dataclass(frozen=True, slots=True)
class Visitor:
    """One simulated customer: the same seed says the same things, as long as the bot does."""

    id: str
    goal: Goal
    moods: tuple[Mood, ...] = ()
    seed: int = 0


def visitors(
    goals: Sequence[Goal], n: int, *, seed: int = 0, moods: Sequence[Mood] = MOODS, moody: float = 0.7
) -> list[Visitor]:  # fmt: skip
    """So many customers. Each goal comes as often as the others; moody: the share of people who are in some mood, or in two."""
    if not goals:
        raise BadRequest("nobody wants anything: there are no goals")
    if n < 0 or not 0 <= moody <= 1:
        raise BadRequest(f"{n} visitors of whom {moody:.0%} are moody cannot be")
    found = []
    for number in range(n):
        drawn = random.Random(f"{seed}:{number}")  # noqa: S311
        chosen: list[Mood] = []
        if moods and drawn.random() < moody:
            for mood in drawn.sample(list(moods), min(len(moods), 1 + (drawn.random() < 0.3))):
                if not any({mood, other} <= pair for other in chosen for pair in OPPOSED):
                    chosen.append(mood)
        goal = goals[number % len(goals)]
        found.append(Visitor(f"{goal.id}-{number + 1}", goal, tuple(chosen), drawn.randrange(1 << 53)))
    return found


# ---------------------------------------------------------------- a file of goals


def load_goals(path: Path, *, state: Path | None = None) -> list[Goal]:
    """The goals of a file: JSON Lines, or a JSON list. Raises BadRequest, which names the goal, and Unreadable."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadRequest(f"{path} has more than {LARGEST_FILE >> 20} MB")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path} cannot be read as UTF-8 text") from error
    try:
        rows = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(x) for x in text.splitlines() if x.strip()]
        )
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{path} is neither JSON Lines nor a JSON list") from error
    goals = [_goal(row, f"goal {number} of {path.name}", state) for number, row in enumerate(rows, 1)]
    if not goals:
        raise BadRequest(f"{path} has no goals", hint='a line each: {"id": …, "opening": […], "done": …}')
    if twice := next((one.id for n, one in enumerate(goals) if one.id in {other.id for other in goals[:n]}), ""):
        raise BadRequest(f"two goals of {path.name} are called '{twice}'")
    return goals


KNOWN: Final = ("id", "wants", "opening", "done", "facts", "choices", "agrees", "then", "intent", "language", "reached")


def _goal(row: Any, where: str, state: Path | None) -> Goal:
    if not isinstance(row, dict):
        raise BadRequest(f"{where} is no JSON object")
    if unknown := [name for name in row if name not in KNOWN]:
        raise BadRequest(f"{where} has '{str(unknown[0])[:40]}', which is not known", hint=", ".join(KNOWN))
    facts = row.get("facts", {})
    if not isinstance(facts, dict):
        raise BadRequest(f"{where}: `facts` must be an object, names to values")
    then = row.get("then", [])
    if not isinstance(then, list):
        raise BadRequest(f"{where}: `then` must be a list of goals")
    return Goal(
        id=_text(row, "id", where), wants=_text(row, "wants", where, ""), opening=_texts(row, "opening", where),
        done=_text(row, "done", where), facts=tuple(_fact(name, fact, where) for name, fact in facts.items()),
        choices=_texts(row, "choices", where), agrees=_texts(row, "agrees", where),
        then=tuple(_goal({"id": f"{row.get('id')}+{n}", **_object(one, where)}, where, state) for n, one in enumerate(then, 1)),
        intent=_text(row, "intent", where, ""), language=_text(row, "language", where, "en"),
        reached=_reached(row["reached"], where, state) if row.get("reached") is not None else None,
    )  # fmt: skip


def _fact(name: str, given: Any, where: str) -> Fact:
    if isinstance(given, str):
        return Fact(name, given, personal=name in ("email", "name", "first_name", "last_name", "postcode", "address"))
    one = _object(given, where)
    if unknown := set(one) - {"value", "asked", "personal"}:
        raise BadRequest(f"{where}: the fact '{name}' has '{min(unknown)}', which is not known")
    return Fact(name, _text(one, "value", where), _text(one, "asked", where, ""), one.get("personal") is True)


def _reached(given: Any, where: str, state: Path | None) -> Reached:
    one = _object(given, where)
    if unknown := set(one) - {"says", "not_says", "handed_over", "sql", "rows"}:
        raise BadRequest(f"{where}: `reached` has '{min(unknown)}', which is not known")
    rows = one.get("rows") or []
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise BadRequest(f"{where}: `rows` must be a list of lists")
    handed = one.get("handed_over")
    if handed is not None and not isinstance(handed, bool):
        raise BadRequest(f"{where}: `handed_over` must be true or false")
    says, not_says = _texts(one, "says", where), _texts(one, "not_says", where)
    for pattern in (*says, *not_says):
        compiled(pattern)
    return Reached(says, not_says, handed, _text(one, "sql", where, ""), rows, state)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadRequest(f"{where}: an object was expected, not {str(value)[:40]}")
    return value


def _text(row: Mapping[str, Any], name: str, where: str, default: str | None = None) -> str:
    value = row.get(name, default)
    if not isinstance(value, str) or len(value) > LONGEST:
        raise BadRequest(f"{where}: `{name}` must be a text of at most {LONGEST:,} characters")
    return value


def _texts(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = row.get(name, [])
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(one, str) and len(one) <= LONGEST for one in found):
        raise BadRequest(f"{where}: `{name}` must be a text, or a list of texts")
    return tuple(found)
