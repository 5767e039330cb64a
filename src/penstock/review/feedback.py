"""What people say of an answer: a thumb, reasons, a correction, one to five. One opinion for each request and person.

An opinion can be given again and changed as often as somebody likes; what is said twice is there once. It is the word of those
who cared to say something, so it finds answers to look at, and its shares are no rate of anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from penstock.config import iso
from penstock.errors import BadRequest, Conflict, NotFound, TooLarge
from penstock.review.store import Store
from penstock.types import new_id

__all__ = ["REASONS", "About", "Feedback", "Opinion", "Satisfaction", "said"]

Thumb = Literal["", "up", "down"]

REASONS: Final = (
    "wrong", "made_up", "incomplete", "outdated", "off_topic", "unclear", "wrong_language", "bad_sources", "tone", "harmful",
    "private", "slow", "other",
)  # fmt: skip
LONGEST_TEXT, LONGEST_CORRECTION, LONGEST_NAME = 4_000, 20_000, 256  # characters
MOST_RATERS = 50  # of one request
FIELDS: Final = ("thumb", "reasons", "text", "correction", "csat")


class About(NamedTuple):
    """The request that somebody speaks of, as the journal has it."""

    request: str
    key: str
    person: str = ""
    app: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one person says of one request. csat: 1 to 5, and 0 for none. Times are Unix times."""

    id: str
    about: About
    rater: str
    thumb: Thumb = ""
    reasons: tuple[str, ...] = ()
    csat: int = 0
    text: str = ""
    correction: str = ""
    at: float = 0.0
    changed: float = 0.0

    @property
    def is_bad(self) -> bool:
        """Whether somebody should look at the answer."""
        return self.thumb == "down" or 0 < self.csat <= 2 or bool(self.correction)

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "request": self.about.request, "app": self.about.app, "model": self.about.model, "user": self.rater,
            "thumb": self.thumb or None, "reasons": list(self.reasons), "csat": self.csat or None,
            "text": self.text, "correction": self.correction, "at": iso(self.at), "changed": iso(self.changed),
        }  # fmt: skip


class Satisfaction(NamedTuple):
    """Counts of one app or model. mean_csat: of those who gave one; 0 where nobody did."""

    name: str
    opinions: int
    up: int
    down: int
    rated: int
    mean_csat: float
    satisfied: int  # gave 4 or 5


def said(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an opinion that a body changes, checked. null takes one back. Raises BadRequest or TooLarge."""
    found = {name: body[name] for name in FIELDS if name in body}
    if not found:
        raise BadRequest("it says nothing of the answer", hint=f"one of {', '.join(FIELDS)}")
    if (thumb := found.get("thumb")) not in (None, "", "up", "down"):
        raise BadRequest(f"'thumb' is {str(thumb)[:40]!r}", hint="up, down, or null to take it back")
    reasons = found.get("reasons")
    if reasons is not None and (not isinstance(reasons, list) or any(reason not in REASONS for reason in reasons)):
        raise BadRequest("'reasons' must be a list of reasons", hint=", ".join(REASONS))
    csat = found.get("csat")
    if csat is not None and (type(csat) is not int or not 1 <= csat <= 5):
        raise BadRequest("'csat' must be a whole number from 1 to 5, or null")
    for name, longest in (("text", LONGEST_TEXT), ("correction", LONGEST_CORRECTION)):
        text = found.get(name)
        if not isinstance(text, str | None):
            raise BadRequest(f"'{name}' must be a text, or null")
        if text and len(text) > longest:
            raise TooLarge(f"'{name}' has {len(text):,} characters, the limit is {longest:,}")
    if "reasons" in found:
        found["reasons"] = sorted(set(reasons or ()), key=REASONS.index)
    return found


class Feedback:
    """All opinions. keeps: whether an app keeps people's words; thumbs, reasons and numbers are kept of all."""

    def __init__(self, store: Store, *, keeps: Callable[[str], bool]) -> None:
        self._store, self.keeps = store, keeps

    def give(self, about: About, rater: str, changes: Mapping[str, Any]) -> Opinion:
        """Say something of a request, or change what was said. changes: as `said` returns them.

        Raises Conflict where more people than can be have said something of one request.
        """
        if not rater or len(rater) > LONGEST_NAME or not rater.isprintable():
            raise BadRequest(f"'user' is no name: 1 to {LONGEST_NAME} printable characters")
        before = self.find(about.request, rater)
        number, now = before.id if before else new_id(), time.time()
        old = before or Opinion(number, about, rater, at=now)
        words = {"text": old.text, "correction": old.correction}
        words |= {name: (changes[name] or "").strip() for name in words if name in changes}
        kept = {name: text for name, text in words.items() if text and self.keeps(about.app)}
        thumb = (changes["thumb"] or "") if "thumb" in changes else old.thumb
        reasons = tuple(changes["reasons"]) if "reasons" in changes else old.reasons
        csat = (changes["csat"] or 0) if "csat" in changes else old.csat
        new = Opinion(
            number,
            old.about,
            rater,
            thumb,
            reasons,
            csat,
            kept.get("text", ""),
            kept.get("correction", ""),
            old.at,
            old.changed,
        )
        if new == before:
            return new
        sealed = self._store.sealed(kept, of=number)
        with self._store.write() as w:
            (others,) = w.execute("select count(*) from feedback where request = ?", (about.request,)).fetchone()
            if before is None and others >= MOST_RATERS:
                raise Conflict(f"{MOST_RATERS} people have said something of this request already")
            (kept_id,) = w.execute(
                "insert into feedback values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict (request, rater) do update set"
                " thumb = excluded.thumb, reasons = excluded.reasons, csat = excluded.csat, changed = excluded.changed,"
                " words = iif(id = excluded.id, excluded.words, words) returning id",
                (
                    number, *old.about[:2], rater, *old.about[2:], thumb, ",".join(reasons), csat, sealed, old.at, now,
                ),
            ).fetchone()  # fmt: skip
        if kept_id != number:  # the same person was first on another way: words are sealed for one row, so once more
            return self.give(about, rater, changes)
        return Opinion(**{name: getattr(new, name) for name in Opinion.__slots__ if name != "changed"}, changed=now)

    def find(self, request: str, rater: str) -> Opinion | None:
        rows = self._store.read("select * from feedback where request = ? and rater = ?", (request, rater))
        return self._opinion(rows[0]) if rows else None

    def withdraw(self, request: str, rater: str) -> None:
        """Take back all that somebody said of a request. Raises NotFound."""
        with self._store.write() as w:
            if not w.execute("delete from feedback where request = ? and rater = ?", (request, rater)).rowcount:
                raise NotFound(f"'{rater}' has said nothing of the request '{request}'")

    def of(self, requests: Sequence[str]) -> dict[str, list[Opinion]]:
        """Opinions by request, of those requests."""
        found: dict[str, list[Opinion]] = {}
        for start in range(0, len(requests), 500):
            some = requests[start : start + 500]
            marks = ", ".join("?" * len(some))
            for row in self._store.read(f"select * from feedback where request in ({marks})", some):  # noqa: S608
                opinion = self._opinion(row)
                found.setdefault(opinion.about.request, []).append(opinion)
        return found

    def latest(self, *, since: float = 0.0, bad: bool = False, app: str = "", limit: int = 100) -> list[Opinion]:
        """The latest opinions first. bad: only of answers that somebody should look at."""
        rows = self._store.read(
            "select * from feedback where changed >= ? and (? = '' or app = ?) order by changed desc, id desc",
            (since, app, app),
        )
        opinions = map(self._opinion, rows)
        return [opinion for opinion in opinions if opinion.is_bad or not bad][:limit]

    def satisfaction(self, *, by: Literal["app", "model"] = "app", since: float = 0.0) -> list[Satisfaction]:
        """Counts by app or model, those with most opinions first."""
        column = {"app": "app", "model": "model"}[by]
        rows = self._store.read(
            f"select {column}, count(*), sum(thumb = 'up'), sum(thumb = 'down'), sum(csat > 0),"  # noqa: S608
            " coalesce(avg(nullif(csat, 0)), 0.0), sum(csat >= 4) from feedback where changed >= ?"
            " group by 1 order by 2 desc, 1",
            (since,),
        )
        return [Satisfaction(*row) for row in rows]

    def _opinion(self, row: Sequence[Any]) -> Opinion:
        number, request, key, rater, person, app, model, thumb, reasons, csat, words, at, changed = row
        told = self._store.opened(words, of=number)
        return Opinion(
            number, About(request, key, person, app, model), rater, thumb, tuple(filter(None, reasons.split(","))), csat,
            told.get("text", ""), told.get("correction", ""), at, changed,
        )  # fmt: skip
